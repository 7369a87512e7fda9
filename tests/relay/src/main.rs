//! `relay` joins two network interfaces, as a cable would, and impairs what passes by a seed: loss,
//! duplication, reordering, corruption, delay, jitter. Not every kernel has `netem`, and netem's
//! dice cannot be thrown again.
//!
//! It prints `ready` when frames pass, and on SIGTERM or SIGINT one line of JSON that says what it
//! did to them. Interfaces must send single frames (`ethtool -K … tso off gso off gro off`) for a
//! frame to be what is lost; super-segments pass whole otherwise.

mod link;
mod socket;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::Parser;

use link::{Impairment, Link, LinkStats};
use socket::{BATCH, Frame, PacketSocket, Sent, check};

/// Joins two interfaces and impairs what passes.
#[derive(Parser)]
struct Arguments {
    /// One interface.
    a: String,
    /// The other.
    b: String,
    /// Decides every frame's fate, together with its number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Percentage of frames lost.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    loss: f64,
    /// Percentage of frames sent twice.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    duplicate: f64,
    /// Percentage of frames overtaken by one to six later ones.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    reorder: f64,
    /// Percentage of frames in which one bit is flipped (if the kernel has computed their checksum:
    /// `ethtool -K … tx off`).
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    corrupt: f64,
    /// Microseconds every frame takes.
    #[arg(long, default_value_t = 0)]
    delay_us: u64,
    /// Most microseconds it takes beyond that. Order is kept.
    #[arg(long, default_value_t = 0)]
    jitter_us: u64,
    /// Most frames under way in one direction.
    #[arg(long, default_value_t = 20_000)]
    limit: usize,
}

/// A percentage as a share of one.
fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err("not a percentage".into()),
    }
}

/// One direction: where frames leave, and those on their way.
struct Direction {
    link: Link<Frame>,
    /// Have left the link, wait for the interface.
    leaving: VecDeque<Frame>,
    sent: u64,
    refused: u64,
}

impl Direction {
    fn new(impairment: Impairment, seed: u64) -> Self {
        Self {
            link: Link::new(impairment, seed),
            leaving: VecDeque::new(),
            sent: 0,
            refused: 0,
        }
    }

    /// Sends what is due. Returns false when the interface took less.
    fn send_due(&mut self, now: u64, out: &mut PacketSocket) -> bool {
        loop {
            while self.leaving.len() < BATCH {
                let Some(frame) = self.link.take(now) else {
                    break;
                };
                self.leaving.push_back(frame);
            }
            match out.send(self.leaving.iter()) {
                Sent::Taken(0) => return true,
                Sent::Taken(count) => {
                    drop(self.leaving.drain(..count));
                    self.sent += count as u64;
                }
                Sent::Full => return false,
                Sent::Refused => {
                    drop(self.leaving.pop_front());
                    self.refused += 1;
                }
            }
        }
    }

    fn json(&self, missed: u32) -> String {
        let LinkStats {
            frames,
            bytes,
            lost,
            overflowed,
            reordered,
            duplicated,
            corrupted,
            passed,
        } = self.link.stats();
        let (sent, refused) = (self.sent, self.refused);
        format!(
            "{{\"frames\":{frames},\"bytes\":{bytes},\"lost\":{lost},\"reordered\":{reordered},\
             \"duplicated\":{duplicated},\"corrupted\":{corrupted},\"overflowed\":{overflowed},\
             \"passed\":{passed},\"sent\":{sent},\"refused\":{refused},\"missed\":{missed}}}"
        )
    }
}

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(_: libc::c_int) {
    STOP.store(true, Ordering::Relaxed);
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "relay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let impairment = Impairment {
        loss: arguments.loss,
        duplicate: arguments.duplicate,
        reorder: arguments.reorder,
        corrupt: arguments.corrupt,
        delay: arguments.delay_us * 1000,
        jitter: arguments.jitter_us * 1000,
        limit: arguments.limit,
    };
    let open = |name: &str| {
        PacketSocket::open(name)
            .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))
    };
    let mut a = open(&arguments.a)?;
    let mut b = open(&arguments.b)?;
    let mut a_to_b = Direction::new(impairment, arguments.seed);
    let mut b_to_a = Direction::new(impairment, !arguments.seed);

    for signal in [libc::SIGTERM, libc::SIGINT] {
        // SAFETY: the handler only stores to an atomic, which is safe in a signal handler.
        let _ = unsafe { libc::signal(signal, on_signal as *const () as libc::sighandler_t) };
    }
    writeln!(io::stdout(), "ready")?;
    let start = now();
    while !STOP.load(Ordering::Relaxed) {
        let received = a.receive(|frame| a_to_b.link.offer(now(), frame))?
            + b.receive(|frame| b_to_a.link.offer(now(), frame))?;
        let b_took = a_to_b.send_due(now(), &mut b);
        let a_took = b_to_a.send_due(now(), &mut a);
        if received == 0 {
            let due = [&a_to_b, &b_to_a]
                .iter()
                .filter_map(|d| d.link.next_due())
                .min();
            wait([(&a, !a_took), (&b, !b_took)], due)?;
        }
    }
    let seconds = (now() - start) as f64 / 1e9;
    writeln!(
        io::stdout(),
        "{{\"seed\":{},\"seconds\":{seconds:.3},\"frames_per_second\":{:.0},\"a_to_b\":{},\"b_to_a\":{}}}",
        arguments.seed,
        (a_to_b.sent + b_to_a.sent) as f64 / seconds,
        a_to_b.json(a.missed()?),
        b_to_a.json(b.missed()?),
    )
}

/// Nanoseconds since the first call.
fn now() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    // The relay is a program of its own, not the engine: it has a clock.
    #[allow(clippy::disallowed_methods)]
    let clock = Instant::now;
    clock().duration_since(*START.get_or_init(clock)).as_nanos() as u64
}

/// Sleeps until a frame arrives at a socket, an interface that was full has room, or the time `due`.
fn wait(sockets: [(&PacketSocket, bool); 2], due: Option<u64>) -> io::Result<()> {
    // A signal that comes just before ppoll is noticed after this long.
    const LONGEST: u64 = 100_000_000;
    let timeout = due.map_or(LONGEST, |due| due.saturating_sub(now()).min(LONGEST));
    let timeout = libc::timespec {
        tv_sec: 0,
        tv_nsec: timeout as libc::c_long,
    };
    let mut polled = sockets.map(|(socket, full)| libc::pollfd {
        fd: socket.raw(),
        events: libc::POLLIN | if full { libc::POLLOUT } else { 0 },
        revents: 0,
    });
    // SAFETY: `polled` and `timeout` are locals that outlive the call; no signal mask is given.
    match check(unsafe {
        libc::ppoll(polled.as_mut_ptr(), 2, &raw const timeout, std::ptr::null())
    }) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}
