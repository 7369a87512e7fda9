#!/usr/bin/env bash
# minivoy beside Envoy, nginx and HAProxy, each with one worker on the same core, under the same load,
# in turns, in three labs; writes the tables, the figures and everything measured to docs/bench/.
#
#   sudo scripts/bench.sh            the whole matrix: two hours and more
#   sudo scripts/bench.sh --quick    a part of it that tells most: five minutes
#
#   --labs "veth generator wire short shortwire"   which labs
#   --rounds N --seconds N         rounds of every measurement, seconds of load in each
#   --rows "16384:1000 …"          body:connections, in place of every lab's own
#   --proxies "direct envoy …"     which of direct minivoy-mem minivoy-zero-copy envoy nginx haproxy
#   --out DIR                      where to write [docs/bench]
#   --results FILE                 add what is measured to this file, and report all that is in it
#   --load wrk                     wrk in place of minivoy-load in the veth lab
#
# The labs:
#   veth       client and origin on kernel sockets in namespaces of their own (minivoy-load --kernel, or
#              wrk; nginx with sendfile), the proxy between them on veth pairs. Client and origin share
#              a core and saturate first: what tells proxies apart is the CPU that each adds to a request.
#   generator  client and origin are minivoy-load on packet sockets, in one loop on one core; the kernel
#              brings the proxy its packets on the proxy's core (RPS), whoever the proxy is.
#   wire       no kernel: minivoy on virtio-user NICs, minivoy-load behind them with vhost-user.
#   short      the generator lab with a connection for each request; shortwire: the same of the wire lab.
#
# CPU of a request. veth: busy time of the whole machine beyond what the same load takes without a
# proxy (`direct`). others: busy time of the proxy's core. A core that polls is never idle by
# the kernel's account: of minivoy's core the busy share counts that its log states.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$ROOT/scripts/proxy.sh"
source "$ROOT/scripts/wire-lab.sh"
source "$ROOT/scripts/bench/proxies.sh"
source "$ROOT/scripts/bench/labs.sh"

LABS="veth generator wire short shortwire" ROUNDS=3 LOAD_SECONDS=8 OUT=$ROOT/docs/bench ROWS='' PROXIES='' QUICK='' LOADER=minivoy-load RESULTS=$RUN/results.jsonl
while [ $# -gt 0 ]; do
    case $1 in
        --quick) QUICK=1 ROUNDS=2 LOAD_SECONDS=3; shift; continue ;;
        -h | --help) sed -n '2,/^source/{/^source/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    esac
    [ $# -gt 1 ] || die "$1 needs a value; --help says which options there are"
    case $1 in
        --labs) LABS=$2 ;;
        --rounds) ROUNDS=$2 ;;
        --seconds) LOAD_SECONDS=$2 ;;
        --rows) ROWS=$2 ;;
        --proxies) PROXIES=$2 ;;
        --out) OUT=$2 ;;
        --results) RESULTS=$2 ;;
        --load) LOADER=$2 ;;
        *) die "unknown option $1; --help says which there are" ;;
    esac
    shift 2
done
: >>"$RESULTS"

# What is measured in each lab, body:connections.
rows_of() {
    if [ -n "$ROWS" ]; then echo "$ROWS"; return; fi
    case $1:$QUICK in
        veth:) echo "16384:100 16384:500 16384:1000 16384:1500 16384:2500
            12700000:1 12700000:2 12700000:4 12700000:10 12700000:50 12700000:80 12700000:100 12700000:1000
            100000000:2 500000000:1 700000000:1 800000000:1" ;;
        veth:1) echo "16384:1000 12700000:100" ;;
        generator:) echo "1024:1000 16384:100 16384:500 16384:1000 16384:2500" ;;
        generator:1) echo "16384:1000" ;;
        wire:) echo "1024:100 1024:1000 16384:100 16384:1000 16384:10000 16384:100000 12700000:1 12700000:100" ;;
        short*) echo "1024:1000" ;;
        wire:1) echo "1024:1000 16384:1000 12700000:100" ;;
    esac
}

# And which proxies.
proxies_of() {
    if [ -n "$PROXIES" ]; then
        for proxy in $PROXIES; do
            case $1:$proxy in *wire:minivoy-*) echo "$proxy" ;; *wire:*) ;; generator:direct | short:direct) ;; *) echo "$proxy" ;; esac
        done
        return
    fi
    case $1 in
        veth) echo "$BENCH_PROXIES_ALL" ;;
        generator | short) echo "minivoy-mem minivoy-zero-copy envoy nginx haproxy" ;;
        wire | shortwire) echo "minivoy-mem minivoy-zero-copy" ;;
    esac
}

need_root
install_packages "${BUILD_PACKAGES[@]}" "${LAB_PACKAGES[@]}" haproxy openssl python3-venv
install_envoy
need_rust
say "cargo build --release"
(cd "$ROOT" && cargo build -q --release --bin minivoy --bin minivoy-load) || die "the build failed"
raise_files 20000
choose_cores
# Hugepages for the proxy and for the load.
reserve_hugepages 3500
LOAD_MEMORY=("${EAL_MEMORY[@]}")
EAL_MEMORY[-1]=2048 LOAD_MEMORY[-1]=1400
[ "${EAL_MEMORY[0]}" = --no-huge ] || { EAL_MEMORY+=(--single-file-segments); LOAD_MEMORY+=(--single-file-segments); }
SOURCES=10.77.1.16/28

say "proxy on core $PROXY_CPU, load on $LOAD_CPUS; $ROUNDS rounds of $LOAD_SECONDS s"
for lab in $LABS; do
    "${lab}_up"
    for ((round = 1; round <= ROUNDS; round++)); do
        for proxy in $(proxies_of "$lab"); do
            "${lab}_round" "$round" "$proxy" "$(rows_of "$lab")"
        done
    done
    "${lab}_down"
done
# matplotlib draws the plots, from a virtual environment beside the build.
VENV=$(dirname "$(release_dir)")/plots
[ -x "$VENV/bin/python" ] || python3 -m venv "$VENV"
"$VENV/bin/python" -c 'import matplotlib' 2>/dev/null || "$VENV/bin/pip" install -q matplotlib >&2 ||
    say "no matplotlib: no plots"
mkdir -p "$OUT"
"$VENV/bin/python" -B "$ROOT/scripts/bench/report.py" "$RESULTS" "$OUT" \
    --seconds "$LOAD_SECONDS" ${QUICK:+--quick}
say "written to ${OUT#"$PWD/"}"
