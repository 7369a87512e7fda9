"""Which origin a request goes to."""

from harness import case


def origin(lab, target="/plain", host="py.test"):
    response = lab.ask(target, host=host)
    assert response.status == 200, response
    return response.get("x-origin")


@case("by host, in any case of letters, with and without a port")
def hosts(lab):
    assert origin(lab) == "A"
    assert origin(lab, host="PY.Test") == "A"
    assert origin(lab, host="py.test:8080") == "A"
    assert origin(lab, host="dead.test") == "C"


@case("by wildcard host")
def wildcard(lab):
    assert origin(lab, host="any.wild.test") == "B"
    assert origin(lab, host="more.of.wild.test") == "B"
    assert lab.ask("/plain", host="wild.test").status == 404


@case("by path prefix, first match wins")
def prefix(lab):
    assert origin(lab, "/b/plain", "prefix.test") == "B"
    assert origin(lab, "/plain", "prefix.test") == "A"
    assert origin(lab, "/bb/plain", "prefix.test") == "A"


@case("404 for a host nobody serves, and the connection goes on")
def nobody(lab):
    with lab.connect() as client:
        assert client.ask("/", host="unknown.test").status == 404
        assert client.ask("/plain").body == b"hello"


@case("two endpoints take turns")
def round_robin(lab):
    with lab.connect() as client:
        seen = [client.ask("/plain", host="rr.test").get("x-origin") for _ in range(20)]
    assert seen.count("A") == 10, seen
    assert all(a != b for a, b in zip(seen, seen[1:])), seen


@case("one connection reaches every cluster")
def mixed(lab):
    with lab.connect() as client:
        for host, name in (("py.test", "A"), ("x.wild.test", "B"), ("dead.test", "C")) * 5:
            assert client.ask("/plain", host=host).get("x-origin") == name
