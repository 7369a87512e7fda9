"""Plots of a benchmark's medians, as SVG."""

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "minivoy"
import matplotlib.pyplot as plt

COLOURS = {
    "direct": "#999999", "minivoy-mem": "#c0392b", "minivoy-zero-copy": "#e67e22", "envoy": "#8e44ad",
    "envoy-https": "#d2b4de", "nginx": "#27ae60", "haproxy": "#2980b9",
}


def against_connections(labs, order, lab, body, key, scale, label, title, path, log=False):
    """One line for each proxy; nothing when fewer than two numbers of connections were measured."""
    rows = {c: p for (b, c), p in labs.get(lab, {}).items() if b == body}
    if len(rows) < 2:
        return False
    figure, axes = plt.subplots(figsize=(7, 4))
    for proxy in order:
        points = [(c, p[proxy][key] * scale) for c, p in sorted(rows.items()) if p.get(proxy, {}).get(key) is not None]
        if points:
            axes.plot(*zip(*points), marker="o", label=proxy, color=COLOURS.get(proxy))
    axes.set_xscale("log")
    axes.set_xticks(sorted(rows), [str(c) for c in sorted(rows)])
    axes.minorticks_off()
    if log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set(xlabel="connections", ylabel=label, title=title)
    return save(figure, axes, path)


def percentiles(labs, order, lab, body, connections, title, path):
    proxies = labs.get(lab, {}).get((body, connections), {})
    if not proxies:
        return False
    figure, axes = plt.subplots(figsize=(7, 4))
    keys = ["p50", "p75", "p90", "p99", "p99.9"]
    for proxy in order:
        points = [(i, 1e3 * proxies[proxy][k]) for i, k in enumerate(keys) if proxies.get(proxy, {}).get(k) is not None]
        if points:
            axes.plot(*zip(*points), marker="o", label=proxy, color=COLOURS.get(proxy))
    axes.set_xticks(range(len(keys)), keys)
    axes.set_yscale("log")
    axes.set(ylabel="ms", title=title)
    return save(figure, axes, path)


def save(figure, axes, path):
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return True


def draw(labs, out, order, name_of):
    """Draws what was measured. Returns (title, file) of each plot."""
    wanted = []
    for lab in ("veth", "generator", "wire"):
        cost = "cpu_added" if lab == "veth" else "cpu_core"
        for body in (16384, 12_700_000):
            size = name_of(body)
            for name, key, scale, label, log in (
                ("rate", "qps", 1, "requests/s", False),
                ("p99.9", "p99.9", 1e3, "p99.9, ms", True),
                ("cost", cost, 1, "µs of CPU a request", False),
            ):
                title = f"{lab} lab, {size}: {label}"
                file = f"{lab}-{body}-{name}.svg"
                if against_connections(labs, order, lab, body, key, scale, label, title, f"{out}/{file}", log):
                    wanted.append((title, file))
        title, file = f"{lab} lab, 16 KiB × 1000: latency by percentile", f"{lab}-percentiles.svg"
        if percentiles(labs, order, lab, 16384, 1000, title, f"{out}/{file}"):
            wanted.append((title, file))
    return wanted
