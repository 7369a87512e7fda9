"""Whole requests by ordinary clients; heads in pieces; connections kept, pipelined, half closed."""

import hashlib
import http.client
import subprocess
import time

import pattern
from harness import case
from lab import FILES, V4, V6


def curl(url, *options):
    done = subprocess.run(["curl", "-sf", "-m", "20", *options, url], capture_output=True, check=True)
    return hashlib.sha256(done.stdout).hexdigest()


def curl_both_files(host, address):
    for name in ("16k", "12m"):
        got = curl(f"http://{address}:8080/{name}", "-H", f"Host: {host}")
        assert got == hashlib.sha256(pattern.body(FILES[name])).hexdigest(), name


@case("curl gets 16 KiB and 12 MiB over IPv4")
def curl_v4(_lab):
    curl_both_files("files.test", V4[0])


@case("curl gets 16 KiB and 12 MiB over IPv6")
def curl_v6(_lab):
    curl_both_files("files.test", f"[{V6[0]}]")


@case("curl gets both files from an origin on IPv6")
def origin_v6(_lab):
    curl_both_files("v6.test", V4[0])


@case("HTTP/1.0 closes unless asked to keep the connection")
def http_1_0(lab):
    with lab.connect() as client:
        client.send(b"GET /plain HTTP/1.0\r\nHost: py.test\r\n\r\n")
        response = client.response()
        assert (response.status, response.body) == (200, b"hello"), response
        assert client.closed()
    with lab.connect() as client:
        for _ in range(3):
            client.send(b"GET /plain HTTP/1.0\r\nHost: py.test\r\nConnection: keep-alive\r\n\r\n")
            response = client.response()
            assert (response.status, response.body) == (200, b"hello"), response
            assert "keep-alive" in (response.get("connection") or "").lower(), response.fields


@case("an HTTP/1.0 client is sent no chunks")
def no_chunks_for_1_0(lab):
    with lab.connect() as client:
        client.send(b"GET /chunked?n=5&size=1000 HTTP/1.0\r\nHost: py.test\r\n\r\n")
        response = client.response()
        assert response.get("transfer-encoding") is None
        assert response.body == pattern.body(5000), response


@case("Connection: close is honoured")
def close(lab):
    with lab.connect() as client:
        response = client.ask("/plain", fields=["Connection: close"])
        assert response.body == b"hello"
        assert "close" in (response.get("connection") or "").lower()
        assert client.closed()


@case("one socket serves 100 requests, and so does one to the origin")
def keep_alive(lab):
    before = lab.counter("client", "ActiveOpens")
    connection = http.client.HTTPConnection(*V4, timeout=10)
    upstream = set()
    for number in range(100):
        connection.request("GET", f"/plain?text={number}", headers={"Host": "py.test"})
        response = connection.getresponse()
        assert response.read() == str(number).encode()
        upstream.add(response.headers["X-Conn"].split(".")[0])
    connection.close()
    assert lab.counter("client", "ActiveOpens") - before == 1
    assert len(upstream) == 1, f"{len(upstream)} connections to the origin"


@case("50 pipelined requests are answered in order")
def pipelining(lab):
    with lab.connect() as client:
        heads = [f"GET /plain?text={i} HTTP/1.1\r\nHost: py.test\r\n\r\n" for i in range(50)]
        client.send("".join(heads).encode())
        for number in range(50):
            assert client.response().body == str(number).encode()


@case("a slow answer holds back the pipelined ones behind it")
def pipelining_slow_first(lab):
    with lab.connect() as client:
        client.request("/slow?ms=300")
        client.request("/plain?text=second")
        client.request("/big?bytes=300000")
        client.request("/plain?text=fourth")
        assert client.response().body == b"slow"
        assert client.response().body == b"second"
        assert client.response().body == pattern.body(300_000)
        assert client.response().body == b"fourth"


@case("pipelined posts of every framing keep their bodies apart")
def pipelined_posts(lab):
    with lab.connect() as client:
        for number in range(20):
            body = pattern.piece(number, 1 + number * 313)
            if number % 2:
                head = "POST /echo HTTP/1.1\r\nHost: py.test\r\nTransfer-Encoding: chunked\r\n\r\n"
                client.send(head.encode() + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
            else:
                client.request("/echo", method="POST", body=body)
        for number in range(20):
            assert client.response().body == pattern.piece(number, 1 + number * 313), number


@case("a request cut in two at every byte")
def split_heads(lab):
    whole = b"POST /echo HTTP/1.1\r\nHost: py.test\r\nX-A: b\r\nContent-Length: 4\r\n\r\nbody"
    with lab.connect() as client:
        for at in range(1, len(whole)):
            client.send(whole[:at])
            time.sleep(0.002)
            client.send(whole[at:])
            response = client.response()
            assert (response.status, response.body) == (200, b"body"), (at, response)


@case("a request of one byte a packet")
def byte_by_byte(lab):
    body = pattern.body(500)
    whole = b"POST /echo HTTP/1.1\r\nHost: py.test\r\nContent-Length: 500\r\n\r\n" + body
    with lab.connect() as client:
        for at in range(len(whole)):
            client.send(whole[at : at + 1])
            time.sleep(0.0005)
        assert client.response().body == body


@case("empty lines before a request are passed over")
def leading_empty_line(lab):
    # RFC 9112 section 2.2: a server SHOULD ignore at least one.
    with lab.connect() as client:
        client.send(b"\r\nGET /plain HTTP/1.1\r\nHost: py.test\r\n\r\n")
        assert client.response().body == b"hello"


@case("a client that has closed its sending side still gets its answer", only="minivoy")
def half_close(lab):
    with lab.connect() as client:
        client.request("/slow?ms=300")
        client.socket.shutdown(1)
        response = client.response()
        assert response.body == b"slow", response
        assert client.closed()
