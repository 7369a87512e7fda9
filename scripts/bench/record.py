"""One measurement as a line of JSON.

    record.py RUN NAME=VALUE…         of the files in RUN: load.json, before, after
    record.py --wrk LOG CONNECTIONS   what wrk printed, in the form of minivoy-load's result
    record.py --show RESULTS          the last line of RESULTS, for people
"""

import json
import os
import re
import sys

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}


def seconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * UNITS[unit]


def wrk(log, connections):
    """wrk's report as fortio would have written it; what it does not say is missing."""
    with open(log) as file:
        said = file.read()
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if not found:
        return {"error": said.strip()[-300:]}
    errors = [int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", said)]
    unwanted = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    requests = int(re.search(r"(\d+) requests in", said)[1])
    percentiles = re.findall(r"^\s+(\d+)%\s+(\S+)$", said, re.MULTILINE)
    codes = {"200": requests - int(unwanted[1]) if unwanted else requests}
    if unwanted:
        codes["other"] = int(unwanted[1])
    if sum(errors):
        codes["-1"] = sum(errors)
    return {
        "ActualQPS": float(found[1]),
        "NumThreads": int(connections),
        "RetCodes": codes,
        "DurationHistogram": {
            "Count": requests,
            "Percentiles": [{"Percentile": float(p), "Value": seconds(v)} for p, v in percentiles],
        },
    }


def busy(path):
    with open(path) as file:
        return {int(core): float(time) for core, time in map(str.split, file)}


def record(run, fields):
    out = dict(field.split("=", 1) for field in fields)
    for key in ("round", "connections", "body", "core"):
        out[key] = int(out[key])
    for key in ("share", "memory", "seconds"):
        out[key] = float(out[key]) if out[key] else None
    before, after = busy(f"{run}/before"), busy(f"{run}/after")
    out["cpu_us"] = {core: after[core] - before[core] for core in after}
    try:
        with open(f"{run}/load.json") as file:
            out["load"] = json.load(file)
    except (OSError, ValueError):
        log = f"{run}/load.log"
        said = open(log, errors="replace").read() if os.path.exists(log) else ""
        out["load"] = {"error": (said.strip().splitlines() or ["the load wrote no result"])[-1]}
    if out["share"] is not None:
        # While there is load.
        load = out["load"]
        seconds = load["DurationHistogram"]["Count"] / load["ActualQPS"] if load.get("ActualQPS") else out["seconds"]
        out["cpu_us"][out["core"]] = out["share"] * seconds * 1e6
    return out


def show(m):
    load = m["load"]
    if "error" in load:
        return f"FAILED: {load['error']}"
    bad = {code: n for code, n in load["RetCodes"].items() if code != "200"}
    p = {e["Percentile"]: e["Value"] for e in load["DurationHistogram"]["Percentiles"]}
    tail = f", p99 {1e3 * p[99.0]:.1f} ms" if 99.0 in p else ""
    core = m["cpu_us"].get(m["core"], m["cpu_us"].get(str(m["core"]), 0))
    count = load["DurationHistogram"]["Count"]
    each = f", {core / count:.1f} µs of the proxy's core" if count else ""
    return f"{load['ActualQPS']:.0f} requests/s{tail}{each}" + (f", not 200: {bad}" if bad else "")


if __name__ == "__main__":
    if sys.argv[1] == "--wrk":
        print(json.dumps(wrk(*sys.argv[2:])))
    elif sys.argv[1] == "--show":
        with open(sys.argv[2]) as results:
            print(show(json.loads(results.readlines()[-1])))
    else:
        print(json.dumps(record(sys.argv[1], sys.argv[2:])))
