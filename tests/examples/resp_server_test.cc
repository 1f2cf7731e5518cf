// The key-value store, as sockets, redis-cli and redis-benchmark see it, and beside the real one.
#include "examples/programs.h"

#include <array>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <sstream>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace millrace::test {
namespace {

using Strings = std::vector<std::string>;

std::string command(const Strings& words) {
  std::string bytes = "*" + std::to_string(words.size()) + "\r\n";
  for (const std::string& word : words) {
    bytes += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
  }
  return bytes;
}

struct RespServer : ::testing::Test {
  // What is answered to all of it by a connection of its own.
  std::string answer(const std::string& sent) {
    RawSocket peer = RawSocket::connect_to(server.address());
    peer.send_all(sent);
    peer.end();
    return receive_all(peer);
  }
  static void expect(RawSocket& peer, const std::string& sent, const std::string& reply) {
    peer.send_all(sent);
    EXPECT_EQ(receive(peer, reply.size()), reply);
  }

  ServerProgram server{"resp_server"};
};

TEST_F(RespServer, KeepsWhatWasSetUntilItIsDeleted) {
  RawSocket peer = RawSocket::connect_to(server.address());
  expect(peer, command({"GET", "k"}), "$-1\r\n");
  expect(peer, command({"SET", "k", "one"}), "+OK\r\n");
  expect(peer, command({"GET", "k"}), "$3\r\none\r\n");
  expect(peer, command({"set", "k", ""}), "+OK\r\n");
  expect(peer, command({"gEt", "k"}), "$0\r\n\r\n");
  expect(peer, command({"SET", "l", "two"}), "+OK\r\n");
  expect(peer, command({"DEL", "k", "none", "l", "k"}), ":2\r\n");
  expect(peer, command({"GET", "l"}), "$-1\r\n");
}

TEST_F(RespServer, ShowsToOneConnectionWhatAnotherHasSet) {
  EXPECT_EQ(answer(command({"SET", "k", "v"})), "+OK\r\n");
  EXPECT_EQ(answer(command({"GET", "k"})), "$1\r\nv\r\n");
}

TEST_F(RespServer, TakesAnyBytesAsKeysAndValues) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  EXPECT_EQ(answer(command({"SET", all, all + all}) + command({"GET", all})),
            "+OK\r\n$512\r\n" + all + all + "\r\n");
}

TEST_F(RespServer, AnswersWhatClientsAskWhenTheyConnect) {
  RawSocket peer = RawSocket::connect_to(server.address());
  expect(peer, command({"COMMAND", "DOCS"}), "*0\r\n");
  expect(peer, command({"CONFIG", "GET", "save"}), "*2\r\n$4\r\nsave\r\n$0\r\n\r\n");
  expect(peer, command({"CONFIG", "GET", "appendonly"}), "*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n");
  expect(peer, command({"CONFIG", "GET", "other"}), "*0\r\n");
  expect(peer, command({"CONFIG", "SET", "a", "b"}), "-ERR unknown subcommand 'SET'\r\n");
  expect(peer, command({"HELLO", "3"}), "-NOPROTO unsupported protocol version\r\n");
  expect(peer, command({"HELLO", "2"}),
         "*4\r\n$6\r\nserver\r\n$8\r\nmillrace\r\n$5\r\nproto\r\n:2\r\n");
  expect(peer, command({"SELECT", "0"}), "+OK\r\n");
  expect(peer, command({"SELECT", "1"}), "-ERR DB index is out of range\r\n");
  expect(peer, command({"PING"}), "+PONG\r\n");
  expect(peer, command({"PING", "there?"}), "$6\r\nthere?\r\n");
  expect(peer, command({"ECHO", ""}), "$0\r\n\r\n");
}

TEST_F(RespServer, SaysWhatIsWrongWithACommandAndGoesOn) {
  RawSocket peer = RawSocket::connect_to(server.address());
  expect(peer, command({"FOO"}), "-ERR unknown command 'FOO', with args beginning with: \r\n");
  expect(peer, command({"FOO", "a", "b"}),
         "-ERR unknown command 'FOO', with args beginning with: 'a' 'b' \r\n");
  expect(peer, command({"X\r\n+OK"}),
         "-ERR unknown command 'X  +OK', with args beginning with: \r\n");
  expect(peer, command({""}), "-ERR unknown command '', with args beginning with: \r\n");
  for (const Strings& words :
       std::vector<Strings>{{"GET"}, {"get", "a", "b"}, {"GET", "a", "b", "c"}}) {
    expect(peer, command(words), "-ERR wrong number of arguments for 'get' command\r\n");
  }
  expect(peer, command({"SET", "a"}), "-ERR wrong number of arguments for 'set' command\r\n");
  expect(peer, command({"DEL"}), "-ERR wrong number of arguments for 'del' command\r\n");
  expect(peer, command({"ECHO"}), "-ERR wrong number of arguments for 'echo' command\r\n");
  expect(peer, command({"PING", "a", "b"}),
         "-ERR wrong number of arguments for 'ping' command\r\n");
  expect(peer, command({"SET", "a", "b", "SOON"}), "-ERR syntax error\r\n");
  expect(peer, command({"PING"}), "+PONG\r\n");
}

TEST_F(RespServer, UnderstandsWhatIsTyped) {
  EXPECT_EQ(answer("PING\r\nset k 'it\\'s' \n\r\n\nget k\r\necho \"\\x41\\n\"\r\n"),
            "+PONG\r\n+OK\r\n$4\r\nit's\r\n$2\r\nA\n\r\n");
  EXPECT_EQ(answer("PING\r\necho 'a\r\nPING\r\n"),
            "+PONG\r\n-ERR Protocol error: unbalanced quotes in request\r\n");
}

TEST_F(RespServer, TellsAProtocolErrorAfterTheRepliesBeforeItAndCloses) {
  const std::string ping = command({"PING"});
  for (const auto& [sent, wrong] : std::vector<std::pair<std::string, std::string>>{
           {"*1\r\n:1\r\n", "expected '$'"},
           {"*x\r\n", "invalid multibulk length"},
           {"*1048577\r\n", "invalid multibulk length"},
           {"*1\r\n$16777217\r\n", "invalid bulk length"},
           {"*1\r\n$-1\r\n", "invalid bulk length"},
           {std::string(65'537, 'x'), "too big inline request"}}) {
    RawSocket peer = RawSocket::connect_to(server.address());
    peer.send_all(ping + sent + ping);
    EXPECT_EQ(receive_all(peer), "+PONG\r\n-ERR Protocol error: " + wrong + "\r\n");
    EXPECT_TRUE(peer.at_end()) << "a reset instead of the end";
  }
  EXPECT_EQ(answer(ping + "*1\r\n$4\r\nPI"), "+PONG\r\n") << "nobody to tell it to";
}

TEST_F(RespServer, SaysGoodbyeAndNothingAfterIt) {
  RawSocket peer = RawSocket::connect_to(server.address());
  peer.send_all(command({"PING"}) + command({"QUIT"}) + command({"PING"}));
  EXPECT_EQ(receive_all(peer), "+PONG\r\n+OK\r\n");
  EXPECT_TRUE(peer.at_end());
}

TEST_F(RespServer, AnswersByteByByteAndAllAtOnceTheSame) {
  const std::string sent = command({"SET", "k", "v\r\n"}) + "get k\r\n" + command({"ECHO", "a"}) +
                           "*0\r\n" + command({"NO", "b"}) + command({"DEL", "k"});
  const std::string replies = answer(sent);
  EXPECT_NE(replies.find(":1\r\n"), std::string::npos);
  RawSocket peer = RawSocket::connect_to(server.address());
  for (const char c : sent) peer.send_all(std::string(1, c));
  EXPECT_EQ(receive(peer, replies.size()), replies);
}

TEST_F(RespServer, AnswersInOrderWhateverIsInThePipe) {
  std::string sent;
  std::string replies;
  for (int i = 0; i < 50'000; ++i) {
    const std::string n = std::to_string(i);
    sent += command({"SET", "k" + std::to_string(i % 100), n}) +
            command({"GET", "k" + std::to_string(i % 100)});
    replies += "+OK\r\n$" + std::to_string(n.size()) + "\r\n" + n + "\r\n";
  }
  EXPECT_EQ(answer(sent), replies);
}

TEST_F(RespServer, SendsLargeValuesToWhoReadsLateAndServesOthersMeanwhile) {
  const std::string value(10'000'000, 'v');
  EXPECT_EQ(answer(command({"SET", "k", value})), "+OK\r\n");
  RawSocket late = RawSocket::connect_to(server.address(), 4096);
  constexpr int kTimes = 20;  // far more than may wait for one connection
  for (int i = 0; i < kTimes; ++i) late.send_all(command({"GET", "k"}));
  EXPECT_EQ(answer(command({"SET", "k", "new"}) + command({"GET", "k"})), "+OK\r\n$3\r\nnew\r\n");
  late.send_all(command({"ECHO", "end"}));
  late.end();
  const std::string replies = receive_all(late);
  EXPECT_EQ(replies.substr(0, 11), "$10000000\r\n");
  EXPECT_EQ(replies.substr(replies.size() - 9), "$3\r\nend\r\n");
}

TEST_F(RespServer, EndsOnSigterm) {
  EXPECT_EQ(answer(command({"PING"})), "+PONG\r\n");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
}

bool is_installed(const std::string& program) {
  std::istringstream path(std::getenv("PATH") ? std::getenv("PATH") : "/usr/bin");
  for (std::string directory; std::getline(path, directory, ':');) {
    if (std::filesystem::exists(directory + "/" + program)) return true;
  }
  return false;
}

// The programs of the package redis-tools against ours.
struct RedisTools : RespServer {
  struct Result {
    int status;
    std::string output;
  };

  void SetUp() override {
    if (!is_installed("redis-cli")) GTEST_SKIP() << "needs the package redis-tools";
  }
  Result run(const std::string& program, const Strings& arguments, const std::string& input = "") {
    Strings words = {program, "-p", std::to_string(server.address().port())};
    words.insert(words.end(), arguments.begin(), arguments.end());
    Program started(words);
    started.write(input);
    started.close_input();
    std::string output = started.read_rest();
    for (std::string line = started.read_error_line(); !line.empty();
         line = started.read_error_line()) {
      output += "error: " + line + "\n";
    }
    return {started.wait(), output};
  }
  void expect_cli(const Strings& arguments, const std::string& output,
                  const std::string& input = "") {
    const Result result = run("redis-cli", arguments, input);
    EXPECT_EQ(result.status, 0);
    EXPECT_EQ(result.output, output);
  }
  void expect_benchmark(const Strings& arguments, const Strings& results) {
    const Result result = run("redis-benchmark", arguments);
    EXPECT_EQ(result.status, 0) << result.output;
    for (const std::string& each : results) {
      EXPECT_NE(result.output.find(each + ": "), std::string::npos) << result.output;
    }
    for (const char* bad : {"ERR", "rror", "WARN"}) {
      EXPECT_EQ(result.output.find(bad), std::string::npos) << result.output;
    }
  }
};

TEST_F(RedisTools, CliSetsGetsDeletesAndEchoes) {
  expect_cli({"PING"}, "PONG\n");
  expect_cli({"SET", "k", "some value"}, "OK\n");
  expect_cli({"GET", "k"}, "some value\n");
  expect_cli({"DEL", "k", "l"}, "1\n");
  expect_cli({"GET", "k"}, "\n");
  expect_cli({"ECHO", "hi"}, "hi\n");
  expect_cli({"-n", "0", "ECHO", "hi"}, "hi\n");
  const Result wrong = run("redis-cli", {"-e", "NONSENSE"});
  EXPECT_EQ(wrong.status, 1);
  EXPECT_NE(wrong.output.find("ERR unknown command 'NONSENSE'"), std::string::npos);
}

TEST_F(RedisTools, CliReadsItsCommandsFromItsInput) {
  expect_cli({}, "OK\nv w\n1\n", "SET k \"v w\"\nGET k\nDEL k\n");
}

TEST_F(RedisTools, CliGoesOnWithTheOldProtocolWhenTheNewOneIsRefused) {
  const Result result = run("redis-cli", {"-3", "PING"});
  EXPECT_NE(result.output.find("NOPROTO"), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("PONG"), std::string::npos) << result.output;
}

TEST_F(RedisTools, CliKeepsValuesOfAnyBytes) {
  std::string value;
  for (int i = 0; i < 10'000; ++i) value += static_cast<char>(i * 7);
  expect_cli({"-x", "SET", "k"}, "OK\n", value);
  expect_cli({"GET", "k"}, value + "\n");
}

TEST_F(RedisTools, CliPipesCommandsInBulk) {
  std::string commands;
  for (int i = 0; i < 1000; ++i) commands += command({"SET", "k" + std::to_string(i), "v"});
  const Result result = run("redis-cli", {"--pipe"}, commands);
  EXPECT_EQ(result.status, 0);
  EXPECT_NE(result.output.find("errors: 0, replies: 1000\n"), std::string::npos) << result.output;
  expect_cli({"GET", "k999"}, "v\n");
}

const Strings kAllTests = {"PING_INLINE", "PING_MBULK", "SET", "GET"};

TEST_F(RedisTools, BenchmarkRunsPipelined) {
  expect_benchmark({"-t", "ping,set,get", "-P", "16", "-n", "100000", "-q"}, kAllTests);
}

TEST_F(RedisTools, BenchmarkRunsWithFiftyConnectionsAndManyKeys) {
  expect_benchmark(
      {"-t", "ping,set,get", "-c", "50", "-P", "16", "-r", "1000", "-n", "100000", "-q"},
      kAllTests);
}

TEST_F(RedisTools, BenchmarkRunsOneRequestAtATime) {
  expect_benchmark({"-t", "ping,set,get", "-n", "20000", "-q"}, kAllTests);
  expect_benchmark({"-t", "set,get", "-c", "1", "-n", "1000", "-q"}, {"SET", "GET"});
}

TEST_F(RedisTools, BenchmarkRunsWithLargeValues) {
  expect_benchmark({"-t", "set,get", "-d", "1000000", "-c", "5", "-n", "200", "-q"},
                   {"SET", "GET"});
}

// The real server, on a socket in a directory of its own; the program comes with redis-tools under
// another name and does what its name says.
class RedisServer {
 public:
  RedisServer() {
    std::string directory = ::testing::TempDir() + "millrace-redis-XXXXXX";
    directory_ = ::mkdtemp(directory.data());
    const std::string program = directory_ + "/redis-server";
    std::filesystem::create_symlink("/usr/bin/redis-check-rdb", program);
    program_ = std::make_unique<Program>(
        Strings{program, "--port", "0", "--unixsocket", directory_ + "/socket", "--save", "",
                "--appendonly", "no", "--dir", directory_, "--proto-max-bulk-len", "16mb"});
    for (std::string line = program_->read_line(); !line.empty(); line = program_->read_line()) {
      if (line.find("eady to accept connections") != line.npos) ready_ = true;
      if (ready_) break;
    }
  }
  ~RedisServer() {
    program_.reset();
    std::filesystem::remove_all(directory_);
  }
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  bool is_ready() const { return ready_; }
  RawSocket connect() const {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = directory_ + "/socket";
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return RawSocket(std::move(fd));
  }

 private:
  std::string directory_;
  std::unique_ptr<Program> program_;
  bool ready_ = false;
};

const Strings kScripts = {
    // Everything that goes well.
    command({"PING"}) + command({"PING", "x"}) + command({"ECHO", "a\r\nb"}) +
        command({"GET", "k"}) + command({"SET", "k", "v"}) + command({"GET", "k"}) +
        command({"SELECT", "0"}) + command({"CONFIG", "GET", "save"}) +
        command({"CONFIG", "GET", "appendonly"}) + command({"CONFIG", "GET", "no-such"}) +
        command({"DEL", "k", "l", "k"}) + command({"SET", "", std::string("\0\xff", 2)}) +
        command({"GET", ""}) + command({"DEL", ""}) + "*0\r\n\r\n",
    // As it is typed.
    "ping\r\n  SET  k\t'a \\'b' \nget k\r\necho \"\\x41\\xg\\n\\t\\\\\\\"\\a\\b\\r\"\r\n"
    "echo a\"b c\"\necho ''\n del k\r\n",
    // What is refused.
    command({"FOO"}) + command({"foo", "a", "", "b c"}) + command({"X\r\nY", "\n"}) +
        command({""}) + command({"FOO", std::string(200, 'x'), "y"}) +
        command({std::string(200, 'f'), std::string(100, 'x'), std::string(100, 'y'), "z"}) +
        command({"GET"}) + command({"gEt", "a", "b"}) + command({"SET", "a"}) + command({"DEL"}) +
        command({"ECHO"}) + command({"ECHO", "a", "b"}) + command({"PING", "a", "b"}) +
        command({"SELECT"}) + command({"SELECT", "99"}) + command({"CONFIG"}) +
        command({"SET", "a", "b", "SOON"}) + command({"HELLO", "4"}),
    command({"PING"}) + command({"QUIT"}) + command({"PING"}),
    // What ends the connection.
    "PING\r\n*x\r\n", "*1048577000000\r\n", "*1\r\n$16777217\r\n", "*1\r\n$-1\r\n", "*1\r\n$x\r\n",
    "*01\r\n", "*1\r\n$01\r\n", "echo 'a\r\nPING\r\n", "echo \"a\"b\r\n", std::string(65'537, 'x')};

TEST_F(RedisTools, OurRepliesAreThoseOfTheRealServerByteForByte) {
  const RedisServer redis;
  if (!redis.is_ready()) GTEST_SKIP() << "needs redis-tools with the server's program in it";
  for (const std::string& script : kScripts) {
    RawSocket theirs = redis.connect();
    theirs.send_all(script);
    theirs.end();
    const std::string expected = receive_all(theirs);
    EXPECT_NE(expected, "");
    EXPECT_EQ(answer(script), expected) << script.substr(0, 200);
  }
}

}  // namespace
}  // namespace millrace::test
