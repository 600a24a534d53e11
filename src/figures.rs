//! What a device can do, as it was measured: figures with the ranges that they must be in, and the text in which a caller
//! keeps them.

use crate::error::{Error, Result, quoted};

/// A figure: its key in a text, its value, and the range outside of which no device is.
pub(crate) type Figure = (&'static str, f64, [f64; 2]);

/// What figures are of: keys and values.
pub(crate) type About<'a> = &'a [(&'static str, String)];

/// The last line of a text, without which something is missing.
const END: &str = "end";

/// Refuses figures that no device has.
///
/// # Errors
/// [`Error::Mismatch`] naming the figure.
pub(crate) fn check(figures: &[Figure]) -> Result<()> {
    let wrong = figures.iter().find(|(_, value, [least, most])| !(value >= least && value <= most));
    wrong.map_or(Ok(()), |(key, value, [least, most])| {
        Err(Error::mismatch(format!("calibration, {key}"), format!("{least:e} to {most:e}"), format!("{value:e}")))
    })
}

/// `figures` as a text that begins with the line `magic`.
pub(crate) fn to_text(magic: &str, about: About<'_>, figures: &[Figure]) -> String {
    let about: String = about.iter().map(|(key, value)| format!("{key} {}\n", one_line(value))).collect();
    let figures: String = figures.iter().map(|(key, value, _)| format!("{key} {value:e}\n")).collect();
    format!("{magic}\nversion {}\n{about}{figures}{END}\n", env!("CARGO_PKG_VERSION"))
}

/// The values in a text that [`to_text`] made, for the keys of `figures`, each within its range.
///
/// # Errors
/// [`Error::Malformed`] for anything else, [`Error::Mismatch`] for figures of something else or another version of this
/// crate, or such as no device has.
pub(crate) fn from_text<const COUNT: usize>(
    text: &str,
    magic: &str,
    about: About<'_>,
    mut figures: [Figure; COUNT],
) -> Result<[f64; COUNT]> {
    let mut lines = text.lines();
    expect("the first line", magic, lines.next())?;
    let version = ("version", env!("CARGO_PKG_VERSION").to_owned());
    for (key, value) in std::iter::once(&version).chain(about) {
        let (found, value) = (value_of(key, lines.next())?, one_line(value));
        if found != value {
            return Err(Error::mismatch(format!("calibration, {key}"), quoted(&value), quoted(found)));
        }
    }
    for (key, value, _) in &mut figures {
        let found = value_of(key, lines.next())?;
        *value = found.parse().map_err(|_| malformed(key, "a number", found))?;
    }
    expect("the last line", END, lines.next())?;
    if let Some(more) = lines.next() {
        return Err(malformed("the end", "no more lines", more));
    }
    check(&figures)?;
    Ok(figures.map(|(_, value, _)| value))
}

/// A name may hold anything.
fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control()).collect::<Vec<_>>().join(" ")
}

fn expect(at: &str, expected: &str, found: Option<&str>) -> Result<()> {
    let found = found.unwrap_or_default();
    if found == expected { Ok(()) } else { Err(malformed(at, &quoted(expected), found)) }
}

/// What stands behind `key` and a space.
fn value_of<'a>(key: &str, line: Option<&'a str>) -> Result<&'a str> {
    let line = line.unwrap_or_default();
    let value = line.strip_prefix(key).and_then(|rest| rest.strip_prefix(' '));
    value.ok_or_else(|| malformed(key, &format!("a line '{key} ...'"), line))
}

fn malformed(at: &str, expected: &str, found: &str) -> Error {
    Error::Malformed {
        file: "calibration".to_owned(),
        at: at.to_owned(),
        expected: expected.to_owned(),
        found: quoted(found),
    }
}
