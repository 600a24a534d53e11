//! Why the program ends early: one line for the user, one exit code for scripts.

use std::process::ExitCode;

use wgpu_rnn::{Error, ErrorKind};

/// What the exit codes mean, at the end of `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   verification or a known-answer test failed
  2   wrong usage, or an option that does not suit the model
  3   bad or unsupported input: model, array, state
  4   a limit was exceeded
  5   no device, or the device failed
  70  internal error

Each option has a default that an environment variable can set: WGPU_RNN_DEVICE for --device,
WGPU_RNN_SEQ_LEN for --seq-len. The command line wins.";

/// A failure: what to say and how to exit.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A result outside of its tolerance.
    pub(crate) const NOT_VERIFIED: u8 = 1;
    /// No device, or the device failed.
    pub(crate) const DEVICE: u8 = 5;
    const USAGE: u8 = 2;
    const INPUT: u8 = 3;
    const LIMIT: u8 = 4;
    const INTERNAL: u8 = 70;

    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// An option that does not fit the others, or not this model.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Self::USAGE, message)
    }

    /// A defect of this program.
    pub(crate) fn internal(what: &str) -> Self {
        Self::new(Self::INTERNAL, format!("internal error: {what}; please report it"))
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    #[cfg(test)]
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// One line, whatever a driver or a file put into it.
    pub(crate) fn message(&self) -> String {
        one_line(&self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match (&error, error.kind()) {
            (Error::KnownAnswer { .. } | Error::WrongAnswer { .. }, _) => Self::NOT_VERIFIED,
            (Error::Unknown { kind: "adapter", .. }, _) | (_, ErrorKind::Device) => Self::DEVICE,
            (_, ErrorKind::Input) => Self::INPUT,
            (_, ErrorKind::Limit) => Self::LIMIT,
            _ => Self::INTERNAL,
        };
        Self::new(code, error.to_string())
    }
}

/// `text` with runs of white space as one space, and no control characters.
pub(crate) fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The start of a text from a file or a user, for messages: `max` characters, none that a terminal obeys.
pub(crate) fn shown(text: &str, max: usize) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().collect() } else { c.to_string() };
    text.chars().take(max).map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_codes() {
        let code = |error: Error| Failure::from(error).code();
        let text = String::new;
        assert_eq!(code(Error::Mismatch { subject: text(), expected: text(), found: text() }), 3);
        assert_eq!(code(Error::Unknown { kind: "input", name: text(), known: text() }), 3);
        assert_eq!(code(Error::Unknown { kind: "adapter", name: text(), known: text() }), 5);
        assert_eq!(code(Error::Limit { what: text(), need: text(), limit: text(), hint: text() }), 4);
        assert_eq!(code(Error::NoAdapter { reason: text(), hint: text() }), 5);
        assert_eq!(code(Error::DeviceLost { adapter: text(), reason: text() }), 5);
        assert_eq!(code(Error::OutOfDeviceMemory { adapter: text(), doing: text(), bytes: 1 }), 5);
        assert_eq!(code(Error::KnownAnswer { kernel: text(), adapter: text(), detail: text() }), 1);
        assert_eq!(code(Error::Internal { what: text() }), 70);
    }

    #[test]
    fn messages_are_one_line() {
        assert_eq!(shown("it's\u{1b}[0m", 6), "it's\\u{1b}[");
        assert_eq!(Failure::usage("a\n  b\t\u{1b}[0mc").message(), "a b [0mc");
    }
}
