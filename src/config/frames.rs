//! How many frames a worker cannot do without.
//!
//! A worker with fewer would stand still: below one eighth of either size it takes in no payload and
//! no connection (`dataplane::worker`), and frames that are posted for receiving never come back by
//! themselves.

use dataplane::port::FrameClass;
use dpdk::{DeviceConfig, PoolConfig};

use super::{Config, MemorySettings, PortDevice};

/// The part of a pool that a worker keeps from new payload: one in so many.
const RESERVE: u64 = 8;

/// What a rewritten head may have beyond `limits.max_head`: what is added to it.
const ADDED_TO_HEAD: u64 = 2048;

/// The largest packet a port may bring: what Linux, or a device that merges segments, makes.
const SUPER_SEGMENT: usize = 65_549;

/// Frames of both sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Frames {
    small: u64,
    large: u64,
}

impl Config {
    /// Looks whether a worker's pools have what its ports post for receiving and one burst of each
    /// besides, with the reserve untouched.
    ///
    /// # Errors
    /// A line for each size of which there are too few: key, value, and the least value.
    pub fn check_frames(&self) -> Result<(), String> {
        let least = self.least_frames();
        let MemorySettings {
            small_frames,
            large_frames,
        } = self.memory;
        let lines: Vec<String> = [
            ("memory.small_frames", "--pool-small", small_frames, least.small),
            ("memory.large_frames", "--pool-large", large_frames, least.large),
        ]
        .into_iter()
        .filter(|&(_, _, has, least)| u64::from(has) < least)
        .map(|(key, option, has, least)| {
            format!(
                "{key}: {has} is less than what the ports post for receiving and a burst of each take: \
                 a worker would stand still — write {least} or more (or {option} {least})"
            )
        })
        .collect();
        if lines.is_empty() {
            Ok(())
        } else {
            Err(lines.join("\n"))
        }
    }

    fn least_frames(&self) -> Frames {
        let sizes = PoolConfig::default();
        let mut needed = Frames::default();
        for port in &self.ports {
            let port = match port.device {
                PortDevice::Packet { .. } => packet_port(&sizes),
                PortDevice::Dpdk { .. } => dpdk_port(&sizes, port.rx_class),
            };
            needed.small += port.small;
            needed.large += port.large;
        }
        // A head is written to frames that must be there all at once.
        let head = u64::from(self.settings.limits.max_head) + ADDED_TO_HEAD;
        needed.small += 1;
        needed.large += head.div_ceil(u64::from(sizes.large.room));
        let with_reserve = |frames: u64| (frames * RESERVE).div_ceil(RESERVE - 1);
        Frames {
            small: with_reserve(needed.small),
            large: with_reserve(needed.large),
        }
    }
}

/// Each message has frames posted, and a burst takes those of all.
fn packet_port(sizes: &PoolConfig) -> Frames {
    let options = packet::Options::default();
    let messages = options.receive_batch as u64;
    let large = options.large_frames(sizes.small.room.into(), sizes.large.room.into()) as u64;
    Frames {
        small: 2 * messages,
        large: 2 * messages * large,
    }
}

/// Each descriptor has a frame posted. A burst is of that many packets, but of no more frames than
/// were posted. What the cache of the lcore that starts the device keeps is out of the worker's
/// reach.
fn dpdk_port(sizes: &PoolConfig, rx_class: FrameClass) -> Frames {
    let device = DeviceConfig::default();
    let posted = u64::from(device.rx_desc);
    let room = match rx_class {
        FrameClass::Small => sizes.small.room,
        FrameClass::Large => sizes.large.room,
    };
    let burst = (dpdk::BURST * SUPER_SEGMENT.div_ceil(room.into())) as u64;
    let frames = posted + burst.min(posted) + u64::from(sizes.cache);
    match rx_class {
        FrameClass::Small => Frames {
            small: frames,
            large: 0,
        },
        FrameClass::Large => Frames {
            small: 0,
            large: frames,
        },
    }
}
