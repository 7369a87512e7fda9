#!/usr/bin/env bash
# Counts the instructions of the engine and its parts (dataplane/benches/instructions.rs) under
# Valgrind and compares them with docs/bench/instructions.json: fails when one is more than the tolerance
# above what is recorded, and says what changed.
#
#   scripts/instructions.sh             compare
#   scripts/instructions.sh --record    write what was counted; docs/bench/instructions.md too
#
# TOLERANCE  3 (percent)
#
# Needs valgrind, and the runner that belongs to the crate iai-callgrind of Cargo.lock, which is built
# beside the binaries when it is missing. Takes two to three minutes on a quiet machine. Counts depend
# on compiler and C library: record anew after a change of these.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case ${1:-} in ''|--record) ;; *) die "$1: only --record" ;; esac
command -v valgrind >/dev/null || { need_root; install_packages valgrind; }
need_rust
cd "$ROOT"

# The benches and the runner speak a private protocol: they must be of one version.
VERSION=$(awk '$1 == "name" { name = $3 } $1 == "version" && name == "\"iai-callgrind\"" { gsub("\"", "", $3); print $3 }' \
    FS=' ' Cargo.lock)
TOOLS=$(dirname "$(release_dir)")/tools
export IAI_CALLGRIND_RUNNER=$TOOLS/bin/iai-callgrind-runner
if [ "$("$IAI_CALLGRIND_RUNNER" --version 2>/dev/null | awk '{ print $2 }')" != "$VERSION" ]; then
    say "installing iai-callgrind-runner $VERSION into $TOOLS"
    cargo install -q --debug --root "$TOOLS" --version "$VERSION" iai-callgrind-runner ||
        die "cargo could not install iai-callgrind-runner $VERSION"
fi

say "cargo bench -p dataplane --bench instructions"
attend cargo bench -q -p dataplane --bench instructions >"$RUN/out" 2>&1 || {
    tail -n 30 "$RUN/out" >&2
    die "the benches failed"
}
python3 -B "$ROOT/scripts/instructions.py" "$RUN/out" "$ROOT/docs/bench/instructions.json" \
    "${TOLERANCE:-3}" "${1:-}"
