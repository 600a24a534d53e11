//! [`Gpu`]: the one room that guards a device. A thread of its own (the only one this crate starts
//! for a device) owns everything that wgpu hands out and makes every call to it: creation, submit,
//! wait, mapping and drop. Callers on any thread send it work and await the answer.
//!
//! wgpu panics where a driver loses its device during a wait; the thread catches that and turns it
//! into [`Error::DeviceLost`]. With `panic = "abort"` in the final binary it cannot, and such a loss
//! ends the process.

use std::{
    any::Any,
    future::Future,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use futures_intrusive::channel::shared::oneshot_channel;

use super::{
    adapter::{self, AdapterInfo},
    alive::Alive,
    calibration::Calibration,
    faults::Faults,
    kernels::strategy::Traits,
    owner::Owner,
};
use crate::error::{Error, Result};

/// How a device is opened.
#[derive(Clone)]
#[non_exhaustive]
pub struct GpuOptions {
    /// Part of the adapter's name, in any case; the fastest kind of adapter without one.
    pub adapter: Option<String>,
    /// Whether a driver that computes on the CPU may be taken.
    pub allow_software: bool,
    /// Which limits are asked for.
    pub limits: DeviceLimits,
    /// How long the device may make no progress before it counts as hung.
    pub deadline: Duration,
    /// How long one submission should take at most, as measured: a longer one may trip a watchdog
    /// of the operating system and delays everything else that uses the GPU. Drivers that compute on the CPU get
    /// eight times as long.
    pub slice: Duration,
    /// What the device can do, where it was measured before ([`Gpu::calibrate`]); without it, something
    /// harmless is assumed.
    pub calibration: Option<Calibration>,
    /// What the driver compiled in an earlier process ([`Gpu::pipeline_cache`]), so that it need not do so again.
    /// Where it is damaged, or of another adapter, driver or version of this crate, it is left aside
    /// ([`Gpu::pipeline_cache_used`]). Drivers may believe what stands in it: keep it where nobody else can write.
    pub pipeline_cache: Option<Vec<u8>>,
}

impl Default for GpuOptions {
    fn default() -> Self {
        Self {
            adapter: None,
            allow_software: true,
            limits: DeviceLimits::Adapter,
            deadline: Duration::from_secs(60),
            slice: Duration::from_millis(50),
            calibration: None,
            pipeline_cache: None,
        }
    }
}

impl std::fmt::Debug for GpuOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { adapter, allow_software, limits, deadline, slice, calibration, pipeline_cache } = self;
        f.debug_struct("GpuOptions")
            .field("adapter", adapter)
            .field("allow_software", allow_software)
            .field("limits", limits)
            .field("deadline", deadline)
            .field("slice", slice)
            .field("calibration", calibration)
            // Not the megabytes themselves.
            .field("pipeline_cache_bytes", &pipeline_cache.as_ref().map(Vec::len))
            .finish()
    }
}

/// Which limits a device is opened with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceLimits {
    /// As far as the adapter allows.
    #[default]
    Adapter,
    /// wgpu's defaults, which nearly every GPU has: what runs under them runs everywhere.
    Default,
}

/// A device. Cheap to clone; the last handle to go closes it, without waiting for work in flight.
#[derive(Clone)]
pub struct Gpu {
    shared: Arc<Shared>,
}

/// What handles know without asking the owner thread.
pub(super) struct Shared {
    messages: mpsc::Sender<Message>,
    opened: Opened,
    pub(super) status: Arc<Status>,
    next_id: AtomicU64,
}

/// What the owner thread says once the device is open.
pub(super) struct Opened {
    pub(super) info: AdapterInfo,
    pub(super) traits: Traits,
    pub(super) options: GpuOptions,
    pub(super) pipeline_cache_used: Option<bool>,
}

/// What the owner thread and all handles share from the start.
#[derive(Default)]
pub(super) struct Status {
    /// Why the device is of no more use.
    lost: OnceLock<String>,
    /// Whether workgroups once waited in vain for each other.
    pub(super) gave_up: AtomicBool,
    pub(super) faults: Faults,
}

impl Status {
    /// Records that the device is lost; the first reason stays.
    pub(super) fn lose(&self, reason: impl Into<String>) {
        let _: Result<(), String> = self.lost.set(reason.into());
    }

    pub(super) fn lost(&self) -> Option<&str> {
        self.lost.get().map(String::as_str)
    }
}

type Job = Box<dyn FnOnce(Result<&mut Owner>) + Send>;

enum Message {
    Job(Job),
    /// Drop everything, then say so.
    Close(mpsc::Sender<()>),
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpu").field("info", self.info()).field("lost", &self.lost_reason()).finish()
    }
}

impl Gpu {
    /// Opens a device.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], [`Error::Unknown`] for an adapter's name that none has, [`Error::Mismatch`] for a
    /// calibration that no device has, or what the driver says.
    pub fn open(options: GpuOptions) -> impl Future<Output = Result<Self>> + Send {
        Self::start(options, None)
    }

    /// Opens a new device on the same adapter, after a loss for instance. Programs have to be made anew.
    ///
    /// # Errors
    /// As [`Gpu::open`].
    pub fn reopen(&self) -> impl Future<Output = Result<Self>> + Send + use<> {
        Self::start(self.shared.opened.options.clone(), Some(self.info().clone()))
    }

    /// Starts the owner thread and awaits its greeting.
    fn start(options: GpuOptions, exactly: Option<AdapterInfo>) -> impl Future<Output = Result<Self>> + Send {
        let (messages, inbox) = mpsc::channel();
        let (greet, greeting) = oneshot_channel::<Result<Opened>>();
        let status = Arc::new(Status::default());
        let for_thread = Arc::clone(&status);
        let alive = Alive::new();
        let spawned = std::thread::Builder::new().name("wgpu-rnn device".to_owned()).spawn(move || {
            let opened = catch_unwind(AssertUnwindSafe(|| Owner::open(options, exactly.as_ref(), for_thread)))
                .unwrap_or_else(|panic| Err(Error::internal(format!("opening a device: {}", panic_text(&*panic)))));
            match opened {
                Ok((owner, opened)) => {
                    drop(greet.send(Ok(opened)));
                    serve(owner, &inbox);
                }
                Err(error) => drop(greet.send(Err(error))),
            }
            drop(alive);
        });
        async move {
            spawned.map_err(|error| Error::internal(format!("no thread for a device: {error}")))?;
            let opened = greeting.receive().await.ok_or_else(|| Error::internal("the device thread ended"))??;
            Ok(Self { shared: Arc::new(Shared { messages, opened, status, next_id: AtomicU64::new(0) }) })
        }
    }

    /// The adapter; its limits are those of the adapter, not those of this device.
    #[must_use]
    pub fn info(&self) -> &AdapterInfo {
        &self.shared.opened.info
    }

    /// The options that it was opened with.
    #[must_use]
    pub fn options(&self) -> &GpuOptions {
        &self.shared.opened.options
    }

    /// Whether workgroups once waited in vain for each other; none does any more, unless it is told to.
    pub(super) fn has_given_up(&self) -> bool {
        self.shared.status.gave_up.load(Ordering::Relaxed)
    }

    /// What the choice of strategies looks at.
    pub(super) fn traits(&self) -> &Traits {
        &self.shared.opened.traits
    }

    /// What the device was granted.
    pub(super) fn limits(&self) -> &wgpu::Limits {
        &self.shared.opened.traits.limits
    }

    /// Whether the device began with the [pipeline cache](GpuOptions::pipeline_cache) that was given; `None` where
    /// the adapter has no such cache.
    #[must_use]
    pub fn pipeline_cache_used(&self) -> Option<bool> {
        self.shared.opened.pipeline_cache_used
    }

    /// Why the device is of no more use, if so. Every further call gives [`Error::DeviceLost`].
    #[must_use]
    pub fn lost_reason(&self) -> Option<&str> {
        self.shared.status.lost()
    }

    /// Planted faults that have not struck yet.
    #[cfg(any(test, feature = "fault-injection"))]
    #[must_use]
    pub fn planted_faults(&self) -> usize {
        self.shared.status.faults.planted()
    }

    /// Lets the `nth` pass (from 1) of `point` fail, once.
    #[cfg(any(test, feature = "fault-injection"))]
    pub fn plant_fault(&self, point: super::FaultPoint, nth: u64, fault: super::Fault) {
        self.shared.status.faults.plant(point, nth, fault);
    }

    /// Ends the device: lets queued calls and work in flight end, frees everything. Without this,
    /// the same happens some time after the last handle has gone.
    ///
    /// # Errors
    /// [`Error::Timeout`] if that takes longer than `timeout`; it still goes on.
    pub fn shutdown(&self, timeout: Duration) -> Result<()> {
        let (done, closed) = mpsc::channel();
        if self.shared.messages.send(Message::Close(done)).is_err() {
            return Ok(());
        }
        match closed.recv_timeout(timeout) {
            Err(mpsc::RecvTimeoutError::Timeout) => Err(Error::Timeout {
                adapter: self.info().name.clone(),
                doing: "closing the device".to_owned(),
                after: timeout,
            }),
            // Disconnected: another shutdown was faster.
            Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => Ok(()),
        }
    }

    /// Runs `work` on the owner thread, after everything that was asked before. It is queued at
    /// once; dropping the future before its turn takes it back.
    pub(super) fn call<T, F>(&self, work: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&mut Owner) -> Result<T> + Send + 'static,
    {
        let adapter = self.info().name.clone();
        let (answer, answered) = oneshot_channel::<Result<T>>();
        let wanted = Arc::new(());
        let still_wanted = Arc::downgrade(&wanted);
        let posted = self.post(move |owner| {
            if still_wanted.strong_count() > 0 {
                drop(answer.send(owner.and_then(|owner| guarded(owner, work))));
            }
        });
        async move {
            posted?;
            let answer = answered.receive().await;
            drop(wanted);
            answer.unwrap_or_else(|| Err(lost(&adapter, "the device was closed")))
        }
    }

    fn post(&self, job: impl FnOnce(Result<&mut Owner>) + Send + 'static) -> Result<()> {
        if let Some(reason) = self.lost_reason() {
            return Err(lost(&self.info().name, reason));
        }
        let message = Message::Job(Box::new(job));
        self.shared.messages.send(message).map_err(|_| lost(&self.info().name, "the device was closed"))
    }

    /// Keeps what `make` makes on the owner thread for as long as the handle lives.
    pub(super) fn keep<T: 'static, F>(&self, make: F) -> impl Future<Output = Result<Owned<T>>> + Send + use<T, F>
    where
        F: FnOnce(&mut Owner) -> Result<T> + Send + 'static,
    {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let owned = Owned { gpu: self.clone(), id, kind: PhantomData };
        let made = self.call(move |owner| {
            let object = make(owner)?;
            owner.objects.insert(id, Box::new(object));
            Ok(())
        });
        async move { made.await.map(|()| owned) }
    }
}

/// A handle to an object that lives on the owner thread.
pub(super) struct Owned<T> {
    pub(super) gpu: Gpu,
    id: u64,
    kind: PhantomData<fn() -> T>,
}

impl<T: 'static> Owned<T> {
    /// The number that the object goes by on the owner thread.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Runs `work` with the object on the owner thread.
    pub(super) fn call<R, F>(&self, work: F) -> impl Future<Output = Result<R>> + Send + use<T, R, F>
    where
        R: Send + 'static,
        F: FnOnce(&mut Owner, &mut T) -> Result<R> + Send + 'static,
    {
        let id = self.id;
        self.gpu.call(move |owner| {
            let mut object = owner.objects.remove(&id).ok_or_else(|| Error::internal("object of another device"))?;
            let result = match object.downcast_mut::<T>() {
                Some(object) => guarded(owner, |owner| work(owner, object)),
                None => Err(Error::internal("object of another type")),
            };
            owner.objects.insert(id, object);
            result
        })
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        let id = self.id;
        // On a lost or closed device the object is gone already.
        let _ = self.gpu.post(move |owner| {
            if let Ok(owner) = owner {
                let _ = guarded(owner, |owner| {
                    owner.objects.remove(&id);
                    owner.forget_buffers();
                    Ok(())
                });
            }
        });
    }
}

/// Runs one piece of work; a panic in it loses the device, as its state is unknown then.
fn guarded<T>(owner: &mut Owner, work: impl FnOnce(&mut Owner) -> Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(|| work(owner))) {
        Ok(result) => owner.settle(result),
        Err(panic) => Err(owner.lose(panic_text(&*panic))),
    }
}

pub(super) fn lost(adapter: &str, reason: &str) -> Error {
    Error::DeviceLost { adapter: adapter.to_owned(), reason: reason.to_owned() }
}

pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("panic").lines().next().unwrap_or_default().to_owned()
}

/// The owner thread: serves until the last handle has gone or someone closes the device.
fn serve(owner: Owner, inbox: &mpsc::Receiver<Message>) {
    let (adapter, status) = (owner.adapter.clone(), Arc::clone(&owner.status));
    let mut alive = Some(owner);
    let mut acknowledge = None;
    for message in inbox {
        match message {
            Message::Job(job) => {
                let gone = || lost(&adapter, status.lost().unwrap_or("the device was closed"));
                let owner = if status.lost().is_some() { None } else { alive.as_mut() };
                // A job guards its own work; this one is for the drop of what it captured.
                let _ = catch_unwind(AssertUnwindSafe(|| job(owner.ok_or_else(gone))));
            }
            Message::Close(done) => {
                status.lose("the device was closed");
                acknowledge = Some(done);
                break;
            }
        }
        if status.lost().is_some() {
            // Its memory has to be free before a new device is opened. A hung one would not let go.
            close(alive.take_if(|owner| !owner.hung));
        }
    }
    close(alive);
    if let Some(done) = acknowledge {
        let _ = done.send(());
    }
}

/// Drops everything; wgpu may panic where the device is lost.
fn close(owner: Option<Owner>) {
    let _ = catch_unwind(AssertUnwindSafe(|| owner.map(Owner::close)));
}

/// The adapter asked for.
pub(super) fn choose(options: &GpuOptions, exactly: Option<&AdapterInfo>) -> Result<(AdapterInfo, wgpu::Adapter)> {
    match exactly {
        Some(info) => adapter::choose_again(info),
        None => adapter::choose(options.adapter.as_deref(), options.allow_software),
    }
}
