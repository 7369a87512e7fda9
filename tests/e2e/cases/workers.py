"""Two workers: both serve, every byte is right, and what one receives for the other gets there."""

import re
import threading

import pattern
from cases.load import fetch_all, wrk
from harness import case
from lab import FILES, V6

SHARE = re.compile(
    r"worker (\d+): (\d+) requests, (\d+) connections accepted, (\d+) to origins, "
    r"(\d+) packets handed over, (\d+) taken over"
)
FRAMES = re.compile(r"worker (\d+) \(lcore \d+\): ended; frames returned: "
                    r"small (\d+) of (\d+), large (\d+) of (\d+)")


class Share:
    """What a worker did, by its own account."""

    def __init__(self, numbers):
        _, self.requests, self.accepted, self.connected, self.handed, self.taken = map(int, numbers)


def ended(lab):
    """Ends the proxy, checks that it ended well, and returns its workers' shares and its log."""
    status, output = lab.stop_proxy()
    assert status == 0, f"exit status {status}: {output[-2000:]}"
    frames = FRAMES.findall(output)
    assert [line[0] for line in frames] == ["0", "1"], f"no account of frames: {output[-2000:]}"
    for _, small, smalls, large, larges in frames:
        assert (small, large) == (smalls, larges), frames
    shares = [Share(line) for line in SHARE.findall(output)]
    assert len(shares) == 2, f"no account of shares: {output[-2000:]}"
    for share in shares:
        assert min(share.requests, share.accepted, share.connected) > 0, vars(share)
    return shares, output


def fetch_v6(lab, problems):
    try:
        with lab.connect(V6, timeout=60) as client:
            for _ in range(5):
                checker = pattern.Checker()
                client.request("/16k", host="v6.test")
                response = client.response(sink=checker.feed)
                assert response.status == 200, response
                assert checker.offset == FILES["16k"], f"{checker.offset} bytes"
    except Exception as error:  # Told to the case, in whose thread it can fail.
        problems.append(repr(error))


@case("both serve many connections, and mailboxes stay empty", config=None, only="minivoy", seconds=120)
def both(lab):
    lab.use("quickstart", workers=2)
    rate, problems = wrk(lab, 200, "/16k")
    assert not problems, problems
    assert rate > 50, f"{rate} requests/s"
    fetch_all(lab, "/12m", 20)
    shares, output = ended(lab)
    # The kernel does what the engine expects, so nobody ever receives for the other.
    assert [share.handed + share.taken for share in shares] == [0, 0], output[-2000:]
    # Ports of one host's connections have one parity. They are spread all the same.
    accepted = sum(share.accepted for share in shares)
    for share in shares:
        assert 0.25 < share.accepted / accepted < 0.75, [share.accepted for share in shares]


def fetch_all_v6(lab, clients):
    """So many clients at a time; all must get it right."""
    problems = []
    threads = [threading.Thread(target=fetch_v6, args=(lab, problems)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, f"{len(problems)}: {problems[:3]}"


@case("both serve IPv6 on both sides", config=None, only="minivoy", seconds=60)
def over_v6(lab):
    lab.use("patient", workers=2)
    fetch_all_v6(lab, 40)
    shares, output = ended(lab)
    assert [share.handed + share.taken for share in shares] == [0, 0], output[-2000:]


@case("one ping, one answer", config=None, only="minivoy")
def ping(lab):
    lab.use("patient", workers=2)
    for address in ("10.77.1.1", "fd77:1::1"):
        said = lab.run("client", ["ping", "-c", "5", "-i", "0.2", "-W", "2", address])
        assert "5 received" in said and "duplicates" not in said, said


@case("an exchange under way is finished though the other worker is idle", config=None, only="minivoy")
def under_way(lab):
    for _ in range(4):
        lab.use("e2e", workers=2)
        with lab.connect() as client:
            client.request("/drip?n=10&ms=100")
            head = client.head()
            client.exactly(10, lambda _: None)
            results = []
            thread = threading.Thread(target=lambda: results.append(lab.stop_proxy()))
            thread.start()
            got = []
            client.exactly(90, got.append)
            thread.join()
            assert head.status == 200 and b"".join(got) == b"0123456789" * 9
            assert results[0][0] == 0, results[0][1][-2000:]


@case(
    "over DPDK devices that do not steer, on bad links",
    config=None, only="minivoy", seconds=180, impaired=True,
)
def software(lab):
    lab.use("dpdk", workers=2)
    fetch_all(lab, "/1m", 20)
    fetch_all_v6(lab, 20)
    shares, output = ended(lab)
    assert min(share.handed for share in shares) > 100, [vars(share) for share in shares]
    assert sum(share.handed for share in shares) == sum(share.taken for share in shares)
    assert "no RSS that can be computed" in output, output[:3000]


@case(
    "clients on an interface of the kernel, origins on a DPDK device",
    config=None, only="minivoy", seconds=180, impaired=True,
)
def mixed(lab):
    lab.use("mixed", workers=2)
    fetch_all(lab, "/1m", 20)
    _, output = ended(lab)
    assert "packet:veth-c" in output and "dpdk:net_af_packet1" in output, output[:3000]
