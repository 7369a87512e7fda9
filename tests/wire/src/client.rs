//! The client: connections that ask for one body after the other and look at every byte.

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{Socket, State};
use smoltcp::wire::Ipv4Address;

use crate::host::Host;
use crate::origin::take_head;
use crate::pattern::Pattern;

const FIRST_PORT: u16 = 20_000;
const MOST_HEAD: usize = 4096;
/// Requests are short.
const TX_RING: usize = 4096;

/// What is asked for, and what was got.
pub struct Client {
    plan: Plan,
    connections: Vec<Connection>,
    /// Exchanges that were right.
    pub requests: u64,
    /// Exchanges that were not, each of which ends its connection.
    pub errors: u64,
    /// Bytes of bodies, all of them right.
    pub bytes: u64,
}

/// The work.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Where to.
    pub server: (Ipv4Address, u16),
    /// Connections at a time.
    pub connections: usize,
    /// Requests on each.
    pub requests: usize,
    /// Bytes of every body.
    pub body: usize,
}

struct Connection {
    handle: SocketHandle,
    /// Number of the connection.
    index: usize,
    /// Exchanges done.
    done: usize,
    phase: Phase,
    head: Vec<u8>,
}

enum Phase {
    /// Connecting, or between two exchanges.
    Idle,
    /// Sending a request of which `sent` bytes are sent.
    Request { bytes: Vec<u8>, sent: usize },
    /// Reading a response's head.
    Head,
    /// Reading a body of which `got` bytes were right.
    Body { got: usize },
    /// All done, or failed.
    Over,
}

/// What is wrong with an exchange.
struct Wrong(String);

impl Client {
    /// Begins to connect.
    pub fn new(host: &mut Host, plan: Plan) -> Self {
        let connections = (0..plan.connections).map(|index| {
            let handle = host.socket(TX_RING);
            let local = FIRST_PORT + u16::try_from(index).expect("few connections");
            host.sockets
                .get_mut::<Socket>(handle)
                .connect(host.iface.context(), plan.server, local)
                .expect("a new socket can connect");
            Connection {
                handle,
                index,
                done: 0,
                phase: Phase::Idle,
                head: Vec::with_capacity(MOST_HEAD),
            }
        });
        Self {
            connections: connections.collect(),
            plan,
            requests: 0,
            errors: 0,
            bytes: 0,
        }
    }

    /// Goes on with every connection.
    pub fn run(&mut self, host: &mut Host, pattern: &Pattern) {
        for connection in &mut self.connections {
            let socket = host.sockets.get_mut::<Socket>(connection.handle);
            let before = connection.done;
            let outcome = connection.run(socket, &self.plan, pattern);
            let right = (connection.done - before) as u64;
            self.requests += right;
            self.bytes += right * self.plan.body as u64;
            if let Err(Wrong(what)) = outcome {
                log::error!(
                    "connection {}, request {}: {what}",
                    connection.index,
                    connection.done
                );
                self.errors += 1;
                connection.phase = Phase::Over;
                socket.abort();
            }
        }
    }

    /// Whether all work is done, or has failed.
    pub fn over(&self) -> bool {
        let mut connections = self.connections.iter();
        connections.all(|connection| matches!(connection.phase, Phase::Over))
    }

    /// Gives up: what is not done is an error.
    pub fn give_up(&mut self, host: &Host) {
        for connection in &mut self.connections {
            if !matches!(connection.phase, Phase::Over) {
                let socket = host.sockets.get::<Socket>(connection.handle);
                log::error!(
                    "connection {}, request {}: no end of {} in state {}",
                    connection.index,
                    connection.done,
                    connection.phase.name(),
                    socket.state()
                );
                self.errors += 1;
                connection.phase = Phase::Over;
            }
        }
    }
}

impl Phase {
    fn name(&self) -> String {
        match self {
            Self::Idle => "connecting".into(),
            Self::Request { sent, .. } => format!("sending ({sent} bytes)"),
            Self::Head => "the head".into(),
            Self::Body { got } => format!("the body ({got} bytes)"),
            Self::Over => "everything".into(),
        }
    }
}

impl Connection {
    fn run(
        &mut self,
        socket: &mut Socket<'_>,
        plan: &Plan,
        pattern: &Pattern,
    ) -> Result<(), Wrong> {
        loop {
            let seed = self.index * plan.requests + self.done;
            let next = match &mut self.phase {
                Phase::Idle if matches!(socket.state(), State::SynSent | State::SynReceived) => {
                    return Ok(());
                }
                Phase::Idle => Phase::Request {
                    bytes: format!("GET /{}?{seed} HTTP/1.1\r\nHost: wire\r\n\r\n", plan.body)
                        .into_bytes(),
                    sent: 0,
                },
                Phase::Request { bytes, sent } => {
                    let taken = socket.send_slice(&bytes[*sent..]);
                    *sent += taken.map_err(|error| Wrong(format!("cannot send: {error}")))?;
                    if *sent < bytes.len() {
                        return Ok(());
                    }
                    Phase::Head
                }
                Phase::Head => {
                    if !readable(socket)? {
                        return Ok(());
                    }
                    let head = &mut self.head;
                    let whole = socket.recv(|bytes| take_head(head, bytes));
                    if !whole.map_err(|error| Wrong(error.to_string()))? {
                        if head.len() > MOST_HEAD {
                            return Err(Wrong("an endless head".into()));
                        }
                        continue;
                    }
                    check_head(head, plan.body)?;
                    head.clear();
                    Phase::Body { got: 0 }
                }
                Phase::Body { got } if *got == plan.body => {
                    self.done += 1;
                    if self.done < plan.requests {
                        Phase::Idle
                    } else {
                        socket.close();
                        Phase::Over
                    }
                }
                Phase::Body { got } => {
                    if !readable(socket)? {
                        return Ok(());
                    }
                    let right = socket.recv(|bytes| {
                        let len = bytes.len().min(plan.body - *got);
                        (len, (pattern.matches(seed, *got, &bytes[..len]), len))
                    });
                    let (right, len) = right.map_err(|error| Wrong(error.to_string()))?;
                    if !right {
                        return Err(Wrong(format!("wrong bytes within {len} from {got} on")));
                    }
                    *got += len;
                    continue;
                }
                Phase::Over => return Ok(()),
            };
            self.phase = next;
        }
    }
}

/// Whether there is something to read now; an error when there never will be.
fn readable(socket: &Socket<'_>) -> Result<bool, Wrong> {
    if !socket.can_recv() && !socket.may_recv() {
        return Err(Wrong(format!(
            "closed by the other side ({})",
            socket.state()
        )));
    }
    Ok(socket.can_recv())
}

fn check_head(head: &[u8], body: usize) -> Result<(), Wrong> {
    let wrong = || Wrong(format!("head {:?}", String::from_utf8_lossy(head)));
    let text = str::from_utf8(head).map_err(|_| wrong())?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let found = name.eq_ignore_ascii_case("content-length");
        found.then(|| value.trim().parse::<usize>().ok())?
    });
    if text.starts_with("HTTP/1.1 200 ") && length == Some(body) {
        Ok(())
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let good = |head: &str| check_head(head.as_bytes(), 12).is_ok();
        assert!(good("HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n"));
        assert!(!good("HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n"));
        assert!(!good("HTTP/1.1 200 OK\r\n\r\n"));
        assert!(!good(
            "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 12\r\n\r\n"
        ));
    }
}
