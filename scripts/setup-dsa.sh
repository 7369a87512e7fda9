#!/usr/bin/env bash
# Configures work queues of the Intel Data Streaming Accelerator for minivoy, with accel-config: on one
# device, a group with one engine and one dedicated queue for each worker.
#
#   sudo scripts/setup-dsa.sh [OPTIONS]
#
#   --device DSA      the device, e.g. dsa0 [the first there is]
#   --queues N        queues, one for each worker [1]
#   --engines N       engines in each queue's group [1]
#   --size N          slots of each queue [the device's slots divided by the queues, at most 128]
#   --max-batch N     most copies in a batch [64]
#   --max-transfer N  most bytes of a copy [2097152]
#   --mode MODE       dedicated or shared [dedicated]
#   --dry-run         print what would be run, run nothing
#
# A device that is configured so already is left alone. One that is configured otherwise is disabled
# first: whoever uses its queues loses them, so minivoy must not be running.
# DSA_SYSFS (/sys/bus/dsa/devices) may be set, for tests.
set -euo pipefail

SYSFS=${DSA_SYSFS:-/sys/bus/dsa/devices}
DEVICE='' QUEUES=1 ENGINES=1 SIZE='' MAX_BATCH=64 MAX_TRANSFER=2097152 MODE=dedicated DRY_RUN=

say() { printf '%s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
usage() { sed -n '2,/^set -euo/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; }

number() { [[ $2 =~ ^[1-9][0-9]*$ ]] || die "$1 $2: a number from 1 on"; }

while [ $# -gt 0 ]; do
    case $1 in
        --dry-run) DRY_RUN=1; shift; continue ;;
        -h | --help) usage; exit ;;
        --device | --queues | --engines | --size | --max-batch | --max-transfer | --mode) ;;
        *) die "unknown option $1; --help lists them" ;;
    esac
    [ $# -ge 2 ] || die "$1 needs a value"
    case $1 in
        --device) DEVICE=$2 ;;
        --mode) MODE=$2 ;;
        --queues) number "$1" "$2"; QUEUES=$2 ;;
        --engines) number "$1" "$2"; ENGINES=$2 ;;
        --size) number "$1" "$2"; SIZE=$2 ;;
        --max-batch) number "$1" "$2"; MAX_BATCH=$2 ;;
        --max-transfer) number "$1" "$2"; MAX_TRANSFER=$2 ;;
    esac
    shift 2
done

[ "$MODE" = dedicated ] || [ "$MODE" = shared ] || die "--mode $MODE: dedicated or shared"

# ---------------------------------------------------------------------------------- the device

if [ -z "$DEVICE" ]; then
    for folder in "$SYSFS"/dsa[0-9]*; do
        [ -d "$folder" ] && DEVICE=${folder##*/} && break
    done
    [ -n "$DEVICE" ] ||
        die "no DSA device in $SYSFS: is there one (lspci -d 8086:0b25), is idxd loaded (modprobe idxd)?"
fi
[ -d "$SYSFS/$DEVICE" ] || die "no device $DEVICE in $SYSFS"
ID=${DEVICE#dsa}

attribute() { cat "$SYSFS/$1" 2>/dev/null || echo "$2"; }

[ "$(attribute "$DEVICE/pasid_enabled" 1)" = 1 ] ||
    die "$DEVICE has no PASID: boot with intel_iommu=on,sm_on"

limit() { # what, wanted, the device's
    [ "$2" -le "$3" ] || die "$DEVICE has $3 $1, $2 are wanted"
}
SLOTS=$(attribute "$DEVICE/max_work_queues_size" 128)
limit "work queues" "$QUEUES" "$(attribute "$DEVICE/max_work_queues" 8)"
limit "groups" "$QUEUES" "$(attribute "$DEVICE/max_groups" 4)"
limit "engines" $((QUEUES * ENGINES)) "$(attribute "$DEVICE/max_engines" 4)"
SIZE=${SIZE:-$((SLOTS / QUEUES < 128 ? SLOTS / QUEUES : 128))}
limit "slots" $((QUEUES * SIZE)) "$SLOTS"
limit "descriptors in a batch" "$MAX_BATCH" "$(attribute "$DEVICE/max_batch_size" 1024)"
limit "bytes in a transfer" "$MAX_TRANSFER" "$(attribute "$DEVICE/max_transfer_size" 2147483648)"

# ---------------------------------------------------------------------------------- as it is

# Whether everything is as it would be made.
configured() {
    local q e expected
    [ "$(attribute "$DEVICE/state" '')" = enabled ] || return 1
    for ((q = 0; q < QUEUES; q++)); do
        for expected in state=enabled type=user "mode=$MODE" "size=$SIZE" "group_id=$q" \
            "max_batch_size=$MAX_BATCH" "max_transfer_size=$MAX_TRANSFER" block_on_fault=0; do
            [ "$(attribute "wq$ID.$q/${expected%%=*}" '')" = "${expected#*=}" ] || return 1
        done
    done
    for ((e = 0; e < QUEUES * ENGINES; e++)); do
        [ "$(attribute "engine$ID.$e/group_id" '')" = $((e / ENGINES)) ] || return 1
    done
}

if configured; then
    say "$DEVICE is configured so already: $QUEUES $MODE queues of $SIZE slots"
    exit
fi

# ---------------------------------------------------------------------------------- as it shall be

run() {
    if [ -n "$DRY_RUN" ]; then
        printf 'accel-config %s\n' "$*"
    else
        say "accel-config $*"
        accel-config "$@" >&2 || die "failed: accel-config $*"
    fi
}

if [ -z "$DRY_RUN" ]; then
    [ "$(id -u)" = 0 ] || die "must run as root (or with --dry-run)"
    command -v accel-config >/dev/null || die "no accel-config: apt-get install accel-config"
fi

# Disabling a device disables its queues and forgets their configuration.
[ "$(attribute "$DEVICE/state" disabled)" = disabled ] || run disable-device "$DEVICE"

for ((q = 0; q < QUEUES; q++)); do
    for ((e = q * ENGINES; e < (q + 1) * ENGINES; e++)); do
        run config-engine "$DEVICE/engine$ID.$e" --group-id="$q"
    done
    settings=(--group-id="$q" --type=user --driver-name=user --name="minivoy$q" --mode="$MODE"
        --wq-size="$SIZE" --priority=10 --block-on-fault=0 --max-batch-size="$MAX_BATCH"
        --max-transfer-size="$MAX_TRANSFER")
    # A shared queue keeps some slots from unprivileged submitters beyond its threshold.
    [ "$MODE" = dedicated ] || settings+=(--threshold="$SIZE")
    run config-wq "$DEVICE/wq$ID.$q" "${settings[@]}"
done
run enable-device "$DEVICE"
for ((q = 0; q < QUEUES; q++)); do
    run enable-wq "$DEVICE/wq$ID.$q"
done
say "$DEVICE: $QUEUES $MODE queues of $SIZE slots, $ENGINES engines each: minivoy … -- --mover dsa"
