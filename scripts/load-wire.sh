#!/usr/bin/env bash
# The proxy under load without a kernel in the path: minivoy on two virtio_user NICs on one core,
# minivoy-load at their other ends (vhost-user) as client and origin on another. Prints a line for each
# run: requests/s and how much of its core each of the two was busy. Fails when an exchange did, a byte was
# wrong (--verify) or a frame is missing.
#
#   sudo scripts/load-wire.sh [SECONDS]
#
# CASES (lines of "mover path connections [options of minivoy-load]"), PROXY_OPTIONS (of minivoy), CONFIG (its
# configuration), MEMORY (MiB for each), BUILT (do not build), VERBOSE (show logs) and PERF (a core to record
# with perf, to perf.data) may be set. Needs no namespace and
# no network interface; root only for hugepages.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$ROOT/scripts/proxy.sh"
source "$ROOT/scripts/wire-lab.sh"

TIME=${1:-3}
MEMORY=${MEMORY:-512}
CASES=${CASES:-"mem /1k 1000
zero-copy /1k 1000
mem /16k 1000
zero-copy /16k 1000"}

FAILED=0
need_rust
choose_cores
[ -n "${BUILT:-}" ] || (cd "$ROOT" && cargo build -q --release -p minivoy) || die "the build failed"
reserve_hugepages $((2 * MEMORY + 16))
EAL_MEMORY[-1]=$MEMORY
[ "${EAL_MEMORY[0]}" = --no-huge ] || EAL_MEMORY+=(--single-file-segments)
LOAD_MEMORY=("${EAL_MEMORY[@]}")
say "proxy: core $PROXY_CPU; load: core ${LOAD_CPUS##*,}; ${EAL_MEMORY[*]}"

run() {
    local mover=$1 path=$2 connections=$3
    shift 3
    start_wire_load -c "$connections" -t "${TIME}s" "$@" "http://10.77.1.1:8080$path"
    # shellcheck disable=SC2086
    start_wire_proxy --config "${CONFIG:-$ROOT/configs/wire-lab.toml}" --mover "$mover" ${PROXY_OPTIONS:-}
    # shellcheck disable=SC2086
    [ -z "${PERF:-}" ] || { sleep 2; perf record -q -e cpu-clock -C "$PERF" -o perf.data sleep 1.5; }
    local i
    for ((i = 0; i < (TIME + 20) * 10; i++)); do kill -0 "${PID[load]}" 2>/dev/null || break; sleep 0.1; done
    stop load || { printf 'FAILED: minivoy-load: exit status %s\n' $?; FAILED=1; }
    stop proxy || { printf 'FAILED: minivoy: exit status %s\n' $?; FAILED=1; }
    [ -z "${VERBOSE:-}" ] || { show_log load 60; show_log proxy 12; }
    grep -q 'frames returned' "$RUN/proxy.log" && ! grep -q missing "$RUN/proxy.log" "$RUN/load.log" ||
        { echo 'FAILED: frames were not accounted for'; FAILED=1; }
    # Shares of the cores while there was load: the middle one of the proxy's lines.
    busy=$(grep -oE 'core [0-9]+ % busy, [0-9.]+ µs' "$RUN/load.log" | head -n 1)
    proxy=$(grep -oE '[0-9]+ requests/s.* core [0-9]+ % busy' "$RUN/proxy.log" | grep -v '^0 ' |
        grep -oE 'core [0-9]+ % busy' | sed -n 2p)
    printf '%-10s %-6s x %-6s %s %s; load: %s; proxy: %s\n' "$mover" "$path" "$connections" "$*" \
        "$(grep -oE '[0-9.]+ qps' "$RUN/load.log" | tail -n 1)" "$busy" "$proxy"
    grep -E '^Sockets used|^Code|^# target 50|^# target 99' "$RUN/load.log" | tr '\n' ';' ; echo
}

while read -r line; do
    # shellcheck disable=SC2086
    run $line
done <<<"$CASES"
[ $FAILED = 0 ] || { show_log load; show_log proxy; die "not all was right"; }
