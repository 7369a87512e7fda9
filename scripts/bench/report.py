"""The report of scripts/bench.sh: medians over rounds beside the reference record, and plots.

    report.py RESULTS.jsonl OUT_DIR --seconds N [--quick]

Writes OUT_DIR/README.md, results.json and, where matplotlib is, *.svg.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ORDER = ["direct", "minivoy-mem", "minivoy-zero-copy", "envoy", "envoy-https", "nginx", "haproxy"]
OWN = ("minivoy-mem", "minivoy-zero-copy")
PEERS = ("envoy", "nginx", "haproxy")
LABS = {
    "veth": "Client and origin are kernel sockets on the other core; they saturate first.",
    "generator": "Client and origin are minivoy-load on packet sockets; everybody is on veth.",
    "wire": "No kernel on the path: virtio-user and vhost-user NICs, minivoy-load behind them.",
    "short": "The generator lab without keep-alive on the client's side: a connection for each request.",
    "shortwire": "The wire lab without keep-alive on the client's side.",
}


def name_of(body):
    for unit, size in (("MB", 1_000_000), ("KiB", 1024)):
        if body >= size:
            return f"{body / size:.4g} {unit}"
    return f"{body} B"


def percentile(m, p):
    for entry in m["load"]["DurationHistogram"]["Percentiles"]:
        if entry["Percentile"] == p:
            return entry["Value"]
    return None


def measured(m):
    """The figures of one measurement, or its failure."""
    load = m["load"]
    if "error" in load or not load["DurationHistogram"]["Count"]:
        return {"failed": load.get("error", "no response at all")}
    count = load["DurationHistogram"]["Count"]
    core = m["cpu_us"].get(str(m["core"]), 0)
    out = {
        "qps": load["ActualQPS"],
        "bytes_per_second": load["ActualQPS"] * m["body"],
        "not_200": sum(n for code, n in load["RetCodes"].items() if code != "200"),
        "sockets": load.get("SocketCount"),
        "cpu_machine": sum(m["cpu_us"].values()) / count,
        "cpu_core": core / count,
        "memory": m["memory"],
    }
    for p in (50, 75, 90, 99, 99.9):
        out[f"p{p:g}"] = percentile(m, p)
    return out


def median(rounds, key):
    values = [r[key] for r in rounds if r.get(key) is not None]
    return statistics.median(values) if values else None


def summarise(lines):
    """{lab: {(body, connections): {proxy: medians}}}."""
    grouped = {}
    for m in lines:
        row = grouped.setdefault(m["lab"], {}).setdefault((m["body"], m["connections"]), {})
        row.setdefault(m["proxy"], []).append(measured(m))
    for rows in grouped.values():
        for proxies in rows.values():
            for proxy, rounds in proxies.items():
                good = [r for r in rounds if "failed" not in r]
                entry = {"rounds": len(rounds), "failures": [r["failed"] for r in rounds if "failed" in r]}
                if good:
                    rates = [r["qps"] for r in good]
                    entry |= {key: median(good, key) for key in good[0]}
                    entry["spread"] = (max(rates) - min(rates)) / entry["qps"]
                    entry["not_200"] = sum(r["not_200"] for r in good)
                    entry["sockets"] = max((r["sockets"] for r in good if r["sockets"] is not None), default=None)
                proxies[proxy] = entry
            base = proxies.get("direct", {}).get("cpu_machine")
            for proxy, entry in proxies.items():
                if base is not None and proxy != "direct" and "cpu_machine" in entry:
                    entry["cpu_added"] = entry["cpu_machine"] - base
    return grouped


def number(value, digits=3):
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.{digits}g}"


def milliseconds(value):
    return "–" if value is None else number(1e3 * value)


def sorted_proxies(proxies):
    return sorted(proxies, key=lambda p: ORDER.index(p) if p in ORDER else len(ORDER))


def lab_table(lab, rows):
    cost = "CPU added" if lab == "veth" else "CPU of the core"
    yield f"| body × connections | proxy | requests/s | spread | MB/s | p50 ms | p90 | p99 | p99.9 | not 200 | sockets | {cost}, µs |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for (body, connections), proxies in sorted(rows.items()):
        title = f"{name_of(body)} × {connections}"
        for proxy in sorted_proxies(proxies):
            m = proxies[proxy]
            failures = f"**{len(m['failures'])} of {m['rounds']} runs failed: {m['failures'][0]}**" if m["failures"] else ""
            if "qps" not in m:
                yield f"| {title} | {proxy} | {failures} | | | | | | | | | |"
                continue
            value = m.get("cpu_added") if lab == "veth" else m["cpu_core"]
            cells = [
                number(m["qps"]), f"{m['spread']:.0%}", number(m["bytes_per_second"] / 1e6),
                milliseconds(m["p50"]), milliseconds(m["p90"]), milliseconds(m["p99"]), milliseconds(m["p99.9"]),
                number(m["not_200"]), number(m["sockets"]), number(value),
            ]
            yield f"| {title} | {proxy} {failures} | " + " | ".join(cells) + " |"
            title = ""


def said(m):
    """One cell of the reference table."""
    if m is None:
        return "–"
    if "qps" not in m:
        return f"failed: {m['failures'][0]}"
    notes = []
    if m["failures"]:
        notes.append(f"{len(m['failures'])} of {m['rounds']} runs failed")
    if m["not_200"]:
        notes.append(f"{m['not_200']} errors")
    if m["p99.9"] is not None:
        notes.append(f"p99.9 {milliseconds(m['p99.9'])} ms")
    return number(m["qps"]) + (f" ({', '.join(notes)})" if notes else "")


def reference_table(rows):
    with open(f"{HERE}/reference.json") as file:
        reference = json.load(file)
    yield "| body | conns | workers | record: direct | Envoy | MEM | DSA | today: direct | Envoy | nginx | HAProxy | minivoy mem | minivoy zero-copy |"
    yield "|---|--:|---|---|---|---|---|---|---|---|---|---|---|"
    for row in reference["rows"]:
        proxies = rows.get((row["body"], row["connections"]), {})
        workers = "1" if row["workers"] == 1 else f"{row['workers']} (today 1 ¹)"
        past = [row.get(key, "–") for key in ("direct", "envoy", "mem", "dsa")]
        envoy = said(proxies.get("envoy"))
        if "envoy-https" in proxies:
            envoy += f"; https: {said(proxies['envoy-https'])}"
        today = [said(proxies.get("direct")), envoy] + [
            said(proxies.get(p)) for p in ("nginx", "haproxy", "minivoy-mem", "minivoy-zero-copy")
        ]
        cells = [name_of(row["body"]), str(row["connections"]), workers, *past, *today]
        yield "| " + " | ".join(cells) + " |"


class Targets:
    """Rows of the table of aims, each with what was reached."""

    def __init__(self, labs):
        self.labs, self.lines = labs, []

    def get(self, lab, body, connections, proxy, key="qps"):
        return self.labs.get(lab, {}).get((body, connections), {}).get(proxy, {}).get(key)

    def best(self, lab, body, connections, proxies):
        values = [(v, p) for p in proxies if (v := self.get(lab, body, connections, p)) is not None]
        return max(values, default=(None, None))

    def add(self, case, aim, reached, met):
        if reached is not None:
            self.lines.append(f"| {case} | {aim} | {reached} | {'yes' if met else '**no**'} |")

    def ratio(self, case, lab, body, connections, peer, least, peer_lab=None):
        own, which = self.best(lab, body, connections, OWN)
        other = self.get(peer_lab or lab, body, connections, peer)
        if own and other:
            self.add(case, f"{least:g} × {peer}", f"{own / other:.2f} × ({which})", own >= least * other)

    def absolute(self, case, body, connections, proxies, least, unit):
        own, which = self.best("wire", body, connections, proxies)
        if own:
            value = own * body * 8 / 1e9 if unit == "Gb/s" else own
            self.add(case, f"{number(least)} {unit}", f"{number(value)} {unit} ({which})", value >= least)


def targets(labs):
    t = Targets(labs)
    for peer, least in (("envoy", 5), ("nginx", 1.5), ("haproxy", 2)):
        t.ratio("generator lab, 16 KiB × 1000", "generator", 16384, 1000, peer, least)
    for peer, least in (("envoy", 12), ("nginx", 5), ("haproxy", 6)):
        t.ratio("best NIC against best NIC, 16 KiB × 1000", "wire", 16384, 1000, peer, least, "generator")
    t.absolute("wire lab, 16 KiB × 1000", 16384, 1000, OWN, 120_000, "requests/s")
    t.absolute("wire lab, 1 KiB × 1000", 1024, 1000, OWN, 300_000, "requests/s")
    t.absolute("wire lab, 12.7 MB × 100, mem", 12_700_000, 100, OWN[:1], 20, "Gb/s")
    t.absolute("wire lab, 12.7 MB × 100, zero-copy", 12_700_000, 100, OWN[1:], 40, "Gb/s")
    for connections in (1, 100, 1000):
        own, which = t.best("veth", 12_700_000, connections, OWN)
        other, peer = t.best("veth", 12_700_000, connections, PEERS)
        if own and other:
            t.add(f"veth lab, 12.7 MB × {connections}", f"1 × {peer}", f"{own / other:.2f} × ({which})", own >= other)
    few, many = (t.get("wire", 16384, n, "minivoy-mem", "cpu_core") for n in (1000, 100_000))
    if few and many:
        t.add("wire lab, cost of a request, 100 000 connections", "1.2 × that at 1000", f"{many / few:.2f} ×", many <= 1.2 * few)
    rows = errors = surplus = tails = 0
    worst = []
    for lab, table in labs.items():
        for (body, connections), proxies in table.items():
            for proxy in OWN:
                m = proxies.get(proxy)
                if not m:
                    continue
                rows += 1
                title = f"{lab} {name_of(body)} × {connections} {proxy}"
                if m["failures"] or m.get("not_200"):
                    errors += 1
                    worst.append(f"{title}: errors")
                if m.get("sockets") is not None and m["sockets"] != connections and not lab.startswith("short"):
                    surplus += 1
                    worst.append(f"{title}: {m['sockets']} sockets")
                if m.get("p99.9") and m.get("p50") and m["p99.9"] > 10 * m["p50"]:
                    tails += 1
                    worst.append(f"{title}: p99.9 = {m['p99.9'] / m['p50']:.0f} × p50")
    bad = errors + surplus + tails
    t.add("every row: no error, sockets = connections, p99.9 ≤ 10 × p50", f"{rows} rows", f"{rows - bad if bad <= rows else 0} of {rows}" + (f" ({'; '.join(worst)})" if worst else ""), not worst)
    return t.lines


def rounds_of(labs):
    """How often each lab's rows were measured."""
    def least_and_most(table):
        counts = [m["rounds"] for proxies in table.values() for m in proxies.values()]
        return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    return "rounds (" + ", ".join(f"{lab}: {least_and_most(labs[lab])}" for lab in LABS if lab in labs) + ")"


def machine():
    model = "unknown"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    commit = subprocess.run(["git", "-C", HERE, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}; commit {commit or 'unknown'}; {time.strftime('%Y-%m-%d')}"


def write(labs, args, plots):
    lines = [
        "# Measurements", "",
        f"Made by `scripts/bench.sh{' --quick' if args.quick else ''}`: {rounds_of(labs)} in turns, {args.seconds} s of load each, medians. "
        "Absolute figures are this machine's and vary by a quarter from minute to minute; ratios within a row were "
        "measured side by side.", "", machine(), "",
        "Spread is (largest − smallest) / median of requests/s. Not 200 counts, over all rounds, every exchange without a "
        "response of status 200. What the CPU columns count is said at the head of the script.", "",
    ]
    if aims := targets(labs):
        lines += ["## Aims", "", "| case | at least | reached | met |", "|---|---|---|---|", *aims, ""]
    if "veth" in labs:
        lines += ["## The reference record", "",
            "A C++ prototype of the idea and Envoy, by fortio on another machine (requests/s), and today's rows in the veth "
            "lab of this one.", "", *reference_table(labs["veth"]), "",
            "¹ This machine has one core for the proxy: the row was run with one worker.", ""]
    for lab, about in LABS.items():
        if lab in labs:
            lines += [f"## {lab} lab", "", about, "", *lab_table(lab, labs[lab]), ""]
    for title, file in plots:
        lines += [f"![{title}]({file})", ""]
    with open(f"{args.out}/README.md", "w") as file:
        file.write("\n".join(lines).rstrip() + "\n")
    flat = {lab: {f"{b}:{c}": p for (b, c), p in rows.items()} for lab, rows in labs.items()}
    with open(f"{args.out}/results.json", "w") as file:
        json.dump({"machine": machine(), "seconds": args.seconds, "labs": flat}, file, indent=1)
        file.write("\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("results")
    parser.add_argument("out")
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    with open(args.results) as file:
        labs = summarise(json.loads(line) for line in file)
    try:
        import plots
        made = plots.draw(labs, args.out, ORDER, name_of)
    except ImportError:
        made = []
    write(labs, args, made)
    print("\n".join(targets(labs)))
    for lab in labs:
        print(f"\n{lab}")
        print("\n".join(lab_table(lab, labs[lab])))


if __name__ == "__main__":
    main()
