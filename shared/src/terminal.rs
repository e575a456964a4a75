//! How every program ends and what it tells a person at the terminal when it cannot go on.
//!
//! Colour is anstream's choice, here and in the log: none where the output is no terminal or `NO_COLOR` is set.

use std::{
    error::Error,
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use anstyle::{AnsiColor, Style};

/// How a program ended: the exit codes of all programs. [`EXIT_CODES`] says the same in their help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// What was asked for is done. Of a server: a signal ended it, after the requests in progress.
    Done = 0,
    /// It could not be done; standard error says why. To try again may help.
    Failed = 1,
    /// A flag or a variable is wrong: nothing was done, and the same call never will. clap ends with it as well.
    WrongUsage = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The exit codes, for the end of a program's help.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done; a server: ended by SIGTERM or Ctrl-C
  1  failed; standard error says why
  2  a flag or a variable is wrong, nothing was done";

const FAULT: Style = AnsiColor::Red.on_default().bold();
const TIP: Style = AnsiColor::Green.on_default();

/// Writes a line to standard error. That nobody can read it is no reason to end, as `eprintln!` would.
pub fn say(text: impl fmt::Display) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Writes to standard error why the program ends, and what can be done about it.
pub fn tell(program: &str, error: &(dyn Error + 'static), tip: Option<&str>) {
    say(format_args!("{FAULT}{program}:{FAULT:#} {}", described(error)));
    if let Some(tip) = tip {
        self::tip(tip);
    }
}

/// Writes to standard error what can be done about what was just written.
pub fn tip(tip: &str) {
    say(format_args!("\n  {TIP}tip:{TIP:#} {tip}"));
}

/// An error and its causes on one line. A cause that the text before it already ends with is left out.
#[must_use]
pub fn described(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

/// What can be done where a server cannot listen: `flag` chooses its port.
#[must_use]
pub fn tip_on_listening(error: &(dyn Error + 'static), flag: &str) -> Option<String> {
    let kind = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>())?.kind();
    match kind {
        io::ErrorKind::AddrInUse => Some(format!(
            "another program serves there; choose another port with {flag}, or 0 for any free one"
        )),
        io::ErrorKind::AddrNotAvailable => Some(
            "this machine has no such address; 127.0.0.1 is this machine alone, 0.0.0.0 every network of it"
                .to_owned(),
        ),
        _ => None,
    }
}

/// An error and what caused it, outermost first.
pub fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    #[error("{said}")]
    struct Said {
        said: &'static str,
        source: Option<Box<Said>>,
    }

    fn said(said: &'static str, source: Option<Said>) -> Said {
        Said { said, source: source.map(Box::new) }
    }

    #[test]
    fn a_cause_is_told_once() {
        let error =
            said("a.joblib is no model", Some(said("byte 0: cut short", Some(said("cut short", None)))));
        assert_eq!(described(&error), "a.joblib is no model: byte 0: cut short");
    }

    #[test]
    fn the_help_lists_every_exit_code() {
        for exit in [Exit::Done, Exit::Failed, Exit::WrongUsage] {
            assert!(EXIT_CODES.contains(&format!("\n  {}  ", exit as u8)), "{exit:?}");
        }
    }

    #[test]
    fn who_cannot_listen_is_told_what_to_do() {
        for (kind, wanted) in [
            (io::ErrorKind::AddrInUse, Some("--port")),
            (io::ErrorKind::PermissionDenied, None),
            (io::ErrorKind::AddrNotAvailable, Some("127.0.0.1")),
            (io::ErrorKind::OutOfMemory, None),
        ] {
            let tip = tip_on_listening(&io::Error::from(kind), "--port N");
            assert_eq!(tip.is_some(), wanted.is_some(), "{kind}");
            assert!(wanted.is_none_or(|wanted| tip.unwrap_or_default().contains(wanted)), "{kind}");
        }
    }
}
