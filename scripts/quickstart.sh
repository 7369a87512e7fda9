#!/usr/bin/env bash
# From nothing to a measured proxy: installs what is missing, builds, makes three network namespaces
# (client, proxy, origin), serves two files through minivoy, compares checksums, loads it with 1000
# connections for ten seconds, prints what it saw, and takes everything down again.
#
#   sudo scripts/quickstart.sh              minivoy
#   sudo PROXY=nginx scripts/quickstart.sh  the same with nginx in minivoy's place
#
# MOVER (mem), SECONDS_OF_LOAD (10) and CONNECTIONS (1000) may be set too. Exit status 0 means that
# both files were right, no request failed and every connection was kept.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$ROOT/scripts/proxy.sh"

PROXY=${PROXY:-minivoy}
CONNECTIONS=${CONNECTIONS:-1000}
SECONDS_OF_LOAD=${SECONDS_OF_LOAD:-10}
URL=http://10.77.1.1:8080

need_root
install_packages "${BUILD_PACKAGES[@]}" "${LAB_PACKAGES[@]}"
raise_files $((3 * CONNECTIONS))
choose_cores
build_proxy
prepare_proxy_memory

say "namespaces $LAB-client, $LAB-proxy, $LAB-origin"
lab_up "$(proxy_owner)"
mkdir -p "$RUN/www"
head -c 16384 /dev/urandom >"$RUN/www/16k"
head -c $((12 * 1024 * 1024)) /dev/urandom >"$RUN/www/12m"

say "origin: nginx on 10.77.2.2:8080, cores $LOAD_CPUS"
start origin origin "$LOAD_CPUS" nginx -p "$RUN" -c "$ROOT/scripts/peers/origin.nginx.conf"
ready origin 10 in_ns origin curl -sf -m 2 -o "$RUN/answer" http://10.77.2.2:8080/16k

say "proxy: $PROXY on 10.77.1.1:8080, core $PROXY_CPU"
start_proxy "$ROOT/configs/quickstart.toml"
ready proxy 30 in_ns client curl -sf -m 2 -o "$RUN/answer" $URL/16k

failed=0
fail() { printf 'FAILED: %s\n' "$*"; failed=1; }

for file in 16k 12m; do
    in_ns client curl -sf -m 60 -o "$RUN/got" "$URL/$file" || fail "curl $file"
    want=$(sha256sum <"$RUN/www/$file")
    got=$(sha256sum <"$RUN/got")
    [ "$want" = "$got" ] || fail "$file: sha256 $got, should be $want"
    printf '%-4s sha256 %s\n' "$file" "${got%% *}"
done

say "load: wrk, $CONNECTIONS connections, $SECONDS_OF_LOAD s"
before=$(tcp_counter client ActiveOpens)
run_wrk "$CONNECTIONS" "$SECONDS_OF_LOAD" "$URL/16k" || fail "wrk"
# wrk opens one more to see whether the address answers.
sockets=$(($(tcp_counter client ActiveOpens) - before - 1))

printf '%-14s %s\n' requests/s "$WRK_RATE" p50 "$WRK_P50" p99 "$WRK_P99" \
    errors "$WRK_ERRORS" 'sockets used' "$sockets for $CONNECTIONS connections"
[ "$WRK_ERRORS" = 0 ] || fail "$WRK_ERRORS requests failed"
[ "$WRK_REQUESTS" -gt 0 ] || fail "no request was answered"
[ "$sockets" = "$CONNECTIONS" ] || fail "connections were not kept"

kill -0 "${PID[proxy]}" || { fail "the proxy died"; show_log proxy; }
stop proxy || { fail "the proxy's exit status is $?"; show_log proxy; }
proxy_farewell || { fail "the proxy did not account for its frames"; show_log proxy; }

[ $failed = 0 ] && say "all right"
exit $failed
