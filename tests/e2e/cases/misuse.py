"""Misuse gets a clear line and a non-zero exit status, not a proxy that half works."""

import os
import subprocess

from harness import case


def complaint(lab, replace=("", ""), words=(), command=None):
    """Runs minivoy with a changed configuration; it must fail, naming each of the words."""
    with open(lab.minivoy_config("e2e")) as file:
        text = file.read()
    assert replace[0] in text
    path = os.path.join(lab.dir, "misuse.toml")
    with open(path, "w") as file:
        file.write(text.replace(*replace, 1))
    argv = ["ip", "netns", "exec", f"{lab.prefix}-proxy", *(command or lab.minivoy_argv(path))]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    said = done.stdout + done.stderr
    assert done.returncode != 0, said
    assert "panicked" not in said, said
    for word in words:
        assert word in said, f"does not name {word!r}: {said}"


@case("an unknown key", config=None, only="minivoy")
def unknown_key(lab):
    complaint(lab, ("[forwarding]", "[forwarding]\ncolour = 1"), ["misuse.toml", "colour"])


@case("an unknown interface", config=None, only="minivoy")
def unknown_device(lab):
    complaint(lab, ("packet:veth-c", "packet:none0"), ["none0"])


@case("one address on two ports", config=None, only="minivoy")
def address_clash(lab):
    complaint(lab, ("10.77.2.1/24", "10.77.1.1/24"), ["10.77.1.1"])


@case("a route to no cluster", config=None, only="minivoy")
def no_cluster(lab):
    complaint(lab, ('cluster = "both"', 'cluster = "neither"'), ["neither"])


@case("a file that is not there", config=None, only="minivoy")
def no_file(lab):
    complaint(lab, words=["/nowhere.toml"], command=lab.minivoy_argv("/nowhere.toml"))


@case("no privilege", config=None, only="minivoy")
def no_privilege(lab):
    # nobody keeps the namespace, loses CAP_NET_RAW. What it says first may be about either.
    argv = lab.minivoy_argv(lab.minivoy_config("e2e"))
    complaint(lab, command=["setpriv", "--reuid", "65534", "--clear-groups", "--bounding-set=-all", *argv])
