"""A raw HTTP/1.1 client for tests: says exactly what it is told, reads strictly.

http.client mends what it reads and cannot pipeline, half-close or send what is wrong; this can.
"""

import socket
import time


class Closed(Exception):
    """The peer closed where more was due."""


class Response:
    """A response: `status`, `version`, `reason`, `fields` (names in lower case), `body`, `trailers`."""

    def __init__(self, version, status, reason, fields):
        self.version, self.status, self.reason, self.fields = version, status, reason, fields
        self.body, self.trailers, self.chunks = b"", [], 0

    def get(self, name):
        """The value of the field; None without it; an error if there are several."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} given {len(values)} times"
        return values[0] if values else None

    def all(self, name):
        return [value for field, value in self.fields if field == name]

    def __repr__(self):
        return f"<{self.status} {self.reason}, {len(self.body)} bytes: {self.body[:80]!r}>"


class Client:
    """One connection."""

    def __init__(self, address, timeout=10, receive_buffer=None):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(timeout)
        self.socket.connect(address)
        self.buffer = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def request(self, target, host="py.test", method="GET", fields=(), body=b""):
        """Sends a request; a non-empty body is given its Content-Length."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)

    def ask(self, target, **kwargs):
        """A request and its response."""
        self.request(target, **kwargs)
        return self.response(kwargs.get("method", "GET"))

    def fill(self):
        data = self.socket.recv(1 << 18)
        if not data:
            raise Closed(f"closed after {bytes(self.buffer[:200])!r}")
        self.buffer += data

    def until(self, mark):
        while (at := self.buffer.find(mark)) < 0:
            assert len(self.buffer) < 1 << 22, "endless head"
            self.fill()
        data = bytes(self.buffer[:at])
        del self.buffer[: at + len(mark)]
        return data

    def exactly(self, length, sink):
        while length:
            if not self.buffer:
                self.fill()
            part = bytes(self.buffer[:length])
            del self.buffer[: len(part)]
            length -= len(part)
            sink(part)

    def head(self):
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, reason = (lines[0].split(" ", 2) + [""])[:3]
        assert version in ("HTTP/1.1", "HTTP/1.0"), f"status line {lines[0]!r}"
        fields = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            assert colon and name and name == name.strip(), f"field {line!r}"
            fields.append((name.lower(), value.strip()))
        return Response(version, int(status), reason, fields)

    def response(self, method="GET", interim=None, sink=None):
        """Reads the next final response; interim ones are appended to the list `interim`. The body
        goes to `sink` piece by piece if one is given, else to `body`."""
        while (response := self.head()).status < 200 and response.status != 101:
            assert interim is not None, f"unexpected {response!r}"
            interim.append(response)
        parts = []
        take = sink or parts.append
        codings, length = response.all("transfer-encoding"), response.get("content-length")
        assert not (codings and length), "both lengths"
        if method == "HEAD" or response.status in (101, 204, 304):
            pass
        elif codings:
            assert codings == ["chunked"], f"codings {codings}"
            while size := int(self.until(b"\r\n").split(b";")[0], 16):
                response.chunks += 1
                self.exactly(size, take)
                assert self.until(b"\r\n") == b"", "chunk without CRLF"
            while line := self.until(b"\r\n"):
                name, _, value = line.decode("latin-1").partition(":")
                response.trailers.append((name.lower(), value.strip()))
        elif length is not None:
            self.exactly(int(length), take)
        else:
            try:
                while True:
                    if self.buffer:
                        take(bytes(self.buffer))
                        self.buffer.clear()
                    self.fill()
            except Closed:
                pass
        response.body = b"".join(parts)
        return response

    def closed(self, within=5):
        """True when the peer closes (FIN or RST) within the time, without another byte."""
        end = time.monotonic() + within
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(4096)
            except ConnectionError:
                return True
            except TimeoutError:
                return False
            if not data:
                return not self.buffer
            self.buffer += data
        return False
