//! [`Calibration`]: what a device can do, as it was measured, and the text in which that is kept.

use super::adapter::AdapterInfo;
use crate::error::{Error, Result, quoted};

/// What a device can do, measured by [`Gpu::calibrate`](super::Gpu::calibrate). It changes how work is cut into
/// submissions, and how many workgroups may wait for each other, never a result.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Calibration {
    /// Submitting a copy of a few bytes, waiting for it and reading them, seconds: the median.
    pub round_trip: f64,
    /// One more dispatch that waits for the one before it in the same submission, seconds.
    pub dispatch: f64,
    /// Reading a buffer larger than the caches, bytes per second.
    pub memory_bandwidth: f64,
    /// Reading a buffer of 1 MiB again and again, bytes per second.
    pub cache_bandwidth: f64,
    /// f32 multiply-adds within registers, per second; twice as many floating point operations.
    pub multiply_adds: f64,
    /// Workgroups of 256 invocations that run at once, where each needs little else.
    pub resident_workgroups: u32,
}

/// A figure: its key in a text, its value, and the range outside of which no device is.
type Figure = (&'static str, f64, [f64; 2]);

/// The first line of a text.
const MAGIC: &str = "wgpu-rnn calibration 1";
/// The last one, without which something is missing.
const END: &str = "end";
/// The most workgroups at once that are believed.
const MAX_RESIDENT: u32 = 1 << 20;

impl Calibration {
    /// What is taken for granted of a device that nobody measured: nothing that relies on it can go wrong.
    pub(crate) const ASSUMED: Self = Self {
        round_trip: 1e-4,
        dispatch: 1e-5,
        memory_bandwidth: 1e10,
        cache_bandwidth: 1e10,
        multiply_adds: 1e11,
        resident_workgroups: 1,
    };

    fn figures(&self) -> [Figure; 6] {
        [
            ("round_trip_s", self.round_trip, [1e-9, 1e2]),
            ("dispatch_s", self.dispatch, [1e-9, 1e1]),
            ("memory_bytes_per_s", self.memory_bandwidth, [1e5, 1e16]),
            ("cache_bytes_per_s", self.cache_bandwidth, [1e5, 1e17]),
            ("multiply_adds_per_s", self.multiply_adds, [1e5, 1e18]),
            ("resident_workgroups", f64::from(self.resident_workgroups), [1.0, f64::from(MAX_RESIDENT)]),
        ]
    }

    /// Refuses figures that no device has.
    ///
    /// # Errors
    /// [`Error::Mismatch`] naming the figure.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = self.figures().into_iter().find(|(_, value, [least, most])| !(value >= least && value <= most));
        wrong.map_or(Ok(()), |(key, value, [least, most])| {
            Err(Error::mismatch(format!("calibration, {key}"), format!("{least:e} to {most:e}"), format!("{value:e}")))
        })
    }

    /// The figures as a text, for [`Self::from_text`] on the same adapter, driver and version of this crate.
    #[must_use]
    pub fn to_text(&self, adapter: &AdapterInfo) -> String {
        let about = about(adapter).map(|(key, value)| format!("{key} {value}\n"));
        let figures = self.figures().map(|(key, value, _)| format!("{key} {value:e}\n"));
        format!("{MAGIC}\n{}{}{END}\n", about.concat(), figures.concat())
    }

    /// The figures in a text that [`Self::to_text`] made.
    ///
    /// # Errors
    /// [`Error::Malformed`] for anything else, [`Error::Mismatch`] for figures of another adapter, driver or
    /// version of this crate, or such as no device has.
    pub fn from_text(text: &str, adapter: &AdapterInfo) -> Result<Self> {
        let mut lines = text.lines();
        expect("the first line", MAGIC, lines.next())?;
        for (key, value) in about(adapter) {
            let found = value_of(key, lines.next())?;
            if found != value {
                return Err(Error::mismatch(format!("calibration, {key}"), quoted(&value), quoted(found)));
            }
        }
        let mut values = [0f64; 6];
        for ((key, ..), value) in Self::ASSUMED.figures().into_iter().zip(&mut values) {
            let found = value_of(key, lines.next())?;
            *value = found.parse().map_err(|_| malformed(key, "a number", found))?;
        }
        expect("the last line", END, lines.next())?;
        if let Some(more) = lines.next() {
            return Err(malformed("the end", "no more lines", more));
        }
        let [round_trip, dispatch, memory_bandwidth, cache_bandwidth, multiply_adds, resident] = values;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped; the check says the rest
        let resident_workgroups = resident.clamp(0.0, f64::from(u32::MAX)) as u32;
        let found =
            Self { round_trip, dispatch, memory_bandwidth, cache_bandwidth, multiply_adds, resident_workgroups };
        found.check().map(|()| found)
    }
}

/// What the figures are of.
fn about(adapter: &AdapterInfo) -> [(&'static str, String); 4] {
    let line = |text: &str| text.split(|c: char| c.is_whitespace() || c.is_control()).collect::<Vec<_>>().join(" ");
    [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("adapter", line(&adapter.name)),
        ("backend", line(&adapter.backend)),
        ("driver", line(&adapter.driver)),
    ]
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{error::ErrorKind, gpu::AdapterKind};

    fn adapter(name: &str) -> AdapterInfo {
        AdapterInfo {
            name: name.to_owned(),
            kind: AdapterKind::Software,
            backend: "vulkan".to_owned(),
            driver: "d 1.0".to_owned(),
            bus: String::new(),
            max_buffer_bytes: 0,
            max_binding_bytes: 0,
            max_workgroup_bytes: 0,
            max_invocations: 0,
            is_default: true,
        }
    }

    #[test]
    fn figures_survive_their_text() {
        let calibration = Calibration { round_trip: 0.1 + 0.2, resident_workgroups: 1056, ..Calibration::ASSUMED };
        calibration.check().unwrap();
        // A name may hold anything.
        for name in ["llvmpipe (LLVM 15)", "two\nlines\tand \u{1b}[0m", ""] {
            let adapter = adapter(name);
            let text = calibration.to_text(&adapter);
            assert_eq!(text.lines().count(), 12, "{text}");
            assert_eq!(Calibration::from_text(&text, &adapter).unwrap(), calibration);
        }
    }

    #[test]
    fn what_is_damaged_or_of_another_device_is_refused() {
        let adapter = adapter("a");
        let text = Calibration::ASSUMED.to_text(&adapter);
        let kind = |text: &str| Calibration::from_text(text, &adapter).unwrap_err().kind();
        let changed = |from: &str, to: &str| {
            assert!(text.contains(from));
            kind(&text.replace(from, to))
        };
        for (from, to) in [
            ("adapter a", "adapter b"),
            ("driver d 1.0", "driver d 1.1"),
            ("backend vulkan", "backend metal"),
            ("round_trip_s 1e-4", "round_trip_s NaN"),
            ("round_trip_s 1e-4", "round_trip_s -1e-4"),
            ("dispatch_s 1e-5", "dispatch_s inf"),
            ("dispatch_s 1e-5", "dispatch_s 1e-300"),
            ("dispatch_s 1e-5", "dispatch_s much"),
            ("dispatch_s 1e-5", "dispatch_s"),
            ("resident_workgroups 1e0", "resident_workgroups 0"),
            ("resident_workgroups 1e0", "resident_workgroups 1e30"),
            ("calibration 1", "calibration 2"),
            ("cache_bytes_per_s", "cash_bytes_per_s"),
        ] {
            assert_eq!(changed(from, to), ErrorKind::Input, "{from} -> {to}");
        }
        // Cut off anywhere, or with something behind it.
        for end in 0..text.len() - 1 {
            assert_eq!(kind(&text[..end]), ErrorKind::Input, "{end}");
        }
        assert_eq!(kind(&format!("{text}more\n")), ErrorKind::Input);
    }
}
