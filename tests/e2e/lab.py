"""The lab as a case sees it: namespaces made by scripts/e2e.sh, origins, the proxy under test.

This process runs in the client's namespace; what it starts elsewhere it starts through
`ip netns exec`, pinned as the script says, with its output in a file.
"""

import os
import shlex
import signal
import subprocess
import sys
import time

import pattern
import wire

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
V4, V6 = ("10.77.1.1", 8080), ("fd77:1::1", 8080)
FILES = {"16k": 16 << 10, "1m": 1 << 20, "12m": 12 << 20, "700m": 700 << 20}
TIMEOUTS_OF_NGINX = """
client_header_timeout 2s;
proxy_connect_timeout 1s;
proxy_read_timeout 2s;
"""


class Process:
    """A process in one of the namespaces."""

    def __init__(self, argv, log):
        self.log = log
        with open(log, "wb") as out:
            self.child = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT)

    @property
    def alive(self):
        return self.child.poll() is None

    def terminate(self, within=15):
        """SIGTERM; returns the exit status, or None after the time and SIGKILL."""
        if self.alive:
            self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(within)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            return None

    def output(self):
        with open(self.log, errors="replace") as file:
            return file.read()


class Lab:
    """Origins are started once; the proxy whenever a case wants another configuration."""

    def __init__(self):
        env = os.environ
        self.prefix, self.dir = env["E2E_LAB"], env["E2E_RUN"]
        self.kind = env["E2E_PROXY"]
        self.mover = env.get("E2E_MOVER", "mem") if self.kind == "minivoy" else None
        self.impaired = bool(env.get("E2E_IMPAIRED"))
        self.load_seconds = int(env.get("E2E_LOAD_SECONDS", "5"))
        self.load_cpus, self.proxy_cpu = env["E2E_LOAD_CPUS"], env["E2E_PROXY_CPU"]
        self.command = shlex.split(env.get("E2E_COMMAND", ""))
        self.proxy, self.config, self.starts, self.failed_starts = None, None, 0, 0
        www = os.path.join(self.dir, "www")
        os.makedirs(www, exist_ok=True)
        for name, length in FILES.items():
            if not os.path.exists(os.path.join(www, name)):
                pattern.write_file(os.path.join(www, name), length)
        self.origins = [
            self.spawn(name, "origin", [sys.executable, "-B", f"{HERE}/origin.py", name, "10.77.2.2", port])
            for name, port in (("A", "9001"), ("B", "9002"), ("C", "9003"))
        ]
        conf = f"{ROOT}/scripts/peers/origin.nginx.conf"
        self.origins.append(self.spawn("files", "origin", ["nginx", "-p", self.dir, "-c", conf]))
        for port in (8080, 9001, 9002, 9003):
            self.wait_for("10.77.2.2", port, "origin")

    def spawn(self, name, ns, argv, cpus=None):
        where = ["ip", "netns", "exec", f"{self.prefix}-{ns}"]
        pin = [] if cpus == "-" else ["taskset", "-c", cpus or self.load_cpus]
        return Process([*where, *pin, *argv], os.path.join(self.dir, f"{name}.log"))

    def run(self, ns, argv):
        """The output of a command in a namespace."""
        where = ["ip", "netns", "exec", f"{self.prefix}-{ns}"]
        return subprocess.run([*where, *argv], check=True, capture_output=True, text=True).stdout

    def wait_for(self, address, port, ns, seconds=20):
        """Until something accepts connections there."""
        probe = f"import socket; socket.create_connection(({address!r}, {port}), 1)"
        argv = ["ip", "netns", "exec", f"{self.prefix}-{ns}", sys.executable, "-c", probe]
        end = time.monotonic() + seconds
        while subprocess.run(argv, capture_output=True).returncode != 0:
            if self.proxy and not self.proxy.alive:
                raise AssertionError(f"the proxy ended at once: {self.proxy.output()[-2000:]}")
            if time.monotonic() > end:
                raise AssertionError(f"nothing answers at {address}:{port}")
            time.sleep(0.1)

    def use(self, config, workers=None):
        """Has the proxy run with the configuration `e2e`, `patient` (the same without its short
        time-outs), `quickstart` (one route, to the files) or `dpdk` (`patient` over DPDK devices that
        do not steer); None: no proxy. Of minivoy there may be one worker or two (E2E_WORKERS: the
        default)."""
        workers = workers or int(os.environ.get("E2E_WORKERS", "1"))
        wanted = config if workers == 1 else f"{config} with {workers} workers"
        if wanted == self.config and self.proxy and self.proxy.alive:
            return
        self.stop_proxy()
        if config is None:
            return
        # So that a proxy that cannot start costs a minute and not one for each case.
        assert self.failed_starts < 3, "not run: the proxy failed to start three times"
        self.starts += 1
        self.failed_starts += 1
        if self.kind == "nginx":
            with open(os.path.join(self.dir, "timeouts.conf"), "w") as file:
                file.write(TIMEOUTS_OF_NGINX if config == "e2e" else "")
            conf = f"{ROOT}/scripts/peers/nginx.conf" if config == "quickstart" else f"{HERE}/nginx.conf"
            # Beside timeouts.conf, which nginx looks for where its configuration lies.
            with open(conf) as source, open(os.path.join(self.dir, "proxy.conf"), "w") as copy:
                copy.write(source.read())
            argv, cpus = ["nginx", "-p", self.dir, "-c", os.path.join(self.dir, "proxy.conf")], self.proxy_cpu
        else:
            argv, cpus = self.minivoy_argv(self.minivoy_config(config), workers), "-"
            if config in ("dpdk", "mixed"):
                devices = [("net_af_packet0", "veth-c"), ("net_af_packet1", "veth-o")]
                for name, interface in devices[config == "mixed" :]:
                    argv[1:1] = ["--vdev", f"{name},iface={interface},qpairs={workers}"]
        self.proxy = self.spawn(f"proxy-{self.starts}", "proxy", argv, cpus)
        self.config = wanted
        self.wait_for(*V4, "client")
        self.failed_starts = 0

    def restart(self):
        """The proxy again, with counters at zero."""
        config = self.config
        self.stop_proxy()
        self.use(config)

    def minivoy_argv(self, config_path, workers=1):
        argv = [word.replace("{config}", config_path) for word in self.command]
        if workers == 2:
            at, other = argv.index("-l"), self.load_cpus.split(",")[-1]
            if other == self.proxy_cpu:
                argv[at : at + 2] = ["--lcores", f"(0-1)@{other}"]
            else:
                argv[at + 1] = f"{other},{self.proxy_cpu}"
        return argv

    def minivoy_config(self, config):
        if config == "quickstart":
            return f"{ROOT}/configs/quickstart.toml"
        if config == "e2e":
            return f"{HERE}/e2e.toml"
        path = os.path.join(self.dir, f"{config}.toml")
        with open(f"{HERE}/e2e.toml") as source:
            text = source.read().split("[timeouts]")[0]
        if config == "dpdk":
            text = text.replace("packet:veth-c", "dpdk:net_af_packet0")
        if config in ("dpdk", "mixed"):
            text = text.replace("packet:veth-o", "dpdk:net_af_packet1")
        with open(path, "w") as copy:
            copy.write(text)
        return path

    def stop_proxy(self):
        """Ends the proxy. Returns its exit status (None: it had to be killed) and its output."""
        if self.proxy is None:
            return 0, ""
        status, output = self.proxy.terminate(), self.proxy.output()
        self.proxy, self.config = None, None
        return status, output

    def close(self):
        self.stop_proxy()
        for origin in self.origins:
            origin.terminate()

    # What cases do with it.

    def connect(self, address=V4, **options):
        return wire.Client(address, **options)

    def ask(self, target, **kwargs):
        """One request on a connection of its own."""
        with self.connect() as client:
            return client.ask(target, **kwargs)

    def counter(self, ns, name):
        """A counter of the kernel's TCP in a namespace, e.g. ActiveOpens, CurrEstab."""
        names, values = [
            line.split()
            for line in self.run(ns, ["cat", "/proc/net/snmp"]).splitlines()
            if line.startswith("Tcp:")
        ]
        return int(values[names.index(name)])
