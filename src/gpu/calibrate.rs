//! Measures what a device can do ([`Calibration`]), within a second or two also where everything is slow.
//! Kernels that are of no other use run for longer and longer until their times mean something; nothing in
//! them waits for another workgroup.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use super::{
    calibration::Calibration,
    kernels::{
        calibrate::{
            MULTIPLY_ADD, RESIDENT, VECTOR, VECTORS_PER_ROUND, bytes_per_round, encode_chains, encode_read,
            multiply_adds_per_round,
        },
        moves::encode_ramp,
    },
    owner::{F32, Owner},
    recorder::{Recorder, Submitter, View},
    room::Gpu,
};
use crate::error::{Error, Result};

/// Seconds of kernels that are long enough to be timed.
const LONG: f64 = 2e-3;
/// How long one figure may take before what is known by then has to do.
const PATIENCE: Duration = Duration::from_millis(400);
/// Runs of which the shortest or the middle one counts.
const SAMPLES: usize = 5;
/// Round trips that are measured, and those before them that are not.
const ROUND_TRIPS: usize = 31;
const WARM_UP: usize = 5;
/// Bytes read as those of memory, on hardware and by a CPU: more than caches hold.
const MEMORY: [u64; 2] = [256 << 20, 64 << 20];
/// Bytes read as those of a cache: more than one workgroup's own, less than what all share.
const CACHE: u64 = 1 << 20;
/// The least worth reading.
const LEAST: u64 = 1 << 16;
/// Workgroups that keep any device busy, and a CPU.
const BUSY: [u64; 2] = [4096, 64];
/// Blocks of 256 vectors from one vector of an invocation to its next in a cache: odd, so that it comes by all
/// of them, and far enough that few are in a workgroup's own.
const CACHE_STEP: u32 = 37 * 256;
/// Dispatches of which the cost is the difference.
const DISPATCHES: [usize; 2] = [16, 272];
/// The most workgroups that are tried at once: one dimension's.
const MAX_RESIDENT: u32 = 32_768;
/// Workgroups that take so much longer than one were not all at work at once.
const SLOWER: f64 = 1.5;

impl Gpu {
    /// Measures what the device can do. It takes a second or two, in which the device does nothing else, and up
    /// to 256 MiB of its memory.
    ///
    /// # Errors
    /// [`Error::OutOfDeviceMemory`], or a device's failure.
    pub fn calibrate(&self) -> impl Future<Output = Result<Calibration>> + Send + use<> {
        self.call(|owner| {
            let round_trip = round_trip(owner)?;
            let measured = Bench { owner, round_trip }.measure();
            // What was bound is kept otherwise.
            owner.forget_buffers();
            measured
        })
    }
}

/// Seconds from a copy of a few bytes to having read them.
fn round_trip(owner: &mut Owner) -> Result<f64> {
    use wgpu::BufferUsages as Usage;
    let bytes = 4 * F32;
    let source = owner.create_buffer("round trip", bytes, Usage::COPY_SRC | Usage::COPY_DST)?;
    let staging = owner.create_buffer("round trip readback", bytes, Usage::MAP_READ | Usage::COPY_DST)?;
    let (deadline, began) = (owner.options.deadline, Instant::now());
    let mut times = Vec::new();
    for _ in 0..WARM_UP + ROUND_TRIPS {
        let started = Instant::now();
        let commands = owner.scoped("a round trip", 0, |device, _| {
            let mut encoder =
                device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("round trip") });
            encoder.copy_buffer_to_buffer(&source, 0, &staging, 0, bytes);
            encoder.finish()
        })?;
        let submission = owner.submit(commands)?;
        let mapping = owner.map(&staging, 4)?;
        owner.wait(submission, "a round trip", deadline)?;
        owner.read(&mapping)?;
        times.push(started.elapsed().as_secs_f64());
        if began.elapsed() > PATIENCE {
            break;
        }
    }
    // A device so slow that it never got warm has no others.
    let warm = times.len().saturating_sub(1).min(WARM_UP);
    Ok(middle(times.split_off(warm)))
}

/// The middle one of `times`.
fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::INFINITY)
}

/// Waits for each submission and takes its time.
struct Stopwatch<'a> {
    owner: &'a mut Owner,
    last: Option<wgpu::SubmissionIndex>,
    seconds: f64,
}

impl Stopwatch<'_> {
    fn wait(&mut self) -> Result<()> {
        let Some(last) = self.last.clone() else { return Ok(()) };
        let deadline = self.owner.options.deadline;
        self.owner.wait(last, "calibrating", deadline)
    }
}

impl Submitter for Stopwatch<'_> {
    fn submit(&mut self, commands: wgpu::CommandBuffer, _: f64) -> Result<()> {
        let started = Instant::now();
        self.last = Some(self.owner.submit(commands)?);
        self.wait()?;
        self.seconds += started.elapsed().as_secs_f64();
        Ok(())
    }

    fn read_words(&mut self, buffer: &wgpu::Buffer, count: usize) -> Result<Vec<u32>> {
        let mapping = self.owner.map(buffer, count)?;
        // Only a wait hands over what was mapped.
        self.wait()?;
        Ok(self.owner.read(&mapping)?.into_iter().map(f32::to_bits).collect())
    }

    /// Whoever records knows how much is enough.
    fn budget(&self) -> f64 {
        f64::INFINITY
    }
}

/// A device being measured.
struct Bench<'a> {
    owner: &'a mut Owner,
    round_trip: f64,
}

impl Bench<'_> {
    fn measure(mut self) -> Result<Calibration> {
        let output = self.buffer(4 * F32)?;
        Ok(Calibration {
            round_trip: self.round_trip,
            dispatch: self.dispatch(&output)?,
            memory_bandwidth: self.memory_bandwidth(&output)?,
            cache_bandwidth: self.cache_bandwidth(&output)?,
            multiply_adds: self.multiply_adds(&output)?,
            resident_workgroups: self.resident_workgroups(&output)?,
        })
    }

    fn buffer(&mut self, bytes: u64) -> Result<wgpu::Buffer> {
        self.owner.create_buffer("calibration", bytes, wgpu::BufferUsages::STORAGE)
    }

    /// One of two constants: of hardware, of a driver that computes on the CPU.
    fn of<T: Copy>(&self, [hardware, software]: [T; 2]) -> T {
        if self.owner.traits.software { software } else { hardware }
    }

    /// Seconds of what is recorded: by the device's clock, else what a submission takes beyond a round trip.
    fn seconds(&mut self, record: impl Fn(&mut Recorder<'_>) -> Result<()>) -> Result<f64> {
        let timer = self.owner.timer()?;
        let mut pipelines = self.owner.pipelines.take().ok_or_else(|| Error::internal("the kernels are in use"))?;
        let mut stopwatch = Stopwatch { owner: self.owner, last: None, seconds: 0.0 };
        let mut recorder = Recorder::new(&mut pipelines, &mut stopwatch).timed(timer);
        let recorded = record(&mut recorder).and_then(|()| recorder.flush());
        let (kernels, timer) = recorder.finish();
        let beyond = stopwatch.seconds - self.round_trip;
        self.owner.pipelines = Some(pipelines);
        self.owner.timer = timer;
        recorded?;
        let clock: Option<Duration> = kernels.iter().map(|kernel| kernel.time).sum();
        // A clock that stands still is none.
        let clock = clock.map(|time| time.as_secs_f64()).filter(|&seconds| seconds > 0.0);
        Ok(clock.unwrap_or(beyond).max(1e-9))
    }

    /// Seconds that `rounds` take, as many as are needed to be timed, the shortest of some runs.
    fn long_run(&mut self, run: impl Fn(&mut Recorder<'_>, u32) -> Result<()>) -> Result<(u32, f64)> {
        let began = Instant::now();
        // What a round trip varies by must not count where there is no clock.
        let long = LONG.max(self.round_trip);
        let mut rounds = 1u32;
        // The very first one compiles.
        self.seconds(|recorder| run(recorder, rounds))?;
        let mut shortest = self.seconds(|recorder| run(recorder, rounds))?;
        while shortest < long && began.elapsed() < PATIENCE && rounds < 1 << 24 {
            rounds *= 2;
            shortest = self.seconds(|recorder| run(recorder, rounds))?;
        }
        for _ in 1..SAMPLES {
            if began.elapsed() > PATIENCE {
                break;
            }
            shortest = shortest.min(self.seconds(|recorder| run(recorder, rounds))?);
        }
        Ok((rounds, shortest))
    }

    /// Of a kernel of a few values, each dispatch of which writes what the one before it wrote.
    fn dispatch(&mut self, output: &wgpu::Buffer) -> Result<f64> {
        let began = Instant::now();
        let mut shortest = [f64::INFINITY; 2];
        for sample in 0..=SAMPLES {
            for (count, shortest) in DISPATCHES.into_iter().zip(&mut shortest) {
                let seconds = self.seconds(|recorder| {
                    (0..count).try_for_each(|_| encode_ramp(recorder, [0.0, 1.0], 0, (view(output), &[4])))
                })?;
                // The first one compiles.
                *shortest = if sample == 0 { *shortest } else { shortest.min(seconds) };
            }
            if sample > 0 && began.elapsed() > PATIENCE {
                break;
            }
        }
        let ([few, many], [fewer, more]) = (shortest, DISPATCHES);
        let each = (many - few) / (more - fewer) as f64;
        // Where noise is larger than the difference.
        Ok(if each > 0.0 { each } else { many / more as f64 })
    }

    /// A buffer of `bytes`, or of less where that is not to be had.
    fn large_buffer(&mut self, bytes: u64) -> Result<wgpu::Buffer> {
        let limits = &self.owner.limits;
        let most = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size).max(LEAST);
        let mut bytes = bytes.min(1 << most.ilog2());
        loop {
            match self.buffer(bytes) {
                Err(Error::OutOfDeviceMemory { .. }) if bytes > LEAST => bytes /= 2,
                other => return other,
            }
        }
    }

    fn memory_bandwidth(&mut self, output: &wgpu::Buffer) -> Result<f64> {
        let input = self.large_buffer(self.of(MEMORY))?;
        // All of them together read the whole buffer once in a round.
        let workgroups = input.size() / (256 * VECTORS_PER_ROUND * VECTOR);
        let stride = u32::try_from(256 * workgroups).unwrap_or(256);
        let (rounds, seconds) = self.long_run(|recorder, rounds| {
            encode_read(recorder, (view(&input), view(output)), workgroups, rounds, stride)
        })?;
        Ok(bytes_per_round(workgroups) * f64::from(rounds) / seconds)
    }

    fn cache_bandwidth(&mut self, output: &wgpu::Buffer) -> Result<f64> {
        let input = self.large_buffer(CACHE)?;
        let workgroups = self.of(BUSY);
        let (rounds, seconds) = self.long_run(|recorder, rounds| {
            encode_read(recorder, (view(&input), view(output)), workgroups, rounds, CACHE_STEP)
        })?;
        Ok(bytes_per_round(workgroups) * f64::from(rounds) / seconds)
    }

    fn multiply_adds(&mut self, output: &wgpu::Buffer) -> Result<f64> {
        let workgroups = self.of(BUSY);
        let (rounds, seconds) =
            self.long_run(|recorder, rounds| encode_chains(recorder, &MULTIPLY_ADD, view(output), workgroups, rounds))?;
        Ok(multiply_adds_per_round(workgroups) * f64::from(rounds) / seconds)
    }

    /// The largest number of workgroups that take no longer than one: doubled until they do, then halved in
    /// between.
    fn resident_workgroups(&mut self, output: &wgpu::Buffer) -> Result<u32> {
        let run = |recorder: &mut Recorder<'_>, workgroups: u32, rounds| {
            encode_chains(recorder, &RESIDENT, view(output), u64::from(workgroups), rounds)
        };
        let (rounds, one) = self.long_run(|recorder, rounds| run(recorder, 1, rounds))?;
        let began = Instant::now();
        let fits = |bench: &mut Self, workgroups: u32| -> Result<bool> {
            for _ in 0..SAMPLES {
                // Late is as good as slow: what is known by then is the least that there is.
                if began.elapsed() > PATIENCE {
                    return Ok(false);
                }
                if bench.seconds(|recorder| run(recorder, workgroups, rounds))? < SLOWER * one {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        let (mut most, mut too_many) = (1, 2);
        while too_many <= MAX_RESIDENT && fits(self, too_many)? {
            (most, too_many) = (too_many, 2 * too_many);
        }
        while too_many - most > 1 {
            let between = u32::midpoint(most, too_many);
            if fits(self, between)? { most = between } else { too_many = between }
        }
        Ok(most)
    }
}

/// All of a buffer.
fn view(buffer: &wgpu::Buffer) -> View<'_> {
    View { buffer, start: 0, len: usize::try_from(buffer.size() / F32).unwrap_or(0) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::gpu::GpuOptions;

    #[test]
    fn the_middle_counts() {
        assert!((middle(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!(middle(Vec::new()).is_infinite());
    }

    #[test]
    fn a_device_is_measured_in_seconds_and_the_figures_are_taken() {
        let gpu = match pollster::block_on(Gpu::open(GpuOptions::default())) {
            Err(error) if std::env::var_os("WGPU_RNN_SKIP_GPU").is_some() => {
                eprintln!("SKIPPED: {error}");
                return;
            }
            opened => opened.unwrap(),
        };
        let started = Instant::now();
        let calibration = pollster::block_on(gpu.calibrate()).unwrap();
        eprintln!("{} in {:?}: {calibration:?}", gpu.info(), started.elapsed());
        assert!(started.elapsed() < Duration::from_secs(20));
        calibration.check().unwrap();
        // It can be measured again, and the device still works.
        assert!(pollster::block_on(gpu.call(|owner| Ok(owner.pipelines.is_some()))).unwrap());
        let options = GpuOptions { calibration: Some(calibration), ..GpuOptions::default() };
        let gpu = pollster::block_on(Gpu::open(options)).unwrap();
        assert_eq!(gpu.traits().calibration, calibration);
        let absurd = Calibration { dispatch: f64::NAN, ..calibration };
        let options = GpuOptions { calibration: Some(absurd), ..GpuOptions::default() };
        let error = pollster::block_on(Gpu::open(options)).unwrap_err();
        assert!(error.to_string().contains("dispatch_s"), "{error}");
    }
}
