//! Damage to files, and what loading one may take.
#![allow(dead_code, unreachable_pub, clippy::panic)] // each binary uses a part of it

use std::{
    fs, panic,
    sync::OnceLock,
    time::{Duration, Instant},
};

use wgpu_rnn::{Error, Model, formats::LoadOptions};

use super::counting::peak_of;

pub const MIB: usize = 1 << 20;

/// How many times the usual number of cases: `FUZZ_ROUNDS=100 cargo test --release --test hostile_keras`.
pub fn rounds() -> usize {
    std::env::var("FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

/// SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// How long this thread has been at work, so that others on the machine do not count. Where the system
/// does not tell, the time on the clock.
fn busy() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(Instant::now);
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|first| first.parse().ok());
    nanoseconds.map_or_else(|| start.elapsed(), Duration::from_nanos)
}

/// Loads `bytes`, whose members take `expanded` bytes together. Returns whether that went well.
pub fn survives(bytes: &[u8], expanded: usize, what: &dyn Fn() -> String) -> bool {
    survives_as(bytes, &LoadOptions::default(), expanded, what)
}

/// [`survives`] with options.
pub fn survives_as(bytes: &[u8], options: &LoadOptions, expanded: usize, what: &dyn Fn() -> String) -> bool {
    let start = busy();
    let load = || Model::from_bytes_with(bytes, options).map(|model| model.summary());
    let (outcome, peak) = peak_of(|| panic::catch_unwind(load));
    let took = busy().saturating_sub(start);
    let outcome = outcome.unwrap_or_else(|_| panic!("{}: panicked", what()));
    if let Err(error) = &outcome {
        let text = error.to_string();
        assert!(text.starts_with("<bytes>: ") && !text.contains('\n') && text.len() < 4096, "{}: {text}", what());
        assert!(!matches!(error, Error::Internal { .. }), "{}: {text}", what());
    }
    let limit = 3 * bytes.len().max(expanded) + 64 * MIB;
    assert!(peak <= limit, "{}: {peak} bytes at the peak, {limit} allowed", what());
    let slowest = Duration::from_secs(1 + (bytes.len() / (4 * MIB)) as u64);
    assert!(took < slowest, "{}: {took:?}", what());
    outcome.is_ok()
}

/// Changes a few bytes, or runs of them.
pub fn damaged(rng: &mut Rng, bytes: &[u8], from: usize) -> Vec<u8> {
    const VALUES: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
    let mut bytes = bytes.to_vec();
    for _ in 0..=rng.below(4) {
        let at = from + rng.below(bytes.len() - from);
        match rng.below(4) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = rng.next() as u8,
            2 => bytes[at] = VALUES[rng.below(VALUES.len())],
            _ => {
                let end = (at + [2, 4, 8][rng.below(3)]).min(bytes.len());
                bytes[at..end].fill(VALUES[rng.below(VALUES.len())]);
            }
        }
    }
    bytes
}

pub fn patched(bytes: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

pub fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).rposition(|window| window == what).unwrap()
}
