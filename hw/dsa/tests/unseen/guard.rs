//! Who touches what the core must not is told so, and ends with an exit code of its own: other faults
//! stay what they are.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The exit code of a process that touched hidden bytes.
pub const TOUCHED: i32 = 77;

/// The core's mapping.
static START: AtomicUsize = AtomicUsize::new(0);
static LEN: AtomicUsize = AtomicUsize::new(0);

/// Watches `len` bytes from `start` on, in all of this process.
pub fn watch(start: usize, len: usize) {
    START.store(start, Ordering::Relaxed);
    LEN.store(len, Ordering::Relaxed);
    // SAFETY: all zeros is a valid action; the handler below does only what handlers may.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = touched;
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(
            libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut()),
            0
        );
    }
}

extern "C" fn touched(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands a handler of SA_SIGINFO a valid siginfo.
    let at = unsafe { (*info).si_addr() }.addr();
    if at.wrapping_sub(START.load(Ordering::Relaxed)) < LEN.load(Ordering::Relaxed) {
        let said = b"the core touched a byte of payload\n";
        // SAFETY: write(2) and _exit(2) are async-signal-safe.
        unsafe {
            let _written = libc::write(2, said.as_ptr().cast(), said.len());
            libc::_exit(TOUCHED);
        }
    }
    // SAFETY: so is signal(2). The access is made again, and ends the process as it always would.
    let _before = unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Names the case a child process is to run.
const CASE: &str = "UNSEEN_CASE";

/// The case this process was started for, if it is a child.
pub fn case() -> Option<String> {
    std::env::var(CASE).ok()
}

/// Runs the test `name` of this program in a process of its own, for `case`.
pub fn child(name: &str, case: &str) -> Output {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", name, "--nocapture"])
        .env(CASE, case)
        .output()
        .expect("a child process")
}
