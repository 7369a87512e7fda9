#!/usr/bin/env bash
# Measures what two workers do beside one, with the load out of the way (hw/dpdk/examples/two_workers), and
# writes docs/bench/workers.md and workers.json. No root, no hugepages; a minute after the build.
#
#   [BENCH_ROUNDS=40] [CPUS=0,1] scripts/two-workers.sh [DIRECTORY]
#
# Needs two CPUs with nothing else to do.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

out=${1:-$ROOT/docs/bench}
need_rust
cd "$ROOT"
cargo build -q --release -p dpdk --example two_workers
read -r LOAD_BEFORE _ </proc/loadavg
export LOAD_BEFORE
for mover in zero-copy mem; do
    say "mover $mover"
    "$(release_dir)/examples/two_workers" --rounds "${BENCH_ROUNDS:-40}" --cpus "${CPUS:-0,1}" --mover $mover \
        --json "$RUN/$mover.json"
done
mkdir -p "$out"
python3 -B scripts/two_workers.py "$RUN/zero-copy.json" "$RUN/mem.json" "$out/workers.json" "$out/workers.md"
say "written: $out/workers.{md,json}"
