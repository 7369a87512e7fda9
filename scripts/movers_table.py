"""Puts together what scripts/bench-movers.sh has measured.

    LOAD_BEFORE=1.5 python3 movers_table.py MOVER_COST.json DMA_COST.json COMMAND OUT.json OUT.md
"""

import json
import os
import platform
import re
import sys


def machine():
    """What it was measured on, as far as figures depend on it."""
    with open("/proc/cpuinfo") as file:
        model = re.search(r"model name\s*: (.*)", file.read())
    return {
        "cpu": model[1].strip() if model else platform.machine(),
        "cpus": os.cpu_count(),
        "kernel": ".".join(platform.release().split(".")[:2]),
        "load": float(os.environ["LOAD_BEFORE"]),
    }


def cell(spread):
    return f"{spread['median']:.0f} ({spread['least']:.0f}–{spread['most']:.0f})"


def table(data):
    by_case = {(row["frames"], row["alignment"], row["size"]): row for row in data["rows"]}
    dmadev = {row["size"]: row["dmadev"] for row in data["dmadev"]}
    places = [(f, a) for f in ("hot", "cold") for a in ("aligned", "unaligned")]
    lines = [
        "| bytes | " + " | ".join(f"`mem` {f} {a}" for f, a in places)
        + " | DSA driver hot | DSA driver cold | dmadev |",
        "|" + "---|" * (len(places) + 4),
    ]
    for size in sorted({size for _, _, size in by_case}):
        cells = [cell(by_case[f, a, size]["mem"]) for f, a in places]
        cells += [cell(by_case[f, "aligned", size]["driver"]) for f in ("hot", "cold")]
        cells.append(cell(dmadev[size]) if size in dmadev else "–")
        lines.append(f"| {size} | " + " | ".join(cells) + " |")
    return lines


def dmadev_break_even(data):
    """The least size at which it cost less than copying hot, aligned frames."""
    rows = [r for r in data["rows"] if (r["frames"], r["alignment"]) == ("hot", "aligned")]
    mem = {row["size"]: row["mem"]["median"] for row in rows}
    won = [row["size"] for row in data["dmadev"] if row["dmadev"]["median"] <= mem[row["size"]]]
    return str(min(won)) if won else "none"


def text(data):
    where = data["machine"]
    yield "# Movers by size"
    yield ""
    yield f"Measured with `{data['command']}` on {where['cpus']} CPUs {where['cpu']}, kernel"
    yield f"{where['kernel']}, load {where['load']} before it began. Core's ns a job of one piece, in turns of"
    yield f"{data['jobs_a_turn']} jobs: medians of {data['rounds']} interleaved rounds, least and most in brackets."
    if where["load"] > 0.5:
        yield "The machine had other work to do meanwhile, which is where the upper ends are from."
    yield ""
    yield "**Nothing here is an accelerator's speed: none was there.** `mem` is the CPU that copies. *DSA driver* is"
    yield "what the core spends to make descriptors, submit a batch and harvest it, on a device that is done at once"
    yield "and copies nothing; the instruction that submits is not among it. *dmadev* is the mover on DPDK's DMA"
    yield "devices over `dma_skeleton`, without the time in which that copies on a thread of its own. Hot: the same"
    yield "64 frames again and again; cold: frames out of 256 MiB. Aligned: source and target at multiples of 64;"
    yield "else 3 and 7 bytes behind."
    yield ""
    yield "![core's time a job by size](movers.svg)"
    yield ""
    yield from table(data)
    yield ""
    yield f"The policy gives jobs to the accelerator from {data['threshold']} bytes a piece on. From how many bytes on"
    yield "the driver costs the core less than copying (interpolated; 256 is the least that was measured):"
    yield ""
    for case in data["break_even"]:
        bytes_ = "never" if case["bytes"] is None else f"{case['bytes']:.0f}"
        yield f"- {case['frames']}, {case['alignment']}: {bytes_}"
    yield ""
    yield "The least size at which the mover on DMA devices cost less than copying hot, aligned frames: " + (
        dmadev_break_even(data) + "."
    )


def main():
    movers, dma, command, out_json, out_md = sys.argv[1:]
    with open(movers) as file:
        data = json.load(file)
    with open(dma) as file:
        data["dmadev"] = json.load(file)["rows"]
    data |= {"command": command, "machine": machine()}
    with open(out_json, "w") as file:
        json.dump(data, file, indent=1, sort_keys=True)
        file.write("\n")
    with open(out_md, "w") as file:
        file.write("\n".join(text(data)) + "\n")


if __name__ == "__main__":
    main()
