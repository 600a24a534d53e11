//! [`Owner`]: what lives on the owner thread of a device, and the guarded calls to wgpu. Every
//! creation stands in error scopes, every wait has a deadline, and a panic of wgpu is an error.

use std::{
    any::Any,
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering, mpsc},
    thread::available_parallelism,
    time::Duration,
};

use super::{
    adapter::AdapterInfo,
    calibration::Calibration,
    faults::{Fault, FaultPoint},
    kernels::strategy::{PARALLEL, Traits},
    pacer::Speed,
    pipeline_cache::PipelineCache,
    pipelines::Pipelines,
    room::{DeviceLimits, GpuOptions, Opened, Status, choose, lost, panic_text},
    timer::Timer,
    weights,
};
use crate::error::{Error, Result};

/// Bytes of an f32.
pub(super) const F32: u64 = 4;
/// Uploads in flight at most, bytes.
const MAX_PENDING_UPLOAD: u64 = 64 << 20;
/// Rounds that loops take on lavapipe, all loops of an invocation together (LP_MAX_TGSI_LOOP_ITERATIONS of Mesa).
pub(super) const LOOP_ROUNDS: usize = 65_535;
/// Workgroups that hold many weights each, and that every GPU worth the name runs at once.
const RESIDENT: usize = 32;
/// How many workgroups that need little run in the place of one that holds many weights.
const LITTLE_ONES: usize = 8;
/// The largest buffer and binding that are asked for: the kernels' index range.
const WANTED_BYTES: u64 = F32 << 31;

/// What lives on the owner thread.
pub(super) struct Owner {
    /// The adapter's name, for messages.
    pub(super) adapter: String,
    pub(super) limits: wgpu::Limits,
    pub(super) traits: Traits,
    pub(super) options: GpuOptions,
    /// What callers keep here, by the number in their handle.
    pub(super) objects: HashMap<u64, Box<dyn Any>>,
    /// Whether a wait passed its deadline: then nothing may be dropped in a hurry.
    pub(super) hung: bool,
    pub(super) status: Arc<Status>,
    /// How fast the adapter proved to be.
    pub(super) speed: Speed,
    /// Bytes handed over since the last wait.
    pending_upload: u64,
    /// Errors that no scope caught.
    stray: Arc<Mutex<Vec<wgpu::Error>>>,
    /// Compiled kernels; absent while a run has them.
    pub(super) pipelines: Option<Pipelines>,
    /// Where the driver keeps what it compiled, if it does; absent while it is read.
    pub(super) pipeline_cache: Option<PipelineCache>,
    /// The device's clock, once someone asked for it; absent while a run has it.
    pub(super) timer: Option<Timer>,
    /// Weights on the device.
    pub(super) weights: weights::Shared,
    /// By specialisation: whether the kernels passed their known-answer test.
    pub(super) verdicts: HashMap<String, Result<()>>,
    queue: wgpu::Queue,
    device: wgpu::Device,
}

impl Owner {
    pub(super) fn open(
        options: GpuOptions,
        exactly: Option<&AdapterInfo>,
        status: Arc<Status>,
    ) -> Result<(Self, Opened)> {
        options.calibration.iter().try_for_each(Calibration::check)?;
        let (info, adapter) = choose(&options, exactly)?;
        let limits = wanted_limits(options.limits, &adapter.limits());
        let features = match options.limits {
            DeviceLimits::Adapter => adapter.features() & wanted_features(),
            DeviceLimits::Default => wgpu::Features::empty(),
        };
        let details = adapter.get_info();
        let request = adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("wgpu-rnn"),
            required_limits: limits.clone(),
            // Where the adapter has them: to be looked at, and for kernels that others stand in for.
            required_features: features,
            ..wgpu::DeviceDescriptor::default()
        });
        let (device, queue) = pollster::block_on(request).map_err(|error| Error::NoAdapter {
            reason: format!("{info} gave no device: {error}"),
            hint: "choose another adapter, or free memory of this one".to_owned(),
        })?;
        let stray = Arc::new(Mutex::new(Vec::new()));
        let for_handler = Arc::clone(&stray);
        device.on_uncaptured_error(Arc::new(move |error| locked(&for_handler).push(error)));
        let for_callback = Arc::clone(&status);
        device.set_device_lost_callback(move |reason, text| {
            let text = text.trim();
            for_callback.lose(if text.is_empty() { format!("{reason:?}") } else { text.replace('\n', " ") });
        });
        let software = info.kind == super::AdapterKind::Software;
        let has_subgroups = features.contains(wgpu::Features::SUBGROUP);
        let traits = Traits {
            limits: limits.clone(),
            subgroup: has_subgroups.then_some([details.subgroup_min_size, details.subgroup_max_size]),
            software,
            resident: resident(software, options.calibration.as_ref()),
            parallel: if software { available_parallelism().map_or(1, usize::from) } else { PARALLEL },
            // Where workgroups are threads of a busy CPU, a wait may take long.
            tries: if software { 1 << 26 } else { 1 << 17 },
            rereads: !software,
            loop_rounds: if software { LOOP_ROUNDS } else { usize::MAX },
            cooperates: !software && info.backend == "vulkan",
            calibration: options.calibration.unwrap_or(Calibration::ASSUMED),
        };
        let mut owner = Self {
            adapter: info.name.clone(),
            limits: limits.clone(),
            traits: traits.clone(),
            options: GpuOptions { pipeline_cache: None, ..options.clone() },
            objects: HashMap::new(),
            hung: false,
            status,
            speed: Speed::new(software, traits.calibration.dispatch),
            pending_upload: 0,
            stray,
            pipelines: None,
            pipeline_cache: None,
            timer: None,
            weights: weights::Shared::new(),
            verdicts: HashMap::new(),
            queue,
            device,
        };
        let given = options.pipeline_cache.as_deref();
        owner.pipeline_cache =
            owner.scoped("creating the pipeline cache", 0, |device, _| PipelineCache::new(device, &details, given))?;
        let mut pipelines = owner.scoped("creating the parameters' buffer", 0, Pipelines::new)?;
        pipelines.hands = traits.hands();
        pipelines.loop_rounds = traits.loop_rounds;
        pipelines.cache = owner.pipeline_cache.as_ref().map(|known| known.cache.clone());
        owner.pipelines = Some(pipelines);
        let pipeline_cache_used = owner.pipeline_cache.as_ref().map(|known| known.used);
        Ok((owner, Opened { info, traits, options, pipeline_cache_used }))
    }

    /// Whether kernels may compute in f16.
    pub(super) fn has_half_arithmetic(&self) -> bool {
        self.device.features().contains(wgpu::Features::SHADER_F16)
    }

    /// No workgroup waits for another any more, unless it is told to.
    pub(super) fn give_up(&mut self) {
        self.traits.cooperates = false;
        self.status.gave_up.store(true, Ordering::Relaxed);
    }

    /// Drops everything, in order.
    pub(super) fn close(self) {
        let Self { objects, pipelines, pipeline_cache, timer, queue, device, .. } = self;
        drop(objects);
        drop(pipelines);
        drop(pipeline_cache);
        drop(timer);
        drop(queue);
        drop(device);
    }

    /// What a caller keeps here.
    pub(super) fn object<T: 'static>(&self, id: u64) -> Result<&T> {
        let object = self.objects.get(&id).and_then(|object| object.downcast_ref());
        object.ok_or_else(|| Error::internal("no such object on this device"))
    }

    /// Lets go of the buffers that bind groups keep alive, after some of them were dropped.
    pub(super) fn forget_buffers(&mut self) {
        if let Some(pipelines) = &mut self.pipelines {
            pipelines.forget_buffers();
        }
    }

    /// The device's clock, if it has one.
    pub(super) fn timer(&mut self) -> Result<Option<Timer>> {
        match self.timer.take() {
            Some(timer) => Ok(Some(timer)),
            None => self.scoped("creating the timer", 0, Timer::new),
        }
    }

    #[cfg(test)]
    pub(super) fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// Marks the device as lost.
    pub(super) fn lose(&mut self, reason: impl Into<String>) -> Error {
        self.status.lose(reason);
        lost(&self.adapter, self.status.lost().unwrap_or_default())
    }

    /// What the device has said since the last look.
    pub(super) fn check(&mut self) -> Result<()> {
        if let Some(reason) = self.status.lost() {
            return Err(lost(&self.adapter, reason));
        }
        let first = std::mem::take(&mut *locked(&self.stray)).into_iter().next();
        first.map_or(Ok(()), |error| Err(self.error(error, "a call", 0)))
    }

    /// The result of a piece of work, unless the device says that it cannot be right.
    pub(super) fn settle<T>(&mut self, result: Result<T>) -> Result<T> {
        match (result, self.check()) {
            (Ok(value), state) => state.map(|()| value),
            (Err(error), _) => Err(error),
        }
    }

    fn error(&self, error: wgpu::Error, doing: &str, bytes: u64) -> Error {
        let adapter = self.adapter.clone();
        match error {
            wgpu::Error::OutOfMemory { .. } => Error::OutOfDeviceMemory { adapter, doing: doing.to_owned(), bytes },
            wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
                let lines: Vec<&str> = description.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
                Error::Gpu { adapter, doing: doing.to_owned(), detail: lines.join(" ") }
            }
        }
    }

    /// Calls wgpu with its errors caught. `bytes` is for the message where memory runs out.
    pub(super) fn scoped<T>(
        &mut self,
        doing: &str,
        bytes: u64,
        call: impl FnOnce(&wgpu::Device, &wgpu::Queue) -> T,
    ) -> Result<T> {
        use wgpu::ErrorFilter::{Internal, OutOfMemory, Validation};
        let scopes = [Validation, Internal, OutOfMemory].map(|filter| self.device.push_error_scope(filter));
        let value = self.caught(|owner| call(&owner.device, &owner.queue));
        // The inner scope goes first; none is held across an await, since the answer is there at once.
        let errors: Vec<_> = scopes.into_iter().rev().filter_map(|scope| pollster::block_on(scope.pop())).collect();
        let value = value?;
        match errors.into_iter().next() {
            Some(error) => {
                // On a destroyed device everything is invalid, and only a poll says why.
                let _ = self.caught(|owner| owner.device.poll(wgpu::PollType::Poll))?;
                self.check()?;
                Err(self.error(error, doing, bytes))
            }
            None => self.check().map(|()| value),
        }
    }

    /// Calls wgpu where it may panic: in frames that hold no objects of ours.
    fn caught<T>(&mut self, call: impl FnOnce(&Self) -> T) -> Result<T> {
        catch_unwind(AssertUnwindSafe(|| call(self))).map_err(|panic| self.lose(panic_text(&*panic)))
    }

    /// Lets a planted fault happen. `Ok(true)`: a wrong bit is due.
    fn strike(&mut self, point: FaultPoint, doing: &str, bytes: u64) -> Result<bool> {
        match self.status.faults.strike(point) {
            None => Ok(false),
            Some(Fault::WrongBit) => Ok(true),
            Some(Fault::OutOfMemory) => {
                Err(Error::OutOfDeviceMemory { adapter: self.adapter.clone(), doing: doing.to_owned(), bytes })
            }
            Some(Fault::Lost) => {
                self.device.destroy();
                Err(self.lose("planted loss"))
            }
            Some(Fault::Timeout) => Err(self.timed_out(doing, Duration::ZERO)),
            Some(Fault::Panic) => {
                let panic = || -> bool { std::panic::resume_unwind(Box::new("planted panic")) };
                self.caught(|_| panic())
            }
        }
    }

    fn timed_out(&mut self, doing: &str, after: Duration) -> Error {
        self.hung = true;
        self.status.lose(format!("it did not answer within {after:?} while {doing}"));
        Error::Timeout { adapter: self.adapter.clone(), doing: doing.to_owned(), after }
    }

    /// A buffer of at least `bytes` bytes: never empty, since wgpu refuses to bind that, and whole vectors.
    pub(super) fn create_buffer(&mut self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        let size = bytes.max(16).next_multiple_of(16);
        let doing = format!("creating {label}");
        self.strike(FaultPoint::CreateBuffer, &doing, size)?;
        self.scoped(&doing, size, |device, _| {
            device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false })
        })
    }

    /// Writes `bytes` into `buffer` before the next submission.
    pub(super) fn upload(&mut self, label: &str, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) -> Result<()> {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.scoped(&format!("uploading {label}"), size, |_, queue| queue.write_buffer(buffer, offset, bytes))?;
        self.pending_upload = self.pending_upload.saturating_add(size);
        if self.pending_upload < MAX_PENDING_UPLOAD {
            return Ok(());
        }
        // Copies of uploads pile up until a submission takes them along and ends.
        self.pending_upload = 0;
        let submission = self.scoped("uploading", size, |_, queue| queue.submit([]))?;
        self.wait(submission, "an upload", self.options.deadline)
    }

    /// Hands commands to the device. Waiting for the index of an empty submission would not wait for
    /// those before it, so there is always one.
    pub(super) fn submit(&mut self, commands: wgpu::CommandBuffer) -> Result<wgpu::SubmissionIndex> {
        self.strike(FaultPoint::Submit, "submitting", 0)?;
        self.scoped("submitting", 0, |_, queue| queue.submit([commands]))
    }

    /// Waits until a submission has ended.
    pub(super) fn wait(&mut self, submission: wgpu::SubmissionIndex, doing: &str, deadline: Duration) -> Result<()> {
        self.strike(FaultPoint::Wait, doing, 0)?;
        let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: Some(deadline) };
        match self.caught(|owner| owner.device.poll(wait))? {
            Ok(_) => self.check(),
            Err(wgpu::PollError::Timeout) => {
                // A loss looks like a timeout where the driver reports it late.
                self.check()?;
                Err(self.timed_out(doing, deadline))
            }
            Err(error) => Err(self.lose(format!("waiting: {error}"))),
        }
    }

    /// Asks for the first `count` values of a mappable buffer once everything submitted so far has ended.
    pub(super) fn map(&mut self, buffer: &wgpu::Buffer, count: usize) -> Result<Mapping> {
        let size = F32 * u64::try_from(count).map_err(|_| Error::internal("size of a readback"))?;
        let (mapped, answer) = mpsc::channel();
        self.scoped("mapping results", size, |_, _| {
            buffer.map_async(wgpu::MapMode::Read, 0..size, move |result| drop(mapped.send(result)));
        })?;
        Ok(Mapping { buffer: buffer.clone(), size, count, answer })
    }

    /// What was asked for by [`Self::map`], after a wait for the last submission.
    pub(super) fn read(&mut self, mapping: &Mapping) -> Result<Vec<f32>> {
        let wrong_bit = self.strike(FaultPoint::Readback, "reading results", mapping.size)?;
        // The wait may say that all is well although nothing was mapped; only the callback counts.
        match mapping.answer.try_recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.lose(format!("mapping: {error}"))),
            Err(_) => return Err(self.lose("results were never mapped")),
        }
        let mut values = vec![0f32; mapping.count];
        let copied = self.caught(|_| -> Result<(), String> {
            let view = mapping.buffer.get_mapped_range(0..mapping.size).map_err(|error| error.to_string())?;
            bytemuck::cast_slice_mut(&mut values).copy_from_slice(&view);
            Ok(())
        })?;
        copied.map_err(|error| self.lose(format!("mapping: {error}")))?;
        self.caught(|_| mapping.buffer.unmap())?;
        if let (true, Some(first)) = (wrong_bit, values.first_mut()) {
            *first = f32::from_bits(first.to_bits() ^ 1 << 22);
        }
        Ok(values)
    }
}

/// Values on their way to the host.
pub(super) struct Mapping {
    buffer: wgpu::Buffer,
    size: u64,
    count: usize,
    answer: mpsc::Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
}

/// What kernels use where the adapter has it, and do without elsewhere.
fn wanted_features() -> wgpu::Features {
    use wgpu::Features;
    Features::TIMESTAMP_QUERY | Features::SUBGROUP | Features::PIPELINE_CACHE | Features::SHADER_F16
}

/// Workgroups that hold many weights each and run at once for sure.
fn resident(software: bool, measured: Option<&Calibration>) -> usize {
    match (software, measured) {
        (true, _) => std::thread::available_parallelism().map_or(1, usize::from),
        (false, None) => RESIDENT,
        (false, Some(measured)) => (measured.resident_workgroups as usize / LITTLE_ONES).max(1),
    }
}

/// The adapter's limits as far as the kernels use them, wgpu's defaults elsewhere; never above the adapter's.
fn wanted_limits(choice: DeviceLimits, adapter: &wgpu::Limits) -> wgpu::Limits {
    let mut limits = wgpu::Limits::default();
    if choice == DeviceLimits::Adapter {
        limits.max_buffer_size = WANTED_BYTES;
        limits.max_storage_buffer_binding_size = WANTED_BYTES;
        limits.max_compute_workgroup_storage_size = adapter.max_compute_workgroup_storage_size;
        limits.max_compute_invocations_per_workgroup = 1024;
        limits.max_compute_workgroup_size_x = 1024;
        limits.max_compute_workgroup_size_y = 1024;
    }
    limits.or_worse_values_from(adapter)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
