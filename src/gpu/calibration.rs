//! [`Calibration`]: what a device can do, as it was measured, and the text in which that is kept.

use super::adapter::{AdapterInfo, AdapterKind};
use crate::{
    error::Result,
    figures::{self, Figure},
};

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

/// The first line of a text.
const MAGIC: &str = "wgpu-rnn calibration 1";
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

    /// What a device of a kind that nobody measured can be expected to do at least, for the choice between it and the
    /// CPU: that of the slower ones that are in use, so that the CPU is left only where it is worth it.
    pub(crate) fn expected(kind: AdapterKind) -> Self {
        let of = |round_trip, dispatch, memory_bandwidth, cache_bandwidth, multiply_adds, resident_workgroups| Self {
            round_trip,
            dispatch,
            memory_bandwidth,
            cache_bandwidth,
            multiply_adds,
            resident_workgroups,
        };
        match kind {
            AdapterKind::Discrete => of(2e-4, 5e-6, 1.5e11, 5e11, 1.5e12, 64),
            AdapterKind::Integrated => of(3e-4, 1e-5, 2e10, 6e10, 2e11, 24),
            AdapterKind::Virtual | AdapterKind::Other => of(6e-4, 2e-5, 2e10, 6e10, 2e11, 24),
            AdapterKind::Software => of(3e-4, 2e-5, 5e9, 1e10, 5e9, 2),
        }
    }

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
    /// [`Error::Mismatch`](crate::Error::Mismatch) naming the figure.
    pub(super) fn check(&self) -> Result<()> {
        figures::check(&self.figures())
    }

    /// The figures as a text, for [`Self::from_text`] on the same adapter, driver and version of this crate.
    #[must_use]
    pub fn to_text(&self, adapter: &AdapterInfo) -> String {
        figures::to_text(MAGIC, &about(adapter), &self.figures())
    }

    /// The figures in a text that [`Self::to_text`] made.
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed) for anything else, [`Error::Mismatch`](crate::Error::Mismatch) for
    /// figures of another adapter, driver or version of this crate, or such as no device has.
    pub fn from_text(text: &str, adapter: &AdapterInfo) -> Result<Self> {
        let values = figures::from_text(text, MAGIC, &about(adapter), Self::ASSUMED.figures())?;
        let [round_trip, dispatch, memory_bandwidth, cache_bandwidth, multiply_adds, resident] = values;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within its range
        let resident_workgroups = resident as u32;
        Ok(Self { round_trip, dispatch, memory_bandwidth, cache_bandwidth, multiply_adds, resident_workgroups })
    }
}

/// What the figures are of.
fn about(adapter: &AdapterInfo) -> [(&'static str, String); 3] {
    [("adapter", adapter.name.clone()), ("backend", adapter.backend.clone()), ("driver", adapter.driver.clone())]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

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
    fn what_is_expected_is_possible() {
        use AdapterKind::{Discrete, Integrated, Other, Software, Virtual};
        for kind in [Discrete, Integrated, Virtual, Software, Other] {
            Calibration::expected(kind).check().unwrap();
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
