//! The origin: answers `GET /<bytes>?<seed>` with as many bytes of the pattern.

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{Socket, State};

use crate::host::Host;
use crate::pattern::Pattern;

/// Longest request head that is read.
const MOST_HEAD: usize = 4096;
/// More than the proxy's window, which is therefore filled to its very end again and again.
const TX_RING: usize = 512 * 1024;

/// The sockets that listen or serve, each with what it does.
pub struct Origin {
    port: u16,
    connections: Vec<Connection>,
    /// Connections accepted.
    pub accepted: u64,
    /// Requests that were not understood, and connections that ended within an exchange.
    pub errors: u64,
}

struct Connection {
    handle: SocketHandle,
    /// Whether a client is connected, or was when last looked at.
    open: bool,
    request: Vec<u8>,
    response: Option<Response>,
}

/// A response on its way.
struct Response {
    head: Vec<u8>,
    head_sent: usize,
    seed: usize,
    body: usize,
    body_sent: usize,
}

impl Origin {
    /// An origin that serves up to `connections` at a time.
    pub fn new(host: &mut Host, port: u16, connections: usize) -> Self {
        let connection = |_| Connection {
            handle: host.socket(TX_RING),
            open: false,
            request: Vec::with_capacity(MOST_HEAD),
            response: None,
        };
        Self {
            port,
            connections: (0..connections).map(connection).collect(),
            accepted: 0,
            errors: 0,
        }
    }

    /// Goes on with every connection.
    pub fn run(&mut self, host: &mut Host, pattern: &Pattern) {
        for connection in &mut self.connections {
            let socket = host.sockets.get_mut::<Socket>(connection.handle);
            if !socket.is_open() {
                self.errors += u64::from(connection.within_exchange());
                connection.reset();
                socket
                    .listen(self.port)
                    .expect("a closed socket can listen on a port that is not 0");
                continue;
            }
            if !connection.open && socket.state() == State::Established {
                connection.open = true;
                self.accepted += 1;
            }
            if !connection.serve(socket, pattern) {
                self.errors += 1;
                connection.reset();
                socket.abort();
            }
        }
    }
}

impl Connection {
    fn within_exchange(&self) -> bool {
        self.response.is_some() || !self.request.is_empty()
    }

    fn reset(&mut self) {
        self.open = false;
        self.request.clear();
        self.response = None;
    }

    /// Reads a request, writes a response. False: the request is not one.
    fn serve(&mut self, socket: &mut Socket<'_>, pattern: &Pattern) -> bool {
        loop {
            if let Some(response) = &mut self.response {
                if !response.write(socket, pattern) {
                    return true;
                }
                self.response = None;
            }
            if !socket.can_recv() {
                // The other side has said all it will.
                if socket.state() == State::CloseWait {
                    socket.close();
                }
                return true;
            }
            let request = &mut self.request;
            let whole = socket.recv(|bytes| take_head(request, bytes));
            match whole {
                Ok(true) => {
                    let Some((body, seed)) = target(&self.request) else {
                        return false;
                    };
                    self.request.clear();
                    self.response = Some(Response::new(body, seed));
                }
                Ok(false) if self.request.len() < MOST_HEAD => {}
                _ => return false,
            }
        }
    }
}

impl Response {
    fn new(body: usize, seed: usize) -> Self {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {body}\r\n\r\n"
        );
        Self {
            head: head.into_bytes(),
            head_sent: 0,
            seed,
            body,
            body_sent: 0,
        }
    }

    /// Writes what the socket takes. True: that was all.
    fn write(&mut self, socket: &mut Socket<'_>, pattern: &Pattern) -> bool {
        while socket.can_send() {
            let head = &self.head[self.head_sent..];
            if !head.is_empty() {
                self.head_sent += socket.send_slice(head).unwrap_or(0);
                continue;
            }
            let left = self.body - self.body_sent;
            if left == 0 {
                return true;
            }
            let sent = socket.send(|room| {
                let len = left.min(room.len());
                pattern.fill(self.seed, self.body_sent, &mut room[..len]);
                (len, len)
            });
            self.body_sent += sent.unwrap_or(0);
        }
        self.head_sent == self.head.len() && self.body_sent == self.body
    }
}

/// Appends bytes to a head, up to and with the empty line that ends it. Returns how many were taken
/// and whether the head is whole.
pub fn take_head(head: &mut Vec<u8>, bytes: &[u8]) -> (usize, bool) {
    for (taken, &byte) in bytes.iter().enumerate() {
        head.push(byte);
        if head.ends_with(b"\r\n\r\n") {
            return (taken + 1, true);
        }
    }
    (bytes.len(), false)
}

/// The two numbers of `GET /<bytes>?<seed> HTTP/1.1`.
fn target(head: &[u8]) -> Option<(usize, usize)> {
    let line = str::from_utf8(head).ok()?.lines().next()?;
    let target = line.strip_prefix("GET /")?.strip_suffix(" HTTP/1.1")?;
    let (body, seed) = target.split_once('?')?;
    Some((body.parse().ok()?, seed.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        assert_eq!(
            target(b"GET /12?7 HTTP/1.1\r\nHost: a\r\n\r\n"),
            Some((12, 7))
        );
        assert_eq!(target(b"GET /12 HTTP/1.1\r\n\r\n"), None);
        assert_eq!(target(b"POST /12?7 HTTP/1.1\r\n\r\n"), None);
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        let mut head = Vec::new();
        assert_eq!(take_head(&mut head, b"a\r\n\r"), (4, false));
        assert_eq!(take_head(&mut head, b"\nbody"), (1, true));
        assert_eq!(head, b"a\r\n\r\n");
    }
}
