//! Signals, turned into flags that the main thread and the access log look at.
//!
//! SIGTERM and SIGINT ask for shutdown: minivoy drains and exits with 0. A second one means "now":
//! the process ends at once with 128 plus the signal's number, as shells count it. SIGHUP asks for
//! the access log to be reopened, and never ends the process, whether there is a log or not: log
//! rotation must not stop a proxy.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// What signals have asked for. Clones share the flags.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    shutdown: Arc<AtomicBool>,
    reopen_logs: Arc<AtomicBool>,
}

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGHUP for the rest of the process's life.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn install() -> io::Result<Self> {
        let signals = Self::default();
        for signal in [SIGTERM, SIGINT] {
            // In this order: the flag is set only after it was found unset, so that only a second
            // signal, of either kind, ends the process.
            let _id = flag::register_conditional_shutdown(
                signal,
                128 + signal,
                Arc::clone(&signals.shutdown),
            )?;
            let _id = flag::register(signal, Arc::clone(&signals.shutdown))?;
        }
        let _id = flag::register(SIGHUP, Arc::clone(&signals.reopen_logs))?;
        Ok(signals)
    }

    /// Whether shutdown was asked for. Stays true.
    pub fn shutdown_requested(&self) -> bool {
        self.shutdown.load(Ordering::Relaxed)
    }

    /// The flag SIGHUP sets; whoever reopens the log clears it.
    pub fn reopen_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.reopen_logs)
    }
}

#[cfg(test)]
#[allow(clippy::print_stdout, reason = "what a child of the test says")]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, ChildStdout, Command, Stdio};
    use std::time::Duration;

    use super::*;

    /// Not a test of its own: what the tests below start in a process of its own, so that real
    /// signals reach it alone. Says what it sees; ends by a second signal, or after a minute.
    #[test]
    #[ignore = "run by the other tests as a child"]
    #[allow(clippy::disallowed_methods, reason = "waits for real signals")]
    fn child() {
        let signals = Signals::install().unwrap();
        println!("\nready");
        let mut draining = false;
        for _ in 0..6000 {
            if signals.shutdown_requested() && !draining {
                draining = true;
                println!("draining");
            }
            if signals.reopen_flag().swap(false, Ordering::Relaxed) {
                println!("reopen");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    struct Running {
        child: Child,
        output: BufReader<ChildStdout>,
    }

    impl Running {
        fn start() -> Self {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "signals::tests::child",
                    "--ignored",
                    "--nocapture",
                ])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let output = BufReader::new(child.stdout.take().unwrap());
            let mut running = Self { child, output };
            running.expect("ready");
            running
        }

        fn expect(&mut self, word: &str) {
            let mut line = String::new();
            while line.trim() != word {
                line.clear();
                let read = self.output.read_line(&mut line).unwrap();
                assert_ne!(read, 0, "it ended before it said {word}");
            }
        }

        fn send(&self, signal: &str) {
            let pid = self.child.id().to_string();
            let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
            assert!(sent.success());
        }

        fn exit_code(mut self) -> Option<i32> {
            let status = self.child.wait().unwrap();
            assert_eq!(status.signal(), None, "it exits by itself");
            status.code()
        }
    }

    #[test]
    fn the_first_signal_drains_and_the_second_ends() {
        for (first, second, code) in [
            ("-TERM", "-TERM", 143),
            ("-INT", "-INT", 130),
            ("-TERM", "-INT", 130),
        ] {
            let mut running = Running::start();
            running.send(first);
            running.expect("draining");
            running.send(second);
            assert_eq!(running.exit_code(), Some(code), "{first} {second}");
        }
    }

    #[test]
    fn hang_up_reopens_and_does_not_end() {
        let mut running = Running::start();
        for _ in 0..3 {
            running.send("-HUP");
            running.expect("reopen");
        }
        running.send("-TERM");
        running.expect("draining");
        running.send("-TERM");
        assert_eq!(running.exit_code(), Some(143));
    }
}
