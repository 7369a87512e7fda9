//! Pools that are too small for what the ports post.

use super::*;

/// What is said of the minimal configuration with so many frames, and `dpdk` devices for both ports
/// or not.
fn said(dpdk: bool, small: u32, large: u32) -> String {
    let text = if dpdk {
        MINIMAL.replace("packet:eth", "dpdk:net_tap")
    } else {
        MINIMAL.to_owned()
    };
    let memory = format!("{text}\n[memory]\nsmall_frames = {small}\nlarge_frames = {large}\n");
    let config = from_toml("t.toml", &memory).unwrap();
    config.check_frames().err().unwrap_or_default()
}

/// The least value that a refusal names.
fn least(line: &str) -> u32 {
    let (_, rest) = line.split_once("write ").expect("it says what to write");
    rest.split(' ').next().unwrap().parse().unwrap()
}

/// Two packet ports post 2 × 64 messages of one small and four large frames, and as many are in a
/// burst; a head of up to 64 KiB takes five large ones. One eighth stays in reserve.
#[test]
fn the_least_of_packet_ports_is_what_they_post_and_a_burst() {
    let head = from_toml("t.toml", MINIMAL)
        .unwrap()
        .settings
        .limits
        .max_head;
    let heads = (head + 2048).div_ceil(16_384);
    for (small, large, key, option, bound) in [
        (
            292,
            8192,
            "memory.small_frames: 292 ",
            "--pool-small",
            257_u32,
        ),
        (
            8192,
            1024,
            "memory.large_frames: 1024 ",
            "--pool-large",
            1024 + heads,
        ),
    ] {
        let line = said(false, small, large);
        assert!(line.starts_with(key), "{line}");
        assert!(line.contains(option), "{line}");
        assert_eq!(least(&line), (bound * 8).div_ceil(7), "{line}");
    }
    assert_eq!(said(false, 294, 1200), "");
    assert_eq!(said(false, 1, 1).lines().count(), 2);
}

#[test]
fn the_least_of_devices_is_their_descriptors_and_a_burst() {
    let line = said(true, 2 * 1024, 1024);
    assert!(line.starts_with("memory.small_frames: 2048 "), "{line}");
    let bound = least(&line);
    // Posted, and in a burst, on two ports.
    assert!(bound > 4 * 1024 * 8 / 7, "{line}");
    assert_eq!(said(true, bound, 1024), "");
    assert_ne!(said(true, bound - 1, 1024), "");
}

#[test]
fn the_defaults_suffice_for_four_ports_of_either_kind() {
    for device in ["packet:eth", "dpdk:net_tap"] {
        let mut config = from_toml("t.toml", &MINIMAL.replace("packet:eth", device)).unwrap();
        config.ports.extend(config.ports.clone());
        assert_eq!(config.check_frames(), Ok(()), "{device}");
    }
}
