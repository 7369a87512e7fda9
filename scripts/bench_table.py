"""Prints the table of scripts/bench-veth.sh: medians over rounds, their spread, ratios.

    python3 bench_table.py RESULTS.tsv [OUT.json]
"""

import json
import statistics
import sys

KEYS = "round row proxy rate requests p50 p99 errors sockets cpu share".split()
UNITS = {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}


def milliseconds(text):
    """A time as wrk prints it (12.3ms, 1.02s) in milliseconds; None for what is none."""
    for unit in sorted(UNITS, key=len, reverse=True):
        if text.endswith(unit):
            return float(text[: -len(unit)]) * UNITS[unit]
    return None


def read(path):
    """{row: {proxy: [measurement of each round]}}, in the order of the file."""
    rows = {}
    with open(path) as file:
        for line in file:
            m = dict(zip(KEYS, line.rstrip("\n").split("\t")))
            requests = int(m["requests"])
            measured = {
                "rate": float(m["rate"]),
                "p50": milliseconds(m["p50"]),
                "p99": milliseconds(m["p99"]),
                "errors": int(m["errors"]),
                "sockets": int(m["sockets"]),
                "cpu": float(m["cpu"]) / requests if requests else None,
                "share": None if m["share"] == "-" else float(m["share"]),
            }
            rows.setdefault(m["row"], {}).setdefault(m["proxy"], []).append(measured)
    return rows


def median(rounds, key):
    values = [r[key] for r in rounds if r[key] is not None]
    return statistics.median(values) if values else None


def show(value, form="{:.1f}"):
    return "-" if value is None else form.format(value)


def summary(proxies):
    """{proxy: medians}, with the CPU each adds to a request beyond what `direct` takes."""
    result = {}
    base = median(proxies["direct"], "cpu") if "direct" in proxies else None
    for proxy, rounds in proxies.items():
        rates = [r["rate"] for r in rounds]
        entry = {key: median(rounds, key) for key in ("rate", "p50", "p99", "cpu", "share")}
        entry["spread"] = (max(rates) - min(rates)) / entry["rate"] if entry["rate"] else None
        entry["errors"] = sum(r["errors"] for r in rounds)
        entry["sockets"] = max(r["sockets"] for r in rounds)
        known = base is not None and entry["cpu"] is not None and proxy != "direct"
        entry["added"] = entry["cpu"] - base if known else None
        result[proxy] = entry
    return result


def main(path, out=None):
    everything = {row: summary(proxies) for row, proxies in read(path).items()}
    for row, proxies in everything.items():
        file, connections = row.split(":")
        print(f"\n{file} over {connections} connections")
        print(
            f"  {'':8} {'requests/s':>10} {'spread':>7} {'p50 ms':>8} {'p99 ms':>8} {'errors':>6} "
            f"{'sockets':>7} {'added CPU µs':>12} {'minivoy is':>10} {'its CPU':>8}"
        )
        own = proxies.get("minivoy")
        for proxy, m in proxies.items():
            times = cpu = None
            if own and proxy not in ("minivoy", "direct"):
                times = own["rate"] / m["rate"] if m["rate"] else None
                cpu = own["added"] / m["added"] if own["added"] is not None and m["added"] else None
            print(
                f"  {proxy:8} {m['rate']:>10.1f} {show(m['spread'], '{:.0%}'):>7} {show(m['p50']):>8} "
                f"{show(m['p99']):>8} {m['errors']:>6} {m['sockets']:>7} {show(m['added']):>12} "
                f"{show(times, '{:.2f}×'):>10} {show(cpu, '{:.2f}×'):>8}"
            )
    print(
        "\nMedians; spread = (largest - smallest) / median of requests/s; errors are summed, sockets the "
        "most of any round.\nAdded CPU: of the whole machine, per request, beyond that of `direct`. "
        "Absolute figures are this machine's."
    )
    if any("minivoy" in p and p["minivoy"]["share"] is None for p in everything.values()):
        print("minivoy's log stated no busy share: its core is counted as busy all the time.")
    if out:
        with open(out, "w") as file:
            json.dump(everything, file, indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
