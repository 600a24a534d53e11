//! [`Recorder`]: turns dispatches and copies into submissions of bounded cost.

use super::{
    kernel::{Kernel, PipelineKey},
    pipelines::{Bound, Pipelines},
    timer::Timer,
};
use crate::{
    error::{Error, Result},
    plan::Precision,
    stats::KernelStats,
};

/// Bytes of one dispatch's parameters: the alignment that every device accepts.
pub(crate) const SLOT_BYTES: u64 = 256;
/// Dispatches in one submission.
pub(crate) const SLOTS: usize = 2048;
/// Workgroups along one dimension that every device accepts.
const MAX_WORKGROUPS: u64 = 65_535;

/// Cost of a dispatch however small, in multiply-adds.
const DISPATCH_COST: f64 = 1e6;

/// A range of a buffer, counted in 4-byte elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) buffer: &'a wgpu::Buffer,
    /// First element; a multiple of 64 (256 bytes) where the view is bound to a kernel.
    pub(crate) start: usize,
    pub(crate) len: usize,
}

/// What a dispatch does.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    /// What it takes of the budget of a submission, in multiply-adds.
    pub(crate) cost: f64,
    /// The multiply-adds of its products, of rows that are there.
    pub(crate) multiply_adds: f64,
    /// Bytes of its operands and results, each counted once.
    pub(crate) bytes: f64,
}

impl Work {
    /// The same so many times.
    pub(crate) fn times(self, count: f64) -> Self {
        Self { cost: self.cost * count, multiply_adds: self.multiply_adds * count, bytes: self.bytes * count }
    }

    /// Both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            cost: self.cost + other.cost,
            multiply_adds: self.multiply_adds + other.multiply_adds,
            bytes: self.bytes + other.bytes,
        }
    }

    /// A kernel without products: `cost`, and how many values it reads and writes.
    pub(crate) fn values(cost: f64, values: usize) -> Self {
        Self { cost, multiply_adds: 0.0, bytes: values as f64 * 4.0 }
    }
}

/// Takes finished submissions.
pub(crate) trait Submitter {
    /// Submits `commands`, whose cost in multiply-adds is `cost`. Their parameters were written to
    /// the queue just before.
    fn submit(&mut self, commands: wgpu::CommandBuffer, cost: f64) -> Result<()>;

    /// Waits for everything submitted, and reads `count` words of a mappable buffer.
    fn read_words(&mut self, buffer: &wgpu::Buffer, count: usize) -> Result<Vec<u32>> {
        let _ = (buffer, count);
        Err(Error::internal("nothing to read with"))
    }

    /// The cost that one submission may have.
    fn budget(&self) -> f64;

    /// What a dispatch of `kernel` with `cost` multiply-adds takes of the budget.
    fn estimate(&self, kernel: &'static str, cost: f64) -> f64 {
        let _ = kernel;
        cost + DISPATCH_COST
    }

    /// Tells that such a dispatch is part of the submission being recorded.
    fn note(&mut self, kernel: &'static str, cost: f64) {
        let _ = (kernel, cost);
    }
}

/// Records one run. What is recorded and not flushed is lost.
pub(crate) struct Recorder<'a> {
    pub(crate) pipelines: &'a mut Pipelines,
    /// Whether products with f16 weights are made in f16.
    half_arithmetic: bool,
    submitter: &'a mut dyn Submitter,
    /// Ends before `encoder` is used otherwise, or dropped.
    pass: Option<wgpu::ComputePass<'static>>,
    encoder: Option<wgpu::CommandEncoder>,
    params: Vec<u8>,
    cost: f64,
    /// Copies and clears in the submission being recorded.
    transfers: usize,
    /// The device's clock, where each kernel is timed.
    timer: Option<Timer>,
    /// What the kernels did so far.
    kernels: Vec<KernelStats>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(pipelines: &'a mut Pipelines, submitter: &'a mut dyn Submitter) -> Self {
        Self {
            pipelines,
            half_arithmetic: false,
            submitter,
            encoder: None,
            pass: None,
            params: Vec::new(),
            cost: 0.0,
            transfers: 0,
            timer: None,
            kernels: Vec::new(),
        }
    }

    /// The same, where products with f16 weights may be made in f16.
    pub(crate) fn arithmetic(self, half_arithmetic: bool) -> Self {
        Self { half_arithmetic, ..self }
    }

    /// Whether products with weights stored as `precision` are made in f16.
    pub(crate) fn is_half(&self, precision: Precision) -> bool {
        self.half_arithmetic && precision == Precision::F16
    }

    /// The same, which times each kernel with `timer`.
    pub(crate) fn timed(self, timer: Option<Timer>) -> Self {
        Self { timer, ..self }
    }

    /// What the kernels did, and the clock.
    pub(crate) fn finish(self) -> (Vec<KernelStats>, Option<Timer>) {
        (self.kernels, self.timer)
    }

    /// The cost that the submission being recorded may still take.
    pub(crate) fn budget_left(&self) -> f64 {
        self.submitter.budget() - self.cost
    }

    /// The cost that one submission may have.
    pub(crate) fn budget(&self) -> f64 {
        self.submitter.budget()
    }

    /// What a dispatch of `kernel` takes of it.
    pub(crate) fn estimate(&self, kernel: &Kernel, cost: f64) -> f64 {
        self.submitter.estimate(kernel.name, cost)
    }

    /// See [`Pipelines::bind`].
    pub(crate) fn bind(&mut self, key: &PipelineKey, views: &[Option<View<'_>>]) -> Result<Bound> {
        self.pipelines.bind(key, views)
    }

    /// Records one dispatch of `workgroups`, folded into three dimensions. A submission that has no
    /// slot or no budget left for it is flushed before.
    pub(crate) fn dispatch(&mut self, bound: &Bound, params: &[u32], workgroups: u64, work: Work) -> Result<()> {
        let kernel = bound.pipeline.kernel;
        if params.len() != kernel.params_words {
            return Err(Error::internal(format!("kernel {} given {} parameters", kernel.name, params.len())));
        }
        let [x, y, z] = folded(workgroups)
            .ok_or_else(|| Error::internal(format!("kernel {} with {workgroups} workgroups", kernel.name)))?;
        if workgroups == 0 {
            return Ok(());
        }
        let cost = self.submitter.estimate(kernel.name, work.cost);
        let slot = self.params.len();
        let full = slot + SLOT_BYTES as usize > SLOTS * SLOT_BYTES as usize;
        if full || (self.cost > 0.0 && cost > self.budget_left()) {
            self.flush()?;
        }
        let slot = self.params.len();
        let offset = u32::try_from(slot).map_err(|_| Error::internal("parameters beyond 4 GiB"))?;
        self.params.extend_from_slice(bytemuck::cast_slice(params));
        self.params.resize(slot + SLOT_BYTES as usize, 0);
        self.cost += cost;
        self.submitter.note(kernel.name, work.cost);
        let stats = KernelStats::of(&mut self.kernels, kernel.name);
        if let Some(known) = self.kernels.get_mut(stats) {
            known.add(work.multiply_adds, work.bytes);
        }
        if self.timer.as_ref().is_some_and(|timer| timer.is_other(stats)) {
            self.pass = None;
        }
        let pass = match &mut self.pass {
            Some(pass) => pass,
            empty => {
                let encoder = encoder(&self.pipelines.device, &mut self.encoder);
                let timestamp_writes = self.timer.as_mut().map(|timer| timer.writes(stats));
                let descriptor = wgpu::ComputePassDescriptor { label: Some("recorder"), timestamp_writes };
                empty.insert(encoder.begin_compute_pass(&descriptor).forget_lifetime())
            }
        };
        pass.set_pipeline(&bound.pipeline.pipeline);
        pass.set_bind_group(0, &bound.group, &[offset]);
        pass.dispatch_workgroups(x, y, z);
        Ok(())
    }

    /// Records a copy of `len` elements.
    pub(crate) fn copy_buffer(
        &mut self,
        from: &wgpu::Buffer,
        from_start: usize,
        to: &wgpu::Buffer,
        to_start: usize,
        len: usize,
    ) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        self.make_room()?;
        let encoder = encoder(&self.pipelines.device, &mut self.encoder);
        encoder.copy_buffer_to_buffer(from, from_start as u64 * 4, to, to_start as u64 * 4, Some(len as u64 * 4));
        self.cost += DISPATCH_COST + len as f64;
        Ok(())
    }

    /// Ends the submission being recorded before a copy or clear that would make it too long; the
    /// commands of one lie in the host's memory until it is handed on.
    fn make_room(&mut self) -> Result<()> {
        self.pass = None;
        if self.transfers >= SLOTS {
            self.flush()?;
        }
        self.transfers += 1;
        Ok(())
    }

    /// Records that `len` elements become zero.
    pub(crate) fn clear(&mut self, buffer: &wgpu::Buffer, start: usize, len: usize) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        self.make_room()?;
        encoder(&self.pipelines.device, &mut self.encoder).clear_buffer(buffer, start as u64 * 4, Some(len as u64 * 4));
        self.cost += DISPATCH_COST + len as f64;
        Ok(())
    }

    /// Ends the submission being recorded and hands it on; nothing if nothing is recorded.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.pass = None;
        let Some(mut encoder) = self.encoder.take() else { return Ok(()) };
        if !self.params.is_empty() {
            // The queue keeps the order: what was submitted before still sees the old parameters.
            self.pipelines.queue.write_buffer(&self.pipelines.params, 0, &self.params);
        }
        self.params.clear();
        self.transfers = 0;
        let cost = std::mem::take(&mut self.cost);
        let Some(timer) = &mut self.timer else { return self.submitter.submit(encoder.finish(), cost) };
        timer.resolve(&mut encoder);
        self.submitter.submit(encoder.finish(), cost)?;
        timer.collect(self.submitter, &mut self.kernels)
    }
}

fn encoder<'e>(device: &wgpu::Device, slot: &'e mut Option<wgpu::CommandEncoder>) -> &'e mut wgpu::CommandEncoder {
    slot.get_or_insert_with(|| {
        device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("recorder") })
    })
}

/// `count` workgroups as x, y, z within the limit of each dimension; at least `count` in all.
fn folded(count: u64) -> Option<[u32; 3]> {
    let x = count.min(MAX_WORKGROUPS);
    let rows = count.div_ceil(x.max(1));
    let y = rows.min(MAX_WORKGROUPS);
    let z = rows.div_ceil(y.max(1));
    // Kernels count workgroups in 32 bits.
    let fits = z <= MAX_WORKGROUPS && (x * y).checked_mul(z)? <= u64::from(u32::MAX);
    let word = |n: u64| u32::try_from(n).ok();
    if fits { Some([word(x)?, word(y)?, word(z)?]) } else { None }
}

/// A size as a kernel's parameter.
pub(crate) fn word(value: usize) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::internal(format!("{value} does not fit a kernel's parameter")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::gpu::{kernels::elementwise::encode_copy_rows, testing::gpu};

    #[test]
    fn parameters_are_reused_from_submission_to_submission() {
        let mut gpu = gpu();
        let values: Vec<f32> = (0..5000u16).map(f32::from).collect();
        let (input, output) = (gpu.upload(&values), gpu.empty(5000));
        let submissions = gpu.run(|recorder| {
            // Backwards, one element a dispatch.
            (0..5000)
                .try_for_each(|i| encode_copy_rows(recorder, 1, 1, (input.view(), i, 1), (output.view(), 4999 - i, 1)))
        });
        assert_eq!(submissions, 5000usize.div_ceil(SLOTS));
        assert!(gpu.read(&output).iter().rev().eq(&values));
        // A budget of one dispatch makes a submission of each.
        let submissions = gpu.run_within(1.0, |recorder| {
            (0..7).try_for_each(|i| encode_copy_rows(recorder, 1, 1, (input.view(), i, 1), (output.view(), i, 1)))
        });
        assert_eq!(submissions, 7);
    }

    #[test]
    fn what_is_not_flushed_is_dropped_quietly() {
        let mut gpu = gpu();
        let (input, output) = (gpu.upload(&[1.0]), gpu.upload(&[2.0]));
        gpu.record_and_drop(|recorder| {
            recorder.clear(output.view().buffer, 0, 1)?;
            encode_copy_rows(recorder, 1, 1, (input.view(), 0, 1), (output.view(), 0, 1))
        });
        assert_eq!(gpu.read(&output), [2.0]);
    }

    #[test]
    fn transfers_do_not_pile_up() {
        let mut gpu = gpu();
        let output = gpu.upload(&[2.0]);
        let submissions =
            gpu.run(|recorder| (0..3 * SLOTS).try_for_each(|_| recorder.clear(output.view().buffer, 0, 1)));
        assert_eq!(submissions, 3);
    }

    #[test]
    fn workgroups_fold_within_limits() {
        for count in [0, 1, 65_535, 65_536, 70_000, 65_535 * 65_535, 65_535 * 65_535 - 1, u64::from(u32::MAX) - 200_000]
        {
            let [x, y, z] = folded(count).unwrap().map(u64::from);
            assert!(x * y * z >= count && x <= 65_535 && y <= 65_535 && z <= 65_535, "{count}");
        }
        assert_eq!(folded(1 << 33), None);
    }
}
