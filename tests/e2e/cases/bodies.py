"""Bodies of every framing, both ways."""

import hashlib
import time

import pattern
from harness import case


def chunks(body, size, extension=b""):
    """The body in chunks, without the last."""
    pieces = (body[i : i + size] for i in range(0, len(body), size))
    return b"".join(b"%x%s\r\n%s\r\n" % (len(p), extension, p) for p in pieces)


CHUNKED = "Transfer-Encoding: chunked"


@case("posts with Content-Length come back whole")
def posts(lab):
    with lab.connect() as client:
        for length in (1, 1000, 1460, 16384, 100_000, 1 << 20):
            body = pattern.body(length)
            response = client.ask("/echo", method="POST", body=body)
            assert response.get("x-framing") == "length"
            assert response.body == body, length


@case("a post of length 0")
def empty_post(lab):
    response = lab.ask("/echo", method="POST", fields=["Content-Length: 0"])
    assert (response.status, response.body) == (200, b""), response


@case("chunked posts come back whole, in chunks of many sizes")
def chunked_posts(lab):
    with lab.connect() as client:
        for length, size in ((1, 1), (500, 1), (100_000, 77), (300_000, 65_521), (1 << 20, 1 << 20)):
            body = pattern.body(length)
            client.request("/echo", method="POST", fields=[CHUNKED])
            client.send(chunks(body, size) + b"0\r\n\r\n")
            assert client.response().body == body, (length, size)


@case("chunk extensions of a request are read past")
def chunk_extensions(lab):
    with lab.connect() as client:
        client.request("/echo", method="POST", fields=[CHUNKED])
        client.send(chunks(b"hello world", 4, b';a=b;c="d;e"') + b"0;last\r\n\r\n")
        assert client.response().body == b"hello world"


@case("a request's trailers reach the origin", only="minivoy")
def request_trailers(lab):
    with lab.connect() as client:
        client.request("/echo", method="POST", fields=[CHUNKED, "Trailer: X-Sum"])
        client.send(b"5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n")
        response = client.response()
        assert response.body == b"hello"
        assert response.get("x-trailer-seen") == "x-sum=42", response.fields


@case("chunked answers arrive whole")
def chunked_answers(lab):
    with lab.connect() as client:
        for count, size in ((0, 0), (1, 1), (1000, 1), (200, 1000), (50, 60_000)):
            response = client.ask(f"/chunked?n={count}&size={size}")
            if response.body != b"".join(pattern.piece(size * i, size) for i in range(count)):
                raise AssertionError(f"{count} chunks of {size}: {response}")
        response = client.ask("/chunked?n=20&size=100&ext=1")
        assert response.body == pattern.body(2000)


@case("an answer's trailers reach the client", only="minivoy")
def answer_trailers(lab):
    response = lab.ask("/trailers")
    assert response.body == b"hello"
    assert ("x-sum", "42") in response.trailers, response.trailers


@case("HEAD has the length and no body, and the connection goes on")
def head(lab):
    with lab.connect() as client:
        for _ in range(3):
            response = client.ask("/big?bytes=12345", method="HEAD")
            assert response.get("content-length") == "12345"
            response = client.ask("/chunked?n=3", method="HEAD")
            assert response.status == 200
            assert client.ask("/plain").body == b"hello"


@case("204 and 304 have no body, and the connection goes on")
def bodyless(lab):
    with lab.connect() as client:
        for _ in range(3):
            assert client.ask("/status?code=204").status == 204
            assert client.ask("/status?code=304").status == 304
            assert client.ask("/plain").body == b"hello"


@case("a body that ends with the origin's connection")
def close_delimited(lab):
    for length in (0, 10, 100_000, 3_000_000):
        with lab.connect() as client:
            assert client.ask(f"/close?bytes={length}").body == pattern.body(length), length


@case("an HTTP/1.0 origin")
def old_origin(lab):
    response = lab.ask("/old")
    assert (response.status, response.body) == (200, b"old body"), response
    assert response.version == "HTTP/1.1", "the proxy answers with its own version"


@case("an answer of one byte a packet")
def byte_by_byte(lab):
    assert lab.ask("/one-byte-head").body == b"hello"


@case("a dripping answer is passed on as it drips")
def drip(lab):
    with lab.connect() as client:
        client.request("/drip?n=10&ms=100")
        start = time.monotonic()
        head = client.head()
        client.exactly(10, lambda _: None)
        first = time.monotonic() - start
        client.exactly(90, lambda _: None)
        whole = time.monotonic() - start
        assert head.status == 200
        assert first < 0.5 < whole, f"first piece after {first:.2f} s of {whole:.2f}"


@case("Expect: 100-continue is answered by the origin, then the body goes")
def continues(lab):
    with lab.connect() as client:
        for _ in range(3):
            fields = ["Expect: 100-continue", "Content-Length: 5"]
            client.request("/echo", method="POST", fields=fields)
            interim = client.head()
            assert interim.status == 100, interim
            client.send(b"hello")
            assert client.response().body == b"hello"


@case("a final answer instead of 100 Continue", only="minivoy")
def no_continue(lab):
    # nginx says 100 by itself.
    with lab.connect() as client:
        fields = ["Expect: 100-continue", "Content-Length: 5000000"]
        client.request("/refuse", method="POST", fields=fields)
        assert client.response().status == 413


@case("interim answers are passed on", only="minivoy")
def interim(lab):
    # RFC 9110 section 15.2: a proxy MUST forward 1xx responses.
    with lab.connect() as client:
        client.request("/status?code=103")
        seen = []
        assert client.response(interim=seen).body == b"final"
        assert [r.status for r in seen] == [103], seen
        assert client.ask("/plain").body == b"hello"


@case("50 MiB up")
def big_upload(lab):
    length = 50 << 20
    sha = hashlib.sha256()
    with lab.connect() as client:
        client.request("/digest", method="POST", fields=[f"Content-Length: {length}"])
        for part in pattern.pieces(length):
            sha.update(part)
            client.send(part)
        assert client.response().body == f"{length} {sha.hexdigest()}".encode()


@case("5 MiB up in chunks")
def big_chunked_upload(lab):
    length = 5 << 20
    sha = hashlib.sha256()
    with lab.connect() as client:
        client.request("/digest", method="POST", fields=[CHUNKED])
        for part in pattern.pieces(length):
            sha.update(part)
            client.send(chunks(part, 3000))
        client.send(b"0\r\n\r\n")
        assert client.response().body == f"{length} {sha.hexdigest()}".encode()


@case("a final answer in the middle of an upload reaches the client")
def early_answer(lab):
    with lab.connect() as client:
        client.request("/refuse", method="POST", fields=["Content-Length: 100000"])
        client.send(pattern.body(50_000))
        assert client.response().status == 413
    assert lab.ask("/plain").body == b"hello"
