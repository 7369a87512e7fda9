# The labs of bench.sh: each has LAB_up, LAB_round ROUND PROXY ROWS and LAB_down.

# ------------------------------------------------------------------------------- measuring

# Busy time of each core so far, "CORE MICROSECONDS" a line.
cpu_times() {
    awk -v hertz="$(getconf CLK_TCK)" '/^cpu[0-9]/ {
        # user nice system idle iowait irq softirq steal; niced programs are no part of the load
        print substr($1, 4), ($2 + $4 + $7 + $8 + $9) * 1e6 / hertz }' /proc/stat
}

# The busy share (0 to 1) of minivoy's core since line $1 of its log: the mean of what its summary
# lines state as `core N % busy`. Prints nothing when there are none.
busy_share() {
    tail -n "+$1" "$RUN/proxy.log" | grep -v '] 0 requests/s' | grep -oE 'core [0-9]+ % busy' | grep -oE '[0-9]+' |
        awk '{ sum += $1 } END { if (NR) print sum / NR / 100 }' || true
}

# begin_watch PROXY … end_watch LAB ROUND PROXY ROW: what the machine and the proxy do in between goes
# to the results, with what the load says in $RUN/load.json.
begin_watch() {
    rm -f "$RUN/load.json"
    WATCH_LINE=1
    case $1 in minivoy-*) WATCH_LINE=$(($(wc -l <"$RUN/proxy.log") + 2)) ;; esac
    cpu_times >"$RUN/before"
    WATCH_START=$EPOCHREALTIME
}

end_watch() {
    local lab=$1 round=$2 proxy=$3 row=$4 end=$EPOCHREALTIME share='' memory=''
    cpu_times >"$RUN/after"
    if [ "$proxy" != direct ]; then
        memory=$(awk '/^(VmRSS|HugetlbPages):/ { sum += $2 } END { print sum * 1024 }' \
            "/proc/${PID[proxy]}/status" 2>/dev/null || true)
    fi
    case $proxy in minivoy-*) share=$(busy_share "$WATCH_LINE") ;; esac
    python3 -B "$ROOT/scripts/bench/record.py" "$RUN" lab="$lab" round="$round" proxy="$proxy" \
        body="${row%:*}" connections="${row#*:}" core="$PROXY_CPU" share="$share" memory="$memory" \
        seconds="$(awk "BEGIN { print $end - $WATCH_START }")" >>"$RESULTS"
    say "$lab, round $round, $row, $proxy: $(python3 -B "$ROOT/scripts/bench/record.py" --show "$RESULTS")"
}

# Seconds of load for a row. All connections' bodies may go forward together and end together, so that
# exchanges are counted by the wave: there should be a dozen waves, at a gigabyte a second, within reason.
seconds_for() {
    local wave=$((${1%:*} * ${1#*:} / 1000000000 * 12))
    [ $wave -gt $((5 * LOAD_SECONDS)) ] && wave=$((5 * LOAD_SECONDS))
    [ $wave -gt "$LOAD_SECONDS" ] && echo $wave || echo "$LOAD_SECONDS"
}

# ------------------------------------------------------------------------------- veth

veth_up() {
    lab_up kernel
    # The direct link: the origin's address, reached without the proxy's namespace.
    join client d0 origin d0
    in_ns client ip addr add 10.77.3.1/24 dev d0
    in_ns origin ip addr add 10.77.3.2/24 dev d0
    in_ns client ip route add 10.77.2.2/32 via 10.77.3.2 dev d0
    mkdir -p "$RUN/www"
    local size
    for size in 1024 $(rows_of veth | tr ' ' '\n' | sed -n 's/:.*//p' | sort -u); do
        head -c "$size" /dev/zero | tr '\0' 'x' >"$RUN/www/$size"
    done
    start origin origin "$LOAD_CPUS" nginx -p "$RUN" -c "$ROOT/scripts/peers/origin.nginx.conf"
    ready origin 10 in_ns client curl -sf -m 2 -o "$RUN/answer" http://10.77.2.2:8080/1024
    BENCH_CONFIG=$ROOT/configs/quickstart.toml
}

veth_down() {
    stop origin || true
    rm -rf "$RUN/www"
    lab_down
}

# veth_load BODY CONNECTIONS SECONDS
veth_load() {
    if [ "$LOADER" = wrk ] || [ "${URL#https}" != "$URL" ]; then
        run_wrk "$2" "$3" "$URL/$1" || true
        python3 -B "$ROOT/scripts/bench/record.py" --wrk "$RUN/wrk.log" "$2" >"$RUN/load.json"
        return
    fi
    attend in_ns client taskset -c "$LOAD_CPUS" "$(release_dir)/minivoy-load" --kernel -c "$2" \
        -t "$3s" --timeout 120s --progress=0 --json "$RUN/load.json" "$URL/$1" >"$RUN/load.log" 2>&1 || true
}

veth_round() {
    local round=$1 proxy=$2 row
    begin "$proxy"
    await "$proxy"
    for row in $3; do
        veth_load "${row%:*}" "${row#*:}" 1    # warms pools and congestion windows
        begin_watch "$proxy"
        veth_load "${row%:*}" "${row#*:}" "$(seconds_for "$row")"
        end_watch veth "$round" "$proxy" "$row"
    done
    finish "$proxy"
    # TLS towards the client: the one row of the record that has it.
    if [ "$proxy" = envoy ] && [[ " $3 " == *" 12700000:100 "* ]]; then
        make_certificate
        begin envoy-https
        await envoy-https
        veth_load 12700000 100 1
        begin_watch envoy-https
        veth_load 12700000 100 "$(seconds_for 12700000:100)"
        end_watch veth "$round" envoy-https 12700000:100
        finish envoy-https
    fi
}

# ------------------------------------------------------------------------------- generator

generator_up() {
    local dev
    lab_up kernel
    # minivoy-load holds the addresses of client and origin, on the veth ends moved into one namespace.
    for dev in client:c0 origin:o0; do
        in_ns "${dev%:*}" ip link set dev "${dev#*:}" netns "$LAB-client" 2>/dev/null || true
        in_ns client ip addr flush dev "${dev#*:}"
        unaddressed client "${dev#*:}"
        in_ns client ip link set dev "${dev#*:}" up
    done
    # The proxy's packets come to the proxy's core: the kernel would receive them on the sender's.
    for dev in veth-c veth-o; do
        printf '%x' $((1 << PROXY_CPU)) | in_ns proxy tee "/sys/class/net/$dev/queues/rx-0/rps_cpus" >/dev/null
    done
    BENCH_CONFIG=$ROOT/configs/quickstart.toml
}

generator_down() { lab_down; }

generator_round() { generator_load generator "$@"; }

# generator_load LAB ROUND PROXY ROWS [minivoy-load's options]
generator_load() {
    local lab=$1 round=$2 proxy=$3 rows=$4 row
    shift 4
    for row in $rows; do
        begin "$proxy"
        await_listening "$proxy"
        begin_watch "$proxy"
        attend in_ns client "$(release_dir)/minivoy-load" -l "${LOAD_CPUS##*,}" --no-pci "${LOAD_MEMORY[@]}" \
            --no-telemetry --file-prefix "$LAB-load" -- \
            --port client=packet:c0,address=10.77.1.2/24 --port origin=packet:o0,address=10.77.2.2/24 \
            --origin 10.77.2.2:8080 -c "${row#*:}" -t "$(seconds_for "$row")s" --warmup 1s --timeout 120s \
            --progress=0 --json "$RUN/load.json" "$@" "$URL/${row%:*}" >"$RUN/load.log" 2>&1 || true
        end_watch "$lab" "$round" "$proxy" "$row"
        finish "$proxy"
    done
}

# ------------------------------------------------------------------------------- wire

wire_up() { :; }
wire_down() { :; }

wire_round() { wire_load wire "$@"; }

# wire_load LAB ROUND PROXY ROWS [minivoy-load's options]
wire_load() {
    local lab=$1 round=$2 proxy=$3 rows=$4 row class many
    shift 4
    for row in $rows; do
        many=()
        [ "${row#*:}" -le 8000 ] || many=(--pool-small 200000)
        # Zero-copy receives into large frames: fewer pieces to send.
        class=small
        [ "$proxy" != minivoy-zero-copy ] || class=large
        wire_config "${row#*:}" $class >"$RUN/wire.toml"
        start_wire_load -c "${row#*:}" -t "$(seconds_for "$row")s" --warmup 1s --timeout 120s \
            "${many[@]}" "$@" "http://10.77.1.1:8080/${row%:*}"
        start_wire_proxy --config "$RUN/wire.toml" --mover "$(mover_of "$proxy")"
        begin_watch "$proxy"
        wait "${PID[load]}" || true
        unset "PID[load]"
        end_watch "$lab" "$round" "$proxy" "$row"
        finish "$proxy"
    done
}

# ------------------------------------------------------------------------------- short connections

short_up() {
    generator_up
    # A client of ours takes source ports again that the one before has used. Where a kernel proxy still has them in
    # TIME-WAIT, half of the handshakes would begin with a second's wait: peers get none.
    in_ns proxy sysctl -qw net.ipv4.tcp_max_tw_buckets=0
}
short_down() { generator_down; }
short_round() { generator_load short "$@" --no-keepalive; }

shortwire_up() { :; }
shortwire_down() { :; }
shortwire_round() { wire_load shortwire "$@" --no-keepalive; }
