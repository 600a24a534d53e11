//! What several test binaries share.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)] // each binary uses a part of it

#[cfg(feature = "keras")]
pub mod keras_files;
pub mod layers;
pub mod nets;
pub mod npz;
#[cfg(feature = "onnx")]
pub mod onnx_files;
pub mod plans;
#[cfg(feature = "torch")]
pub mod torch_files;

/// The distance of the cases that are tested, of a list that has a case for everything: `WGPU_RNN_SHORT`, which is for
/// drivers that take seconds for a pipeline, and for runs of all tests that must not take an hour.
pub fn stride() -> usize {
    let Ok(stride) = std::env::var("WGPU_RNN_SHORT") else { return 1 };
    let parsed = stride.parse().ok().filter(|&stride| stride > 0);
    parsed.unwrap_or_else(|| panic!("WGPU_RNN_SHORT is {stride:?}, not a number from 1 on"))
}

/// SplitMix64: a small generator whose numbers depend on the seed alone.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// In `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// In `[low, high)`.
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit() as f32
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// In `low..=high`, each power of two as likely as the next.
    pub fn log_uniform(&mut self, low: usize, high: usize) -> usize {
        let (a, b) = ((low as f64).ln(), (high as f64 + 1.0).ln());
        ((a + (b - a) * self.unit()).exp() as usize).clamp(low, high)
    }
}
