"""Both links impaired by the relay: loss, reordering, duplication, corruption, by a seed."""

import hashlib
import threading

import pattern
from cases.load import fetch_all
from harness import case


@case("50 × 1 MiB at a time", config="patient", seconds=150, impaired=True)
def many(lab):
    fetch_all(lab, "/1m", 50)


@case("12 MiB", config="patient", seconds=120, impaired=True)
def large(lab):
    fetch_all(lab, "/12m", 1)


@case("20 × 300 KB up, echoed", config="patient", seconds=120, impaired=True)
def uploads(lab):
    problems = []
    body = pattern.body(300_000)

    def work():
        try:
            with lab.connect(timeout=60) as client:
                assert client.ask("/echo", method="POST", body=body).body == body
        except Exception as error:  # Told to the case, in whose thread it can fail.
            problems.append(repr(error))

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems[:3]


@case("4 MiB up", config="patient", seconds=120, impaired=True)
def upload(lab):
    body = pattern.body(4 << 20)
    with lab.connect(timeout=60) as client:
        response = client.ask("/digest", method="POST", body=body)
        assert response.body == f"{len(body)} {hashlib.sha256(body).hexdigest()}".encode()


@case("200 short exchanges, each on a connection of its own", config="patient", seconds=150, impaired=True)
def short(lab):
    problems = []

    def work(first):
        try:
            for number in range(first, 200, 20):
                with lab.connect(timeout=60) as client:
                    response = client.ask(f"/plain?text={number}")
                    assert response.body == str(number).encode()
        except Exception as error:  # Told to the case, in whose thread it can fail.
            problems.append(repr(error))

    threads = [threading.Thread(target=work, args=(first,)) for first in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems[:3]
