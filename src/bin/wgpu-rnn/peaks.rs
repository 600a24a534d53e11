//! What a device can do at most, beside what a run achieved.

use wgpu_rnn::Session;

/// What was measured of a device.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(not(feature = "gpu"), allow(dead_code))] // nothing is measured then
pub(crate) struct Peaks {
    /// Billions of f32 operations a second, a multiply-add counted as two.
    pub(crate) gflops: f64,
    /// Billions of bytes a second, read from memory and from a cache.
    pub(crate) gb_per_s: f64,
    pub(crate) cache_gb_per_s: f64,
    /// Microseconds of one more dispatch, and of the way there and back.
    dispatch_us: f64,
    round_trip_us: f64,
    /// Workgroups that run at once.
    resident_workgroups: u32,
}

impl Peaks {
    /// Those that the session's device was opened with.
    #[cfg(feature = "gpu")]
    pub(crate) fn of(session: &Session) -> Option<Self> {
        session.gpu().and_then(|gpu| gpu.options().calibration.as_ref()).map(Self::new)
    }

    /// Nothing is measured without GPUs.
    #[cfg(not(feature = "gpu"))]
    pub(crate) fn of(_: &Session) -> Option<Self> {
        None
    }

    #[cfg(feature = "gpu")]
    pub(crate) fn new(calibration: &wgpu_rnn::gpu::Calibration) -> Self {
        Self {
            gflops: 2.0 * calibration.multiply_adds / 1e9,
            gb_per_s: calibration.memory_bandwidth / 1e9,
            cache_gb_per_s: calibration.cache_bandwidth / 1e9,
            dispatch_us: calibration.dispatch * 1e6,
            round_trip_us: calibration.round_trip * 1e6,
            resident_workgroups: calibration.resident_workgroups,
        }
    }

    /// In one line.
    pub(crate) fn text(&self) -> String {
        format!(
            "measured peaks: {:.2} GFLOP/s, {:.2} GB/s from memory, {:.2} GB/s from a cache; a dispatch takes {:.1} us, \
             a round trip {:.0} us; {} at once",
            self.gflops,
            self.gb_per_s,
            self.cache_gb_per_s,
            self.dispatch_us,
            self.round_trip_us,
            match self.resident_workgroups {
                1 => "1 workgroup".to_owned(),
                count => format!("{count} workgroups"),
            }
        )
    }
}

/// A rate, and its share of the peak where that is known. Above 100 % of memory's, caches had a part in it.
pub(crate) fn rate_text(rate: f64, peak: Option<f64>) -> String {
    match peak {
        None => format!("{rate:.2}"),
        Some(peak) => format!("{rate:.2} ({:.0} %)", rate / peak * 100.0),
    }
}
