//! [`Timer`]: how long kernels take by the device's own clock.

use std::time::Duration;

use super::recorder::{SLOTS, Submitter};
use crate::{
    error::{Error, Result},
    stats::KernelStats,
};

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
