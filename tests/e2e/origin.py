"""An origin server whose behaviour the request's path chooses, for the end-to-end suite.

    python3 origin.py NAME ADDRESS PORT [ADDRESS PORT ...]

Every response but the deliberately broken ones carries `X-Origin: NAME` and `X-Conn: C.R`, the
number of the connection and of the request on it, by which tests see how the proxy pools. Paths are
the methods of `Behaviour` (`-` written as `_`). Request framing is read strictly: a request this
origin cannot read is answered 599, so that a test sees what the proxy let through.
"""

import asyncio
import base64
import hashlib
import itertools
import signal
import socket
import struct
import sys
from urllib.parse import parse_qsl, urlsplit

import pattern

REASONS = {200: "OK", 204: "No Content", 304: "Not Modified", 404: "Not Found", 413: "Too Large"}
connection_numbers = itertools.count(1)


class Unreadable(Exception):
    """The request breaks the framing rules."""


class Request:
    """A request's head, and its body still to be read."""

    def __init__(self, reader, writer, head: bytes):
        self.reader, self.writer, self.head = reader, writer, head
        lines = head.decode("latin-1").split("\r\n")
        try:
            self.method, self.target, self.version = lines[0].split(" ")
        except ValueError:
            raise Unreadable(f"request line {lines[0]!r}") from None
        self.fields = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise Unreadable(f"field {line!r}")
            self.fields.append((name.lower(), value.strip()))
        parts = urlsplit(self.target)
        self.path, self.query = parts.path, dict(parse_qsl(parts.query))
        self.trailers = []
        lengths, codings = self.all("content-length"), self.all("transfer-encoding")
        if lengths and codings or len(lengths) > 1 or len(codings) > 1:
            raise Unreadable("ambiguous framing")
        if codings and codings[0].lower() != "chunked":
            raise Unreadable(f"coding {codings[0]!r}")
        self.chunked = bool(codings)
        self.length = int(lengths[0]) if lengths else 0
        self.framing = "chunked" if codings else "length" if lengths else "none"

    def all(self, name):
        return [value for field, value in self.fields if field == name]

    def number(self, name, default):
        return int(self.query.get(name, default))

    @property
    def keep_alive(self):
        options = ",".join(self.all("connection")).lower()
        return "close" not in options and (self.version == "HTTP/1.1" or "keep-alive" in options)

    async def body(self):
        """Yields the body in pieces. Sends 100 Continue first where the client waits for it."""
        if "100-continue" in (value.lower() for value in self.all("expect")):
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self.chunked:
            left = self.length
            while left:
                data = await self.reader.read(min(left, 1 << 18))
                if not data:
                    raise asyncio.IncompleteReadError(b"", left)
                left -= len(data)
                yield data
            return
        while True:
            line = (await self.reader.readuntil(b"\r\n"))[:-2]
            size = line.split(b";")[0].strip()
            if not size or set(size) - set(b"0123456789abcdefABCDEF"):
                raise Unreadable(f"chunk size {line!r}")
            left = int(size, 16)
            if left == 0:
                break
            while left:
                data = await self.reader.read(min(left, 1 << 18))
                if not data:
                    raise asyncio.IncompleteReadError(b"", left)
                left -= len(data)
                yield data
            if await self.reader.readexactly(2) != b"\r\n":
                raise Unreadable("chunk without CRLF")
        while (line := await self.reader.readuntil(b"\r\n")) != b"\r\n":
            name, _, value = line.decode("latin-1").partition(":")
            self.trailers.append((name.lower(), value.strip()))

    async def whole_body(self):
        return b"".join([data async for data in self.body()])


class Behaviour:
    """One connection's answers. A method returns True to keep the connection."""

    def __init__(self, name, reader, writer):
        self.name, self.reader, self.writer = name, reader, writer
        self.connection, self.served = next(connection_numbers), 0
        self.method = ""

    def head(self, status=200, *fields, reason=None):
        lines = [
            f"HTTP/1.1 {status} {reason or REASONS.get(status, 'Status')}",
            f"X-Origin: {self.name}",
            f"X-Conn: {self.connection}.{self.served}",
            *fields,
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def answer(self, body=b"", status=200, *fields):
        self.writer.write(self.head(status, f"Content-Length: {len(body)}", *fields))
        if self.method != "HEAD":
            self.writer.write(body)
        return True

    async def echo(self, request):
        body = await request.whole_body()
        trailers = [f"X-Trailer-Seen: {n}={v}" for n, v in request.trailers]
        return self.answer(body, 200, f"X-Framing: {request.framing}", *trailers)

    async def digest(self, request):
        sha, length = hashlib.sha256(), 0
        async for data in request.body():
            sha.update(data)
            length += len(data)
        return self.answer(f"{length} {sha.hexdigest()}".encode())

    async def request_head(self, request):
        await request.whole_body()
        return self.answer(request.head)

    async def plain(self, request):
        await request.whole_body()
        return self.answer(request.query.get("text", "hello").encode())

    async def big(self, request):
        length = request.number("bytes", 1 << 20)
        self.writer.write(self.head(200, f"Content-Length: {length}"))
        if request.method != "HEAD":
            for part in pattern.pieces(length):
                self.writer.write(part)
                await self.writer.drain()
        return True

    async def chunked(self, request):
        """`n` chunks of `size` (below 64 KiB) bytes of the pattern, each with an extension if `ext` is given."""
        count, size = request.number("n", 10), request.number("size", 1000)
        extension = b";a=b;c=\"d;e\"" if "ext" in request.query else b""
        self.writer.write(self.head(200, "Transfer-Encoding: chunked"))
        if request.method == "HEAD":
            return True
        for i in range(count):
            data = pattern.piece(size * i, size)
            self.writer.write(b"%x%s\r\n%s\r\n" % (size, extension, data))
            await self.writer.drain()
        self.writer.write(b"0\r\n\r\n")
        return True

    async def trailers(self, request):
        self.writer.write(self.head(200, "Transfer-Encoding: chunked", "Trailer: X-Sum"))
        self.writer.write(b"5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n")
        return True

    async def close(self, request):
        """A body that ends with the connection."""
        self.writer.write(self.head(200, "Connection: close"))
        for part in pattern.pieces(request.number("bytes", 100_000)):
            self.writer.write(part)
            await self.writer.drain()
        return False

    async def old(self, request):
        """HTTP/1.0 without a length."""
        self.writer.write(b"HTTP/1.0 200 OK\r\nX-Origin: %s\r\n\r\nold body" % self.name.encode())
        return False

    async def slow(self, request):
        await asyncio.sleep(request.number("ms", 300) / 1000)
        return self.answer(b"slow")

    async def drip(self, request):
        """`n` pieces of ten bytes, `ms` apart."""
        count, pause = request.number("n", 10), request.number("ms", 50) / 1000
        self.writer.write(self.head(200, f"Content-Length: {count * 10}"))
        for _ in range(count):
            self.writer.write(b"0123456789")
            await asyncio.sleep(pause)
        return True

    async def status(self, request):
        code = request.number("code", 200)
        await request.whole_body()
        if code < 200:
            self.writer.write(self.head(code, "X-Interim: yes"))
            await asyncio.sleep(0.1)
            return self.answer(b"final")
        if code == 204:
            self.writer.write(self.head(204))
        elif code == 304:
            self.writer.write(self.head(304, 'ETag: "x"', "Content-Length: 1234"))
        else:
            return self.answer(b"status %d" % code, code)
        return True

    async def refuse(self, request):
        """A final answer before the body has been read, and no wish to read it."""
        self.answer(b"too large", 413, "Connection: close")
        await self.writer.drain()
        return False

    async def dead_keepalive(self, request):
        """Promises keep-alive, closes after the answer."""
        await request.whole_body()
        self.answer(b"bye", 200, "Connection: keep-alive")
        return False

    async def dead_second(self, request):
        """On a connection's second request: closes without a byte, as a server whose keep-alive
        timer has just run out does. A first request is answered."""
        await request.whole_body()
        if self.served > 1:
            self.writer.transport.abort()
            return False
        return self.answer(b"first")

    async def reset(self, request):
        """`bytes` of a longer body, then RST."""
        self.writer.write(self.head(200, "Content-Length: 1000000"))
        self.writer.write(pattern.body(request.number("bytes", 1000)))
        await self.writer.drain()
        await asyncio.sleep(0.2)
        self.linger_zero()
        self.writer.transport.abort()
        return False

    async def reset_at_once(self, request):
        self.linger_zero()
        self.writer.transport.abort()
        return False

    async def short(self, request):
        """Closes in the middle of a body with a length."""
        self.writer.write(self.head(200, "Content-Length: 1000") + b"only this")
        return False

    async def short_chunk(self, request):
        """Closes in the middle of a chunk."""
        self.writer.write(self.head(200, "Transfer-Encoding: chunked") + b"64\r\nonly this")
        return False

    async def silent_close(self, request):
        """Reads the request and closes without a byte."""
        await request.whole_body()
        return False

    async def never(self, request):
        await asyncio.sleep(3600)
        return False

    async def stall(self, request):
        """Stops in the middle of a body."""
        self.writer.write(self.head(200, "Content-Length: 1000") + b"only this")
        await asyncio.sleep(3600)
        return False

    async def huge_head(self, request):
        """A head of about `bytes` bytes."""
        size = request.number("bytes", 100_000)
        fields = [f"X-Pad-{i}: {'p' * 1000}" for i in range(size // 1010)]
        return self.answer(b"huge", 200, *fields)

    async def one_byte_head(self, request):
        """The response a byte at a time."""
        whole = self.head(200, "Content-Length: 5") + b"hello"
        for i in range(len(whole)):
            self.writer.write(whole[i : i + 1])
            await asyncio.sleep(0.001)
        return True

    async def bad(self, request):
        """The broken response named by `kind`."""
        self.writer.write(BAD[request.query["kind"]])
        await self.writer.drain()
        await asyncio.sleep(0.3)
        return False

    async def websocket(self, request):
        """RFC 6455: accepts and echoes data frames until a close frame."""
        key = request.all("sec-websocket-key")
        if not key or request.all("upgrade") != ["websocket"]:
            return self.answer(b"no handshake", 400)
        digest = hashlib.sha1(key[0].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        self.writer.write(
            self.head(
                101,
                "Upgrade: websocket",
                "Connection: Upgrade",
                f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}",
                reason="Switching Protocols",
            )
        )
        while True:
            first, second = await self.reader.readexactly(2)
            length = second & 0x7F
            if length == 126:
                (length,) = struct.unpack(">H", await self.reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", await self.reader.readexactly(8))
            mask = await self.reader.readexactly(4)
            data = await self.reader.readexactly(length)
            data = unmask(mask, data)
            size = (
                bytes([length])
                if length < 126
                else b"\x7e" + struct.pack(">H", length)
                if length < 65536
                else b"\x7f" + struct.pack(">Q", length)
            )
            self.writer.write(bytes([first]) + size + data)
            await self.writer.drain()
            if first & 0x0F == 8:
                return False

    def linger_zero(self):
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def unmask(mask: bytes, data: bytes) -> bytes:
    """XOR with the repeated four-byte mask; its own inverse."""
    keys = (mask * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(keys, "big")).to_bytes(len(data), "big")


# Responses that break RFC 9112. Those marked `late` in their name break after a good head.
BAD = {
    "both-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "negative-length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    "word-length": b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
    "vast-length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nhello",
    "unknown-coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, zip\r\n\r\nhello",
    "no-status": b"HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n",
    "not-http": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "bad-version": b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "space-colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "nul-in-field": b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 0\r\n\r\n",
    "late-chunk-size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n",
    "late-chunk-end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX5\r\nhello\r\n0\r\n\r\n",
}


async def serve(name, reader, writer):
    behaviour = Behaviour(name, reader, writer)
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            behaviour.served += 1
            try:
                request = Request(reader, writer, head[:-4])
                behaviour.method = request.method
                method = request.path.strip("/").split("/")[-1].replace("-", "_") or "plain"
                handler = None if method.startswith("_") else getattr(Behaviour, method, None)
                if handler is None or method in ("head", "answer", "linger_zero"):
                    await request.whole_body()
                    keep = behaviour.answer(b"no such behaviour", 404)
                else:
                    keep = await handler(behaviour, request)
                await writer.drain()
                if not keep or not request.keep_alive:
                    break
            except (Unreadable, ValueError) as error:
                print(f"{name}: {error}: {head!r}", flush=True)
                behaviour.answer(str(error).encode(), 599, "Connection: close")
                break
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
        pass
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except OSError:
            pass


async def main(name, addresses):
    servers = [
        await asyncio.start_server(
            lambda r, w: serve(name, r, w), address, port, backlog=4096, limit=1 << 20
        )
        for address, port in addresses
    ]
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(f"{name}: ready", flush=True)
    await stop.wait()
    for server in servers:
        server.close()
    # Tasks of open connections end with the loop.


if __name__ == "__main__":
    pairs = sys.argv[2:]
    asyncio.run(main(sys.argv[1], [(a, int(p)) for a, p in zip(pairs[::2], pairs[1::2])]))
