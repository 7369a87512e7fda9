"""What the proxy adds to heads, and what it takes out of them."""

from harness import case


def seen(lab, *fields, target="/request-head", host="py.test"):
    """The request's head as the origin saw it: request line and (name, value) pairs."""
    response = lab.ask(target, host=host, fields=list(fields))
    assert response.status == 200, response
    line, *rest = response.body.decode("latin-1").split("\r\n")
    pairs = [(name.lower(), value.strip()) for name, _, value in (r.partition(":") for r in rest)]
    return line, pairs


def values(pairs, name):
    return [value for field, value in pairs if field == name]


@case("X-Forwarded-For names the client, after those before it")
def forwarded_for(lab):
    _, pairs = seen(lab)
    assert values(pairs, "x-forwarded-for") == ["10.77.1.2"], pairs
    _, pairs = seen(lab, "X-Forwarded-For: 192.0.2.7")
    chain = ", ".join(values(pairs, "x-forwarded-for")).replace(" ", "").split(",")
    assert chain == ["192.0.2.7", "10.77.1.2"], pairs


@case("X-Forwarded-Proto is the listener's")
def forwarded_proto(lab):
    _, pairs = seen(lab, "X-Forwarded-Proto: https")
    assert values(pairs, "x-forwarded-proto") == ["http"], pairs


@case("Via both ways")
def via(lab):
    _, pairs = seen(lab)
    assert values(pairs, "via") == ["1.1 minivoy"], pairs
    assert lab.ask("/plain").get("via") == "1.1 minivoy"


@case("Via is appended to what is there", only="minivoy")
def via_chain(lab):
    _, pairs = seen(lab, "Via: 1.0 fred")
    assert ", ".join(values(pairs, "via")) == "1.0 fred, 1.1 minivoy", pairs


@case("hop-by-hop fields stay on their hop", only="minivoy")
def hop_by_hop(lab):
    # RFC 9110 section 7.6.1.
    _, pairs = seen(
        lab,
        "Connection: keep-alive, X-Secret",
        "X-Secret: 1",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "TE: trailers",
        "X-Open: 2",
    )
    names = {name for name, _ in pairs}
    assert "x-open" in names
    for name in ("x-secret", "keep-alive", "proxy-connection"):
        assert name not in names, pairs


@case("other fields pass unchanged")
def unchanged(lab):
    line, pairs = seen(
        lab, "X-Odd:   a  b\tc", "Cookie: a=1; b=2", "Accept: */*", target="/request-head?x=%20%2F&y=1"
    )
    assert line.startswith("GET /request-head?x=%20%2F&y=1 HTTP/1.1"), line
    assert values(pairs, "x-odd") == ["a  b\tc"], pairs
    assert values(pairs, "cookie") == ["a=1; b=2"]
    assert values(pairs, "host") == ["py.test"]


@case("absolute-form targets: their host counts")
def absolute_form(lab):
    # RFC 9112 section 3.2.2: Host is ignored and replaced.
    line, pairs = seen(lab, target="http://py.test/request-head?q=1", host="void.test")
    assert line.startswith("GET /request-head?q=1 "), line
    assert values(pairs, "host") == ["py.test"], pairs
