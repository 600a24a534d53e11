//! [`Timer`]: how long kernels take by the device's own clock; [`KernelStats`]: what they did.

use std::time::Duration;

use super::recorder::{SLOTS, Submitter, Work};
use crate::error::{Error, Result};

/// What one kernel did in a run.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct KernelStats {
    /// The kernel: the name of its file in `shaders/`.
    pub kernel: &'static str,
    /// How often it was dispatched.
    pub dispatches: u64,
    /// Multiply-adds of its products.
    pub multiply_adds: f64,
    /// Bytes of its operands and results, each counted once per dispatch, weights once per timestep.
    pub bytes: f64,
    /// How long it took by the device's clock; only in a profiled run, and where the device has one.
    pub time: Option<Duration>,
}

impl KernelStats {
    /// The place of `kernel` in `all`, where it is put if it is new.
    pub(super) fn of(all: &mut Vec<Self>, kernel: &'static str) -> usize {
        all.iter().position(|known| known.kernel == kernel).unwrap_or_else(|| {
            all.push(Self { kernel, ..Self::default() });
            all.len() - 1
        })
    }

    pub(super) fn add(&mut self, work: Work) {
        self.dispatches += 1;
        self.multiply_adds += work.multiply_adds;
        self.bytes += work.bytes;
    }

    /// Adds what the same kernels did in another part of a run.
    pub(super) fn merge(all: &mut Vec<Self>, others: Vec<Self>) {
        for other in others {
            let at = Self::of(all, other.kernel);
            if let Some(known) = all.get_mut(at) {
                known.dispatches += other.dispatches;
                known.multiply_adds += other.multiply_adds;
                known.bytes += other.bytes;
                known.time = known.time.or(other.time.map(|_| Duration::ZERO)).zip(other.time).map(|(a, b)| a + b);
            }
        }
    }
}

/// Writes the device's clock at both ends of every compute pass of a submission.
#[derive(Debug)]
pub(crate) struct Timer {
    set: wgpu::QuerySet,
    /// Where the clock's values go, and where the host reads them.
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
    /// Nanoseconds of a tick.
    period: f64,
    /// The kernel of each pass of the submission being recorded, by its place in the list.
    passes: Vec<usize>,
}

/// Bytes of one value of the clock.
const TICKS: u64 = 8;
/// Values of the clock in a submission: as many passes as there can be dispatches.
const QUERIES: u32 = 2 * SLOTS as u32;

impl Timer {
    /// `None` where the device has no clock.
    pub(super) fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Option<Self> {
        if !device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return None;
        }
        let buffer = |label, usage| {
            let size = u64::from(QUERIES) * TICKS;
            device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false })
        };
        use wgpu::BufferUsages as Usages;
        Some(Self {
            set: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timer"),
                ty: wgpu::QueryType::Timestamp,
                count: QUERIES,
            }),
            resolved: buffer("timer", Usages::QUERY_RESOLVE | Usages::COPY_SRC),
            staging: buffer("timer readback", Usages::MAP_READ | Usages::COPY_DST),
            period: f64::from(queue.get_timestamp_period()),
            passes: Vec::new(),
        })
    }

    /// Whether the pass being recorded is of another kernel than `kernel`.
    pub(super) fn is_other(&self, kernel: usize) -> bool {
        self.passes.last() != Some(&kernel)
    }

    /// What a new pass of `kernel` writes.
    pub(super) fn writes(&mut self, kernel: usize) -> wgpu::ComputePassTimestampWrites<'_> {
        // At most one pass per dispatch, so both fit.
        let first = u32::try_from(2 * self.passes.len()).unwrap_or(0).min(QUERIES - 2);
        self.passes.push(kernel);
        wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        }
    }

    fn count(&self) -> u32 {
        u32::try_from(2 * self.passes.len()).unwrap_or(0).min(QUERIES)
    }

    /// Records the way of the clock's values to the host.
    pub(super) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        if self.count() > 0 {
            encoder.resolve_query_set(&self.set, 0..self.count(), &self.resolved, 0);
            let size = u64::from(self.count()) * TICKS;
            encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staging, 0, Some(size));
        }
    }

    /// Waits for the submission and adds its times to those of the kernels.
    pub(super) fn collect(&mut self, submitter: &mut dyn Submitter, kernels: &mut [KernelStats]) -> Result<()> {
        let passes = std::mem::take(&mut self.passes);
        if passes.is_empty() {
            return Ok(());
        }
        let words = submitter.read_words(&self.staging, 4 * passes.len())?;
        for (kernel, ticks) in passes.into_iter().zip(words.as_chunks::<4>().0) {
            let [begin_low, begin_high, end_low, end_high] = ticks.map(u64::from);
            let ticks = (end_low | end_high << 32).wrapping_sub(begin_low | begin_high << 32);
            // A clock that runs backwards says nothing.
            let seconds = if ticks >> 48 == 0 { ticks as f64 * self.period / 1e9 } else { 0.0 };
            let kernel = kernels.get_mut(kernel).ok_or_else(|| Error::internal("a pass without a kernel"))?;
            *kernel.time.get_or_insert(Duration::ZERO) += Duration::from_secs_f64(seconds.max(0.0));
        }
        Ok(())
    }
}
