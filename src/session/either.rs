//! The choice between the CPU and a GPU, which each run makes anew, and the programs for both.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::{
    DeviceReport, SessionOptions,
    choice::{Candidate, Place, choose},
    device::Opened,
    program::{Context, Engine, Program, gpu_options},
};
use crate::{
    cpu,
    error::{Error, ErrorKind, Result},
    gpu::{Gpu, MemoryNeed},
    plan::{Bound, Plan},
};

/// Which of both devices the options of a session leave, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Permitted {
    Both,
    Cpu(&'static str),
    Gpu(&'static str),
}

impl Permitted {
    /// # Errors
    /// [`Error::Unsupported`] if they leave none.
    pub(super) fn by(options: &SessionOptions) -> Result<Self> {
        match (options.integer_arithmetic, options.half_arithmetic) {
            (false, false) => Ok(Self::Both),
            (true, false) => Ok(Self::Cpu("integer_arithmetic is asked for, which only the CPU has")),
            (false, true) => Ok(Self::Gpu("half_arithmetic is asked for, which only a GPU has")),
            (true, true) => Err(Error::unsupported(
                "integer_arithmetic",
                "products of integers, which only the CPU makes, beside half_arithmetic, which only a GPU has",
                "ask for one of them",
            )),
        }
    }
}

/// Two devices, and what the CPU can do.
pub(super) struct Either {
    pub(super) gpu: Gpu,
    pub(super) cpu: cpu::Calibration,
}

impl Either {
    pub(super) fn new(gpu: Gpu, options: &SessionOptions) -> Result<Self> {
        let cpu = options.cpu_calibration.map_or_else(cpu::Calibration::measure, Ok)?;
        cpu.check()?;
        Ok(Self { gpu, cpu })
    }

    /// Where a run of `plan` with the sizes `bound` is made, and why. `without_gpu` says why it cannot be the GPU.
    fn choose(
        &self,
        plan: &Plan,
        bound: &Bound,
        options: &SessionOptions,
        without_gpu: Option<&String>,
    ) -> Result<(Place, DeviceReport)> {
        let cpu = cpu::estimate(plan, bound, &self.cpu, options.threads);
        let gpu = match without_gpu {
            Some(why) => Candidate::Unable(why.clone()),
            None => match self.gpu.estimate(plan, bound, &gpu_options(options)) {
                Ok((estimate, is_assumed)) => Candidate::Able { estimate, is_assumed },
                Err(error) if error.kind() == ErrorKind::Limit => Candidate::Unable(error.to_string()),
                Err(error) => return Err(error),
            },
        };
        Ok(choose(&cpu, &gpu, self.gpu.info()))
    }
}

/// Sizes whose choice is remembered.
const KNOWN: usize = 16;

/// The programs of a plan for two devices, each made when a run first takes it.
#[derive(Debug, Default)]
pub(super) struct Both {
    cpu: OnceLock<Program>,
    gpu: OnceLock<Program>,
    /// Why there can be none for the GPU, once that is known.
    without_gpu: OnceLock<String>,
    /// What was chosen of late, for runs of the same sizes; the latest sizes last.
    known: Mutex<Vec<(Bound, Place, Arc<DeviceReport>)>>,
}

impl Both {
    /// Where `program`, whose programs these are, makes a run with the sizes `bound`.
    pub(super) fn choice(
        &self,
        program: &Program,
        either: &Either,
        bound: &Bound,
        options: &SessionOptions,
    ) -> Result<(Place, Arc<DeviceReport>)> {
        // Who panicked before has left whole values.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, place, report)) = known.iter().rev().find(|(known, ..)| known == bound) {
            return Ok((*place, Arc::clone(report)));
        }
        let (place, report) = either.choose(&program.plan, bound, options, self.without_gpu.get())?;
        let report = Arc::new(report);
        if known.len() == KNOWN {
            known.remove(0);
        }
        known.push((bound.clone(), place, Arc::clone(&report)));
        Ok((place, report))
    }

    fn slot(&self, place: Place) -> &OnceLock<Program> {
        match place {
            Place::Cpu => &self.cpu,
            Place::Gpu => &self.gpu,
        }
    }
}

impl Program {
    /// The program that makes a run with the sizes that `bound` gives, and what it runs in: this one, unless there are two
    /// devices. `main` is the one that it stands beside.
    pub(super) async fn chosen<'p>(
        &'p self,
        context: Context<'p>,
        bound: impl FnOnce() -> Result<Bound>,
        main: Option<&'p Self>,
    ) -> Result<(&'p Self, Context<'p>)> {
        let (Engine::Either(both), Opened::Either(either)) = (&self.engine, context.opened) else {
            return Ok((self, context));
        };
        let (place, device) = both.choice(self, either, &bound()?, context.options)?;
        let program = self.at(place, &context, main).await?;
        Ok((program, Context { device, ..context }))
    }

    /// Where a run with the sizes `bound` is made, and why there. Nothing is made ready.
    pub(super) fn device_for(&self, context: &Context<'_>, bound: &Bound) -> Result<Arc<DeviceReport>> {
        let Opened::Either(either) = context.opened else { return Ok(Arc::clone(&context.device)) };
        let Engine::Either(both) = &self.engine else {
            let (what, instead) = ("a model whose weights are inputs", "give it its weights with Model::with_weights");
            return Err(Error::unsupported("a choice between devices", what, instead));
        };
        both.choice(self, either, bound, context.options).map(|(_, device)| device)
    }

    /// The program for one of two devices; this one, where it is for one device alone.
    ///
    /// # Errors
    /// Those of making it ready, if no run took it before.
    async fn at<'p>(&'p self, place: Place, context: &Context<'_>, main: Option<&'p Self>) -> Result<&'p Self> {
        // What they share is made ready, and checked, with the main one.
        let main = match main {
            Some(main) => Some(main.made(place, context, None).await?),
            None => None,
        };
        self.made(place, context, main).await
    }

    async fn made<'p>(&'p self, place: Place, context: &Context<'_>, main: Option<&Self>) -> Result<&'p Self> {
        let (Engine::Either(both), Opened::Either(either)) = (&self.engine, context.opened) else { return Ok(self) };
        let slot = both.slot(place);
        if let Some(program) = slot.get() {
            return Ok(program);
        }
        let (opened, device) = match place {
            Place::Cpu => (Opened::Cpu, DeviceReport::of("cpu", "")),
            Place::Gpu => {
                (Opened::Gpu(either.gpu.clone()), DeviceReport::of("gpu", "").with_adapter(either.gpu.info()))
            }
        };
        let context = Context { opened: &opened, device: Arc::new(device), ..context.clone() };
        let program = Self::of(&context, Arc::clone(&self.plan), self.fingerprint, main).await?;
        Ok(slot.get_or_init(|| program))
    }

    /// The memory that a run with the sizes `bound` takes on the GPU, if it is made there. Nothing is made ready.
    ///
    /// # Errors
    /// [`Error::Limit`] if it can never run there, where there is no other device.
    pub(super) fn memory_need(&self, context: &Context<'_>, bound: &Bound) -> Result<Option<MemoryNeed>> {
        match (&self.engine, context.opened) {
            (Engine::Gpu(program), _) => program.memory_need(bound).map(Some),
            (Engine::Either(both), Opened::Either(either)) => {
                match both.choice(self, either, bound, context.options)? {
                    (Place::Cpu, _) => Ok(None),
                    (Place::Gpu, _) => {
                        either.gpu.memory_need(&self.plan, bound, &gpu_options(context.options)).map(Some)
                    }
                }
            }
            _ => Ok(None),
        }
    }

    /// The program that computes on the CPU, if one of two does; else this one.
    pub(super) async fn on_cpu(&self, context: &Context<'_>) -> Result<&Self> {
        self.at(Place::Cpu, context, None).await
    }

    /// Makes the programs for both devices ready, and lets go of what they were made from.
    pub(super) async fn released(mut self, context: &Context<'_>, main: Option<&Self>) -> Result<Self> {
        if let Engine::Either(both) = &self.engine {
            self.at(Place::Cpu, context, main).await?;
            match self.at(Place::Gpu, context, main).await {
                // Its runs are all the CPU's.
                Err(error) if error.kind() == ErrorKind::Limit => drop(both.without_gpu.set(error.to_string())),
                made => drop(made?),
            }
            self.plan = Arc::new(self.plan.without_any_values());
        }
        Ok(self)
    }
}
