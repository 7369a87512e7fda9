"""Slow, idle and rude clients beside ordinary ones."""

import socket
import struct
import threading
import time

import pattern
from harness import case


def acked_by_proxy(lab):
    """Bytes of answers the proxy's side has acknowledged, the most of all its connections to A."""
    # A multi-line record: addresses, then `bytes_acked:N` among much else.
    lines = lab.run("origin", ["ss", "-tinHO", "sport", "=", ":9001"]).splitlines()
    counts = [
        int(word.partition(":")[2])
        for line in lines
        for word in line.split()
        if word.startswith("bytes_acked:")
    ]
    return max(counts, default=0)


@case("a client reading 100 KB/s holds little, and nobody else", seconds=40)
def slow_client(lab):
    length = 200 << 20
    slow = lab.connect(receive_buffer=64 << 10)
    slow.request(f"/big?bytes={length}")
    checker = pattern.Checker()
    assert slow.head().status == 200
    worst = 0.0
    for _ in range(30):
        slow.exactly(10_000, checker.feed)
        start = time.monotonic()
        with lab.connect() as other:
            assert other.ask("/big?bytes=50000", host="x.wild.test").body == pattern.body(50_000)
        worst = max(worst, time.monotonic() - start)
        time.sleep(0.1)
    taken = acked_by_proxy(lab)
    assert worst < 1, f"others waited up to {worst:.2f} s"
    # The session's buffer, the client's, and what the kernels on the way hold.
    assert taken < 16 << 20, f"the proxy took {taken >> 20} MiB for a client that read 0.3"
    slow.socket.close()


@case("12 MiB read slowly at first are right at the end")
def slow_then_fast(lab):
    with lab.connect(receive_buffer=64 << 10) as client:
        client.request("/12m", host="files.test")
        checker = pattern.Checker()
        head = client.head()
        for _ in range(20):
            client.exactly(5_000, checker.feed)
            time.sleep(0.05)
        client.exactly(int(head.get("content-length")) - 100_000, checker.feed)
        assert checker.offset == 12 << 20


@case("a slow uploader is waited for, and its bytes arrive")
def slow_upload(lab):
    with lab.connect() as client:
        client.request("/echo", method="POST", fields=["Content-Length: 20000"])
        for i in range(20):
            client.send(pattern.piece(i * 1000, 1000))
            time.sleep(0.1)
        assert client.response().body == pattern.body(20_000)


@case("1000 connections wait idle and then are all served")
def idle(lab):
    clients = [lab.connect() for _ in range(1000)]
    try:
        with lab.connect() as other:
            assert other.ask("/plain").body == b"hello"
        for number, client in enumerate(clients):
            client.request(f"/plain?text={number}")
        for number, client in enumerate(clients):
            assert client.response().body == str(number).encode()
        # And once more on the same connections.
        for client in clients[::10]:
            assert client.ask("/plain").body == b"hello"
    finally:
        for client in clients:
            client.socket.close()


@case("100 clients at a time, bodies of every size, all right")
def mixed(lab):
    problems = []

    def work(number):
        try:
            with lab.connect(timeout=20) as client:
                for turn in range(10):
                    length = (number * 7919 + turn * 104_729) % 200_000
                    body = client.ask(f"/big?bytes={length}").body
                    assert body == pattern.body(length), f"client {number}, turn {turn}"
        except Exception as error:  # Told to the case, in whose thread it can fail.
            problems.append(f"client {number}: {error!r}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems[:3]


@case("RST in the middle of a body, 100 times")
def resets(lab):
    for number in range(100):
        client = lab.connect(receive_buffer=16 << 10)
        client.request("/12m" if number % 2 else "/big?bytes=5000000", host="files.test" if number % 2 else "py.test")
        client.exactly(1000 + number, lambda _: None)
        linger = struct.pack("ii", 1, 0)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        client.socket.close()
    assert lab.ask("/plain").body == b"hello"


@case("connections opened and closed without a word, 500 times")
def silent(lab):
    for _ in range(500):
        lab.connect().socket.close()
    assert lab.ask("/plain").body == b"hello"


@case("2000 short connections, one after another", seconds=40)
def short(lab):
    for number in range(2000):
        response = lab.ask(f"/plain?text={number}", fields=["Connection: close"])
        assert response.body == str(number).encode()


@case("ping", only="minivoy")
def ping(lab):
    lab.run("client", ["ping", "-c", "3", "-i", "0.2", "-W", "1", "10.77.1.1"])
    lab.run("client", ["ping", "-6", "-c", "3", "-i", "0.2", "-W", "1", "fd77:1::1"])
