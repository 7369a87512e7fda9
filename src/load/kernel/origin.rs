//! A thread of the origin: a listener of its own, and the connections that the kernel gives to it.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use dataplane::http1::HttpDate;
use dataplane::load::Heads;
use minivoy::signals::Signals;
use minivoy::system::clock::{Clock, unix_ns};
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::visitor::{Common, Fate, Served, Visitor};

/// What is received into.
const BUFFER: usize = 64 * 1024;

/// Connections that wait to be accepted, as far as net.core.somaxconn allows.
const BACKLOG: i32 = 65_535;

/// Most connections accepted in a row.
const ACCEPT_MOST: usize = 64;

/// Longest wait: the signals are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The token of the listener; those of connections are their numbers.
const LISTENER: Token = Token(usize::MAX - 1);

/// Opens a listener that shares its address with those of the other threads.
///
/// # Errors
/// When the kernel does not have the address, or somebody else listens there.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(
        domain,
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// A thread of the origin.
pub struct Origin {
    poll: Poll,
    listener: TcpListener,
    /// The kernel has said that connections wait, and not that there are none.
    accepting: bool,
    visitors: Vec<Option<Visitor>>,
    free: Vec<usize>,
    common: Common,
    date: HttpDate,
}

impl Origin {
    /// Serves what comes to `listener`.
    ///
    /// # Errors
    /// When the kernel refuses descriptors.
    pub fn new(mut listener: TcpListener) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            accepting: false,
            visitors: Vec::new(),
            free: Vec::new(),
            common: Common {
                heads: Heads::new(),
                buffer: vec![0; BUFFER].into_boxed_slice(),
                date: Vec::new(),
                served: Served::default(),
            },
            date: HttpDate::default(),
        })
    }

    /// Serves until a signal asks it to stop, or until `end_us` of `clock`. Shows what it has counted at
    /// `place`.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn run(
        mut self,
        signals: &Signals,
        clock: Clock,
        end_us: Option<u64>,
        place: &Mutex<Served>,
    ) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut look_us = 0;
        loop {
            let now_us = clock.now_us();
            if now_us >= look_us {
                look_us = now_us + LOOK.as_micros() as u64;
                self.set_date();
                if let Ok(mut place) = place.lock() {
                    *place = self.common.served;
                }
                if signals.shutdown_requested() || end_us.is_some_and(|end| now_us >= end) {
                    return Ok(());
                }
            }
            let wait = if self.accepting { Duration::ZERO } else { LOOK };
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accepting = true,
                    Token(id) => self.advance(id, event.is_read_closed() || event.is_error()),
                }
            }
            if self.accepting {
                self.accept();
            }
        }
    }

    /// The time of day, as responses tell it.
    fn set_date(&mut self) {
        let unix_seconds = unix_ns() / 1_000_000_000;
        if unix_seconds > 0 {
            self.date.set(unix_seconds);
        }
        self.common.date.clear();
        self.common
            .date
            .extend_from_slice(self.date.text().unwrap_or_default());
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPT_MOST {
            match self.listener.accept() {
                Ok((socket, _)) => self.admit(socket),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    // Without descriptors the connections stay where they are: try again later.
                    self.accepting = false;
                    if error.kind() != ErrorKind::WouldBlock {
                        log::warn!("cannot accept: {error}");
                    }
                    return;
                }
            }
        }
    }

    fn admit(&mut self, socket: mio::net::TcpStream) {
        self.common.served.connections += 1;
        let id = self.free.pop().unwrap_or_else(|| {
            self.visitors.push(None);
            self.visitors.len() - 1
        });
        let mut visitor = Visitor::new(socket);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self
            .poll
            .registry()
            .register(visitor.socket(), Token(id), interest);
        if registered.is_err() {
            self.common.served.closed += 1;
            self.free.push(id);
            return;
        }
        self.visitors[id] = Some(visitor);
    }

    fn advance(&mut self, id: usize, closed: bool) {
        let Some(visitor) = &mut self.visitors[id] else {
            return;
        };
        if visitor.advance(&mut self.common, closed) == Fate::Close {
            self.visitors[id] = None;
            self.free.push(id);
            self.common.served.closed += 1;
        }
    }
}
