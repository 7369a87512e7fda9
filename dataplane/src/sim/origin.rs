//! An HTTP origin that does what the path tells it and compares the request bodies.

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, State};

use super::client::append_chunked;
use super::host::Net;
use super::message::{Head, Kind, Reader, Step};
use super::pattern;

/// Sockets that wait for a connection.
const BACKLOG: usize = 128;

/// What becomes of a connection when all that was to be sent is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The next request.
    Go,
    /// FIN.
    Close,
    /// RST.
    Abort,
}

#[derive(Debug)]
struct Connection {
    socket: SocketHandle,
    reader: Reader,
    /// The request whose body is being read.
    request: Option<Head>,
    out: Vec<u8>,
    out_at: usize,
    then: Then,
    served: u32,
    /// When the last thing happened.
    touched: u64,
}

/// An origin on one TCP port.
#[derive(Debug)]
pub struct Origin {
    port: u16,
    buffer: usize,
    waiting: Vec<SocketHandle>,
    connections: Vec<Connection>,
    /// It closes a connection after so many responses, and says so. 0: never.
    pub most_requests: u32,
    /// It closes connections that have been idle for so long, in µs. 0: never.
    pub idle_us: u64,
    /// How long it takes to close a connection after the last response, in µs.
    pub parting_us: u64,
    /// Nobody listens: connections are refused with RST.
    pub refuses: bool,
    /// It resets all its connections at the next chance.
    pub reset_all: bool,
    /// The `Date` of its responses; `None`: it has no clock.
    pub date: Option<&'static str>,
    /// Connections accepted so far.
    pub accepted: u64,
    /// Requests answered so far.
    pub served: u64,
    /// What was wrong with requests.
    pub complaints: Vec<String>,
}

impl Origin {
    /// An origin on TCP port `port` with socket rings of `buffer` bytes.
    pub fn new(port: u16, buffer: usize) -> Self {
        Self {
            port,
            buffer,
            waiting: Vec::new(),
            connections: Vec::new(),
            most_requests: 0,
            idle_us: 0,
            parting_us: 0,
            refuses: false,
            reset_all: false,
            date: None,
            accepted: 0,
            served: 0,
            complaints: Vec::new(),
        }
    }

    /// Connections that are not closed yet.
    pub fn open(&self) -> usize {
        self.connections.len()
    }

    /// Where each connection stands, for whoever finds out why.
    pub fn standing(&self, sockets: &SocketSet<'static>) -> Vec<String> {
        let waiting = self.waiting.iter().map(|handle| {
            let state = sockets.get::<Socket<'_>>(*handle).state();
            (*handle, format!("{state:?}"))
        });
        let open = self.connections.iter().map(|connection| {
            let socket = sockets.get::<Socket<'_>>(connection.socket);
            let state = format!(
                "{:?} {:?}, unsent {} + {}, {:?}, {:?}",
                socket.state(),
                socket.remote_endpoint(),
                connection.out.len() - connection.out_at,
                socket.send_queue(),
                connection.then,
                connection.reader
            );
            (connection.socket, state)
        });
        waiting
            .chain(open)
            .filter(|(_, state)| state != "Listen")
            .map(|(handle, state)| format!("{handle}: {state}"))
            .collect()
    }

    /// Goes on with every connection. Returns whether anything moved, and when to go on.
    pub(super) fn run(&mut self, net: &mut Net<'_>) -> (bool, u64) {
        // Closed before the last poll: if that was with a RST, it has been sent.
        self.connections.retain(|connection| {
            let open = net.tcp(connection.socket).state() != State::Closed;
            if !open {
                let _ = net.sockets.remove(connection.socket);
            }
            open
        });
        let mut moved = self.accept(net);
        let mut wake = u64::MAX;
        if std::mem::take(&mut self.reset_all) {
            for connection in &self.connections {
                net.tcp(connection.socket).abort();
            }
            moved = true;
        }
        for connection in &mut self.connections {
            match connection.run(net, self.most_requests, self.parting_us, self.date) {
                Ok((some, served)) => {
                    moved |= some;
                    self.served += served;
                }
                Err(error) => {
                    self.complaints.push(error);
                    net.tcp(connection.socket).abort();
                    moved = true;
                }
            }
            if connection.then == Then::Close {
                let until = connection.touched + self.parting_us;
                if until > net.now {
                    wake = wake.min(until);
                }
            }
            if self.idle_us != 0 && connection.idle() {
                let until = connection.touched + self.idle_us;
                if until <= net.now {
                    net.tcp(connection.socket).close();
                } else {
                    wake = wake.min(until);
                }
            }
        }
        (moved, wake)
    }

    fn accept(&mut self, net: &mut Net<'_>) -> bool {
        let mut moved = false;
        let now = net.now;
        if self.refuses {
            for handle in self.waiting.drain(..) {
                net.tcp(handle).abort();
                let _ = net.sockets.remove(handle);
            }
            return false;
        }
        let mut i = 0;
        while i < self.waiting.len() {
            let handle = self.waiting[i];
            if net.tcp(handle).state() == State::Listen {
                i += 1;
                continue;
            }
            let _ = self.waiting.swap_remove(i);
            self.accepted += 1;
            moved = true;
            self.connections.push(Connection {
                socket: handle,
                reader: Reader::new(Kind::Request),
                request: None,
                out: Vec::new(),
                out_at: 0,
                then: Then::Go,
                served: 0,
                touched: now,
            });
        }
        while self.waiting.len() < BACKLOG {
            let handle = net.socket(self.buffer);
            net.tcp(handle)
                .listen(self.port)
                .expect("a new socket can listen");
            self.waiting.push(handle);
        }
        moved
    }
}

impl Connection {
    fn idle(&self) -> bool {
        self.out_at == self.out.len() && self.request.is_none() && self.reader.idle()
    }

    fn run(
        &mut self,
        net: &mut Net<'_>,
        most: u32,
        parting_us: u64,
        date: Option<&str>,
    ) -> Result<(bool, u64), String> {
        let now = net.now;
        let socket = net.tcp(self.socket);
        let mut moved = false;
        let mut served = 0;
        if socket.can_recv() {
            let reader = &mut self.reader;
            let n = socket
                .recv(|bytes| {
                    reader.feed(bytes);
                    (bytes.len(), bytes.len())
                })
                .unwrap_or(0);
            moved |= n != 0;
        }
        if self.out_at == self.out.len() && self.then == Then::Go {
            match self.reader.step()? {
                Step::More => {}
                Step::Head(head) => {
                    self.reader
                        .begin_body(head.body, pattern::request_seed(&head.path));
                    self.request = Some(head);
                    moved = true;
                }
                Step::End => {
                    let head = self.request.take().ok_or("a body without head")?;
                    self.served += 1;
                    served = 1;
                    let last = head.close || (most != 0 && self.served >= most);
                    self.answer(&head, last, date)?;
                    moved = true;
                }
            }
        }
        let socket = net.tcp(self.socket);
        if self.out_at < self.out.len() {
            if socket.can_send() {
                let n = socket.send_slice(&self.out[self.out_at..]).unwrap_or(0);
                self.out_at += n;
                moved |= n != 0;
            }
        } else {
            match self.then {
                Then::Go => {}
                Then::Close if now < self.touched + parting_us => {}
                Then::Close => socket.close(),
                Then::Abort if socket.send_queue() == 0 => socket.abort(),
                Then::Abort => {}
            }
        }
        // The peer has closed and everything is said.
        if socket.state() == State::CloseWait && self.out_at == self.out.len() && !moved {
            socket.close();
        }
        if moved {
            self.touched = now;
        }
        Ok((moved, served))
    }

    /// Puts the response together.
    fn answer(&mut self, head: &Head, last: bool, date: Option<&str>) -> Result<(), String> {
        let parts: Vec<&str> = head.path.split('/').collect();
        let ["", kind, len, sent, body, _tag] = parts[..] else {
            return Err(format!("path {:?}", head.path));
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| head.path.clone());
        let (len, sent, body) = (number(len)?, number(sent)?, number(body)?);
        if self.reader.body_bytes() != body {
            return Err(format!(
                "{} bytes of request body for {}",
                self.reader.body_bytes(),
                head.path
            ));
        }
        let seed = pattern::response_seed(&head.path);
        let close = last || kind == "close";
        let framing = match kind {
            "length" | "abort" => format!("Content-Length: {len}\r\n"),
            "chunked" => "Transfer-Encoding: chunked\r\n".into(),
            "close" => String::new(),
            "silence" => return Ok(()),
            _ => return Err(format!("path {:?}", head.path)),
        };
        let option = if close { "Connection: close\r\n" } else { "" };
        let date = date.map_or_else(String::new, |date| format!("Date: {date}\r\n"));
        self.out =
            format!("HTTP/1.1 200 OK\r\nServer: sim\r\n{date}{framing}{option}\r\n").into_bytes();
        self.out_at = 0;
        self.then = if close { Then::Close } else { Then::Go };
        if head.method == "HEAD" {
            return Ok(());
        }
        match kind {
            "chunked" => append_chunked(seed, len, &mut self.out),
            "abort" => {
                pattern::append(seed, 0, sent, &mut self.out);
                self.then = Then::Abort;
            }
            _ => pattern::append(seed, 0, len, &mut self.out),
        }
        Ok(())
    }
}
