#!/usr/bin/env bash
# Measures movers by size, 256 B to 64 KiB, hot and cold, aligned and not, and writes docs/bench/movers.md
# (table), movers.json (all figures) and movers.svg (plot). No root, no hugepages; about a minute.
#
#   [BENCH_ROUNDS=15] scripts/bench-movers.sh [DIRECTORY]
#
# In each round everything is measured once; figures are medians over rounds. Run it on a machine that has
# nothing else to do. No accelerator is used: what is measured is the core's time.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

out=${1:-$ROOT/docs/bench}
rounds=${BENCH_ROUNDS:-15}
need_rust
cd "$ROOT"

cargo build -q --release -p dsa --example mover_cost
cargo build -q --release -p dpdk --example dma_cost
venv=$(release_dir)/plots-venv
if ! "$venv/bin/python" -c 'import matplotlib' 2>/dev/null; then
    say "making a venv with matplotlib for the plot"
    python3 -m venv "$venv" || die "no venv can be made: install python3-venv"
    "$venv/bin/pip" install -q matplotlib || die "matplotlib cannot be installed into $venv"
fi

read -r LOAD_BEFORE _ </proc/loadavg
export LOAD_BEFORE
say "$rounds rounds of the CPU, the accelerator's driver and the model"
"$(release_dir)/examples/mover_cost" --rounds "$rounds" --json "$RUN/movers.json"
say "$rounds rounds of the mover on DMA devices"
"$(release_dir)/examples/dma_cost" --rounds "$rounds" --json "$RUN/dma.json"

mkdir -p "$out"
python3 scripts/movers_table.py "$RUN/movers.json" "$RUN/dma.json" \
    "BENCH_ROUNDS=$rounds scripts/bench-movers.sh" "$out/movers.json" "$out/movers.md"
"$venv/bin/python" scripts/plots.py movers "$out/movers.json" "$out/movers.svg"
say "written: $out/movers.{md,json,svg}"
