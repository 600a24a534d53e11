//! Reductions, softmax and norms. Sums are taken in f64: their cost is small beside the memory's.
#![allow(clippy::cast_possible_truncation)] // rounding to f32 is the meaning

use super::{
    pointwise::{maximum, minimum},
    workspace::Memory,
};
use crate::{
    error::Result,
    plan::{BufferId, ReduceOp, WeightId},
};

/// Sums that are under way side by side.
const SUMS: usize = 64;

/// A tensor seen from some of its axes: `[outer, extent, inner]`.
pub(super) struct Group {
    outer: usize,
    extent: usize,
    inner: usize,
}

impl Group {
    /// The axes `first..first + count` of `shape`.
    pub(super) fn of(shape: &[usize], first: usize, count: usize) -> Self {
        Self {
            outer: shape.iter().take(first).product(),
            extent: shape.iter().skip(first).take(count).product(),
            inner: shape.iter().skip(first + count).product(),
        }
    }

    /// Where `(outer, _, inner)` starts; neighbours along the group lie `inner` apart.
    fn lines(&self) -> impl Iterator<Item = usize> + use<> {
        let (size, inner) = (self.extent * self.inner, self.inner);
        (0..self.outer).flat_map(move |outer| (0..inner).map(move |i| outer * size + i))
    }
}

pub(super) fn reduce(
    memory: &Memory<'_>,
    op: ReduceOp,
    input: BufferId, // [..]
    axis: usize,
    mask: Option<BufferId>, // [batch, seq_len]
    y: &mut [f32],
) -> Result<()> {
    let x = memory.read(input)?;
    let mask = mask.map(|mask| memory.read(mask)).transpose()?;
    let group = Group::of(memory.bound.shape(input), axis, 1);
    for (outer, y) in y.chunks_exact_mut(group.inner.max(1)).enumerate() {
        for (part, y) in y.chunks_mut(SUMS).enumerate() {
            let mut sums = [0.0f64; SUMS];
            y.fill(if op == ReduceOp::Min { f32::INFINITY } else { f32::NEG_INFINITY });
            let mut live = 0.0f64;
            for position in outer * group.extent..(outer + 1) * group.extent {
                if mask.is_some_and(|mask| mask[position] == 0.0) {
                    continue;
                }
                live += 1.0;
                let x = &x[position * group.inner + part * SUMS..][..y.len()];
                match op {
                    ReduceOp::Max => y.iter_mut().zip(x).for_each(|(max, &x)| *max = maximum(*max, x)),
                    ReduceOp::Min => y.iter_mut().zip(x).for_each(|(min, &x)| *min = minimum(*min, x)),
                    ReduceOp::Sum | ReduceOp::Mean => {
                        sums.iter_mut().zip(x).for_each(|(sum, &x)| *sum += f64::from(x));
                    }
                }
            }
            match op {
                ReduceOp::Sum => y.iter_mut().zip(&sums).for_each(|(y, &sum)| *y = sum as f32),
                ReduceOp::Mean => y.iter_mut().zip(&sums).for_each(|(y, &sum)| *y = (sum / live) as f32),
                ReduceOp::Max | ReduceOp::Min => {}
            }
        }
    }
    Ok(())
}

pub(super) fn softmax(memory: &Memory<'_>, input: BufferId, axis: usize, log: bool, y: &mut [f32]) -> Result<()> {
    let x = memory.read(input)?;
    let group = Group::of(memory.bound.shape(input), axis, 1);
    for start in group.lines() {
        let line = || (0..group.extent).map(|position| start + position * group.inner);
        let max = line().fold(f32::NEG_INFINITY, |max, at| maximum(max, x[at]));
        let mut sum = 0.0f64;
        for at in line() {
            y[at] = (x[at] - max).exp();
            sum += f64::from(y[at]);
        }
        for at in line() {
            y[at] = if log { (f64::from(x[at] - max) - sum.ln()) as f32 } else { (f64::from(y[at]) / sum) as f32 };
        }
    }
    Ok(())
}

pub(super) fn layer_norm(
    memory: &Memory<'_>,
    input: BufferId,
    group: &Group,
    [gamma, beta]: [Option<WeightId>; 2], // [extent] each
    epsilon: f32,
    y: &mut [f32],
) -> Result<()> {
    let x = memory.read(input)?;
    let gamma = gamma.map(|id| memory.weight(id)).transpose()?;
    let beta = beta.map(|id| memory.weight(id)).transpose()?;
    #[allow(clippy::cast_precision_loss)] // no group has 2^53 elements
    let count = group.extent as f64;
    for start in group.lines() {
        let line = || (0..group.extent).map(|position| start + position * group.inner);
        let mean = line().map(|at| f64::from(x[at])).sum::<f64>() / count;
        let variance = line().map(|at| (f64::from(x[at]) - mean).powi(2)).sum::<f64>() / count;
        let deviation = (variance + f64::from(epsilon)).sqrt();
        for (position, at) in line().enumerate() {
            let normal = (f64::from(x[at]) - mean) / deviation;
            let scaled = normal * gamma.as_ref().map_or(1.0, |gamma| f64::from(gamma[position]));
            y[at] = (scaled + beta.as_ref().map_or(0.0, |beta| f64::from(beta[position]))) as f32;
        }
    }
    Ok(())
}

pub(super) fn batch_norm(
    memory: &Memory<'_>,
    input: BufferId,
    axis: usize,
    statistics: [Option<WeightId>; 4], // mean, variance, gamma, beta: [channels] each
    epsilon: f32,
    y: &mut [f32],
) -> Result<()> {
    let x = memory.read(input)?;
    let group = Group::of(memory.bound.shape(input), axis, 1);
    let mut weights = [None; 4];
    for (weight, id) in weights.iter_mut().zip(statistics) {
        *weight = id.map(|id| memory.weight(id)).transpose()?;
    }
    let of = |which: usize, channel: usize, default: f32| weights[which].map_or(default, |weight| weight[channel]);
    for (index, (x, y)) in x.chunks(group.inner.max(1)).zip(y.chunks_mut(group.inner.max(1))).enumerate() {
        let channel = index % group.extent;
        let (mean, variance) = (of(0, channel, 0.0), of(1, channel, 1.0));
        let deviation = (f64::from(variance) + f64::from(epsilon)).sqrt();
        let (scale, beta) = ((f64::from(of(2, channel, 1.0)) / deviation) as f32, of(3, channel, 0.0));
        for (y, &x) in y.iter_mut().zip(x) {
            *y = (x - mean) * scale + beta;
        }
    }
    Ok(())
}
