//! A client that follows a script and compares every byte it is answered.

use std::net::SocketAddr;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, State};
use smoltcp::wire::IpEndpoint;

use super::host::Net;
use super::message::{Body, Kind, Reader, Step};
use super::pattern;

/// Request methods the client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// POST with that many bytes of body.
    Post {
        /// Bytes of the body.
        len: u64,
        /// Chunked rather than with its length.
        chunked: bool,
    },
    /// Not a request that is made, but these very bytes.
    Raw(&'static str),
}

/// What the origin is asked to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A body with Content-Length.
    Length(u64),
    /// A chunked body.
    Chunked(u64),
    /// A body that ends with the connection.
    Close(u64),
    /// A Content-Length of so many bytes, but a RST after `sent` of them.
    Abort {
        /// Bytes promised.
        promised: u64,
        /// Bytes sent.
        sent: u64,
    },
    /// Nothing, and no end.
    Silence,
}

/// One request and its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// What is sent.
    pub method: Method,
    /// What is asked for.
    pub answer: Answer,
    /// Makes the path unique.
    pub tag: u64,
    /// Ask for the connection to be closed afterwards.
    pub close: bool,
}

impl Exchange {
    /// A GET that is answered with `len` bytes and a Content-Length.
    pub fn get(len: u64) -> Self {
        Self {
            method: Method::Get,
            answer: Answer::Length(len),
            tag: 0,
            close: false,
        }
    }

    /// The path that tells the origin what to do: kind, bytes to answer, bytes before a RST,
    /// bytes of the request, tag.
    pub fn path(&self) -> String {
        let (kind, len, sent) = match self.answer {
            Answer::Length(len) => ("length", len, 0),
            Answer::Chunked(len) => ("chunked", len, 0),
            Answer::Close(len) => ("close", len, 0),
            Answer::Abort { promised, sent } => ("abort", promised, sent),
            Answer::Silence => ("silence", 0, 0),
        };
        let body = match self.method {
            Method::Post { len, .. } => len,
            _ => 0,
        };
        format!("/{kind}/{len}/{sent}/{body}/{}", self.tag)
    }

    /// The whole request.
    fn request(&self) -> Vec<u8> {
        let path = self.path();
        if let Method::Raw(text) = self.method {
            return text.into();
        }
        let method = match self.method {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post { .. } | Method::Raw(_) => "POST",
        };
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: sim.test\r\n");
        if self.close {
            head.push_str("Connection: close\r\n");
        }
        let seed = pattern::request_seed(&path);
        let Method::Post { len, chunked } = self.method else {
            return (head + "\r\n").into_bytes();
        };
        let mut out;
        if chunked {
            out = (head + "Transfer-Encoding: chunked\r\n\r\n").into_bytes();
            append_chunked(seed, len, &mut out);
        } else {
            out = format!("{head}Content-Length: {len}\r\n\r\n").into_bytes();
            pattern::append(seed, 0, len, &mut out);
        }
        out
    }

    /// Bytes of body of the response.
    fn expected(&self) -> u64 {
        match (self.method, self.answer) {
            (Method::Head, _) => 0,
            (_, Answer::Length(len) | Answer::Chunked(len) | Answer::Close(len)) => len,
            (_, Answer::Abort { promised, .. }) => promised,
            (_, Answer::Silence) => 0,
        }
    }
}

/// Appends a chunked body of `len` bytes in chunks of many sizes, with an extension and a trailer
/// here and there.
pub(super) fn append_chunked(seed: u64, len: u64, out: &mut Vec<u8>) {
    let mut at = 0;
    let mut size = 1 + seed % 3000;
    while at < len {
        let now = size.min(len - at);
        let extension = if size.is_multiple_of(7) { ";x=y" } else { "" };
        out.extend_from_slice(format!("{now:x}{extension}\r\n").as_bytes());
        pattern::append(seed, at, now, out);
        out.extend_from_slice(b"\r\n");
        at += now;
        size = 1 + (size * 31 + 7) % 9000;
    }
    let trailer = if seed.is_multiple_of(3) {
        "X-Sum: 1\r\n"
    } else {
        ""
    };
    out.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
}

/// How fast bytes are written or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Most bytes at a time.
    pub bytes: usize,
    /// Time between two times, in µs; 0: no limit of speed.
    pub every_us: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            bytes: usize::MAX,
            every_us: 0,
        }
    }
}

/// What one connection does.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// When it is opened, in µs.
    pub start_us: u64,
    /// Its exchanges, in order.
    pub exchanges: Vec<Exchange>,
    /// All requests are sent at once.
    pub pipeline: bool,
    /// How fast it writes.
    pub write: Pace,
    /// How fast it reads.
    pub read: Pace,
    /// It sends a RST after so many bytes of the first response's body.
    pub abort_after: Option<u64>,
}

/// What came of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Statuses of the responses that arrived whole, in order.
    pub statuses: Vec<u16>,
    /// The `Date` fields of every final response, in order.
    pub dates: Vec<Vec<String>>,
    /// What went wrong.
    pub error: Option<String>,
    /// Nothing more will come.
    pub finished: bool,
    /// Exchanges it was to have.
    pub wanted: usize,
}

impl Outcome {
    /// All exchanges were answered with 200, byte for byte.
    pub fn whole(&self) -> bool {
        self.finished
            && self.error.is_none()
            && self.statuses.len() == self.wanted
            && self.statuses.iter().all(|status| *status == 200)
    }
}

#[derive(Debug)]
struct Connection {
    plan: Plan,
    socket: Option<SocketHandle>,
    /// The socket before this one, until the client has taken note of it.
    left: Option<SocketHandle>,
    out: Vec<u8>,
    out_at: usize,
    /// Requests put into `out`.
    asked: usize,
    reader: Reader,
    /// The status of the response whose body is being read.
    reading: Option<u16>,
    /// The last response said that the connection ends with it.
    last: bool,
    write_at: u64,
    read_at: u64,
    outcome: Outcome,
}

/// A client with many connections.
#[derive(Debug)]
pub struct Client {
    target: SocketAddr,
    buffer: usize,
    connections: Vec<Connection>,
    /// Sockets whose connections are done with, but not yet closed.
    closing: Vec<SocketHandle>,
    next_port: u16,
    unfinished: usize,
}

impl Client {
    /// A client that connects to `target`, once for each plan, with socket rings of `buffer` bytes.
    pub fn new(target: SocketAddr, buffer: usize, plans: Vec<Plan>) -> Self {
        let connections: Vec<_> = plans
            .into_iter()
            .map(|plan| Connection {
                outcome: Outcome {
                    wanted: plan.exchanges.len(),
                    ..Outcome::default()
                },
                plan,
                socket: None,
                left: None,
                out: Vec::new(),
                out_at: 0,
                asked: 0,
                reader: Reader::new(Kind::Response),
                reading: None,
                last: false,
                write_at: 0,
                read_at: 0,
            })
            .collect();
        Self {
            target,
            buffer,
            unfinished: connections.len(),
            connections,
            closing: Vec::new(),
            next_port: 20_000,
        }
    }

    /// True when every connection has its outcome.
    pub fn finished(&self) -> bool {
        self.unfinished == 0
    }

    /// What came of each connection.
    pub fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.connections
            .iter()
            .map(|connection| &connection.outcome)
    }

    /// Where each connection that has no outcome yet stands, for whoever finds out why.
    pub fn standing(&self, sockets: &SocketSet<'static>) -> Vec<String> {
        let open = self.connections.iter().enumerate();
        open.filter(|(_, connection)| !connection.outcome.finished)
            .map(|(i, connection)| {
                let socket = connection.socket.map(|handle| {
                    let socket = sockets.get::<Socket<'_>>(handle);
                    (
                        socket.state(),
                        socket.local_endpoint(),
                        socket.send_queue(),
                        socket.recv_queue(),
                    )
                });
                format!(
                    "connection {i}: socket {socket:?}, asked {}, unsent {}, answered {}, {:?}",
                    connection.asked,
                    connection.out.len() - connection.out_at,
                    connection.outcome.statuses.len(),
                    connection.reader
                )
            })
            .collect()
    }

    /// Goes on with every connection. Returns whether anything moved, and when to go on.
    pub(super) fn run(&mut self, net: &mut Net<'_>) -> (bool, u64) {
        let mut moved = false;
        let mut wake = u64::MAX;
        self.closing.retain(|handle| {
            let open = net.tcp(*handle).state() != State::Closed;
            if !open {
                let _ = net.sockets.remove(*handle);
            }
            open
        });
        for connection in &mut self.connections {
            if connection.outcome.finished {
                continue;
            }
            if connection.plan.start_us > net.now {
                wake = wake.min(connection.plan.start_us);
                continue;
            }
            if connection.socket.is_none() {
                connection.open(net, self.target, self.buffer, self.next_port);
                self.next_port += 1;
                moved = true;
            }
            let (some, at) = connection.run(net);
            if connection.socket.is_none() {
                // Closed as announced, with requests left: the next turn opens another one.
                self.closing.extend(connection.left.take());
            }
            moved |= some;
            wake = wake.min(at);
            if connection.outcome.finished {
                self.unfinished -= 1;
                self.closing.extend(connection.socket);
                moved = true;
            }
        }
        (moved, wake)
    }
}

impl Connection {
    fn open(&mut self, net: &mut Net<'_>, target: SocketAddr, buffer: usize, port: u16) {
        let handle = net.socket(buffer);
        let socket = net.sockets.get_mut::<Socket<'_>>(handle);
        socket
            .connect(net.iface.context(), IpEndpoint::from(target), port)
            .expect("the target can be reached");
        self.socket = Some(handle);
    }

    fn finish(&mut self, net: &mut Net<'_>, error: Option<String>) {
        let socket = net.tcp(self.socket.expect("it was opened"));
        if error.is_some() {
            socket.abort();
        } else {
            socket.close();
        }
        self.outcome.error = error;
        self.outcome.finished = true;
    }

    /// Leaves a connection that was closed as announced; the requests not answered go to a new one.
    fn start_over(&mut self, net: &mut Net<'_>) {
        self.left = self.socket.take();
        net.tcp(self.left.expect("it was opened")).close();
        self.out.clear();
        self.out_at = 0;
        self.asked = self.outcome.statuses.len();
        self.reader = Reader::new(Kind::Response);
        self.last = false;
    }

    fn run(&mut self, net: &mut Net<'_>) -> (bool, u64) {
        let mut moved = false;
        let mut wake = u64::MAX;
        let handle = self.socket.expect("it was opened");

        // Requests.
        let answered = self.outcome.statuses.len();
        if self.out_at == self.out.len()
            && self.asked < self.plan.exchanges.len()
            && (self.plan.pipeline || self.asked == answered)
        {
            self.out = self.plan.exchanges[self.asked].request();
            self.out_at = 0;
            self.asked += 1;
        }
        let now = net.now;
        let socket = net.tcp(handle);
        if socket.can_send() && self.out_at < self.out.len() {
            if self.write_at > now {
                wake = wake.min(self.write_at);
            } else {
                let end = self
                    .out
                    .len()
                    .min(self.out_at.saturating_add(self.plan.write.bytes));
                let n = socket.send_slice(&self.out[self.out_at..end]).unwrap_or(0);
                self.out_at += n;
                self.write_at = now + self.plan.write.every_us;
                moved |= n != 0;
                wake = wake.min(self.write_at.max(now + 1));
            }
        }

        // Responses.
        if socket.can_recv() {
            if self.read_at > now {
                wake = wake.min(self.read_at);
            } else {
                let most = self.plan.read.bytes;
                let reader = &mut self.reader;
                let n = socket
                    .recv(|bytes| {
                        let n = bytes.len().min(most);
                        reader.feed(&bytes[..n]);
                        (n, n)
                    })
                    .unwrap_or(0);
                self.read_at = now + self.plan.read.every_us;
                moved |= n != 0;
                wake = wake.min(self.read_at.max(now + 1));
            }
        }
        let ended = !socket.may_recv() && socket.state() != State::SynSent && !socket.can_recv();
        let state = socket.state();
        if let Err(error) = self.judge(ended) {
            let done = self.outcome.statuses.len();
            let error = format!("exchange {done}: {error} (socket {state:?})");
            self.finish(net, Some(error));
            return (true, u64::MAX);
        }
        if self
            .plan
            .abort_after
            .is_some_and(|n| self.reader.body_bytes() >= n)
        {
            self.finish(net, Some("aborted as planned".into()));
        } else if self.outcome.statuses.len() == self.outcome.wanted {
            self.finish(net, None);
        } else if ended && self.last && self.outcome.error.is_none() {
            self.start_over(net);
            moved = true;
        } else if ended && !self.outcome.finished {
            let error = format!("closed after {} responses", self.outcome.statuses.len());
            self.finish(net, Some(error));
        }
        (moved, wake)
    }

    /// Reads as many responses as there are.
    fn judge(&mut self, ended: bool) -> Result<(), String> {
        loop {
            let mut step = self.reader.step()?;
            if step == Step::More && ended {
                match self.reader.end_of_stream()? {
                    Some(end) => step = end,
                    None => return Ok(()),
                }
            }
            match step {
                Step::More => return Ok(()),
                Step::Head(head) => {
                    let index = self.outcome.statuses.len();
                    let exchange = self.plan.exchanges[..self.asked]
                        .get(index)
                        .ok_or("a response nobody asked for")?;
                    if head.status < 200 {
                        self.reader.begin_body(Body::Length(0), 0);
                        continue;
                    }
                    self.outcome.dates.push(head.dates);
                    let body = match exchange.method {
                        Method::Head => Body::Length(0),
                        _ => head.body,
                    };
                    // Bodies of errors are the proxy's own; they are not compared here.
                    if head.status == 200 {
                        let seed = pattern::response_seed(&exchange.path());
                        self.reader.begin_body(body, seed);
                        self.reading = Some(200);
                        self.last = head.close || body == Body::UntilClose;
                    } else {
                        self.outcome.statuses.push(head.status);
                        return Err(format!("status {}", head.status));
                    }
                }
                Step::End => {
                    let Some(status) = self.reading.take() else {
                        continue;
                    };
                    let expected = self.plan.exchanges[self.outcome.statuses.len()].expected();
                    if self.reader.body_bytes() != expected {
                        return Err(format!(
                            "{} bytes of body instead of {expected}",
                            self.reader.body_bytes()
                        ));
                    }
                    self.outcome.statuses.push(status);
                }
            }
        }
    }
}
