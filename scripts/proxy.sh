# The proxy under test and the load on it, for scripts that have sourced lib.sh. PROXY says which:
# `minivoy`, or `nginx`, which proves the lab itself.

# What stands before minivoy on its command line, and behind (see prepare_mover).
MOVER_ENV=() MOVER_ARGS=()

# Who holds the proxy's addresses (see lab_up).
proxy_owner() { [ "$PROXY" = minivoy ] && echo port || echo kernel; }

build_proxy() {
    case $PROXY in
        minivoy)
            need_rust
            say "cargo build --release"
            (cd "$ROOT" && cargo build -q --release --bin minivoy) || die "the build failed"
            prepare_mover "${MOVER:-mem}" 1 ;;
        nginx) ;;
        *) die "PROXY=$PROXY: minivoy or nginx" ;;
    esac
}

# Frames live in hugepages: MEMORY MiB of them.
prepare_proxy_memory() {
    EAL_MEMORY=()
    if [ "$PROXY" = minivoy ]; then
        reserve_hugepages "${MEMORY:-1024}"
        say "memory: ${EAL_MEMORY[*]}"
    fi
}

# The command line that runs minivoy with a configuration, in MINIVOY.
minivoy_command() {
    MINIVOY=("${MOVER_ENV[@]}" "$(release_dir)/minivoy" -l "$PROXY_CPU" --no-pci "${EAL_MEMORY[@]}"
        --file-prefix "$LAB" -- --config "$1" --mover "${MOVER:-mem}" "${MOVER_ARGS[@]}")
}

# start_proxy CONFIG: CONFIG is minivoy's; nginx has the same in scripts/peers/nginx.conf.
start_proxy() {
    case $PROXY in
        minivoy)
            minivoy_command "$1"
            start proxy proxy - "${MINIVOY[@]}" ;;
        nginx)
            start proxy proxy "$PROXY_CPU" nginx -p "$RUN" -c "$ROOT/scripts/peers/nginx.conf" ;;
    esac
}

# After the proxy has ended: did it say that every frame went back to its pool? Prints the line.
proxy_farewell() {
    [ "$PROXY" = minivoy ] || return 0
    grep -iE 'frames? returned' "$RUN/proxy.log" | tail -n 1 | grep .
}

# run_wrk CONNECTIONS SECONDS URL: sets WRK_RATE, WRK_REQUESTS, WRK_P50, WRK_P90, WRK_P99 (as wrk
# prints them) and WRK_ERRORS: connect, read, write and time-out errors and responses not 2xx or 3xx.
run_wrk() {
    local threads=$((LOAD_CORES < 4 ? LOAD_CORES : 4)) out=$RUN/wrk.log
    [ "$threads" -le "$1" ] || threads=$1
    attend in_ns client taskset -c "$LOAD_CPUS" \
        wrk -t"$threads" -c"$1" -d"$2s" --timeout 10s --latency "$3" >"$out" 2>&1 || {
        show_log wrk
        WRK_RATE=0 WRK_REQUESTS=0 WRK_P50=- WRK_P90=- WRK_P99=- WRK_ERRORS=1
        return 1
    }
    local word='$1 == w { print $2 }'
    WRK_RATE=$(awk -v w=Requests/sec: "$word" "$out")
    WRK_P50=$(awk -v w=50% "$word" "$out")
    WRK_P90=$(awk -v w=90% "$word" "$out")
    WRK_P99=$(awk -v w=99% "$word" "$out")
    WRK_REQUESTS=$(awk '/requests in/ { print $1 }' "$out")
    WRK_ERRORS=$(awk '
        /Socket errors:/ { gsub(",", ""); n += $4 + $6 + $8 + $10 }
        /Non-2xx or 3xx/ { n += $NF }
        END { print n + 0 }' "$out")
}

# prepare_mover MOVER WORKERS: what a mover needs beside minivoy, in MOVER_ENV (for env(1)): for dsa the
# modelled work queues, preloaded, since the lab has no accelerator.
prepare_mover() {
    MOVER_ENV=() MOVER_ARGS=()
    # The model has no core of its own: it is late when others are busy there.
    case $1 in dsa | dsa-model) MOVER_ARGS=(--dsa-deadline 1000) ;; esac
    [ "$1" = dsa ] || return 0
    (cd "$ROOT" && cargo build -q --release -p dsa-preload) || die "the model does not build"
    model_tree "$RUN/dsa" "$2" minivoy
    MOVER_ENV=(env "LD_PRELOAD=$(release_dir)/libdsa_preload.so"
        DSA_MODEL_DIRECT=1 "DSA_DEV_PATH=$RUN/dsa/dev" "DSA_SYSFS_PATH=$RUN/dsa/sys")
}
