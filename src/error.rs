//! Every way in which the library refuses or fails, with what was expected and what was found.

use std::{io, sync::Arc, time::Duration};

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. Messages are one line and name the file, layer, tensor or adapter concerned.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened, read or written.
    #[error("{path}: {source}")]
    Io {
        /// The path as it was given.
        path: String,
        /// The cause.
        source: Arc<io::Error>,
    },
    /// A file is damaged or does not have the layout of its format.
    #[error("{file}: {at}: expected {expected}, found {found}")]
    Malformed {
        /// The file.
        file: String,
        /// The place inside the file: a member, a dataset, a JSON path.
        at: String,
        /// What the format asks for.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A layer, option or file that is understood but not supported.
    #[error("{subject}: {what} is not supported; {instead}")]
    Unsupported {
        /// The file or layer.
        subject: String,
        /// The feature.
        what: String,
        /// What to do instead.
        instead: String,
    },
    /// A layer's option, weight, input or state does not fit: shape, dtype or value.
    #[error("{subject}: expected {expected}, found {found}")]
    Mismatch {
        /// The layer, tensor or option.
        subject: String,
        /// What is needed.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A name that nothing answers to.
    #[error("no {kind} named {name}; there is {known}")]
    Unknown {
        /// What kind of thing was looked up: input, output, adapter.
        kind: &'static str,
        /// The name given.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// A token id outside the embedding's table.
    #[error("{input}{index:?}: expected a token id, a whole number from 0 to {} (the vocabulary of layer {layer}), found {id}", vocabulary.saturating_sub(1))]
    TokenOutOfRange {
        /// The input's name.
        input: String,
        /// Position in the input.
        index: Vec<usize>,
        /// The id found.
        id: String,
        /// Rows of the embedding table.
        vocabulary: usize,
        /// The embedding layer.
        layer: String,
    },
    /// A NaN or an infinity where none is allowed.
    #[error("{tensor}{index:?}: value {value} is not finite")]
    NonFinite {
        /// The tensor.
        tensor: String,
        /// Position in the tensor.
        index: Vec<usize>,
        /// The value found.
        value: f32,
    },
    /// A size beyond a limit of the adapter or of the caller.
    #[error("{what} needs {need}, the limit is {limit}; {hint}")]
    Limit {
        /// What is too large.
        what: String,
        /// What it needs, with its unit.
        need: String,
        /// The limit, with its name and unit.
        limit: String,
        /// What to do.
        hint: String,
    },
    /// No GPU adapter can be used.
    #[error("no GPU adapter: {reason}; {hint}")]
    NoAdapter {
        /// What each backend said.
        reason: String,
        /// How to get one.
        hint: String,
    },
    /// The device has no memory left.
    #[error("out of device memory on {adapter} while {doing} ({bytes} bytes)")]
    OutOfDeviceMemory {
        /// The adapter's name.
        adapter: String,
        /// What the memory was for.
        doing: String,
        /// The size that was asked for.
        bytes: u64,
    },
    /// The device was lost. A session can be rebuilt and the call retried.
    #[error("device {adapter} was lost: {reason}; rebuild the session and retry")]
    DeviceLost {
        /// The adapter's name.
        adapter: String,
        /// What the driver said.
        reason: String,
    },
    /// The device did not answer before the deadline.
    #[error("device {adapter} did not answer within {after:?} while {doing}; rebuild the session and retry")]
    Timeout {
        /// The adapter's name.
        adapter: String,
        /// What was awaited.
        doing: String,
        /// The deadline.
        after: Duration,
    },
    /// A kernel gave a wrong answer to its known-answer test on this adapter.
    #[error("kernel {kernel} fails its known-answer test on {adapter}: {detail}; use another device")]
    KnownAnswer {
        /// The kernel.
        kernel: String,
        /// The adapter's name.
        adapter: String,
        /// The difference.
        detail: String,
    },
    /// A model gave another result than the known answers in its file.
    #[error("model {model} does not give its known answers on {device}: {detail}; use another device")]
    WrongAnswer {
        /// The model's name.
        model: String,
        /// The device, or the adapter.
        device: String,
        /// The answer and the difference.
        detail: String,
    },
    /// The graphics library rejected a call. A defect of this crate or of the driver.
    #[error("{adapter} rejected {doing}: {detail}")]
    Gpu {
        /// The adapter's name.
        adapter: String,
        /// The call.
        doing: String,
        /// The library's text.
        detail: String,
    },
    /// Something that should not be possible. A defect of this crate.
    #[error("internal error: {what}; please report it")]
    Internal {
        /// The broken invariant.
        what: String,
    },
}

/// The broad class of an [`Error`], for exit codes and retry decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input, model or option is wrong or unsupported.
    Input,
    /// A limit was exceeded.
    Limit,
    /// No device, or the device failed.
    Device,
    /// A defect of this crate.
    Internal,
}

impl Error {
    /// The class of this error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. }
            | Self::Malformed { .. }
            | Self::Unsupported { .. }
            | Self::Mismatch { .. }
            | Self::Unknown { .. }
            | Self::TokenOutOfRange { .. }
            | Self::NonFinite { .. } => ErrorKind::Input,
            Self::Limit { .. } => ErrorKind::Limit,
            Self::NoAdapter { .. }
            | Self::OutOfDeviceMemory { .. }
            | Self::DeviceLost { .. }
            | Self::Timeout { .. }
            | Self::KnownAnswer { .. }
            | Self::WrongAnswer { .. }
            | Self::Gpu { .. } => ErrorKind::Device,
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }

    /// Whether the same call may succeed on a rebuilt session.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::DeviceLost { .. } | Self::Timeout { .. } | Self::OutOfDeviceMemory { .. })
    }

    pub(crate) fn mismatch(subject: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Mismatch { subject: subject.into(), expected: expected.into(), found: found.into() }
    }

    pub(crate) fn unsupported(subject: impl Into<String>, what: impl Into<String>, instead: impl Into<String>) -> Self {
        Self::Unsupported { subject: subject.into(), what: what.into(), instead: instead.into() }
    }

    pub(crate) fn internal(what: impl Into<String>) -> Self {
        Self::Internal { what: what.into() }
    }
}

/// A name that came from a file or a user, for messages: quoted, escaped and cut to 128 characters.
pub(crate) fn quoted(name: &str) -> String {
    const MAX: usize = 128;
    let escaped: String = name.chars().flat_map(char::escape_debug).take(MAX).collect();
    let cut = if name.chars().flat_map(char::escape_debug).nth(MAX).is_some() { "..." } else { "" };
    format!("'{escaped}{cut}'")
}

/// A list of names for messages, cut after the first few.
pub(crate) fn listed<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    const MAX: usize = 16;
    let all: Vec<String> = names.into_iter().map(|name| quoted(name.as_ref())).collect();
    match all.len() {
        0 => "none".to_owned(),
        n if n <= MAX => all.join(", "),
        n => format!("{} and {} more", all[..MAX].join(", "), n - MAX),
    }
}

/// A count of bytes for messages: exact, with a rounded figure beside it.
#[cfg(any(feature = "gpu", feature = "keras", feature = "torch", feature = "native"))]
pub(crate) fn bytes(count: impl Into<u128>) -> String {
    let exact: u128 = count.into();
    if exact < 1 << 20 { format!("{exact} B") } else { format!("{exact} B ({} MiB)", exact >> 20) }
}
