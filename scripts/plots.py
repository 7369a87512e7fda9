"""Draws what scripts/bench-*.sh have measured. Needs matplotlib (scripts/bench-movers.sh makes a venv).

    python3 plots.py movers MOVERS.json OUT.svg

The same figures give the same file.
"""

import json
import sys

import matplotlib

matplotlib.use("svg")
# Text stays text, and identifiers follow from the content: small files, small differences.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "minivoy", "font.size": 9})
from matplotlib import pyplot  # noqa: E402
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator  # noqa: E402

STYLES = {
    "mem, aligned": ("tab:blue", "-"),
    "mem, unaligned": ("tab:blue", "--"),
    "DSA driver, device that costs nothing": ("tab:red", "-"),
    "dmadev mover over dma_skeleton": ("tab:green", "-"),
}


def size(value, _=None):
    """Bytes as people write them."""
    return f"{int(value)} B" if value < 1024 else f"{int(value) // 1024} KiB"


def save(figure, path):
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def line(axes, name, points):
    """Medians as a line, from least to most as a band; points are (size, spread)."""
    colour, style = STYLES[name]
    sizes = [at for at, _ in points]
    axes.plot(sizes, [s["median"] for _, s in points], style, color=colour, marker=".", label=name)
    low, high = ([s[key] for _, s in points] for key in ("least", "most"))
    axes.fill_between(sizes, low, high, color=colour, alpha=0.15, linewidth=0)


def movers(data):
    """ns a job by size, hot beside cold."""
    figure, panels = pyplot.subplots(1, 2, figsize=(9, 4.2), sharey=True, layout="constrained")
    for axes, frames in zip(panels, ("hot", "cold")):
        rows = [row for row in data["rows"] if row["frames"] == frames]
        of = lambda alignment, mover: [
            (row["size"], row[mover]) for row in rows if row["alignment"] == alignment
        ]
        line(axes, "mem, aligned", of("aligned", "mem"))
        line(axes, "mem, unaligned", of("unaligned", "mem"))
        line(axes, "DSA driver, device that costs nothing", of("aligned", "driver"))
        if frames == "hot":
            dmadev = [(row["size"], row["dmadev"]) for row in data["dmadev"]]
            line(axes, "dmadev mover over dma_skeleton", dmadev)
        axes.axvline(data["threshold"], color="grey", linewidth=0.8, linestyle=":")
        axes.text(data["threshold"] * 1.08, 9, "threshold", color="grey", fontsize=8)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_ylim(bottom=8)
        axes.xaxis.set_major_locator(FixedLocator(sorted({row["size"] for row in rows})))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(size))
        axes.tick_params(axis="x", labelrotation=45)
        axes.grid(alpha=0.3)
        axes.set_title(f"{frames} frames")
        axes.set_xlabel("bytes a job")
    panels[0].set_ylabel("core's ns a job")
    panels[0].legend(fontsize=8, loc="upper left")
    return figure


def main():
    kind, source, target = sys.argv[1:]
    with open(source) as file:
        data = json.load(file)
    save({"movers": movers}[kind](data), target)


if __name__ == "__main__":
    main()
