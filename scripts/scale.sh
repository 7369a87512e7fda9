#!/usr/bin/env bash
# What a million open connections cost: minivoy in the wire lab, as many clients as are asked for, all open
# at once, over each of which a request goes at a fixed rate, one connection after the other, so that all
# the others are idle. Fails when an exchange did, a connection was lost, or one costs more than 4 KB.
#
#   sudo scripts/scale.sh [CONNECTIONS [SECONDS]]      [1000000 45]
#
# Memory is what the proxy has resident (VmRSS and its page tables) beyond what it has with a thousand connections
# and the same configuration. Frames are in hugepages, whose number does not depend on connections, and
# neither does that of TCP's rings, which all lie on the same few.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$ROOT/scripts/proxy.sh"
source "$ROOT/scripts/wire-lab.sh"

CONNECTIONS=${1:-1000000} TIME=${2:-45}
[ "$CONNECTIONS" -ge 2000 ] || die "fewer than 2000 connections say nothing"
need_root
need_rust
say "cargo build --release"
(cd "$ROOT" && cargo build -q --release -p minivoy) || die "the build failed"
choose_cores
reserve_hugepages 2400
EAL_MEMORY[-1]=1000 LOAD_MEMORY=("${EAL_MEMORY[@]}")
LOAD_MEMORY[-1]=1300
if [ "${EAL_MEMORY[0]}" != --no-huge ]; then
    EAL_MEMORY+=(--single-file-segments)
    LOAD_MEMORY+=(--single-file-segments)
fi
# 32 addresses, each with its ports.
SOURCES=10.77.1.32/27
# A mapping for each connection's rings, on both sides.
MAPPINGS=$(sysctl -n vm.max_map_count)
if [ "$MAPPINGS" -lt 4200000 ]; then
    sysctl -qw vm.max_map_count=4200000
    undo "sysctl -qw vm.max_map_count=$MAPPINGS"
fi
wire_config "$CONNECTIONS" small 16KiB | sed 's/^small_frames.*/small_frames = 65536/' >"$RUN/scale.toml"

# resident CONNECTIONS SECONDS: kB of the proxy, in RESIDENT; the load's report is shown.
resident() {
    start_wire_load -c "$1" -q "$(($1 * 10 / 9 / $2))" -t "${2}s" --pool-small 300000 http://10.77.1.1:8080/1k
    start_wire_proxy --config "$RUN/scale.toml" --mover mem
    wait "${PID[load]}" || FAILED=1
    unset "PID[load]"
    RESIDENT=$(awk '/^(VmRSS|VmPTE):/ { sum += $2 } END { print sum }' "/proc/${PID[proxy]}/status")
    grep -E '^Sockets used|^Code|^# target|^All done' "$RUN/load.log"
    grep -q "^Sockets used: $1 " "$RUN/load.log" || { echo "FAILED: more than $1 connections were needed"; FAILED=1; }
    stop proxy || FAILED=1
    grep -oE '[0-9]+ requests/s, .*half-open\), core [0-9]+ % busy' "$RUN/proxy.log" | tail -n 3 | head -n 1
}

FAILED=0
say "1000 connections"
resident 1000 3
BASE=$RESIDENT
say "$CONNECTIONS connections"
resident "$CONNECTIONS" "$TIME"
EACH=$(((RESIDENT - BASE) * 1024 / (CONNECTIONS - 1000)))
printf '%s connections: %s bytes resident each (%s kB in all, %s kB with 1000)\n' \
    "$CONNECTIONS" "$EACH" "$RESIDENT" "$BASE"
[ "$EACH" -le 4096 ] || { echo 'FAILED: more than 4096 bytes'; FAILED=1; }
[ $FAILED = 0 ] || die "not all was right"
