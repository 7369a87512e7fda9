"""Many connections, large bodies, every byte compared. E2E_LOAD_SECONDS sets wrk's time."""

import os
import re
import subprocess
import threading
import time

import pattern
from harness import case
from lab import FILES

URL = "http://10.77.1.1:8080"


def wrk(lab, connections, path):
    """Requests a second and problems: socket errors and answers that are not 2xx or 3xx."""
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{lab.load_seconds}s", "--timeout", "10s", URL + path]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])
    return rate, re.findall(r"(?:Socket errors|Non-2xx).*", said)


@case("16 KiB over 1000 connections: no error, every socket kept", config="quickstart", seconds=120)
def many(lab):
    before = lab.counter("client", "ActiveOpens")
    rate, problems = wrk(lab, 1000, "/16k")
    # wrk opens one more to see whether the address answers.
    sockets = lab.counter("client", "ActiveOpens") - before - 1
    assert not problems, problems
    assert rate > 100, f"{rate} requests/s"
    assert sockets == 1000, f"{sockets} sockets used"


@case("12 MiB over 100 connections: no error", config="quickstart", seconds=120)
def large(lab):
    rate, problems = wrk(lab, 100, "/12m")
    assert not problems, problems
    assert rate > 1, f"{rate} requests/s"


def fetch(lab, path, problems):
    try:
        with lab.connect(timeout=60) as client:
            checker = pattern.Checker()
            client.request(path, host="files.test")
            response = client.response(sink=checker.feed)
            assert response.status == 200, response
            assert checker.offset == FILES[path[1:]], f"{checker.offset} bytes"
    except Exception as error:  # Told to the case, in whose thread it can fail.
        problems.append(repr(error))


def fetch_all(lab, path, count):
    problems = []
    threads = [threading.Thread(target=fetch, args=(lab, path, problems)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, f"{len(problems)} of {count}: {problems[:3]}"


@case("12 MiB over 100 connections: every byte", config="quickstart", seconds=120)
def large_checked(lab):
    fetch_all(lab, "/12m", 100)


@case("700 MiB: every byte", config="quickstart", seconds=120)
def huge(lab):
    fetch_all(lab, "/700m", 1)


@case("the proxy is quiet and small afterwards", config="quickstart")
def afterwards(lab):
    # Connections to the origin that wrk's left behind are kept for reuse; those of clients are gone.
    end = time.monotonic() + 10
    while lab.counter("client", "CurrEstab") > 0:
        assert time.monotonic() < end, "client connections left"
        time.sleep(0.2)
    assert os.path.exists(f"/proc/{lab.proxy.child.pid}")
