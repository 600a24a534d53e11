//! [`Calibration`]: what the CPU can do, measured with the products that runs are made of.

use std::{
    thread::available_parallelism,
    time::{Duration, Instant},
};

use super::{
    packed::Packed,
    product::{Product, Rows},
    team::Member,
    threads::Threads,
};
use crate::{
    error::Result,
    figures::{self, Figure},
    plan::Precision,
    simd::{LANES, Line, dispatch, instructions},
    tensor::zeros,
};

/// What the CPU can do, measured by [`Calibration::measure`]. It is looked at where a run may be made by the CPU or by a
/// GPU ([`Device::Auto`](crate::Device::Auto)), and never changes a result of either.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Calibration {
    /// f32 multiply-adds of a product of many rows, per second, one thread; twice as many floating point operations.
    pub multiply_adds: f64,
    /// Weights read by a product of one row, again and again from a cache near to the core, bytes per second, one thread.
    pub cache_bandwidth: f64,
    /// The same with more weights than caches hold, as a rule.
    pub memory_bandwidth: f64,
    /// Bytes of weights that are still read about as fast as from a cache.
    pub cache_bytes: u64,
    /// Two threads telling each other what they computed, seconds.
    pub hand_over: f64,
}

/// The first line of a text.
const MAGIC: &str = "wgpu-rnn calibration of a CPU 1";
/// Inputs of the products: a panel of 16 outputs is 32 KiB.
const INPUTS: usize = 512;
/// Panels that a cache near to the core has (256 KiB), and those that few caches have (32 MiB).
const PANELS: [usize; 2] = [8, 1024];
/// Rows of a product that is not held up by reading weights.
const ROWS: usize = 96;
/// How long one figure may take.
const PATIENCE: Duration = Duration::from_millis(3);
/// Seconds that are long enough to be timed.
const LONG: f64 = 5e-5;
/// Meetings of two threads that are timed together.
const MEETINGS: usize = 16;
/// Turns of so many at least.
const TURNS: usize = 8;

impl Calibration {
    /// Measures the CPU, within some 50 milliseconds where nothing else is under way. It takes 64 MiB meanwhile.
    ///
    /// # Errors
    /// [`Error::Limit`](crate::Error::Limit) if memory or threads run out.
    pub fn measure() -> Result<Self> {
        let weights: Vec<f32> = zeros(PANELS[1] * LANES * INPUTS)?;
        let weight = Packed::new(&weights, None, INPUTS, Precision::F32)?;
        drop(weights);
        let mut bench =
            Bench { x: zeros(ROWS * INPUTS)?, weight, y: vec![Line::ZERO; PANELS[1].max(ROWS * PANELS[0])] };
        let products = (ROWS * PANELS[0] * LANES * INPUTS) as f64;
        let multiply_adds = products / bench.seconds(ROWS, PANELS[0]);
        let sizes: Vec<usize> =
            std::iter::successors(Some(PANELS[0]), |&panels| (panels < PANELS[1]).then_some(2 * panels)).collect();
        let rates: Vec<f64> = sizes.iter().map(|&panels| bytes(panels) / bench.seconds(1, panels)).collect();
        let (near, far) = (rates.first().copied().unwrap_or(1.0), rates.last().copied().unwrap_or(1.0));
        // Where the rate is nearer to that of the memory, on the scale of quotients, weights come from there.
        let least = (near * far).sqrt();
        let cached = sizes.iter().zip(&rates).take_while(|(_, rate)| **rate >= least).last();
        let found = Self {
            multiply_adds,
            cache_bandwidth: near.max(far),
            memory_bandwidth: far,
            cache_bytes: (cached.map_or(PANELS[0], |(&panels, _)| panels) * LANES * INPUTS * size_of::<f32>()) as u64,
            hand_over: hand_over()?,
        };
        found.check().map(|()| found)
    }

    fn figures(&self) -> [Figure; 5] {
        #[allow(clippy::cast_precision_loss)] // a size
        let cache_bytes = self.cache_bytes as f64;
        [
            ("multiply_adds_per_s", self.multiply_adds, [1e5, 1e15]),
            ("cache_bytes_per_s", self.cache_bandwidth, [1e5, 1e15]),
            ("memory_bytes_per_s", self.memory_bandwidth, [1e5, 1e15]),
            ("cache_bytes", cache_bytes, [1.0, 1e12]),
            ("hand_over_s", self.hand_over, [1e-10, 1e1]),
        ]
    }

    /// Refuses figures that no CPU has.
    ///
    /// # Errors
    /// [`Error::Mismatch`](crate::Error::Mismatch) naming the figure.
    pub(crate) fn check(&self) -> Result<()> {
        figures::check(&self.figures())
    }

    /// The figures as a text, for [`Self::from_text`] on the same machine with the same version of this crate.
    #[must_use]
    pub fn to_text(&self) -> String {
        figures::to_text(MAGIC, &about(), &self.figures())
    }

    /// The figures in a text that [`Self::to_text`] made.
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed) for anything else, [`Error::Mismatch`](crate::Error::Mismatch) for
    /// figures of a CPU with other instructions or another number of cores, of another version or kind of build of this
    /// crate, or such as no CPU has. What else two machines may differ by, the text does not tell.
    pub fn from_text(text: &str) -> Result<Self> {
        let any =
            Self { multiply_adds: 0.0, cache_bandwidth: 0.0, memory_bandwidth: 0.0, cache_bytes: 0, hand_over: 0.0 };
        let values = figures::from_text(text, MAGIC, &about(), any.figures())?;
        let [multiply_adds, cache_bandwidth, memory_bandwidth, cache_bytes, hand_over] = values;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within its range
        let cache_bytes = cache_bytes as u64;
        Ok(Self { multiply_adds, cache_bandwidth, memory_bandwidth, cache_bytes, hand_over })
    }
}

/// What the figures are of.
fn about() -> [(&'static str, String); 4] {
    let cores = available_parallelism().map_or(1, usize::from);
    [
        ("processor", std::env::consts::ARCH.to_owned()),
        ("instructions", instructions().to_owned()),
        ("cores", cores.to_string()),
        ("build", if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned()),
    ]
}

/// Bytes of the weights of so many panels.
fn bytes(panels: usize) -> f64 {
    (panels * LANES * INPUTS * size_of::<f32>()) as f64
}

/// Products that are timed.
struct Bench {
    x: Vec<f32>,
    weight: Packed,
    y: Vec<Line>,
}

impl Bench {
    /// Seconds that a product of `rows` with the first `panels` panels takes, the least of several times.
    fn seconds(&mut self, rows: usize, panels: usize) -> f64 {
        let mut time = |count: usize| {
            let started = Instant::now();
            for _ in 0..count {
                let (x, y) = (Rows::new(&self.x, INPUTS, rows), self.y.as_mut_slice());
                dispatch(Product { x, weight: &self.weight, panels: 0..panels, y, y_stride: panels });
            }
            started.elapsed().as_secs_f64() / count as f64
        };
        let began = Instant::now();
        // The first one brings the weights as near as they get.
        time(1);
        let mut shortest = time(1);
        let count = ((LONG / shortest.max(1e-9)) as usize).max(1);
        loop {
            shortest = shortest.min(time(count));
            if began.elapsed() > PATIENCE {
                return shortest.max(1e-9);
            }
        }
    }
}

/// Seconds that two threads take to tell each other 16 values, the least of several times.
fn hand_over() -> Result<f64> {
    let members = Member::team(2, 2 * LANES)?;
    let work = |mut member: Member| {
        let (mut values, own) = ([0.0; 2 * LANES], member.part(2 * LANES));
        let (mut shortest, mut turns, began) = (f64::INFINITY, 0, Instant::now());
        // Who has enough leaves, which ends it for the other one, too. On a machine with other work a single turn may be
        // one in which the other thread waited for a processor.
        while turns < TURNS || began.elapsed() < PATIENCE {
            turns += 1;
            let started = Instant::now();
            if !(0..MEETINGS).all(|_| member.exchange(&mut values, 2 * LANES, own.clone()).is_ok()) {
                break;
            }
            shortest = shortest.min(started.elapsed().as_secs_f64() / MEETINGS as f64);
        }
        Ok(shortest)
    };
    let done = Threads::default().map(members, work)?;
    let shortest = done.into_iter().collect::<Result<Vec<f64>>>()?;
    // The one may have waited for the other to start.
    Ok(shortest.into_iter().fold(f64::INFINITY, f64::min).max(1e-9))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn the_cpu_is_measured_quickly_and_its_figures_survive_their_text() {
        let started = Instant::now();
        let found = Calibration::measure().unwrap();
        eprintln!("{found:?} in {:?}", started.elapsed());
        // Far more than it takes, for machines that have other work.
        assert!(started.elapsed() < Duration::from_secs(5));
        assert!(found.cache_bandwidth >= found.memory_bandwidth && found.cache_bytes >= 1 << 18);
        let text = found.to_text();
        assert_eq!(text.lines().count(), 12, "{text}");
        assert_eq!(Calibration::from_text(&text).unwrap(), found);
        let kind = |text: &str| Calibration::from_text(text).unwrap_err().kind();
        for (from, to) in [
            ("of a CPU 1", "of a CPU 2"),
            ("cores ", "cores 10"),
            ("cache_bytes ", "cache_bytes -"),
            ("hand_over_s ", "hand_over_s 1e"),
            ("end", ""),
        ] {
            assert!(text.contains(from));
            assert_eq!(kind(&text.replace(from, to)), ErrorKind::Input, "{from} -> {to}");
        }
        let absurd = Calibration { multiply_adds: f64::NAN, ..found };
        assert!(absurd.check().unwrap_err().to_string().contains("multiply_adds_per_s"));
    }
}
