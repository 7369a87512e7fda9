//! What the file means: names looked up, addresses held against each other, bounds checked.
//!
//! Nothing stops at the first problem. A table with a broken value still counts for its name, and
//! what depends on the broken value is not judged, so that one mistake makes one line.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;

use dataplane::settings::{self, Cluster, ClusterId, Listener, PortId, Settings};
use toml::Spanned;

use super::bounds::timeouts;
use super::ports::{Port, Ports};
use super::schema::{self, Text};
use super::{Config, parse};

/// One thing that is wrong, and where.
pub struct Finding {
    /// Bytes of the file it is about.
    pub span: Range<usize>,
    /// The key, with the tables around it.
    pub key: &'static str,
    /// What is wrong — and what to write.
    pub message: String,
}

/// Checks and resolves the file.
///
/// # Errors
/// Everything that is wrong, in no particular order.
pub fn resolve(file: &schema::File) -> Result<Config, Vec<Finding>> {
    let mut found = Findings(Vec::new());
    let ports = found.ports(file);
    let clusters = found.clusters(file, &ports);
    let listeners = found.listeners(file, &ports, &clusters);
    found.no_loop(file, &ports, &listeners);
    let settings = Settings {
        ports: ports.all.iter().map(|port| port.settings.clone()).collect(),
        listeners,
        clusters: clusters.all,
        limits: found.limits(&file.limits),
        timeouts: timeouts(&file.timeouts),
        forwarding: found.forwarding(&file.forwarding),
        access_log: false,
        origins: Vec::new(),
        load: None,
    };
    let memory = found.memory(&file.memory);
    let devices = ports.all.into_iter().filter_map(|port| port.config);
    if found.0.is_empty() {
        Ok(Config {
            settings,
            ports: devices.collect(),
            memory,
        })
    } else {
        Err(found.0)
    }
}

/// The clusters, and which name is which.
struct Clusters {
    all: Vec<Cluster>,
    by_name: HashMap<String, usize>,
}

/// What was found so far. Each table's checks are methods, in the file of their table.
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// Notes a problem.
    pub fn add(&mut self, span: Range<usize>, key: &'static str, message: impl Into<String>) {
        let message = message.into();
        self.0.push(Finding { span, key, message });
    }

    /// Reads a piece of text, or says what is wrong with it.
    pub fn read<T>(
        &mut self,
        text: &Text,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        parse(text.get_ref())
            .map_err(|message| self.add(text.span(), key, message))
            .ok()
    }

    /// Enters a name, which must be new, for the table at `index`.
    pub fn name(
        &mut self,
        names: &mut HashMap<String, usize>,
        name: &Text,
        index: usize,
        key: &'static str,
    ) {
        let text = name.get_ref();
        if text.is_empty() || text.chars().any(char::is_control) {
            self.add(
                name.span(),
                key,
                "the name is empty or has control characters in it — write a word",
            );
        } else if names.contains_key(text) {
            self.add(
                name.span(),
                key,
                format!("\"{text}\" is taken — give each its own name"),
            );
        } else {
            let _none = names.insert(text.clone(), index);
        }
    }

    /// Looks a name up.
    fn look_up(
        &mut self,
        names: &HashMap<String, usize>,
        name: &Text,
        key: &'static str,
        what: &str,
    ) -> Option<usize> {
        let index = names.get(name.get_ref()).copied();
        if index.is_none() {
            let mut known: Vec<&str> = names.keys().map(String::as_str).collect();
            known.sort_unstable();
            let remedy = if known.is_empty() {
                format!("add a [[{what}]] of that name")
            } else {
                format!("write one of: {}", known.join(", "))
            };
            self.add(
                name.span(),
                key,
                format!("there is no {what} \"{}\" — {remedy}", name.get_ref()),
            );
        }
        index
    }

    fn clusters(&mut self, file: &schema::File, ports: &Ports) -> Clusters {
        let mut clusters = Clusters {
            all: Vec::new(),
            by_name: HashMap::new(),
        };
        for (index, table) in file.cluster.iter().enumerate() {
            let span = table.span();
            let table = table.get_ref();
            self.name(&mut clusters.by_name, &table.name, index, "cluster.name");
            let port = self.look_up(&ports.by_name, &table.port, "cluster.port", "port");
            if table.endpoint.is_empty() {
                self.add(span, "cluster.endpoint", format!("cluster \"{}\" has no endpoint — add a [[cluster.endpoint]] with an address", table.name.get_ref()));
            }
            if *table.max_connections.get_ref() == 0 {
                self.add(
                    table.max_connections.span(),
                    "cluster.max_connections",
                    "0 would refuse every request — write 1 or more",
                );
            }
            let mut endpoints = Vec::new();
            for endpoint in &table.endpoint {
                let address = self.endpoint(endpoint, &endpoints, port.map(|id| &ports.all[id]));
                endpoints.extend(address);
            }
            clusters.all.push(Cluster {
                name: table.name.get_ref().clone(),
                port: port_id(port),
                endpoints,
                max_connections: *table.max_connections.get_ref(),
                max_pending: table
                    .max_pending
                    .unwrap_or(*file.limits.max_connections.get_ref()),
                max_idle: table.max_idle,
            });
        }
        clusters
    }

    fn endpoint(
        &mut self,
        endpoint: &schema::Endpoint,
        before: &[SocketAddr],
        port: Option<&Port>,
    ) -> Option<SocketAddr> {
        const KEY: &str = "cluster.endpoint.address";
        let text = &endpoint.address;
        let address = self.read(text, KEY, |text| {
            let address = parse::socket_address(text)?;
            parse::unicast(address.ip())?;
            Ok(address)
        })?;
        if before.contains(&address) {
            self.add(
                text.span(),
                KEY,
                format!("{address} is listed already — keep one"),
            );
        }
        if let Some(port) = port.filter(|port| port.addresses_known)
            && !port.is_on_link(address.ip())
            && !port.has_gateway_for(address.ip())
        {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            self.add(
                text.span(),
                KEY,
                format!(
                    "{} cannot be reached through port \"{}\": it lies in no prefix of it and there is no {family} gateway — add gateways, or an address in the same prefix",
                    address.ip(),
                    port.settings.name
                ),
            );
        }
        Some(address)
    }

    fn listeners(
        &mut self,
        file: &schema::File,
        ports: &Ports,
        clusters: &Clusters,
    ) -> Vec<Listener> {
        if file.listener.is_empty() {
            self.add(
                0..0,
                "listener",
                "there is no listener — add a [[listener]] with name, port and address",
            );
        }
        let mut names = HashMap::new();
        let mut owners: HashMap<SocketAddr, String> = HashMap::new();
        let mut listeners = Vec::new();
        for (index, table) in file.listener.iter().enumerate() {
            let span = table.span();
            let table = table.get_ref();
            let name = table.name.get_ref();
            self.name(&mut names, &table.name, index, "listener.name");
            let port = self.look_up(&ports.by_name, &table.port, "listener.port", "port");
            let address = self.listen_address(&table.address, port.map(|id| &ports.all[id]));
            if let Some(address) = address
                && let Some(owner) = owners.insert(address, name.clone())
            {
                self.add(
                    table.address.span(),
                    "listener.address",
                    format!(
                        "{address} is the address of listener \"{owner}\" already — change one"
                    ),
                );
            }
            if table.route.is_empty() {
                self.add(
                    span,
                    "listener.route",
                    format!(
                        "listener \"{name}\" has no route — add a [[listener.route]] with a cluster"
                    ),
                );
            }
            let routes = self.routes(&table.route, clusters);
            let (Some(port), Some(address)) = (port, address) else {
                continue;
            };
            listeners.push(Listener {
                name: name.clone(),
                port: port_id(Some(port)),
                address,
                scheme: match table.scheme {
                    schema::Scheme::Http => "http",
                    schema::Scheme::Https => "https",
                },
                routes,
            });
        }
        listeners
    }

    fn listen_address(&mut self, text: &Text, port: Option<&Port>) -> Option<SocketAddr> {
        const KEY: &str = "listener.address";
        let address = self.read(text, KEY, parse::socket_address)?;
        if let Some(port) = port.filter(|port| port.addresses_known)
            && !port.has(address.ip())
        {
            let own: Vec<String> = port
                .settings
                .addresses
                .iter()
                .map(|(own, _)| own.to_string())
                .collect();
            let name = &port.settings.name;
            let own = own.join(" or ");
            let message = if address.ip().is_unspecified() {
                format!("a listener has one address, not the wildcard — write {own}")
            } else {
                format!(
                    "{} is not an address of port \"{name}\" — write {own}, or add it to the port's addresses",
                    address.ip()
                )
            };
            self.add(text.span(), KEY, message);
        }
        Some(address)
    }

    fn routes(
        &mut self,
        tables: &[Spanned<schema::Route>],
        clusters: &Clusters,
    ) -> Vec<settings::Route> {
        let mut routes: Vec<settings::Route> = Vec::new();
        for table in tables {
            let span = table.span();
            let table = table.get_ref();
            let before = self.0.len();
            let cluster = self.look_up(
                &clusters.by_name,
                &table.cluster,
                "listener.route.cluster",
                "cluster",
            );
            let hosts = match &table.hosts {
                None => vec!["*".to_owned()],
                Some(hosts) => {
                    if hosts.get_ref().is_empty() {
                        self.add(
                            hosts.span(),
                            "listener.route.hosts",
                            "no host matches an empty list — write [\"*\"] for all of them",
                        );
                    }
                    let hosts = hosts.get_ref().iter();
                    hosts
                        .filter_map(|host| {
                            self.read(host, "listener.route.hosts", parse::host_pattern)
                        })
                        .collect()
                }
            };
            let prefix = match &table.prefix {
                None => Some("/".to_owned()),
                Some(prefix) => self.read(prefix, "listener.route.prefix", parse::path_prefix),
            };
            let route = settings::Route {
                hosts,
                prefix: prefix.unwrap_or_default(),
                cluster: cluster_id(cluster),
            };
            if self.0.len() > before {
                continue;
            }
            if let Some(earlier) = routes.iter().find(|earlier| takes_all(earlier, &route)) {
                self.add(
                    span,
                    "listener.route",
                    format!(
                        "no request gets to this route: the one for {} {} before it takes them all — put the more particular route first",
                        earlier.hosts.join(" "),
                        earlier.prefix
                    ),
                );
            }
            routes.push(route);
        }
        routes
    }

    /// A cluster must not lead back into the proxy.
    fn no_loop(&mut self, file: &schema::File, ports: &Ports, listeners: &[Listener]) {
        let endpoints = file.cluster.iter().flat_map(|c| &c.get_ref().endpoint);
        for endpoint in endpoints {
            let text = &endpoint.address;
            let Ok(address) = parse::socket_address(text.get_ref()) else {
                continue;
            };
            if let Some(listener) = listeners.iter().find(|l| l.address == address) {
                self.add(text.span(), "cluster.endpoint.address", format!("{address} is listener \"{}\": requests would go round in circles — write the origin's address", listener.name));
            } else if let Some(port) = ports.all.iter().find(|port| port.has(address.ip())) {
                self.add(
                    text.span(),
                    "cluster.endpoint.address",
                    format!(
                        "{} is minivoy's own address on port \"{}\" — write the origin's address",
                        address.ip(),
                        port.settings.name
                    ),
                );
            }
        }
    }
}

/// Whether every request that `later` is for is taken by `earlier`.
fn takes_all(earlier: &settings::Route, later: &settings::Route) -> bool {
    later.prefix.starts_with(&earlier.prefix)
        && later.hosts.iter().all(|host| {
            earlier.hosts.iter().any(|pattern| {
                pattern == "*"
                    || pattern == host
                    || pattern
                        .strip_prefix('*')
                        .is_some_and(|suffix| host.ends_with(suffix))
            })
        })
}

/// An unknown name has its finding already; the id is never used then.
fn port_id(index: Option<usize>) -> PortId {
    PortId(
        index
            .and_then(|index| u8::try_from(index).ok())
            .unwrap_or(0),
    )
}

fn cluster_id(index: Option<usize>) -> ClusterId {
    ClusterId(
        index
            .and_then(|index| u16::try_from(index).ok())
            .unwrap_or(0),
    )
}
