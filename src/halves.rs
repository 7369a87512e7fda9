//! A command line of two halves: `PROGRAM [EAL options] -- [options of its own]`.
//!
//! Everything before the first `--` belongs to DPDK's environment abstraction layer (EAL) and is
//! handed to it as it stands; everything after it is the program's own. This is how DPDK programs are
//! started (DPDK "Getting Started Guide for Linux", EAL parameters), so what operators know holds.
//!
//! What people get wrong is an option in the wrong half. Both halves are looked through for the
//! other's options, and the error says what to type.

use std::ffi::OsString;

use clap::error::ErrorKind;

use crate::eal_args;

/// A command line that cannot be used: one line that says what to type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// The two halves, the program's name first in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halves {
    /// EAL's.
    pub eal: Vec<String>,
    /// The program's own.
    pub own: Vec<OsString>,
    /// Whether there was a `--` at all; without one everything is EAL's.
    pub split: bool,
}

impl Halves {
    /// Divides `args`, which begin with the program's name (`program` if there is none).
    ///
    /// # Errors
    /// [`UsageError`] when an argument of EAL's is not UTF-8.
    pub fn divide(
        args: impl IntoIterator<Item = OsString>,
        program: &str,
    ) -> Result<Self, UsageError> {
        let mut args = args.into_iter();
        let program = args.next().unwrap_or_else(|| program.into());
        let mut halves = Self {
            eal: vec![program.to_string_lossy().into_owned()],
            own: vec![program],
            split: false,
        };
        for arg in args {
            if halves.split {
                halves.own.push(arg);
            } else if arg == "--" {
                halves.split = true;
            } else {
                halves.eal.push(arg.into_string().map_err(|arg| {
                    UsageError(format!(
                        "EAL option {} is not UTF-8 text",
                        arg.to_string_lossy()
                    ))
                })?);
            }
        }
        Ok(halves)
    }

    /// Refuses an option of `command`'s in EAL's half. `program` is how the error calls it.
    ///
    /// # Errors
    /// [`UsageError`] that names the first such option.
    pub fn check_eal(&self, command: &clap::Command, program: &str) -> Result<(), UsageError> {
        match self.eal[1..].iter().find(|arg| is_own(command, arg)) {
            Some(option) => Err(UsageError(format!(
                "{option} is {program}'s own option and belongs after `--`: \
                 {program} [EAL options] -- {option} …"
            ))),
            None => Ok(()),
        }
    }
}

/// Whether `arg`, found before `--`, is a long option of `command`'s. `--log-level` exists in both
/// halves, and so do many of the short ones.
fn is_own(command: &clap::Command, arg: &str) -> bool {
    let Some(name) = arg.strip_prefix("--") else {
        return false;
    };
    let name = name.split('=').next().unwrap_or(name);
    name != "log-level"
        && command
            .get_arguments()
            .any(|own| own.get_long() == Some(name))
}

/// clap's message about `own` on a single line, without the usage text, and with a hint when the
/// option is one of EAL's. `program` is how the hint calls the program.
pub fn one_line(error: &clap::Error, own: &[OsString], program: &str) -> UsageError {
    let rendered = error.render().to_string();
    let message: Vec<&str> = rendered
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let mut message = message.join(" ").replace(" tip: ", "; ");
    if let Some(text) = message.strip_prefix("error: ") {
        message = text.to_owned();
    }
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(option) = own[1..]
            .iter()
            .filter_map(|arg| arg.to_str())
            .find(|arg| eal_args::is_eal_option(arg))
    {
        message = format!(
            "{option} is an EAL option and belongs before `--`: \
             {program} {option} … -- [{program} options]"
        );
    }
    UsageError(message)
}
