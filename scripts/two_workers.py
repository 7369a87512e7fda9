"""Puts together what scripts/two-workers.sh has measured.

    LOAD_BEFORE=0.1 python3 two_workers.py ZERO_COPY.json MEM.json OUT.json OUT.md
"""

import json
import sys

from movers_table import machine


def text(data):
    where, first = data["machine"], data["runs"][0]
    yield "# Two workers beside one"
    yield ""
    yield f"Measured with `scripts/two-workers.sh` on CPUs {first['cpus']} of {where['cpus']} {where['cpu']}, kernel"
    yield f"{where['kernel']}, load {where['load']} before it began. Threads of CPU 0's core, as the kernel knows them:"
    yield f"{first['siblings']} (a guest's kernel may not know better; the loop tells). {first['connections']} kept"
    yield f"connections a worker; {first['rounds']} rounds in which everything is measured once, for {first['ms']} ms."
    yield ""
    yield "Rates are requests for each second spent in turns that found something: clients and origin run on the"
    yield "same core between turns and are not timed. *One* is the mean of both cores, each alone (or beside a core"
    yield "that makes packets); ratios are medians over rounds, least and most in brackets. *Stray*: ports bring half"
    yield "of all packets to the wrong worker, which hands them over. *Loop*: arithmetic and copies within the"
    yield "nearest caches, the most that the machine gives two cores."
    for run in data["runs"]:
        yield ""
        yield f"## `{run['mover']}`"
        yield ""
        yield "| bytes | | one | two | ratio | handed over a request |"
        yield "|---|---|---|---|---|---|"
        for row in run["rows"]:
            yield (
                f"| {row['body']} | {row['name']} | {round(row['one'])} | {round(row['two'])} | {row['ratio']:.2f} "
                f"({row['ratio_least']:.2f}–{row['ratio_most']:.2f}) | {row['handed_over_a_request']:.1f} |"
            )


def main():
    *runs, out_json, out_md = sys.argv[1:]
    data = {"machine": machine(), "runs": []}
    for path in runs:
        with open(path) as file:
            data["runs"].append(json.load(file))
    with open(out_json, "w") as file:
        json.dump(data, file)
        file.write("\n")
    with open(out_md, "w") as file:
        file.write("\n".join(text(data)) + "\n")


if __name__ == "__main__":
    main()
