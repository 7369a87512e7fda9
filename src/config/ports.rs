//! `[[port]]`: devices and their network identity.

use std::collections::HashMap;
use std::net::IpAddr;

use dataplane::port::FrameClass;
use dataplane::settings::PortSettings;

use super::resolve::Findings;
use super::{PortConfig, PortDevice, parse, schema};

/// Most own addresses of a port: what smoltcp's interface is built for (`.cargo/config.toml`).
const MAX_ADDRESSES: usize = 8;

/// Most ports: `PortId` is a byte.
const MAX_PORTS: usize = 256;

/// The ports, and which name is which.
pub struct Ports {
    /// In the order of the file.
    pub all: Vec<Port>,
    /// Index in `all`.
    pub by_name: HashMap<String, usize>,
}

/// One port.
pub struct Port {
    /// What the engine is told.
    pub settings: PortSettings,
    /// `None` when the device could not be read: then there is a finding too.
    pub config: Option<PortConfig>,
    /// Whether every address could be read, so that others may be held against them.
    pub addresses_known: bool,
}

impl Port {
    /// Whether `address` is one of the port's own.
    pub fn has(&self, address: IpAddr) -> bool {
        self.settings
            .addresses
            .iter()
            .any(|&(own, _)| own == address)
    }

    /// Whether `address` lies in one of the port's prefixes.
    pub fn is_on_link(&self, address: IpAddr) -> bool {
        let mut own = self.settings.addresses.iter();
        own.any(|&prefix| parse::on_link(prefix, address))
    }

    /// Whether the port has a gateway of `address`'s family.
    pub fn has_gateway_for(&self, address: IpAddr) -> bool {
        let mut gateways = self.settings.gateways.iter();
        gateways.any(|gateway| gateway.is_ipv4() == address.is_ipv4())
    }
}

impl Findings {
    /// Reads `[[port]]`.
    pub fn ports(&mut self, file: &schema::File) -> Ports {
        if file.port.is_empty() {
            self.add(
                0..0,
                "port",
                "there is no port — add a [[port]] with name, device and addresses",
            );
        }
        if let Some(extra) = file.port.get(MAX_PORTS) {
            self.add(
                extra.span(),
                "port",
                format!("more than {MAX_PORTS} ports — leave some out"),
            );
        }
        let mut ports = Ports {
            all: Vec::new(),
            by_name: HashMap::new(),
        };
        let mut devices: HashMap<PortDevice, String> = HashMap::new();
        let mut owners: HashMap<IpAddr, String> = HashMap::new();
        for (index, table) in file.port.iter().enumerate() {
            let span = table.span();
            let table = table.get_ref();
            let name = table.name.get_ref();
            self.name(&mut ports.by_name, &table.name, index, "port.name");
            let device = self.read(&table.device, "port.device", parse::device);
            if let Some(device) = &device
                && let Some(other) = devices.insert(device.clone(), name.clone())
            {
                self.add(
                    table.device.span(),
                    "port.device",
                    format!("{device} is the device of port \"{other}\" already — one port for each device"),
                );
            }

            let before = self.0.len();
            if table.addresses.is_empty() {
                self.add(
                    span,
                    "port.addresses",
                    "a port needs an address — write for example addresses = [\"10.0.0.1/24\"]",
                );
            }
            let addresses = self.addresses(table, &mut owners);
            let addresses_known = self.0.len() == before;
            let mut port = Port {
                settings: PortSettings {
                    name: name.clone(),
                    addresses,
                    gateways: Vec::new(),
                    neighbors: Vec::new(),
                    ranges: Vec::new(),
                },
                config: None,
                addresses_known,
            };
            port.settings.gateways = self.gateways(table, &port);
            port.settings.neighbors = self.neighbors(table, &port);
            let mtu = self.mtu(table, &port);
            let rx_class = self.rx_class(table, device.as_ref());
            port.config = device.map(|device| PortConfig {
                device,
                mtu,
                rx_class,
            });
            ports.all.push(port);
        }
        ports
    }

    fn addresses(
        &mut self,
        table: &schema::Port,
        owners: &mut HashMap<IpAddr, String>,
    ) -> Vec<(IpAddr, u8)> {
        const KEY: &str = "port.addresses";
        let name = table.name.get_ref();
        if let Some(ninth) = table.addresses.get(MAX_ADDRESSES) {
            self.add(
                ninth.span(),
                KEY,
                format!("a port has at most {MAX_ADDRESSES} addresses — leave some out"),
            );
        }
        let mut addresses = Vec::new();
        for text in &table.addresses {
            let Some(address) = self.read(text, KEY, parse::cidr) else {
                continue;
            };
            match owners.insert(address.0, name.clone()) {
                Some(owner) => self.add(
                    text.span(),
                    KEY,
                    format!(
                        "{} belongs to port \"{owner}\" already — an address has one owner",
                        address.0
                    ),
                ),
                None => addresses.push(address),
            }
        }
        addresses
    }

    fn gateways(&mut self, table: &schema::Port, port: &Port) -> Vec<IpAddr> {
        const KEY: &str = "port.gateways";
        let mut gateways: Vec<IpAddr> = Vec::new();
        for text in &table.gateways {
            let Some(gateway) = self.read(text, KEY, parse::host_address) else {
                continue;
            };
            if gateways
                .iter()
                .any(|other| other.is_ipv4() == gateway.is_ipv4())
            {
                let family = if gateway.is_ipv4() { "IPv4" } else { "IPv6" };
                self.add(
                    text.span(),
                    KEY,
                    format!("{gateway} is the second {family} gateway of this port — keep one"),
                );
            } else if port.has(gateway) {
                self.add(
                    text.span(),
                    KEY,
                    format!("{gateway} is the port's own address — write the router's"),
                );
            } else if port.addresses_known && !port.is_on_link(gateway) && !is_link_local(gateway) {
                self.add(text.span(), KEY, format!("{gateway} lies in no prefix of this port — a gateway is a neighbour: correct it or the prefix length in addresses"));
            }
            gateways.push(gateway);
        }
        gateways
    }

    fn neighbors(&mut self, table: &schema::Port, port: &Port) -> Vec<(IpAddr, [u8; 6])> {
        const KEY: &str = "port.neighbors.address";
        let mut neighbors: Vec<(IpAddr, [u8; 6])> = Vec::new();
        for neighbor in &table.neighbors {
            let address = self.read(&neighbor.address, KEY, parse::host_address);
            let mac = self.read(&neighbor.mac, "port.neighbors.mac", parse::mac);
            let (Some(address), Some(mac)) = (address, mac) else {
                continue;
            };
            let span = neighbor.address.span();
            if neighbors.iter().any(|&(other, _)| other == address) {
                self.add(
                    span,
                    KEY,
                    format!("{address} is listed already — keep one entry"),
                );
            } else if port.has(address) {
                self.add(
                    span,
                    KEY,
                    format!("{address} is the port's own address — leave it out"),
                );
            } else if port.addresses_known && !port.is_on_link(address) && !is_link_local(address) {
                self.add(span, KEY, format!("{address} lies in no prefix of this port — only neighbours have an Ethernet address here"));
            }
            neighbors.push((address, mac));
        }
        neighbors
    }

    /// At least what every host must take: RFC 791 section 3.1, RFC 8200 section 5.
    fn mtu(&mut self, table: &schema::Port, port: &Port) -> Option<u16> {
        let mtu = table.mtu.as_ref()?;
        let v6 = port.settings.addresses.iter().any(|(own, _)| own.is_ipv6());
        let least = if v6 { 1280 } else { 576 };
        if *mtu.get_ref() < least {
            self.add(
                mtu.span(),
                "port.mtu",
                format!("{} is too small — write {least} or more", mtu.get_ref()),
            );
        }
        Some(*mtu.get_ref())
    }

    fn rx_class(&mut self, table: &schema::Port, device: Option<&PortDevice>) -> FrameClass {
        let Some(wanted) = &table.rx_frames else {
            return FrameClass::Small;
        };
        let large = matches!(wanted.get_ref(), schema::RxFrames::Large);
        if large && matches!(device, Some(PortDevice::Packet { .. })) {
            self.add(
                wanted.span(),
                "port.rx_frames",
                "a packet: port receives into frames of both sizes — leave rx_frames out",
            );
        }
        match wanted.get_ref() {
            schema::RxFrames::Small => FrameClass::Small,
            schema::RxFrames::Large => FrameClass::Large,
        }
    }
}

/// Routers of IPv6 are usually known by their link-local address.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}
