//! `--port NAME=DEVICE,address=A/L[,address=…][,gateway=A][,sources=PREFIX][,mtu=N]`.

use std::net::IpAddr;

use dataplane::port::FrameClass;
use dataplane::settings::{AddressRange, PortSettings};
use minivoy::config::{PortConfig, parse as notation};

use crate::cli::Sources;
use crate::parse;

/// Most own addresses of a port, beside its sources: what smoltcp's interface is built for
/// (`.cargo/config.toml`).
const MAX_ADDRESSES: usize = 8;

/// A port, read from its option.
#[derive(Clone, Debug)]
pub struct PortOption {
    /// What the engine is told.
    pub settings: PortSettings,
    /// The device.
    pub config: PortConfig,
}

/// Reads one.
///
/// # Errors
/// A line that says what is wrong with it, and what to write.
pub fn read(text: &str) -> Result<PortOption, String> {
    let wrong = |what: String| format!("--port {text}: {what}");
    let mut parts = text.split(',');
    let Some((name, device)) = parts.next().and_then(|first| first.split_once('=')) else {
        return Err(wrong(
            "write NAME=packet:INTERFACE or NAME=dpdk:DEVICE, then ,address=A/L".into(),
        ));
    };
    let mut port = PortOption {
        settings: PortSettings {
            name: name.to_owned(),
            ..PortSettings::default()
        },
        config: PortConfig {
            device: notation::device(device).map_err(wrong)?,
            mtu: None,
            rx_class: FrameClass::Large,
        },
    };
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let settings = &mut port.settings;
        match key {
            "address" => settings
                .addresses
                .push(notation::cidr(value).map_err(wrong)?),
            "gateway" => settings
                .gateways
                .push(notation::host_address(value).map_err(wrong)?),
            "sources" => settings
                .ranges
                .push(range(&parse::sources(value).map_err(wrong)?)),
            "mtu" => {
                let mtu = value.parse().ok().filter(|mtu| *mtu >= 576);
                port.config.mtu = Some(mtu.ok_or_else(|| wrong("write mtu=576 or more".into()))?);
            }
            _ => {
                return Err(wrong(format!(
                    "{key} is none of address, gateway, sources and mtu"
                )));
            }
        }
    }
    match port.settings.addresses.len() {
        0 => Err(wrong(
            "a port needs an address: write ,address=10.0.0.9/24".into(),
        )),
        1..=MAX_ADDRESSES => Ok(port),
        _ => Err(wrong(format!(
            "a port has at most {MAX_ADDRESSES} addresses: for more write ,sources=PREFIX"
        ))),
    }
}

/// The engine's way to write down addresses that follow one another.
pub fn range(sources: &Sources) -> AddressRange {
    AddressRange {
        first: sources.first,
        count: u32::try_from(sources.count).unwrap_or(u32::MAX),
    }
}

impl PortOption {
    /// Whether the port reaches `address`: as a neighbour, or with `far` through a gateway.
    pub fn reaches(&self, address: IpAddr, far: bool) -> bool {
        let settings = &self.settings;
        let mut own = settings.addresses.iter();
        own.any(|&prefix| notation::on_link(prefix, address))
            || far
                && settings
                    .gateways
                    .iter()
                    .any(|gateway| gateway.is_ipv4() == address.is_ipv4())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_with_everything() {
        let port = read(
            "lan=dpdk:net_vhost0,address=10.0.0.9/24,address=fd00::9/64,gateway=10.0.0.1,\
             sources=10.0.0.128/30,mtu=9000",
        )
        .unwrap();
        let settings = &port.settings;
        assert_eq!(settings.name, "lan");
        assert_eq!(port.config.device.to_string(), "dpdk:net_vhost0");
        assert_eq!(settings.addresses.len(), 2);
        assert_eq!(settings.ranges[0].count, 2);
        assert_eq!(settings.ranges[0].nth(1).to_string(), "10.0.0.130");
        assert_eq!(port.config.mtu, Some(9000));
        for (address, near, far) in [
            ("10.0.0.77", true, true),
            ("10.1.0.77", false, true),
            ("fd00::1", true, true),
            ("fd01::1", false, false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(port.reaches(address, false), near, "{address}");
            assert_eq!(port.reaches(address, true), far, "{address}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("lan", "NAME=packet:"),
            ("lan=eth0", "packet:INTERFACE"),
            ("lan=packet:eth0", "needs an address"),
            ("lan=packet:eth0,address=10.0.0.9", "10.0.0.9/24"),
            ("lan=packet:eth0,addres=10.0.0.9/24", "addres is none of"),
            ("lan=packet:eth0,address=10.0.0.9/24,mtu=1", "mtu=576"),
            ("lan=packet:eth0,address=10.0.0.9/24,sources=x", "prefix"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
            assert!(error.starts_with("--port lan"), "{error}");
        }
    }
}
