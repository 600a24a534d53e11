//! What the kernels' tests share: one device with wgpu's default limits, used by one test at a time.

use std::sync::{Mutex, MutexGuard, OnceLock};

use super::{
    pack::{Matrix, Packed, Window},
    pipelines::Pipelines,
    recorder::{Recorder, Submitter, View},
};
use crate::{error::Result, plan::Precision};

/// Elements past the end of every buffer, which nothing may touch.
const GUARD: usize = 64;
const SENTINEL: f32 = -12_345.5;

/// The device under test.
pub(crate) struct Gpu {
    pub(crate) pipelines: Pipelines,
}

/// The device, created once. Without an adapter the tests fail.
pub(crate) fn gpu() -> MutexGuard<'static, Gpu> {
    static GPU: OnceLock<Mutex<Gpu>> = OnceLock::new();
    let gpu = GPU.get_or_init(|| {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))
            .expect("no adapter: install a Vulkan driver, for example mesa-vulkan-drivers");
        eprintln!("adapter {:?}", adapter.get_info());
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            required_features: adapter.features() & wgpu::Features::SUBGROUP,
            required_limits: wgpu::Limits {
                max_compute_invocations_per_workgroup: adapter.limits().max_compute_invocations_per_workgroup.min(1024),
                max_compute_workgroup_size_x: adapter.limits().max_compute_workgroup_size_x.min(1024),
                ..wgpu::Limits::default()
            },
            ..wgpu::DeviceDescriptor::default()
        }))
        .unwrap();
        let mut pipelines = Pipelines::new(&device, &queue);
        if adapter.get_info().device_type == wgpu::DeviceType::Cpu {
            pipelines.loop_rounds = super::owner::LOOP_ROUNDS;
        }
        Mutex::new(Gpu { pipelines })
    });
    gpu.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

struct Submissions<'a> {
    queue: &'a wgpu::Queue,
    budget: f64,
    count: usize,
}

impl Submitter for Submissions<'_> {
    fn submit(&mut self, commands: wgpu::CommandBuffer, _cost: f64) -> Result<()> {
        self.queue.submit([commands]);
        self.count += 1;
        Ok(())
    }

    fn budget(&self) -> f64 {
        self.budget
    }
}

/// A buffer of `len` values with guards behind them.
pub(crate) struct Guarded {
    buffer: wgpu::Buffer,
    len: usize,
}

impl Guarded {
    pub(crate) fn view(&self) -> View<'_> {
        View { buffer: &self.buffer, start: 0, len: self.len }
    }
}

/// A packed weight on the device.
pub(crate) struct Weights {
    precision: Precision,
    windows: Vec<(std::ops::Range<usize>, Guarded)>,
}

impl Weights {
    pub(crate) fn matrix(&self) -> Matrix<'_> {
        let window = |(range, data): &'_ (std::ops::Range<usize>, Guarded)| (range.start, range.len(), data.len);
        let windows = self
            .windows
            .iter()
            .map(|entry| {
                let (first, count, len) = window(entry);
                Window { first, count, view: View { buffer: &entry.1.buffer, start: 0, len } }
            })
            .collect();
        Matrix { precision: self.precision, windows }
    }
}

impl Gpu {
    fn buffer(&self, bytes: &[u8]) -> Guarded {
        let mut all = bytes.to_vec();
        all.extend(SENTINEL.to_le_bytes().repeat(GUARD));
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let buffer = self.pipelines.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("test"),
            size: all.len() as u64,
            usage,
            mapped_at_creation: false,
        });
        self.pipelines.queue.write_buffer(&buffer, 0, &all);
        Guarded { buffer, len: bytes.len() / 4 }
    }

    pub(crate) fn upload(&self, values: &[f32]) -> Guarded {
        self.buffer(bytemuck::cast_slice(values))
    }

    /// `len` values that are all the sentinel.
    pub(crate) fn empty(&self, len: usize) -> Guarded {
        self.upload(&vec![SENTINEL; len])
    }

    pub(crate) fn upload_packed(&self, packed: Vec<Packed>, precision: Precision) -> Weights {
        let windows = packed.into_iter().map(|p| (p.range, self.buffer(&p.bytes))).collect();
        Weights { precision, windows }
    }

    /// Records with `budget` and submits; the number of submissions.
    pub(crate) fn run_within(&mut self, budget: f64, record: impl FnOnce(&mut Recorder<'_>) -> Result<()>) -> usize {
        self.record(budget, |recorder| record(recorder).and_then(|()| recorder.flush()))
    }

    /// Records and drops the recording.
    pub(crate) fn record_and_drop(&mut self, record: impl FnOnce(&mut Recorder<'_>) -> Result<()>) {
        assert_eq!(self.record(1e12, record), 0);
    }

    fn record(&mut self, budget: f64, record: impl FnOnce(&mut Recorder<'_>) -> Result<()>) -> usize {
        let queue = self.pipelines.queue.clone();
        let scope = self.pipelines.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let mut submissions = Submissions { queue: &queue, budget, count: 0 };
        let mut recorder = Recorder::new(&mut self.pipelines, &mut submissions);
        record(&mut recorder).unwrap();
        drop(recorder);
        self.pipelines.forget_buffers();
        assert_eq!(pollster::block_on(scope.pop()).map(|error| error.to_string()), None);
        submissions.count
    }

    pub(crate) fn run(&mut self, record: impl FnOnce(&mut Recorder<'_>) -> Result<()>) -> usize {
        self.run_within(1e12, record)
    }

    /// The values; fails if the guard was touched.
    pub(crate) fn read(&self, data: &Guarded) -> Vec<f32> {
        let device = &self.pipelines.device;
        let size = data.buffer.size();
        let staging = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("readback") });
        encoder.copy_buffer_to_buffer(&data.buffer, 0, &staging, 0, Some(size));
        self.pipelines.queue.submit([encoder.finish()]);
        staging.map_async(wgpu::MapMode::Read, .., |result| result.unwrap());
        device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        let mut values: Vec<f32> = bytemuck::pod_collect_to_vec(&staging.get_mapped_range(..).unwrap());
        let guard = values.split_off(data.len);
        assert!(guard.iter().all(|&x| x == SENTINEL), "a kernel wrote past the end of its buffer");
        values
    }
}

/// Values in [-1, 1) of a fixed sequence.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() >> 16) as usize % n
    }

    pub(crate) fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub(crate) fn values(&mut self, len: usize, scale: f32) -> Vec<f32> {
        (0..len).map(|_| self.value() * scale).collect()
    }
}

/// Fails at the first value that is not within `tolerance * max(1, |expected|)`; NaN only where expected.
pub(crate) fn assert_close(what: &str, actual: &[f32], expected: &[f64], tolerance: f64) -> f64 {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let mut worst = 0.0f64;
    for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        if e.is_nan() || e.is_infinite() {
            assert!(a.is_nan() && e.is_nan() || f64::from(a) == e, "{what}[{i}]: {a}, expected {e}");
            continue;
        }
        let error = (f64::from(a) - e).abs() / e.abs().max(1.0);
        assert!(error <= tolerance, "{what}[{i}]: {a}, expected {e}, error {error:.2e}");
        worst = worst.max(error);
    }
    worst
}
