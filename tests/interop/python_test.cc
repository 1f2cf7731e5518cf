// The framings against Python's own modules: struct, asyncio's streams, its parser and generator of
// mail, http.client and smtplib. The peer is struct_peer.py, in a process of its own.
#include <millrace/framed_client.h>
#include <millrace/framed_server.h>
#include <millrace/framings.h>

#include "support/loop_test.h"
#include "support/random.h"

#include <functional>
#include <sstream>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

struct PythonTest : LoopTest {
  // Callbacks that count what comes and how connections end.
  FrameCallbacks count(std::function<void(FramedConnection&, ByteView)> on_frame) {
    return {.on_open = [this](FramedConnection&) { ++opened; },
            .on_frame =
                [this, on_frame](FramedConnection& c, ByteView frame) {
                  ++frames;
                  on_frame(c, frame);
                },
            .on_close =
                [this](FramedConnection& c, std::error_code why) {
                  ++closed;
                  EXPECT_FALSE(why) << why.message() << ": " << c->close_detail();
                }};
  }
  FrameCallbacks echo() {
    return count([](FramedConnection& c, ByteView frame) { c.send_frame(frame); });
  }

  // Lets Python do `what` with the server; how many frames came back to it as they should.
  std::size_t run_peer(const std::string& what, FramedServer& server) {
    SCOPED_TRACE(what);
    server.listen(SocketAddress::loopback(0));
    Program peer(
        {MILLRACE_PYTHON, MILLRACE_STRUCT_PEER, what, std::to_string(server.address().port())});
    const std::size_t counted = number_from(peer);
    expect_success(peer);
    EXPECT_TRUE(run_until([&] { return opened > 0 && closed == opened; }));
    return counted;
  }
  // The next that it prints.
  std::size_t number_from(Program& peer) {
    EXPECT_TRUE(run_until([&] { return peer.has_output(); }, 40s));
    std::size_t number = 0;
    std::istringstream(peer.read_line()) >> number;
    EXPECT_GT(number, 0u);
    return number;
  }
  static void expect_success(Program& peer) {
    if (peer.wait() == 0) return;
    std::string text;
    for (std::string line = "failed:"; !line.empty(); line = peer.read_error_line()) {
      text += line + '\n';
    }
    ADD_FAILURE() << text;
  }
  void expect_echo(const std::string& what, const Framing& framing) {
    frames = 0;
    FramedServer server(loop(), echo(), framing);
    EXPECT_EQ(run_peer(what, server), frames) << what;
  }

  std::size_t frames = 0;
  int opened = 0;
  int closed = 0;
};

TEST_F(PythonTest, LengthsPackedWithStructAreLengthPrefixes) {
  expect_echo(">I", LengthPrefix());
  expect_echo("<I", LengthPrefix({.order = ByteOrder::little}));
  expect_echo(">H", LengthPrefix({.width_bytes = 2}));
  expect_echo("<H", LengthPrefix({.width_bytes = 2, .order = ByteOrder::little}));
  expect_echo(">Q", LengthPrefix({.width_bytes = 8}));
  expect_echo("<Q", LengthPrefix({.width_bytes = 8, .order = ByteOrder::little}));
  expect_echo("!B", LengthPrefix({.width_bytes = 1}));
  expect_echo(">3", LengthPrefix({.width_bytes = 3}));
  expect_echo("<3", LengthPrefix({.width_bytes = 3, .order = ByteOrder::little}));
}

TEST_F(PythonTest, HeadersPackedWithStructAreLengthFields) {
  expect_echo("header", LengthField({.offset_bytes = 4}));
  expect_echo("header stripped", LengthField({.offset_bytes = 4, .strip_bytes = 8}));
  expect_echo("header counted", LengthField({.offset_bytes = 4, .counts_header = true}));
  expect_echo("length first", LengthField({.order = ByteOrder::little, .adjustment_bytes = 4}));
  expect_echo("length in the middle",
              LengthField({.offset_bytes = 2, .adjustment_bytes = 2, .strip_bytes = 6}));
}

TEST_F(PythonTest, VarintsAndNetStringsMadeByHandAreFrames) {
  expect_echo("varint", VarintLength());
  expect_echo("netstring", NetString());
}

TEST_F(PythonTest, LinesAreReadAndWrittenWithEitherEnd) {
  expect_echo("lf", Lines({.end = LineEnd::lf}));
  expect_echo("crlf", Lines({.end = LineEnd::strict_crlf}));
  expect_echo("any line end", Lines());
}

TEST_F(PythonTest, MessagesWithAContentLengthGoThereAndBack) {
  expect_echo("messages", HeaderBlock());
  expect_echo("bodies", HeaderBlock({.length_required = true, .bodies_only = true}));
}

TEST_F(PythonTest, StreamsOfAsyncioReadWhatTheFramingsWrite) {
  expect_echo("readline", Lines());
  expect_echo("readuntil NUL", Delimited(std::string(1, '\0')));
  expect_echo("readuntil ||", Delimited({.delimiters = {"||"}, .keep_delimiter = true}));
  expect_echo("readexactly", FixedLength(20));
}

TEST_F(PythonTest, AFramedClientTalksToAServerOfAsyncio) {
  Random random(1);
  std::vector<std::string> sent;
  for (int i = 0; i < 200; ++i) sent.push_back(random.bytes(random.size_up_to(300'000)));
  Program peer({MILLRACE_PYTHON, MILLRACE_STRUCT_PEER, "serve"});
  const std::size_t port = number_from(peer);
  std::vector<std::string> got;
  FrameCallbacks callbacks = count([&](FramedConnection& c, ByteView frame) {
    got.emplace_back(frame.text());
    if (got.size() == sent.size()) c->close();
  });
  callbacks.on_open = [&](FramedConnection& c) {
    ++opened;
    for (const std::string& payload : sent) c.send_frame(payload);
  };
  FramedClient client(loop(), std::move(callbacks));
  client.connect(SocketAddress::loopback(static_cast<std::uint16_t>(port)));
  EXPECT_EQ(number_from(peer), sent.size());
  EXPECT_TRUE(got == sent);
  expect_success(peer);
  EXPECT_TRUE(run_until([&] { return closed == 1; }));
}

std::size_t words_of(std::string_view text) {
  std::istringstream in{std::string(text)};
  std::string word;
  std::size_t n = 0;
  while (in >> word) ++n;
  return n;
}

TEST_F(PythonTest, AFieldFoldedByPythonsGeneratorOfMailIsReadAsOne) {
  const HeaderBlock framing({.length_required = true});
  FramedServer server(
      loop(), count([&](FramedConnection& c, ByteView frame) {
        const HeaderMessage message(frame);
        const auto subject = message.field("subject");
        const std::string words = std::to_string(words_of(subject.value_or("")));
        std::string answer = framing.head(message.body().size(), {{"Words", words}});
        c.send_frame(answer.append(message.body().text()));
      }),
      framing);
  EXPECT_EQ(run_peer("mail", server), frames);
}

TEST_F(PythonTest, RequestsOfHttpClientAreMessagesWithAStartLine) {
  const HeaderBlock framing({.start_line = true});
  FramedServer server(
      loop(), count([&](FramedConnection& c, ByteView frame) {
        const HeaderMessage request(frame, true);
        std::istringstream line{std::string(request.start_line())};
        std::string method, path, version;
        line >> method >> path >> version;
        EXPECT_EQ(method + " " + version, "POST HTTP/1.1");
        std::string answer = framing.head(
            request.body().size(),
            {{"X-Asked", request.field("x-asked").value_or("nothing")}, {"X-Path", path}},
            "HTTP/1.1 200 Fine");
        c.send_frame(answer.append(request.body().text()));
      }),
      framing);
  EXPECT_EQ(run_peer("http", server), frames);
  EXPECT_EQ(opened, 1);
}

// As much of a mail server as smtplib needs, in its spelling: commands are lines, and a message
// ends with a dot.
class MailServer {
 public:
  void on_frame(FramedConnection& c, ByteView frame) {
    const std::string text(frame.text());
    if (in_message_) return on_message(c, text);
    const std::string command = text.substr(0, 4);
    if (command == "ehlo") {
      c.send_frames({"250-millrace.test", "250 8BITMIME"});
    } else if (command == "data") {
      c.send_frame("354 go on");
      in_message_ = true;
      c.switch_framing(Delimited("\r\n.\r\n"));
    } else if (command == "QUIT") {
      c.send_frame("221 bye");
      c->close();
    } else {
      c.send_frame("250 fine");
    }
  }

  std::vector<std::string> messages;

 private:
  void on_message(FramedConnection& c, std::string text) {
    // A dot at the beginning of a line was doubled.
    text.insert(0, "\r\n");
    for (std::size_t at = 0; (at = text.find("\r\n..", at)) != text.npos; at += 3) {
      text.erase(at + 2, 1);
    }
    messages.push_back(text.substr(2) + "\r\n");
    in_message_ = false;
    c.switch_framing(Lines({.end = LineEnd::strict_crlf}));
    c.send_frame("250 taken");
  }

  bool in_message_ = false;
};

TEST_F(PythonTest, SmtplibDeliversItsMailThroughASwitchOfFramings) {
  MailServer mail;
  FrameCallbacks callbacks =
      count([&](FramedConnection& c, ByteView frame) { mail.on_frame(c, frame); });
  callbacks.on_open = [this](FramedConnection& c) {
    ++opened;
    c.send_frame("220 millrace.test");
  };
  FramedServer server(loop(), std::move(callbacks), Lines({.end = LineEnd::strict_crlf}));
  EXPECT_EQ(run_peer("smtp", server), 4u);
  const std::vector<std::string> sent = {"one line\r\n", "two\r\nlines\r\n",
                                         ".\r\n..a line of dots\r\n.\r\n",
                                         "\r\n\r\n\r\n" + std::string(900, 'x') + "\r\n"};
  EXPECT_EQ(mail.messages, sent);
}

}  // namespace
}  // namespace millrace::test
