#!/usr/bin/env bash
# End-to-end tests in network namespaces: tests/e2e against the proxy, first over clean links, then
# with a relay in each link that loses, reorders, duplicates and corrupts.
#
#   sudo scripts/e2e.sh [WORD…]              cases whose name contains a word, or all
#   sudo PROXY=nginx scripts/e2e.sh [WORD…]  proves the suite itself with nginx in minivoy's place
#
# E2E_LOAD_SECONDS (5; 30 for the full load cases), E2E_SEED (1), E2E_WORKERS (1, or 2: minivoy's, for
# all cases that do not choose themselves), MOVER (mem) may be set.
# The last line is "N passed, N failed"; the exit status says whether N failed is 0.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$ROOT/scripts/proxy.sh"

PROXY=${PROXY:-minivoy}
SEED=${E2E_SEED:-1}
IMPAIRMENT=(--loss 2 --reorder 2 --duplicate 0.5 --corrupt 0.2 --delay-us 200 --jitter-us 200)

need_root
install_packages "${BUILD_PACKAGES[@]}" "${LAB_PACKAGES[@]}" iputils-ping
raise_files 5000
choose_cores
build_proxy
need_rust
(cd "$ROOT" && cargo build -q --release -p relay) || die "the relay does not build"
prepare_proxy_memory
minivoy_command '{config}'
: >"$RUN/tally"

# suite [NAME=VALUE…] -- WORD…
suite() {
    local settings=()
    while [ "$1" != -- ]; do settings+=("$1"); shift; done
    shift
    mkdir -p "$RUN/suite"
    attend in_ns client env E2E_LAB="$LAB" E2E_RUN="$RUN/suite" E2E_PROXY="$PROXY" E2E_TALLY="$RUN/tally" \
        E2E_MOVER="${MOVER:-mem}" E2E_LOAD_CPUS="$LOAD_CPUS" E2E_PROXY_CPU="$PROXY_CPU" \
        E2E_COMMAND="$(printf '%q ' "${MINIVOY[@]}")" "${settings[@]}" \
        taskset -c "$LOAD_CPUS" python3 -B "$ROOT/tests/e2e/run.py" "$@" || true
}

say "clean links"
lab_up "$(proxy_owner)"
suite -- "$@"
lab_down

say "impaired links: ${IMPAIRMENT[*]}, seed $SEED"
lab_up "$(proxy_owner)" relay
# Checksums computed for good, so that a flipped bit shows.
for end in "client c0" "proxy veth-c" "proxy veth-o" "origin o0"; do
    read -r ns dev <<<"$end"
    in_ns "$ns" ethtool -K "$dev" tx off >/dev/null
done
for side in c o; do
    start "relay-$side" "relay-$side" "$LOAD_CPUS" \
        "$(release_dir)/relay" a b --seed "$SEED" "${IMPAIRMENT[@]}"
done
ready relay-c 5 grep -q ready "$RUN/relay-c.log"
ready relay-o 5 grep -q ready "$RUN/relay-o.log"
suite E2E_IMPAIRED=1 -- "$@"
for side in c o; do
    stop "relay-$side" || true
    say "relay-$side: $(tail -n 1 "$RUN/relay-$side.log")"
done

read -r runs passed failed skipped < <(
    awk '{ p += $1; f += $2; s += $3 } END { print NR, p + 0, f + 0, s + 0 }' "$RUN/tally")
[ "$runs" = 2 ] || { say "the suite itself broke"; failed=$((failed + 1)); }
[ "$passed" -gt 0 ] || { say "no case ran"; failed=$((failed + 1)); }
[ "$skipped" = 0 ] || say "$skipped skipped: they are not asked of $PROXY"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
