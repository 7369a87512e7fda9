"""What the accelerator carries under load, by what the proxy says at its end (MOVER=dsa or dsa-model)."""

import re

from cases.load import fetch_all, wrk
from harness import case

MOVERS = ("dsa", "dsa-model")
# Copies to a batch, by the names of the proxy's counters.
CLASSES = ("from_2", "from_4", "from_8", "from_16", "from_32", "from_64")


def farewell(lab):
    """Ends the proxy. Returns its counters and those of the accelerator, by name."""
    status, output = lab.stop_proxy()
    assert status == 0, f"exit status {status}: {output[-2000:]}"
    assert re.search(r"frames returned: small (\d+) of \1, large (\d+) of \2", output), output[-2000:]
    proxy, separator, accelerator = re.search(r"in all: (.*)", output)[1].partition("; accelerator: ")
    assert separator, f"no accelerator in {proxy}"
    count = lambda text: {name: int(n) for name, n in re.findall(r"(\w+) (\d+)", text)}
    return proxy, count(accelerator)


def carried(lab, least_bytes, least_jobs):
    """What is wrong with how payload was moved; prints the distribution."""
    _, values = farewell(lab)
    batches, by_cpu = values["batches"], sum(values.get(name, 0) for name in ("queue_full", "suspended", "lost"))
    jobs, copies = values["jobs"] / batches, values["batched"] / batches
    share = values["jobs"] / (values["jobs"] + by_cpu)
    spread = ", ".join(f"{name} {100 * values.get(name, 0) / batches:.0f} %" for name in CLASSES)
    print(f"        {values['jobs']} jobs, {share:.1%} of those meant for it; a batch has {jobs:.1f} jobs,")
    print(f"        {copies:.1f} copies: {spread}; {values.get('timeouts', 0)} late", flush=True)
    assert values["bytes"] >= least_bytes, f"{values['bytes']} of {least_bytes} bytes by the accelerator"
    assert share > 0.9, f"the CPU did {by_cpu} jobs: {values}"
    assert values.get("lost", 0) == 0, values
    assert jobs >= least_jobs, f"{jobs:.1f} jobs a batch"


@case("16 KiB over 1000 connections in batches of 16 jobs and more", config="quickstart", mover=MOVERS, seconds=120)
def small_bodies(lab):
    lab.restart()
    rate, problems = wrk(lab, 1000, "/16k")
    assert not problems, problems
    carried(lab, 0.8 * rate * lab.load_seconds * 16384, 16)
    lab.use("quickstart")


@case("12 MiB over 100 connections, every byte", config="quickstart", mover=MOVERS, seconds=120)
def large_bodies(lab):
    lab.restart()
    fetch_all(lab, "/12m", 100)
    carried(lab, 0.8 * 100 * (12 << 20), 8)
    lab.use("quickstart")
