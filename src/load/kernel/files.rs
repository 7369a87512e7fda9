//! How many sockets the process may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything that is not a connection.
const SPARE: u64 = 64;

/// Raises the limit of open files as far as it goes.
///
/// # Errors
/// A line that says what to type, when `connections` do not fit.
pub fn make_room(connections: u64) -> Result<(), String> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = connections + SPARE;
    if current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    // Who is root may go beyond the hard limit, as far as fs.nr_open.
    let least = wanted.max(maximum.unwrap_or(wanted));
    for limit in [
        Rlimit {
            current: Some(wanted.max(current.unwrap_or(wanted))),
            maximum,
        },
        Rlimit {
            current: Some(wanted),
            maximum: Some(least),
        },
    ] {
        if setrlimit(Resource::Nofile, limit).is_ok() {
            return Ok(());
        }
    }
    Err(format!(
        "{connections} connections need {wanted} open files, and {} are allowed: `ulimit -Hn {wanted}` as \
         root (and `sysctl fs.nr_open={wanted}`), or fewer connections",
        maximum.or(current).unwrap_or(0)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_fit_and_too_many_are_refused_with_a_remedy() {
        assert_eq!(make_room(1), Ok(()));
        let refused = make_room(1 << 40).unwrap_err();
        assert!(refused.contains("ulimit -Hn"), "{refused}");
    }
}
