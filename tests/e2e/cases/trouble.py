"""Origins in trouble: what the client is told, and that nobody else is harmed."""

import time

import pattern
from harness import case
from origin import BAD
from wire import Closed


def small_error(response, *statuses):
    """One of the statuses, with a small body that names the cause."""
    assert response.status in statuses, response
    assert 0 < len(response.body) < 1000, response


def broken_off(lab, target):
    """An answer that must not look complete."""
    with lab.connect() as client:
        client.request(target)
        try:
            response = client.response()
        except (Closed, ConnectionResetError):
            return
        raise AssertionError(f"looks complete: {response}")


@case("502 or 503 when the origin refuses connections")
def refused(lab):
    start = time.monotonic()
    small_error(lab.ask("/", host="refused.test"), 502, 503)
    assert time.monotonic() - start < 0.9, "a refusal is known at once"


@case("503 or 504 when nobody has the origin's address")
def void(lab):
    start = time.monotonic()
    # The kernel's sockets call it 502, "no route to host".
    small_error(lab.ask("/", host="void.test"), 503, 504, *([502] if lab.kind == "nginx" else []))
    assert time.monotonic() - start < 6


@case("504 when the origin does not answer")
def never(lab):
    start = time.monotonic()
    small_error(lab.ask("/never"), 504)
    assert 1.5 < time.monotonic() - start < 4


@case("502 when the origin closes or resets without an answer")
def silent(lab):
    small_error(lab.ask("/silent-close"), 502)
    small_error(lab.ask("/reset-at-once"), 502)


@case("the client's connection survives an origin's failure")
def survives(lab):
    with lab.connect() as client:
        small_error(client.ask("/silent-close"), 502)
        assert client.ask("/plain").body == b"hello"
        small_error(client.ask("/", host="refused.test"), 502, 503)
        assert client.ask("/plain").body == b"hello"


@case("an error answers HEAD without a body")
def head_of_error(lab):
    with lab.connect() as client:
        assert client.ask("/", host="refused.test", method="HEAD").status in (502, 503)
        assert client.ask("/plain").body == b"hello"


@case("a GET whose kept connection proves dead is tried again")
def retried(lab):
    with lab.connect() as client:
        first = client.ask("/dead-second", host="dead.test")
        assert first.body == b"first"
        again = client.ask("/dead-second", host="dead.test")
        assert (again.status, again.body) == (200, b"first"), again
        assert again.get("x-conn") != first.get("x-conn")


@case("a POST is not tried again")
def not_retried(lab):
    with lab.connect() as client:
        # The first is idempotent and may be retried: it leaves one fresh connection in the pool.
        assert client.ask("/dead-second", host="dead.test").body == b"first"
        small_error(client.ask("/dead-second", host="dead.test", method="POST", body=b"x"), 502)


@case("an origin that closes kept connections costs no request")
def dead_keepalive(lab):
    with lab.connect() as client:
        for number in range(50):
            response = client.ask("/dead-keepalive")
            assert response.body == b"bye", (number, response)


def refuses_bad(kind):
    def check(lab):
        small_error(lab.ask(f"/bad?kind={kind}"), 502)

    return check


# Of the others nginx believes one half, or passes them on.
NGINX_TOO = {"space-colon", "nul-in-field"}
for bad_kind in BAD:
    if not bad_kind.startswith("late-"):
        both = bad_kind in NGINX_TOO
        case(f"502 for an answer with {bad_kind}", only=None if both else "minivoy")(refuses_bad(bad_kind))


@case("a body that breaks its framing is broken off", only="minivoy")
def late(lab):
    for kind in BAD:
        if kind.startswith("late-"):
            broken_off(lab, f"/bad?kind={kind}")


@case("a body cut short is broken off")
def short(lab):
    broken_off(lab, "/short")
    broken_off(lab, "/short-chunk")
    broken_off(lab, "/reset?bytes=100000")


@case("an answer that stalls in the middle is broken off")
def stall(lab):
    start = time.monotonic()
    broken_off(lab, "/stall")
    assert time.monotonic() - start < 8


@case("502 for a head of 200 KB")
def huge_head(lab):
    small_error(lab.ask("/huge-head?bytes=200000"), 502)


def three_at_once(lab, host):
    """Statuses of three requests that take 0.8 s each, and how long all took."""
    start = time.monotonic()
    clients = [lab.connect() for _ in range(3)]
    for client in clients:
        client.request("/slow?ms=800", host=host)
        time.sleep(0.1)
    statuses = [client.response().status for client in clients]
    for client in clients:
        client.socket.close()
    return statuses, time.monotonic() - start


@case("a request beyond a cluster's connections waits for one", only="minivoy")
def waiting(lab):
    statuses, seconds = three_at_once(lab, "limited.test")
    assert statuses == [200, 200, 200], statuses
    assert seconds > 1.5, f"{seconds} s: the third did not wait"


@case("503 where none may wait", only="minivoy")
def limited(lab):
    statuses, _ = three_at_once(lab, "impatient.test")
    assert statuses == [200, 200, 503], statuses


@case("clients that leave in the middle free the origin's connections")
def clients_leave(lab):
    before = lab.counter("origin", "CurrEstab")
    for _ in range(50):
        client = lab.connect(receive_buffer=8192)
        client.request("/big?bytes=100000000")
        client.exactly(1000, lambda _: None)
        client.socket.close()
    end = time.monotonic() + 10
    while (now := lab.counter("origin", "CurrEstab")) > before + 2:
        assert time.monotonic() < end, f"{now} connections to the origin, {before} before"
        time.sleep(0.2)
    assert lab.ask("/plain").body == b"hello"


@case("clients that leave before the answer are forgotten")
def clients_leave_early(lab):
    for _ in range(50):
        client = lab.connect()
        client.request("/slow?ms=200")
        client.socket.close()
    time.sleep(0.5)
    assert lab.ask("/big?bytes=100000").body == pattern.body(100_000)
