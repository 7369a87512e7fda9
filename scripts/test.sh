#!/usr/bin/env bash
# Everything that must hold before a change is merged: formatting, lints, unit and simulator tests,
# DPDK's test of DMA devices on the modelled accelerator, the relay's tests, idle workers, the wire lab, end-to-end
# tests in network namespaces, those of load again with the modelled accelerator. Needs root for the last four.
#
#   sudo scripts/test.sh
#
# Each step's output is shown as it comes; the first that fails ends the run.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_root
install_packages "${BUILD_PACKAGES[@]}" "${LAB_PACKAGES[@]}" iputils-ping
need_rust
cd "$ROOT"

step() {
    local start=$SECONDS
    say "$*"
    "$@" || die "failed: $*"
    say "$((SECONDS - start)) s"
}

step cargo fmt --all --check
step cargo clippy -q --workspace --all-targets -- -D warnings
step cargo test -q --workspace
step "$ROOT/scripts/dmadev.sh"
step cargo test -q -p relay --test namespaces -- --ignored
step cargo test -q -p minivoy --test idle -- --ignored
step "$ROOT/scripts/wire.sh"
# The load generator on ports of its own: what it can ask, with every byte compared.
step env CASES="mem /16k 200 --verify
zero-copy /300k 20 --verify
mem /4k 50 --verify --no-keepalive
zero-copy /1k 50 --verify --body-size 40k
mem /1m 20 -X HEAD
mem /4k 100 --verify -q 5000" "$ROOT/scripts/load-wire.sh" 1
step "$ROOT/scripts/e2e.sh"
for mover in dsa-model dsa; do
    step env MOVER=$mover "$ROOT/scripts/e2e.sh" accelerator: load:
done
say "all passed"
