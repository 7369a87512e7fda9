"""Raw bytes that are no request, or one no proxy may guess about: status, and a closed connection.

The rules are RFC 9112's (sections 2.2, 3, 5, 6, 7, 11.2) and RFC 9110's (5.5, 7.2). nginx is kinder to
some of it, so only rows marked `both` are asked of it.
"""

import time

from harness import case
from wire import Closed

HOST = b"Host: py.test\r\n"
END = b"\r\n\r\n"
BOTH = True

# name, bytes, statuses that fit, whether nginx refuses it too
TABLE = [
    ("no version", b"GET /\r\n" + HOST + b"\r\n", {400}, False),
    ("two spaces", b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", {400}, False),
    ("tab between", b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n", {400}, BOTH),
    ("control in target", b"GET /a\x01b HTTP/1.1\r\n" + HOST + b"\r\n", {400}, BOTH),
    ("method with parenthesis", b"G(T / HTTP/1.1\r\n" + HOST + b"\r\n", {400}, BOTH),
    ("relative target", b"GET plain HTTP/1.1\r\n" + HOST + b"\r\n", {400}, BOTH),
    ("version 2.0", b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", {505}, BOTH),
    ("version 1.x", b"GET / HTTP/1.x\r\n" + HOST + b"\r\n", {400}, BOTH),
    ("lower-case http", b"GET / http/1.1\r\n" + HOST + b"\r\n", {400}, BOTH),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}, BOTH),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 40 + END, {400}, BOTH),
    ("no Host", b"GET / HTTP/1.1\r\n\r\n", {400}, BOTH),
    ("two Hosts", b"GET / HTTP/1.1\r\n" + HOST + b"Host: other.test\r\n\r\n", {400}, BOTH),
    ("same Host twice", b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", {400}, BOTH),
    ("bad Host", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", {400}, False),
    ("space before colon", b"GET / HTTP/1.1\r\n" + HOST + b"X-A : b\r\n\r\n", {400}, BOTH),
    ("no colon", b"GET / HTTP/1.1\r\n" + HOST + b"nonsense\r\n\r\n", {400}, False),
    ("no name", b"GET / HTTP/1.1\r\n" + HOST + b": b\r\n\r\n", {400}, False),
    ("obs-fold", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: b\r\n c\r\n\r\n", {400}, False),
    ("space before first field", b"GET / HTTP/1.1\r\n X-A: b\r\n" + HOST + b"\r\n", {400}, BOTH),
    ("NUL in value", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\0b\r\n\r\n", {400}, BOTH),
    ("bare CR in value", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\rb\r\n\r\n", {400}, False),
    ("bare LF lines", b"GET / HTTP/1.1\n" + b"Host: py.test\n\n", {400}, False),
    ("bare LF after a field", b"GET / HTTP/1.1\r\nX-A: b\n" + HOST + b"\r\n", {400}, False),
    ("both lengths", b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}, BOTH),
    ("two lengths", b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", {400}, BOTH),
    ("list of lengths", b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 3, 4\r\n\r\nabcd", {400}, BOTH),
    ("negative length", b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", {400}, BOTH),
    ("signed length", b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: +3\r\n\r\nabc", {400}, BOTH),
    ("hexadecimal length", b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 0x3\r\n\r\nabc", {400}, BOTH),
    ("vast length", b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999999\r\n\r\n", {400, 413}, BOTH),
    ("empty length", b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length:\r\n\r\n", {400}, False),
    ("unknown coding", b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: zip\r\n\r\n", {400, 501}, BOTH),
    ("coding after chunked", b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, gzip\r\n\r\n", {400, 501}, BOTH),
    ("chunked twice", b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400, 501}, BOTH),
    ("chunked in 1.0", b"POST /echo HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400, 501}, False),
    ("obscured coding", b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", {400, 501}, BOTH),
    ("CONNECT", b"CONNECT py.test:80 HTTP/1.1\r\n" + HOST + b"\r\n", {400, 405, 501}, BOTH),
    ("long target", b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", {414}, BOTH),
    ("long field", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * 200_000 + END, {431}, False),
    ("many fields", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: b\r\n" * 5000 + b"\r\n", {431}, False),
]  # fmt: skip

# Heads that are good, and a body that goes wrong: an answer, if there is one, must be an error.
BODIES = [
    ("chunk size of letters", b"xyz\r\n"),
    ("no chunk size", b"\r\nhello"),
    ("negative chunk", b"-1\r\n"),
    ("vast chunk", b"fffffffffffffffff\r\n"),
    ("chunk 0x", b"0x5\r\nhello\r\n0\r\n\r\n"),
    ("chunk without end", b"5\r\nhelloXX0\r\n\r\n"),
    ("bare LF after size", b"5\nhello\r\n0\r\n\r\n"),
    ("trailer with a space", b"5\r\nhello\r\n0\r\nX A: b\r\n\r\n"),
]


def refused(name, data, statuses):
    """A case function."""

    def check(lab):
        with lab.connect() as client:
            try:
                # In one piece, with a request behind it that must not be answered.
                client.send(data + b"GET /plain?text=smuggled HTTP/1.1\r\nHost: py.test\r\n\r\n")
            except ConnectionError:
                pass
            try:
                response = client.response()
            except (Closed, ConnectionResetError) as error:
                raise AssertionError(f"closed without an answer: {error}") from None
            assert response.status in statuses, response
            assert b"smuggled" not in response.body
            assert client.closed(), "the connection stays open"

    return check


for row_name, row_bytes, row_statuses, row_both in TABLE:
    case(row_name, only=None if row_both else "minivoy")(refused(row_name, row_bytes, row_statuses))


def broken_body(data):
    def check(lab):
        with lab.connect() as client:
            client.request("/digest", method="POST", fields=["Transfer-Encoding: chunked"])
            time.sleep(0.05)
            try:
                client.send(data + b"GET /plain?text=smuggled HTTP/1.1\r\nHost: py.test\r\n\r\n")
                response = client.response()
                assert response.status >= 400, response
                assert client.closed()
            except (Closed, ConnectionError):
                pass

    return check


for row_name, row_bytes in BODIES:
    case(row_name, only="minivoy")(broken_body(row_bytes))


@case("a head that never ends is timed out")
def slow_head(lab):
    with lab.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: py")
        start = time.monotonic()
        try:
            response = client.response()
            assert response.status == 408, response
        except (Closed, ConnectionResetError):
            pass
        assert 1 < time.monotonic() - start < 6
        assert client.closed()


@case("the proxy serves on after all of this")
def afterwards(lab):
    assert lab.ask("/plain").body == b"hello"
