//! Opening connections.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};

use crate::cli::Sources;

/// Where connections go, and where they come from.
#[derive(Clone, Debug)]
pub struct Connector {
    target: SocketAddr,
    sources: Vec<Sources>,
    /// Number of the next source among all of them.
    next: u64,
    /// How far it is to the one after: the number of threads, which take them in turn.
    stride: u64,
    /// Requests are sent in several writes, none of which must wait for an acknowledgement.
    no_delay: bool,
}

impl Connector {
    /// Connections to `target`, from `sources` in turn (none: the kernel chooses). Thread `index` of
    /// `count` takes every `count`-th source.
    pub fn new(
        target: SocketAddr,
        sources: &[Sources],
        index: u32,
        count: u32,
        no_delay: bool,
    ) -> Self {
        Self {
            target,
            sources: sources.to_vec(),
            next: index.into(),
            stride: count.into(),
            no_delay,
        }
    }

    /// Begins to open a connection, which is open once it can be written to.
    ///
    /// # Errors
    /// When the kernel refuses at once: no descriptor, no address or port left, no route.
    pub fn open(&mut self) -> io::Result<TcpStream> {
        let domain = Domain::for_address(self.target);
        let socket = Socket::new(
            domain,
            Type::STREAM.nonblocking().cloexec(),
            Some(Protocol::TCP),
        )?;
        if self.no_delay {
            socket.set_tcp_nodelay(true)?;
        }
        if let Some(source) = self.next_source() {
            socket::defer_port(socket.as_fd())?;
            let bound = socket.bind(&SocketAddr::new(source, 0).into());
            bound.map_err(|error| {
                io::Error::new(error.kind(), format!("source {source}: {error}"))
            })?;
        }
        match socket.connect(&self.target.into()) {
            Ok(()) => {}
            Err(error)
                if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        Ok(TcpStream::from_std(socket.into()))
    }

    fn next_source(&mut self) -> Option<IpAddr> {
        if self.sources.is_empty() {
            return None;
        }
        let total: u128 = self.sources.iter().map(|sources| sources.count).sum();
        let mut index = u128::from(self.next) % total;
        self.next += self.stride;
        for sources in &self.sources {
            if index < sources.count {
                return Some(sources.nth(index as u64));
            }
            index -= sources.count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    #[test]
    fn threads_take_sources_in_turn() {
        let sources = ["10.9.0.0/30", "10.9.1.7"].map(|text| parse::sources(text).unwrap());
        let target = "10.0.0.1:80".parse().unwrap();
        let of = |index| {
            let mut connector = Connector::new(target, &sources, index, 2, false);
            (0..4)
                .map(|_| connector.next_source().unwrap().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(of(0), ["10.9.0.1", "10.9.1.7", "10.9.0.2", "10.9.0.1"]);
        assert_eq!(of(1), ["10.9.0.2", "10.9.0.1", "10.9.1.7", "10.9.0.2"]);
        let mut none = Connector::new(target, &[], 0, 1, false);
        assert_eq!(none.next_source(), None);
    }
}
