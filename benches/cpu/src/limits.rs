//! What the processor could do at most, with vectors of 256 bits on x86-64 (the executor takes longer ones where it finds
//! them), and what streams and batches make of it.

use std::{hint::black_box, time::Instant};

use wgpu_rnn::cell::Cell;

use crate::{
    Result,
    work::{Work, work},
};

/// One stream: each timestep reads all weights once.
const STREAMS: [Work; 6] = [
    Work { input_size: 1, ..work("lstm-128", Cell::Lstm, 128, 1, 1) },
    Work { input_size: 1, ..work("gru-128", Cell::Gru, 128, 1, 1) },
    Work { input_size: 1, ..work("lstm-192", Cell::Lstm, 192, 1, 1) },
    Work { input_size: 1, ..work("gru-192", Cell::Gru, 192, 1, 1) },
    Work { input_size: 1, ..work("lstm-256", Cell::Lstm, 256, 1, 1) },
    Work { input_size: 1, ..work("gru-256", Cell::Gru, 256, 1, 1) },
];

/// Many rows: each weight is used for all of them.
const BATCHES: [Work; 8] = [
    work("lstm-64-batch-64", Cell::Lstm, 64, 64, 20),
    work("gru-64-batch-64", Cell::Gru, 64, 64, 20),
    work("lstm-128-batch-16", Cell::Lstm, 128, 16, 20),
    work("lstm-128-batch-64", Cell::Lstm, 128, 64, 20),
    work("lstm-256-batch-16", Cell::Lstm, 256, 16, 20),
    work("lstm-256-batch-64", Cell::Lstm, 256, 64, 20),
    work("lstm-512-batch-16", Cell::Lstm, 512, 16, 20),
    work("gru-512-batch-16", Cell::Gru, 512, 16, 20),
];

/// Bytes that are read again and again, from those of a first-level cache to more than caches have.
const SIZES: [usize; 7] = [1 << 14, 1 << 17, 1 << 18, 1 << 19, 1 << 20, 1 << 22, 1 << 26];

pub fn print() -> Result {
    let Some(peak) = peak() else {
        return Err("the limits of this processor are not measured: that wants AVX2 or NEON".into());
    };
    println!("one thread; multiply-adds between registers: {:.1} GFLOP/s", peak / 1e9);
    for bytes in SIZES {
        println!("reading {:6} KiB again and again: {:6.1} GB/s", bytes >> 10, read(bytes).unwrap_or(f64::NAN) / 1e9);
    }
    println!("\nstream            weights KiB  us a timestep     GB/s   of reading as many bytes");
    for work in &STREAMS {
        let (seconds, bytes) = (work.stream(300, 60)?, work.bytes());
        // After the stream, at the machine's speed of the moment.
        let (rate, most) = (bytes as f64 / seconds, read(bytes).unwrap_or(f64::NAN));
        let (kib, us, share) = (bytes >> 10, seconds * 1e6, 100.0 * rate / most);
        println!("{:18} {kib:10} {us:14.2} {:8.1} {share:8.0} %", work.name, rate / 1e9);
    }
    println!("\nbatch               us a timestep  GFLOP/s   of the multiply-adds between registers");
    for work in &BATCHES {
        let seconds = work.stream(2, 30)?;
        let rate = 2.0 * work.multiply_adds() as f64 / seconds;
        let share = 100.0 * rate / peak.max(self::peak().unwrap_or(0.0));
        println!("{:18} {:14.1} {:8.1} {share:8.0} %", work.name, seconds * 1e6, rate / 1e9);
    }
    Ok(())
}

/// Turns of which the fastest counts.
const TURNS: usize = 20;

/// Seconds of the fastest turn.
fn fastest(mut turn: impl FnMut()) -> f64 {
    let time = |turn: &mut dyn FnMut()| {
        let start = Instant::now();
        turn();
        start.elapsed().as_secs_f64()
    };
    (0..TURNS).map(|_| time(&mut turn)).fold(f64::INFINITY, f64::min)
}

/// Floating point operations a second.
fn peak() -> Option<f64> {
    const ROUNDS: usize = 200_000;
    let operations = 2.0 * processor::multiply_adds(ROUNDS)?;
    let turn = || {
        black_box(processor::multiply_adds(black_box(ROUNDS)));
    };
    Some(operations / fastest(turn))
}

/// Bytes a second.
fn read(bytes: usize) -> Option<f64> {
    let values = vec![1f32; bytes / size_of::<f32>()];
    let rounds = ((1 << 24) / bytes).max(1);
    processor::sum(&values)?;
    let turn = || {
        for _ in 0..rounds {
            black_box(processor::sum(black_box(&values)));
        }
    };
    Some((bytes * rounds) as f64 / fastest(turn))
}

#[cfg(target_arch = "x86_64")]
mod processor {
    use std::arch::x86_64::{
        _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
    };

    fn known() -> bool {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
    }

    /// Makes 96 multiply-adds in each of so many rounds. Gives how many there were.
    pub(super) fn multiply_adds(rounds: usize) -> Option<f64> {
        // SAFETY: the processor has these instructions.
        known().then(|| unsafe { chains(rounds) })
    }

    /// The sum of `values`, or something like it.
    pub(super) fn sum(values: &[f32]) -> Option<f32> {
        // SAFETY: the processor has these instructions.
        known().then(|| unsafe { sum_of(values) })
    }

    #[target_feature(enable = "avx2,fma")]
    fn chains(rounds: usize) -> f64 {
        let (x, y) = (_mm256_set1_ps(0.999), _mm256_set1_ps(0.001));
        let mut sums = [x; 12];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, x, y);
            }
        }
        // So that they are needed.
        let total = sums.into_iter().fold(_mm256_setzero_ps(), |total, sum| _mm256_add_ps(total, sum));
        let mut lanes = [0f32; 8];
        // SAFETY: eight floats.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), total) };
        std::hint::black_box(lanes);
        96.0 * rounds as f64
    }

    #[target_feature(enable = "avx2,fma")]
    fn sum_of(values: &[f32]) -> f32 {
        let mut sums = [_mm256_setzero_ps(); 8];
        for block in values.as_chunks::<64>().0 {
            for (sum, part) in sums.iter_mut().zip(block.as_chunks::<8>().0) {
                // SAFETY: eight floats.
                *sum = _mm256_add_ps(*sum, unsafe { _mm256_loadu_ps(part.as_ptr()) });
            }
        }
        let total = sums.into_iter().fold(_mm256_setzero_ps(), |total, sum| _mm256_add_ps(total, sum));
        let mut lanes = [0f32; 8];
        // SAFETY: eight floats.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), total) };
        lanes.iter().sum()
    }
}

#[cfg(target_arch = "aarch64")]
mod processor {
    use std::arch::aarch64::{vaddq_f32, vaddvq_f32, vdupq_n_f32, vfmaq_f32, vld1q_f32};

    /// Makes 96 multiply-adds in each of so many rounds. Gives how many there were.
    pub(super) fn multiply_adds(rounds: usize) -> Option<f64> {
        // SAFETY: every such processor has these instructions.
        let (x, mut sums) = unsafe { (vdupq_n_f32(0.999), [vdupq_n_f32(0.5); 24]) };
        for _ in 0..rounds {
            for sum in &mut sums {
                // SAFETY: as above.
                *sum = unsafe { vfmaq_f32(x, *sum, x) };
            }
        }
        std::hint::black_box(sums);
        Some(96.0 * rounds as f64)
    }

    /// The sum of `values`, or something like it.
    pub(super) fn sum(values: &[f32]) -> Option<f32> {
        // SAFETY: as above; four floats at a time.
        unsafe {
            let mut sums = [vdupq_n_f32(0.0); 8];
            for block in values.as_chunks::<32>().0 {
                for (sum, part) in sums.iter_mut().zip(block.as_chunks::<4>().0) {
                    *sum = vaddq_f32(*sum, vld1q_f32(part.as_ptr()));
                }
            }
            Some(sums.into_iter().map(|sum| vaddvq_f32(sum)).sum())
        }
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod processor {
    pub(super) fn multiply_adds(_: usize) -> Option<f64> {
        None
    }

    pub(super) fn sum(_: &[f32]) -> Option<f32> {
        None
    }
}
