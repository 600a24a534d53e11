//! What a run did: [`RunStats`].

use std::time::Duration;

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RunStats {
    /// Number of submissions.
    pub submissions: u64,
    /// The longest of them, as seen from the host.
    pub longest: Duration,
    /// Number of batch tiles.
    pub batch_tiles: u64,
    /// What each kernel did, in the order of its first dispatch.
    pub kernels: Vec<KernelStats>,
    /// Whether workgroups waited in vain for each other. The run was then made again step by step, with the
    /// same bits; no other run of this device lets workgroups wait, unless it is told to.
    pub gave_up: bool,
}

impl RunStats {
    /// Dispatches of all kernels.
    #[must_use]
    pub fn dispatches(&self) -> u64 {
        self.kernels.iter().map(|kernel| kernel.dispatches).sum()
    }

    /// Adds what another part of the run did.
    pub(crate) fn merge(&mut self, part: Self) {
        self.submissions += part.submissions;
        self.batch_tiles += part.batch_tiles;
        self.longest = self.longest.max(part.longest);
        self.gave_up |= part.gave_up;
        KernelStats::merge(&mut self.kernels, part.kernels);
    }
}

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
    /// Bytes of its operands and results, each counted once per dispatch; weights of a recurrence that are not held,
    /// once per timestep.
    pub bytes: f64,
    /// How long it took by the device's clock; only in a profiled run, and where the device has one.
    pub time: Option<Duration>,
}

impl KernelStats {
    /// The place of `kernel` in `all`, where it is put if it is new.
    pub(crate) fn of(all: &mut Vec<Self>, kernel: &'static str) -> usize {
        all.iter().position(|known| known.kernel == kernel).unwrap_or_else(|| {
            all.push(Self { kernel, ..Self::default() });
            all.len() - 1
        })
    }

    /// Counts one dispatch.
    pub(crate) fn add(&mut self, multiply_adds: f64, bytes: f64) {
        self.dispatches += 1;
        self.multiply_adds += multiply_adds;
        self.bytes += bytes;
    }

    /// Adds what the same kernels did in another part of a run.
    pub(crate) fn merge(all: &mut Vec<Self>, others: Vec<Self>) {
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
