#!/usr/bin/env bash
# DPDK's own test of DMA devices, with DPDK's own driver for the accelerator, on minivoy's model of
# it: the model is preloaded and catches the driver's instructions. Then minivoy's mover on that
# driver and model, first with all going well and then with faults. No root, no hugepages.
#
#   [SEED=N] scripts/dmadev.sh
#
# SEED decides what the model does when, 1 if not set.
# The line `Test OK` is dpdk-test's; without it, or when the mover fails, the exit status is not 0.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

command -v dpdk-test >/dev/null || { need_root; install_packages dpdk-dev; }
need_rust
cd "$ROOT"

if grep -qwE 'movdir64b|enqcmd' /proc/cpuinfo; then
    say "this processor has the instructions: they do not trap, and the model cannot be put under DPDK"
    exit 0
fi

cargo build -q --release -p dsa-preload
# DPDK takes queues whose name begins with dpdk_ and its file prefix.
model_tree "$RUN/dsa" 1 "dpdk_$LAB"
export DSA_DEV_PATH=$RUN/dsa/dev DSA_SYSFS_PATH=$RUN/dsa/sys
# DPDK's driver reports the channel as idle when the last batch is done, and the test takes that for
# all batches: it is made for a group with one engine.
export DSA_MODEL_ORDERED=1

# The command comes from the environment; standard input must stay open while it runs.
mkfifo "$RUN/input"
exec 3<>"$RUN/input"
LD_PRELOAD="$(release_dir)/libdsa_preload.so" DPDK_TEST=dmadev_autotest timeout 300 \
    dpdk-test -l "$(cores | cut -d' ' -f1)" --no-pci --no-huge -m 512 --file-prefix "$LAB" \
    <"$RUN/input" >"$RUN/dmadev.log" 2>&1 || true
exec 3>&-

# Progress is written with carriage returns: of each line what stands at the end.
grep -E '^In ' "$RUN/dmadev.log" || true
sed -e 's/.*\r//' "$RUN/dmadev.log" | grep -E '^(###|DMA Dev|Ops|Total|Passed|Failed|Error|Test )' || true
grep -q 'instance [0-9]* \[wq0.0\]' "$RUN/dmadev.log" || die "dpdk-test did not find the modelled queue"
grep -q 'DMA Dev 0: Running error handling' "$RUN/dmadev.log" || die "no error handling tests were run"
grep -q 'DMA Dev 0: Running fill' "$RUN/dmadev.log" || die "no fill tests were run"
grep -q '^Test OK' "$RUN/dmadev.log" || { show_log dmadev 5; die "dmadev_autotest failed"; }

say "minivoy's mover on the same driver, and now out of order"
unset DSA_MODEL_ORDERED
cargo test -q -p dpdk --test dma --no-run
# mover TROUBLE FAULTS SEEDS: the mover's test on a queue on which that goes wrong.
mover() {
    LD_PRELOAD="$(release_dir)/libdsa_preload.so" MINIVOY_TEST_DMA=wq0.0 MINIVOY_TEST_TROUBLE=$1 \
        DSA_MODEL_FAULTS=$2 DSA_MODEL_SEED=${SEED:-1} MINIVOY_TEST_SEEDS=$3 timeout 300 \
        cargo test -q -p dpdk --test dma -- --nocapture || die "the mover does not conform: $*"
}
mover "" "" 100
say "… with copies and batches that fail"
mover faults source=30,target=30,list=50 1000
say "… with copies that come too late"
mover late late=20,late_steps=1000000 300
say "… with a device that is dead"
mover dead lose=1000 1
