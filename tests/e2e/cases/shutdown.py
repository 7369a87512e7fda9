"""SIGTERM: what is under way is finished, nothing new begins, and all frames come home."""

import re
import threading
import time

import pattern
from harness import case


def stopped(lab):
    """Ends the proxy and checks how it went. Returns the seconds it took."""
    start = time.monotonic()
    status, output = lab.stop_proxy()
    assert status == 0, f"exit status {status}: {output[-1000:]}"
    if lab.kind == "minivoy":
        assert re.search(r"frames? returned", output, re.I), f"no account of frames: {output[-1000:]}"
    return time.monotonic() - start


@case("an idle proxy ends within a second, status 0", config=None)
def idle(lab):
    lab.use("e2e")
    assert lab.ask("/plain").body == b"hello"
    assert stopped(lab) < 2


@case("kept connections do not hold it up", config=None, only="minivoy")
def kept(lab):
    lab.use("e2e")
    clients = [lab.connect() for _ in range(20)]
    for client in clients:
        assert client.ask("/plain").body == b"hello"
    assert stopped(lab) < 4
    assert all(client.closed() for client in clients)


@case("an exchange under way is finished", config=None, only="minivoy")
def under_way(lab):
    # nginx calls this QUIT; TERM is its fast shutdown.
    lab.use("e2e")
    with lab.connect() as client:
        client.request("/drip?n=10&ms=200")
        head = client.head()
        client.exactly(10, lambda _: None)
        took = []
        thread = threading.Thread(target=lambda: took.append(stopped(lab)))
        thread.start()
        got = []
        client.exactly(90, got.append)
        thread.join()
        assert head.status == 200 and b"".join(got) == b"0123456789" * 9
        assert took and took[0] < 6, took
        assert client.closed()


@case("an exchange that does not end is cut off when draining is over", config=None, only="minivoy")
def endless(lab):
    lab.use("e2e")
    with lab.connect(receive_buffer=16 << 10) as client:
        client.request("/big?bytes=100000000")
        client.exactly(1000, lambda _: None)
        assert stopped(lab) < 9


@case("the frames of a busy proxy are accounted for too", config=None)
def busy(lab):
    lab.use("patient")
    clients = [lab.connect(receive_buffer=16 << 10) for _ in range(50)]
    for client in clients:
        client.request("/12m", host="files.test")
    for client in clients:
        client.exactly(10_000, lambda _: None)
        client.socket.close()
    stopped(lab)


@case("it starts again at once on the same addresses", config=None)
def again(lab):
    for _ in range(3):
        lab.use("e2e")
        assert lab.ask("/big?bytes=100000").body == pattern.body(100_000)
        stopped(lab)
