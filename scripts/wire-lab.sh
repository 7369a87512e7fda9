# The lab without a kernel: minivoy on two virtio-user NICs on PROXY_CPU, minivoy-load behind their other
# ends (vhost-user) on the last of LOAD_CPUS. Sourced after lib.sh and proxy.sh.
#
# EAL_MEMORY and LOAD_MEMORY are what EAL is told of memory; SOURCES, if set, the prefix that the client connects
# from, in the network 10.77.1.0/24.

# start_wire_load [minivoy-load's options] URL: client and origin, until they wait for the proxy.
start_wire_load() {
    rm -f "$RUN"/client.sock "$RUN"/origin.sock "$RUN/load.json"
    start load - - "$(release_dir)/minivoy-load" -l "${LOAD_CPUS##*,}" --no-pci "${LOAD_MEMORY[@]}" \
        --no-telemetry --file-prefix "$LAB-load" \
        --vdev "net_vhost0,iface=$RUN/client.sock,queues=1,tso=1" \
        --vdev "net_vhost1,iface=$RUN/origin.sock,queues=1,tso=1" \
        -- --port "client=dpdk:net_vhost0,address=10.77.1.2/24${SOURCES:+,sources=$SOURCES}" \
        --port origin=dpdk:net_vhost1,address=10.77.2.2/24 --origin 10.77.2.2:8080 \
        --progress=0 --json "$RUN/load.json" "$@"
    ready load 10 test -S "$RUN/client.sock" -a -S "$RUN/origin.sock"
}

# start_wire_proxy [minivoy's options]: begins the load.
start_wire_proxy() {
    start proxy - - "${MOVER_ENV[@]}" "$(release_dir)/minivoy" -l "$PROXY_CPU" --no-pci \
        "${EAL_MEMORY[@]}" --no-telemetry --file-prefix "$LAB" \
        --vdev "net_virtio_user0,path=$RUN/client.sock,queues=1,cq=1,mrg_rxbuf=1,queue_size=1024" \
        --vdev "net_virtio_user1,path=$RUN/origin.sock,queues=1,cq=1,mrg_rxbuf=1,queue_size=1024" \
        -- --stats-interval 1 "$@"
}

# wire_config CONNECTIONS [RX_FRAMES [BUFFER]] >FILE: configs/wire-lab.toml for so many clients at once, which
# share at most 400 connections to the origin when they are many: more only hold more frames. Every exchange may
# pin a frame.
wire_config() {
    local connections=$1 class=${2:-small} buffer=${3:-128KiB} small=16384 large=8192 upstream=$1
    [ "$upstream" -le 2000 ] || upstream=400
    [ "$connections" -le 8000 ] || small=$((connections < 100000 ? 2 * connections : 200000))
    printf '[limits]\nmax_connections = %d\nmax_half_open = 5000\nsession_buffer = "%s"\nmax_head = "8KiB"\n' \
        $((connections + upstream + 5000)) "$buffer"
    printf '[timeouts]\nidle = "15m"\nrequest_head = "5m"\npending = "60s"\n'
    printf '[memory]\nsmall_frames = %d\nlarge_frames = %d\n' $small $large
    sed "s/^addresses/rx_frames = \"$class\"\naddresses/" "$ROOT/configs/wire-lab.toml" |
        awk -v most=$upstream '/^\[\[cluster.endpoint/ { print "max_connections = " most "\nmax_idle = " most "\n" } { print }'
}
