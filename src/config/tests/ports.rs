//! What can be wrong with a `[[port]]`.

use super::*;

#[test]
fn mistakes_in_ports() {
    let device = "\"packet:eth1\"";
    for (wrong, fragment) in [
        ("\"eth1\"", "write packet:INTERFACE or dpdk:DEVICE"),
        ("\"packet:a/b\"", "`ip link` shows"),
        ("\"dpdk:\"", "write dpdk:0000:03:00.0"),
    ] {
        one_mistake(device, wrong, wrong, "port.device", &[fragment]);
    }
    one_mistake(
        "\"packet:eth2\"",
        device,
        device,
        "port.device",
        &["packet:eth1 is the device of port \"client\" already"],
    );

    let address = "\"fd77:1::1/64\"";
    for (wrong, fragment) in [
        (
            "\"10.77.5.1\"",
            "no prefix length — write for example 10.77.5.1/24",
        ),
        ("\"fd77:1::1\"", "write for example fd77:1::1/64"),
        ("\"10.77.5.1/33\"", "write /1 to /32"),
        ("\"10.77.5.0/24\"", "is the network address"),
        ("\"10.77.5.255/24\"", "is the broadcast address"),
        ("\"224.0.0.1/24\"", "a multicast address"),
        ("\"host/24\"", "is not an address with prefix length"),
        ("\"10.77.2.1/16\"", "belongs to port \"client\" already"),
        ("\"10.77.1.1/16\"", "belongs to port \"client\" already"),
    ] {
        // Where the same address stands twice, the second is the wrong one.
        let mark = if wrong == "\"10.77.2.1/16\"" {
            "\"10.77.2.1/24\""
        } else {
            wrong
        };
        one_mistake(address, wrong, mark, "port.addresses", &[fragment]);
    }
    one_mistake(
        "[\"10.77.2.1/24\"]",
        "[]\ngateways = []\nmtu = 1500",
        "[[port]]",
        "port.addresses",
        &["needs an address"],
    );
    let nine: Vec<String> = (1..=9).map(|n| format!("\"10.77.2.{n}/24\"")).collect();
    let nine = nine.join(", ").replace("10.77.2.2/", "10.77.2.22/");
    one_mistake(
        "\"10.77.2.1/24\"",
        &nine,
        "\"10.77.2.9/24\"",
        "port.addresses",
        &["at most 8"],
    );

    let place = "addresses = [\"10.77.2.1/24\"]";
    let with = |line: &str| format!("{place}\n{line}");
    for (line, mark, key, fragment) in [
        (
            "gateways = [\"10.9.9.9\"]",
            "\"10.9.9.9\"",
            "port.gateways",
            "lies in no prefix of this port",
        ),
        (
            "gateways = [\"10.77.2.1\"]",
            "\"10.77.2.1\"",
            "port.gateways",
            "own address",
        ),
        (
            "gateways = [\"gw\"]",
            "\"gw\"",
            "port.gateways",
            "is not an IP address",
        ),
        (
            "gateways = [\"10.77.2.9\", \"10.77.2.8\"]",
            "\"10.77.2.8\"",
            "port.gateways",
            "second IPv4 gateway",
        ),
        (
            "neighbors = [{ address = \"10.9.9.9\", mac = \"02:00:00:00:00:02\" }]",
            "\"10.9.9.9\"",
            "port.neighbors.address",
            "lies in no prefix",
        ),
        (
            "neighbors = [{ address = \"10.77.2.2\", mac = \"02:00:00:00:02\" }]",
            "\"02:",
            "port.neighbors.mac",
            "not an Ethernet address",
        ),
        (
            "neighbors = [{ address = \"10.77.2.2\", mac = \"ff:ff:ff:ff:ff:ff\" }]",
            "\"ff:",
            "port.neighbors.mac",
            "not the address of one station",
        ),
        (
            "neighbors = [{ address = \"10.77.2.2\", mac = \"+2:00:00:00:00:02\" }]",
            "\"+2:",
            "port.neighbors.mac",
            "not an Ethernet address",
        ),
        ("mtu = 500", "500", "port.mtu", "write 576 or more"),
        (
            "rx_frames = \"large\"",
            "\"large\"",
            "port.rx_frames",
            "leave rx_frames out",
        ),
    ] {
        one_mistake(place, &with(line), mark, key, &[fragment]);
    }
    one_mistake(
        place,
        "addresses = [\"10.77.2.1/24\", \"fd77:2::1/64\"]\nmtu = 1000",
        "1000",
        "port.mtu",
        &["write 1280 or more"],
    );
}
