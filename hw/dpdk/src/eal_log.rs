//! EAL's log as records of the `log` crate, target `dpdk`.
//!
//! DPDK prints into a stdio stream (`rte_openlog_stream` in rte_log.h); fopencookie(3) makes one
//! that calls back. Each message is printed and flushed at once by the thread that logs it, so the
//! level of "the message being logged" is that of the bytes that arrive.
//!
//! While EAL initialises, lines of level error and worse are also kept, for the error it returns:
//! its error number alone seldom says what was wrong.

use std::ffi::{c_char, c_void};
use std::ptr::null_mut;
use std::sync::Mutex;

use dpdk_sys as sys;

/// What has been printed of a line that has not ended, and the lines kept for an error.
#[derive(Default)]
struct Lines {
    unfinished: String,
    keep: bool,
    kept: Vec<String>,
}

static LINES: Mutex<Lines> = Mutex::new(Lines {
    unfinished: String::new(),
    keep: false,
    kept: Vec::new(),
});

/// Sends EAL's log to the `log` crate from now on, and begins to keep what it says in anger.
/// If the stream cannot be made, EAL keeps logging to standard error.
pub(crate) fn install() {
    lines().keep = true;
    let functions = sys::cookie_io_functions_t {
        read: None,
        write: Some(write),
        seek: None,
        close: None,
    };
    // SAFETY: the mode is a terminated string; `write` lives as long as the program and needs no
    // cookie. The stream is never closed, so DPDK may use it until the process ends.
    unsafe {
        let stream = sys::fopencookie(null_mut(), c"w".as_ptr(), functions);
        if !stream.is_null() {
            let _ = sys::setvbuf(stream, null_mut(), sys::_IOLBF as i32, 0);
            let _ = sys::rte_openlog_stream(stream);
        }
    }
}

/// Stops keeping lines, and returns those kept, in one line of text.
pub(crate) fn take_kept() -> String {
    let mut lines = lines();
    lines.keep = false;
    let kept = std::mem::take(&mut lines.kept);
    if kept.is_empty() {
        "nothing".to_owned()
    } else {
        kept.join("; ")
    }
}

fn lines() -> std::sync::MutexGuard<'static, Lines> {
    LINES
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

unsafe extern "C" fn write(_: *mut c_void, bytes: *const c_char, len: usize) -> i64 {
    // SAFETY: stdio passes `len` initialised bytes.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), len) };
    // SAFETY: reads a per-thread variable.
    let level = level_of(unsafe { sys::rte_log_cur_msg_loglevel() } as u32);
    let text = String::from_utf8_lossy(bytes);
    for part in text.split_inclusive('\n') {
        let mut lines = lines();
        lines.unfinished.push_str(part);
        if !part.ends_with('\n') {
            continue;
        }
        let line = std::mem::take(&mut lines.unfinished);
        let line = line.trim_end();
        if lines.keep && level == log::Level::Error {
            lines.kept.push(line.to_owned());
        }
        drop(lines);
        log::log!(target: "dpdk", level, "{line}");
    }
    len as i64
}

/// DPDK has eight levels, from 1 (emergency) to 8 (debug).
fn level_of(level: u32) -> log::Level {
    match level {
        0..=sys::RTE_LOG_ERR => log::Level::Error,
        sys::RTE_LOG_WARNING => log::Level::Warn,
        sys::RTE_LOG_NOTICE => log::Level::Info,
        sys::RTE_LOG_INFO => log::Level::Debug,
        _ => log::Level::Trace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        assert_eq!(level_of(1), log::Level::Error);
        assert_eq!(level_of(sys::RTE_LOG_ERR), log::Level::Error);
        assert_eq!(level_of(sys::RTE_LOG_WARNING), log::Level::Warn);
        assert_eq!(level_of(sys::RTE_LOG_NOTICE), log::Level::Info);
        assert_eq!(level_of(sys::RTE_LOG_DEBUG), log::Level::Trace);
    }
}
