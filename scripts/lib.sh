# What the scripts share: packages, hugepages, namespaces, processes, and undoing all of it.
# Sourced by bash scripts: `source "$(dirname "$0")/lib.sh"`.
#
# The lab is three network namespaces of this run alone, named after the script's pid:
#
#   client ── c0│veth-c ── proxy ── veth-o│o0 ── origin
#   10.77.1.2   10.77.1.1           10.77.2.1    10.77.2.2
#   fd77:1::2   fd77:1::1           fd77:2::1    fd77:2::2
#
# Whatever a function changes it also registers with `undo`, and everything registered is undone,
# last first, when the script ends, however it ends (except by SIGKILL).

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
LAB="mv-$$"                          # prefix of this run's namespaces
RUN=$(mktemp -d "${TMPDIR:-/tmp}/mv.XXXXXX")   # logs, generated files; removed at the end

# ---------------------------------------------------------------------------------- messages

say() { printf '\033[2m%(%H:%M:%S)T\033[0m %s\n' -1 "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

need_root() { [ "$(id -u)" = 0 ] || die "must run as root (namespaces, hugepages, packet sockets)"; }

# ---------------------------------------------------------------------------------- undoing

UNDO=()
undo() { UNDO+=("$*"); }             # a command line, evaluated when the script ends

clean_up() {
    local status=$? i
    trap '' INT TERM HUP
    trap - EXIT
    set +e
    for ((i = ${#UNDO[@]} - 1; i >= 0; i--)); do eval "${UNDO[i]}"; done
    exit "$status"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
undo "rm -rf '$RUN'"

# ---------------------------------------------------------------------------------- packages

BUILD_PACKAGES=(build-essential clang libclang-dev pkg-config libdpdk-dev dpdk-dev ca-certificates)
LAB_PACKAGES=(iproute2 ethtool util-linux procps curl python3 nginx-light wrk)

# Installs the named Debian packages that are missing. Daemons that come with them are not started.
install_packages() {
    local missing=() package
    for package in "$@"; do
        # nginx-light is one of several packages that provide nginx; any of them will do.
        case $package in nginx-light) command -v nginx >/dev/null && continue ;; esac
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    say "installing ${missing[*]}"
    # invoke-rc.d asks policy-rc.d before it starts a service; 101 forbids it.
    local policy=/usr/sbin/policy-rc.d
    if [ -e $policy ]; then
        cp -a $policy "$RUN/policy-rc.d"
        undo "[ -e '$RUN/policy-rc.d' ] && mv -f '$RUN/policy-rc.d' $policy"
    else
        undo "rm -f $policy"
    fi
    printf '#!/bin/sh\nexit 101\n' >"$RUN/policy-rc.d.ours"
    install -m 755 "$RUN/policy-rc.d.ours" $policy
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -q && apt-get install -y -q --no-install-recommends "${missing[@]}"; } \
        >"$RUN/apt.log" 2>&1 || { tail -n 20 "$RUN/apt.log" >&2; die "apt-get failed"; }
    if [ -e "$RUN/policy-rc.d" ]; then mv -f "$RUN/policy-rc.d" $policy; else rm -f $policy; fi
}

# Finds cargo, new enough for the workspace. A machine's Rust is its owner's to install: where it is
# missing or too old this ends with what to do.
need_rust() {
    [ -f "$HOME/.cargo/env" ] && PATH="$HOME/.cargo/bin:$PATH"
    local want have
    want=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")
    have=$(rustc --version 2>/dev/null | cut -d' ' -f2 || true)
    if [ -n "$have" ] && [ "$(printf '%s\n' "$want" "$have" | sort -V | head -n1)" = "$want" ]; then
        command -v cargo >/dev/null || die "rustc $have is here, but no cargo: install cargo beside it"
        return
    fi
    if command -v rustup >/dev/null; then
        die "Rust $want or newer is needed, found ${have:-none}: run 'rustup update stable' and 'rustup default stable'"
    fi
    die "Rust $want or newer is needed, found ${have:-none}: install rustup as the Rust project's site says" \
        "(Debian 12 has neither rustup nor a Rust this new), then 'rustup toolchain install stable'"
}

# Where cargo puts release binaries.
release_dir() { printf '%s/release' "${CARGO_TARGET_DIR:-$ROOT/target}"; }

# ---------------------------------------------------------------------------------- cores

# The cores this shell may use, as a space-separated list.
cores() { python3 -c 'import os; print(*sorted(os.sched_getaffinity(0)))'; }

# Sets PROXY_CPU (one core) and LOAD_CPUS (taskset list for clients and origins): the proxy has the
# last core to itself if there is more than one.
choose_cores() {
    local all
    read -ra all <<<"$(cores)"
    PROXY_CPU=${all[-1]}
    if [ ${#all[@]} -gt 1 ]; then unset 'all[-1]'; fi
    LOAD_CPUS=$(IFS=,; printf '%s' "${all[*]}")
    LOAD_CORES=${#all[@]}
}

# ---------------------------------------------------------------------------------- hugepages

# reserve_hugepages MEBIBYTES: makes that much hugepage memory free and sets EAL_MEMORY to the EAL
# options that use it, or to those that do without where the kernel has no pages to give.
reserve_hugepages() {
    local mib=$1 dir=/sys/kernel/mm/hugepages/hugepages-2048kB want free before after
    EAL_MEMORY=(--no-huge -m "$mib")
    if [ ! -w $dir/nr_hugepages ]; then
        say "no 2 MiB hugepages in this kernel: using --no-huge"
        return
    fi
    want=$((mib / 2))
    free=$(<$dir/free_hugepages)
    if [ "$free" -lt "$want" ]; then
        before=$(<$dir/nr_hugepages)
        echo $((before + want - free)) >$dir/nr_hugepages || true
        after=$(<$dir/nr_hugepages)
        # Gives back as many as were added, so that two runs at a time do not take each other's.
        undo "give_back $((after - before)) $dir/nr_hugepages"
        free=$(<$dir/free_hugepages)
    fi
    if [ "$free" -lt "$want" ]; then
        say "only $free of $want hugepages could be had: using --no-huge"
        return
    fi
    EAL_MEMORY=(--in-memory -m "$mib")
}

give_back() {
    local left=$(($(<"$2") - $1))
    echo $((left > 0 ? left : 0)) >"$2"
}

# ---------------------------------------------------------------------------------- namespaces

# Runs a command in one of this run's namespaces: `in_ns client curl …`.
in_ns() { local ns=$1; shift; ip netns exec "$LAB-$ns" "$@"; }

make_ns() {
    local ns=$1
    ip netns add "$LAB-$ns"
    undo "remove_ns $ns"
    in_ns "$ns" sysctl -qw net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.autoconf=0 \
        net.ipv6.conf.default.router_solicitations=0 net.ipv6.conf.default.dad_transmits=0 \
        net.ipv4.ip_local_port_range='1024 65535' net.ipv4.tcp_tw_reuse=1 \
        net.core.somaxconn=65535 net.ipv4.tcp_max_syn_backlog=65535
    in_ns "$ns" ip link set lo up
}

# Ends what still runs in the namespace (it is this run's own) and deletes it.
remove_ns() {
    local ns=$LAB-$1 pids
    [ -e "/run/netns/$ns" ] || return 0
    for signal in TERM KILL; do
        pids=$(ip netns pids "$ns" 2>/dev/null)
        [ -z "$pids" ] && break
        # shellcheck disable=SC2086
        kill -$signal $pids 2>/dev/null
        sleep 0.3
    done
    ip netns del "$ns"
}

# join NS IF NS IF: a veth pair between two namespaces, both ends up.
join() {
    ip link add name "$2" netns "$LAB-$1" type veth peer name "$4" netns "$LAB-$3"
    in_ns "$1" ip link set dev "$2" up
    in_ns "$3" ip link set dev "$4" up
}

# An interface the kernel is to leave alone: no address, no autoconfigured IPv6 one either.
unaddressed() { in_ns "$1" sysctl -qw "net.ipv6.conf.$2.disable_ipv6=1"; }

addressed() {
    local ns=$1 dev=$2 net=$3 host=$4
    in_ns "$ns" ip addr add "10.77.$net.$host/24" dev "$dev"
    in_ns "$ns" ip -6 addr add "fd77:$net::$host/64" dev "$dev" nodad
}

# lab_up OWNER [relay]: makes the namespaces. OWNER is who holds the proxy's addresses: `kernel` for
# a proxy on kernel sockets, `port` for minivoy, whose packet port wants them for itself.
# With `relay` a namespace for tests/relay stands in each link (relay-c, relay-o), interfaces `a`
# towards the client and `b` towards the origin, and every interface sends single frames.
lab_up() {
    local owner=$1 relay=${2:-} ns dev
    for ns in client proxy origin; do make_ns $ns; done
    if [ -n "$relay" ]; then
        make_ns relay-c; make_ns relay-o
        join client c0 relay-c a; join relay-c b proxy veth-c
        join proxy veth-o relay-o a; join relay-o b origin o0
        for dev in "client c0" "proxy veth-c" "proxy veth-o" "origin o0" \
            "relay-c a" "relay-c b" "relay-o a" "relay-o b"; do
            # shellcheck disable=SC2086
            set -- $dev
            in_ns "$1" ethtool -K "$2" tso off gso off gro off >/dev/null
        done
        for ns in relay-c relay-o; do unaddressed $ns a; unaddressed $ns b; done
    else
        join client c0 proxy veth-c
        join proxy veth-o origin o0
    fi
    addressed client c0 1 2
    addressed origin o0 2 2
    if [ "$owner" = kernel ]; then
        addressed proxy veth-c 1 1
        addressed proxy veth-o 2 1
    else
        unaddressed proxy veth-c
        unaddressed proxy veth-o
    fi
    raise_backlog 10000
}

lab_down() {
    local ns
    for ns in client proxy origin relay-c relay-o; do remove_ns $ns; done
}

# veth hands packets to the receiving side through a queue per core, 1000 long by default: bursts of
# a thousand connections overflow it. The setting is the machine's, so it is put back.
raise_backlog() {
    local key=net.core.netdev_max_backlog old
    old=$(sysctl -n $key)
    [ "$old" -ge "$1" ] && return
    sysctl -qw $key="$1"
    undo "sysctl -qw $key=$old"
}

# ---------------------------------------------------------------------------------- processes

declare -A PID=()

# start NAME NS CPUS COMMAND…: runs it in the background in a namespace, pinned; NS `-` is none, CPUS
# `-` leaves pinning to the command. Its output goes to $RUN/NAME.log.
start() {
    local name=$1 ns=$2 cpus=$3
    shift 3
    [ "$cpus" = - ] || set -- taskset -c "$cpus" "$@"
    [ "$ns" = - ] || set -- ip netns exec "$LAB-$ns" "$@"
    "$@" >"$RUN/$name.log" 2>&1 &
    PID[$name]=$!
    undo "stop $name"
}

# attend COMMAND…: waits for the command as if it ran in the foreground, but so that a signal to the
# script is acted upon at once and not when the command has ended.
attend() {
    "$@" &
    wait $!
}

# stop NAME: SIGTERM, fifteen seconds of patience (minivoy drains for ten), SIGKILL. Returns the exit status of the process.
stop() {
    local pid=${PID[$1]:-} status=0 i
    [ -z "$pid" ] && return 0
    unset "PID[$1]"
    kill -TERM "$pid" 2>/dev/null || true
    for ((i = 0; i < 150; i++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null && say "$1 did not end on SIGTERM: killed"
    wait "$pid" || status=$?
    return $status
}

# ready NAME SECONDS COMMAND…: repeats the command until it succeeds; gives up, showing the log of the
# process started as NAME, when the time is over or that process has ended.
ready() {
    local name=$1 end=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        kill -0 "${PID[$name]}" 2>/dev/null || { show_log "$name"; die "$name ended at once"; }
        [ $SECONDS -lt $end ] || { show_log "$name"; die "$name does not answer"; }
        sleep 0.1
    done
}

# show_log NAME [LINES]: the end of a process's output.
show_log() {
    printf -- '---- %s\n' "$1" >&2
    tail -n "${2:-30}" "$RUN/$1.log" >&2
    printf -- '----\n' >&2
}

# The hard limit of open files, at most 100000, for this shell and what it starts.
raise_files() {
    local hard
    hard=$(ulimit -Hn)
    if [ "$hard" = unlimited ] || [ "$hard" -gt 100000 ]; then hard=100000; fi
    ulimit -n "$hard"
    [ "$hard" -ge "$1" ] || die "$1 open files needed, the limit is $hard (ulimit -Hn)"
}

# ---------------------------------------------------------------------------------- counters

# tcp_counter NS NAME: a counter of the kernel's TCP in the namespace, e.g. ActiveOpens, the
# connections it has opened: in the client's namespace, the sockets a load used.
tcp_counter() {
    in_ns "$1" awk -v name="$2" '
        $1 == "Tcp:" && !n { for (i = 2; i <= NF; i++) if ($i == name) n = i; next }
        $1 == "Tcp:" { print $n }' /proc/net/snmp
}

# ---------------------------------------------------------------------------------- accelerator

# model_tree DIR QUEUES NAME [MODE]: what the preloaded model of the accelerator stands on: DIR/sys in
# the place of /sys/bus/dsa/devices, DIR/dev in that of /dev/dsa, with one device and its queues.
model_tree() {
    local dir=$1 queues=$2 name=$3 mode=${4:-dedicated} i attribute
    mkdir -p "$dir/dev" "$dir/sys/dsa0"
    echo 0 >"$dir/sys/dsa0/numa_node"
    echo 1 >"$dir/sys/dsa0/pasid_enabled"
    for ((i = 0; i < queues; i++)); do
        mkdir -p "$dir/sys/wq0.$i"
        for attribute in type=user state=enabled "mode=$mode" "name=$name" size=32 \
            max_batch_size=64 max_transfer_size=2097152; do
            echo "${attribute#*=}" >"$dir/sys/wq0.$i/${attribute%%=*}"
        done
        truncate -s 4096 "$dir/dev/wq0.$i"
    done
}
