"""The peer of python_test.cc whose frames are made and read by Python's own modules.

    struct_peer.py CASE PORT      connects to the server on that port of the loopback
    struct_peer.py serve          is a server itself, and prints its port first

Prints how many frames it got as it wanted them, and ends with 0. Anything else is an exception and
another status.
"""
import asyncio
import email.message
import email.parser
import email.policy
import http.client
import random
import smtplib
import socket
import struct
import sys

PATIENCE_SECONDS = 20
LARGEST = 1 << 20


class Prefix:
    """A length as struct packs it, then the payload."""

    def __init__(self, layout):
        self.length = struct.Struct(layout)
        self.largest = min(256**self.length.size - 1, LARGEST)

    def pack(self, payload):
        return self.length.pack(len(payload)) + payload

    def read(self, stream):
        (length,) = self.length.unpack(read(stream, self.length.size))
        return read(stream, length)


class ThreeBytes:
    """The same with a width that struct does not know."""

    largest = LARGEST

    def __init__(self, order):
        self.order = order

    def pack(self, payload):
        return len(payload).to_bytes(3, self.order) + payload

    def read(self, stream):
        return read(stream, int.from_bytes(read(stream, 3), self.order))


class Header:
    """Magic, type and length in some order, then the payload; the length counts `more` than it.

    Of the first `stripped` bytes the server knows nothing but the length: they come back as zeros.
    """

    largest = LARGEST

    def __init__(self, layout, names, more=0, stripped=0):
        self.header = struct.Struct(layout)
        self.names = names
        self.more = more
        self.stripped = stripped

    def pack(self, payload):
        length = len(payload) + self.more
        fields = {"magic": b"mr", "type": length % 251, "length": length}
        return self.header.pack(*(fields[name] for name in self.names)) + payload

    def read(self, stream):
        header = read(stream, self.header.size)
        got = dict(zip(self.names, self.header.unpack(header)))
        payload = read(stream, got["length"] - self.more)
        back = bytes(self.stripped) + self.pack(payload)[self.stripped : self.header.size]
        wanted = dict(zip(self.names, self.header.unpack(back)), length=got["length"])
        expect(got, wanted)
        return payload


class Varint:
    """Seven bits in a byte, the lowest first."""

    largest = 3 << 20

    def pack(self, payload):
        length, digits = len(payload), bytearray()
        while length > 0x7F:
            digits.append(length & 0x7F | 0x80)
            length >>= 7
        digits.append(length)
        return bytes(digits) + payload

    def read(self, stream):
        length = shift = 0
        while True:
            (digit,) = read(stream, 1)
            length |= (digit & 0x7F) << shift
            shift += 7
            if digit < 0x80:
                return read(stream, length)


class NetString:
    largest = LARGEST

    def pack(self, payload):
        return b"%d:%s," % (len(payload), payload)

    def read(self, stream):
        digits = b""
        while not digits.endswith(b":"):
            digits += read(stream, 1)
        payload = read(stream, int(digits[:-1]))
        expect(read(stream, 1), b",")
        return payload


class Lines:
    largest = 60000

    def __init__(self, end, back):
        self.end = end
        self.back = back  # what the server ends its lines with

    def pack(self, payload):
        return clean(payload, b"\r\n") + self.end

    def read(self, stream):
        line = stream.readline()
        expect(line.endswith(self.back), True)
        return line[: -len(self.back)]


class Messages:
    """A header with a Content-Length, and a body; the header is read by Python's parser of mail."""

    largest = LARGEST

    def pack(self, payload):
        length = random.choice(("Content-Length", "content-length", "CONTENT-LENGTH"))
        end = random.choice((b"\n", b"\r\n"))
        fields = [b"Type: x", b"%s: %d" % (length.encode(), len(payload)), b"Last: 1"]
        random.shuffle(fields)
        return b"".join(field + end for field in fields) + end + payload

    def read(self, stream):
        return read(stream, int(read_header(stream)["Content-Length"]))


ECHOES = {
    **{layout: Prefix(layout) for layout in (">I", "<I", "<H", ">H", ">Q", "<Q", "!B")},
    ">3": ThreeBytes("big"),
    "<3": ThreeBytes("little"),
    "header": Header(">2sHI", ("magic", "type", "length")),
    "header stripped": Header(">2sHI", ("magic", "type", "length"), stripped=8),
    "header counted": Header(">2sHI", ("magic", "type", "length"), more=8),
    "length first": Header("<I2sH", ("length", "magic", "type")),
    "length in the middle": Header(">2sIH", ("magic", "length", "type"), stripped=6),
    "varint": Varint(),
    "netstring": NetString(),
    "lf": Lines(b"\n", b"\n"),
    "crlf": Lines(b"\r\n", b"\r\n"),
    "any line end": Lines(b"\r\n", b"\n"),
    "messages": Messages(),
    "bodies": Messages(),
}


def expect(got, wanted):
    if got != wanted:
        raise AssertionError(f"got {got!r:.200}, wanted {wanted!r:.200}")


def clean(payload, without):
    """The payload without some bytes."""
    return payload.translate(bytes(0x2E if byte in without else byte for byte in range(256)))


def read(stream, n):
    got = stream.read(n)
    if len(got) != n:
        raise EOFError(f"{len(got)} bytes of {n} before the end")
    return got


def read_header(stream):
    parser = email.parser.BytesFeedParser(policy=email.policy.default)
    line = b""
    while line not in (b"\n", b"\r\n"):
        line = stream.readline()
        if not line:
            raise EOFError("the end inside a header")
        parser.feed(line)
    message = parser.close()
    expect(message.defects, [])
    return message


def connect(port):
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def send_in_pieces(sock, data):
    """Byte by byte, a few at a time, and in pieces that no frame begins or ends with."""
    rest = memoryview(data)
    while rest:
        n = random.choice((1, 1, 2, 3, 5, 8, 13, 100, 1460, 4096, 70000))
        sock.sendall(rest[:n])
        rest = rest[n:]


def payloads(largest):
    """Around every size at which some length becomes longer, and at random."""
    edges = (0, 1, 2, 9, 10, 99, 100, 127, 128, 255, 256, 16383, 16384, 59999, 65000, 65535, 65536)
    sizes = [*edges, 300 << 10, LARGEST, (2 << 20) - 1, 2 << 20]
    sizes += [int(2 ** random.uniform(0, 14)) for _ in range(100)]
    random.shuffle(sizes)
    return [random.randbytes(n) for n in (*sizes, largest) if n <= largest]


def echo(framing, port):
    """Everything is sent first, so that the server has to cut it."""
    sent = payloads(framing.largest)
    if isinstance(framing, Lines):
        sent = [clean(payload, b"\r\n") for payload in sent]
    with connect(port) as sock:
        send_in_pieces(sock, b"".join(framing.pack(payload) for payload in sent))
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile("rb") as stream:
            for payload in sent:
                expect(framing.read(stream), payload)
            expect(stream.read(), b"")  # and no frame too many
    return len(sent)


async def many(port, talk):
    """Twenty connections of asyncio's at a time."""

    async def one():
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2 * LARGEST)
        done = await talk(reader, writer)
        writer.write_eof()
        expect(await reader.read(), b"")
        writer.close()
        await writer.wait_closed()
        return done

    all_of_them = asyncio.gather(*(one() for _ in range(20)))
    return sum(await asyncio.wait_for(all_of_them, PATIENCE_SECONDS))


async def send_as_it_goes(writer, frames):
    """What is sent is not waited for: drain() goes on as the server reads."""
    for frame in frames:
        writer.write(frame)
        await writer.drain()


def stream_echo(end, take):
    """Frames of which each has `end` behind it; take(reader, frame) awaits what comes back."""

    async def talk(reader, writer):
        sent = [clean(payload, b"\r\n\0|") + end for payload in payloads(20000)]
        sending = asyncio.create_task(send_as_it_goes(writer, sent))
        for frame in sent:
            expect(await take(reader, frame), frame)
        await sending
        return len(sent)

    return talk


async def records(reader, writer):
    sent = [random.randbytes(20) for _ in range(500)]
    data = b"".join(sent)
    pieces = [data[at : at + 33] for at in range(0, len(data), 33)]
    sending = asyncio.create_task(send_as_it_goes(writer, pieces))
    for record in sent:
        expect(await reader.readexactly(20), record)
    await sending
    return len(sent)


STREAMS = {
    "readline": stream_echo(b"\n", lambda reader, _: reader.readline()),
    "readuntil NUL": stream_echo(b"\0", lambda reader, _: reader.readuntil(b"\0")),
    "readuntil ||": stream_echo(b"||", lambda reader, _: reader.readuntil(b"||")),
    "readexactly": records,
}


def mail(port):
    """Headers as Python's generator of mail writes them, with long fields folded over lines."""
    count = 0
    with connect(port) as sock, sock.makefile("rb") as stream:
        for policy in (email.policy.SMTP, email.policy.HTTP, email.policy.default):
            for words in (1, 10, 300):
                message = email.message.EmailMessage(policy=policy)
                message["Subject"] = " ".join(["somewhere"] * words)
                body = random.randbytes(words**2)
                message["Content-Length"] = str(len(body))
                send_in_pieces(sock, message.as_bytes() + body)
                answer = read_header(stream)
                expect(answer["Words"], str(words))
                expect(read(stream, int(answer["Content-Length"])), body)
                count += 1
    return count


def http_requests(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    connection.connect()
    first = connection.sock
    count = 0
    for size in (0, 1, 1000, 300000, 5):
        body = random.randbytes(size)
        connection.request("POST", f"/echo/{size}", body, {"X-Asked": str(size)})
        answer = connection.getresponse()
        expect((answer.status, answer.reason), (200, "Fine"))
        expect(answer.getheader("X-Asked"), str(size))
        expect(answer.getheader("X-Path"), f"/echo/{size}")
        expect(answer.read(), body)
        expect(connection.sock is first, True)  # all on one connection
        count += 1
    connection.close()
    return count


def smtp(port):
    dots = ".\r\n..a line of dots\r\n."
    texts = ["one line\r\n", "two\r\nlines\r\n", dots, "\r\n" * 3 + "x" * 900]
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_SECONDS) as client:
        expect(client.ehlo()[0], 250)
        expect(client.has_extn("8BITMIME"), True)
        for text in texts:
            expect(client.sendmail("a@example.org", ["b@example.org", "c@example.org"], text), {})
        expect(client.noop()[0], 250)
    return len(texts)


async def serve():
    """Echoes the frames of one client, which ends between two of them."""
    done = asyncio.get_running_loop().create_future()

    async def talk(reader, writer):
        count = 0
        try:
            while True:
                header = await reader.readexactly(4)
                (length,) = struct.unpack(">I", header)
                writer.writelines((header, await reader.readexactly(length)))
                await writer.drain()
                count += 1
        except asyncio.IncompleteReadError as end:
            writer.close()
            done.set_result((count, end.partial))

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    count, partial = await asyncio.wait_for(done, PATIENCE_SECONDS)
    expect(partial, b"")
    return count


def main():
    case, port = sys.argv[1], int((sys.argv + ["0"])[2])
    random.seed(case)  # the same in each run
    if case == "serve":
        count = asyncio.run(serve())
    elif case in ECHOES:
        count = echo(ECHOES[case], port)
    elif case in STREAMS:
        count = asyncio.run(many(port, STREAMS[case]))
    else:
        count = {"mail": mail, "http": http_requests, "smtp": smtp}[case](port)
    print(count)


main()
