#!/usr/bin/env bash
# The proxy without a kernel in the path: minivoy on two virtio_user NICs, tests/wire at their other
# ends (vhost-user) as client and origin. Every byte of every body is checked, no segment may be sent
# twice (the wire loses nothing), and all packet memory must be back in its pools when both have
# ended. For each mover: many small bodies, few large ones; then with two workers, whose packets the
# peer puts into the right queues, and into the wrong ones. The second worker shares the peer's core, so
# there segments may be sent again.
#
#   sudo scripts/wire.sh
#
# MOVERS ("mem zero-copy dsa-model dsa") may be set. Needs no namespace and no network interface; root only for
# hugepages, without which it runs on ordinary memory. The rates it prints are for orientation: the
# peer is no load generator, and does the copying for both sides.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$ROOT/scripts/proxy.sh"

MOVERS=${MOVERS:-mem zero-copy dsa-model dsa}
MEMORY=${MEMORY:-512}

install_packages "${BUILD_PACKAGES[@]}" python3
need_rust
choose_cores
PEER_CPU=${LOAD_CPUS%%,*}
say "cargo build --release"
(cd "$ROOT" && cargo build -q --release -p minivoy -p wire-peer) || die "the build failed"
reserve_hugepages "$MEMORY"
# vhost-user hands memory over as files, of which it takes few.
[ "${EAL_MEMORY[0]}" = --no-huge ] || EAL_MEMORY+=(--single-file-segments)
say "proxy: core $PROXY_CPU, ${EAL_MEMORY[*]}; peer: core $PEER_CPU"

# A field of the peer's result.
result() { grep '^{' "$RUN/peer.log" | python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

# exchange MOVER BODY CONNECTIONS REQUESTS [QUEUES STEER]
exchange() {
    local mover=$1 body=$2 connections=$3 requests=$4 queues=${5:-1} steer=${6:-right} failed=0 i
    local lcores=(-l "$PROXY_CPU") patient=() handed
    if [ "$queues" = 2 ]; then
        lcores=(--lcores "0@$PEER_CPU,1@$PROXY_CPU")
        patient=(--patient)
    fi
    rm -f "$RUN"/client.sock "$RUN"/origin.sock
    start peer - - "$(release_dir)/wire-peer" -l "$PEER_CPU" --no-pci --no-huge -m 384 \
        --no-telemetry --file-prefix "$LAB-peer" \
        --vdev "net_vhost0,iface=$RUN/client.sock,queues=$queues,tso=1" \
        --vdev "net_vhost1,iface=$RUN/origin.sock,queues=$queues,tso=1" \
        -- --body "$body" --connections "$connections" --requests "$requests" \
        --queues "$queues" --steer "$steer" "${patient[@]}"
    ready peer 10 test -S "$RUN/client.sock" -a -S "$RUN/origin.sock"
    start proxy - - "${MOVER_ENV[@]}" "$(release_dir)/minivoy" "${lcores[@]}" --no-pci \
        "${EAL_MEMORY[@]}" --no-telemetry --file-prefix "$LAB" \
        --vdev "net_virtio_user0,path=$RUN/client.sock,queues=$queues,cq=1,mrg_rxbuf=1,queue_size=1024" \
        --vdev "net_virtio_user1,path=$RUN/origin.sock,queues=$queues,cq=1,mrg_rxbuf=1,queue_size=1024" \
        -- --config "$ROOT/configs/wire-lab.toml" --mover "$mover"
    # The peer says how it went, whatever happened, within its own time limits.
    ready peer 60 grep -q '^{' "$RUN/peer.log"
    stop proxy || { printf 'FAILED: the proxy: exit status %s\n' $?; failed=1; }
    # It ends when the proxy has gone.
    for ((i = 0; i < 100; i++)); do kill -0 "${PID[peer]}" 2>/dev/null || break; sleep 0.1; done
    stop peer || { printf 'FAILED: the peer: exit status %s\n' $?; failed=1; }
    grep -E 'frames returned' "$RUN/proxy.log" | grep -v missing |
        awk -v workers="$queues" '{ print > "/dev/stderr" } END { exit NR != workers }' ||
        { echo 'FAILED: the proxy did not account for its frames'; failed=1; }
    [ "$queues" = 2 ] || [ "$(result sent_again)" = 0 ] || { echo 'FAILED: segments were sent again'; failed=1; }
    [ "$(result requests)" = $((connections * requests)) ] && [ "$(result errors)" = 0 ] &&
        [ "$(result bytes)" = $((connections * requests * body)) ] ||
        { echo 'FAILED: not every exchange was right'; failed=1; }
    if [ "$queues" = 2 ]; then
        handed=$(awk '/packets handed over/ { for (i = 2; i <= NF; i++) if ($i == "packets") n += $(i - 1) } END { print n + 0 }' "$RUN/proxy.log")
        say "two workers, $steer queues: $handed packets handed over"
        case $steer in
            right) [ "$handed" = 0 ] || { echo 'FAILED: packets were handed over'; failed=1; } ;;
            wrong) [ "$handed" -gt 500 ] || { echo 'FAILED: few packets were handed over'; failed=1; } ;;
        esac
    fi
    grep '^{' "$RUN/peer.log"
    printf '%-10s %8s bytes x %3s connections x %2s requests: %s requests/s\n' "$mover" "$body" \
        "$connections" "$requests" \
        "$(awk "BEGIN { printf \"%.0f\", $(result requests) / $(result seconds) }")"
    [ $failed = 0 ] || { show_log proxy; show_log peer; exit 1; }
}

for mover in $MOVERS; do
    prepare_mover "$mover" 1
    exchange "$mover" 16384 100 20
    exchange "$mover" $((12 * 1024 * 1024)) 4 4
    prepare_mover "$mover" 2
    for steer in right wrong; do
        exchange "$mover" 16384 100 20 2 $steer
        exchange "$mover" $((12 * 1024 * 1024)) 4 1 2 $steer
    done
done
say "all right"
