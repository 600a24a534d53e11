//! Random recurrent nets, and the devices that they are run on.

use std::sync::Arc;
#[cfg(feature = "gpu")]
use std::sync::OnceLock;

use wgpu_rnn::{
    Activation, Device, Model, Tensor,
    cell::{Cell, CellParams},
    model::{Bidirectional, Builder, Call, LayerKind, MergeMode, Recurrent},
    plan::DeadTimesteps,
};

use super::Rng;

/// One recurrent layer and what it is run on.
#[derive(Clone, Debug)]
pub struct Net {
    pub seed: u64,
    pub cell: Cell,
    pub params: CellParams,
    pub input_size: usize,
    pub hidden_size: usize,
    pub batch: usize,
    pub seq_len: usize,
    pub bidirectional: Option<MergeMode>,
    pub go_backwards: bool,
    pub bias: bool,
    pub return_sequences: bool,
    pub return_state: bool,
    pub initial_state: bool,
    pub stateful: bool,
    pub mask: Mask,
    pub dead: DeadTimesteps,
    pub peepholes: bool,
    /// Units of a projected hidden state.
    pub projection: Option<usize>,
    /// Largest weight times the square root of the hidden size; 1 is PyTorch's initialisation.
    pub gain: f32,
}

/// Which timesteps are dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// None: the model has no mask.
    None,
    /// Those after each row's end; one row may have none.
    Right,
    /// Those before each row's beginning.
    Left,
    /// Any.
    Interior,
}

/// Marks dead timesteps of the inputs that [`Net::inputs`] makes.
pub const MASK_VALUE: f32 = -7.5;

impl Net {
    /// A plain net; fields are changed from here.
    pub fn new(seed: u64, cell: Cell, hidden_size: usize) -> Self {
        Self {
            seed,
            cell,
            params: CellParams::default(),
            input_size: 3,
            hidden_size,
            batch: 2,
            seq_len: 5,
            bidirectional: None,
            go_backwards: false,
            bias: true,
            return_sequences: true,
            return_state: false,
            initial_state: false,
            stateful: false,
            mask: Mask::None,
            dead: DeadTimesteps::RepeatOutput,
            peepholes: false,
            projection: None,
            gain: 1.0,
        }
    }

    /// Clips, couples, projects and gives peepholes at random, as far as the cell can.
    pub fn with_random_options(mut self, rng: &mut Rng, chance: f64) -> Self {
        let spec = self.cell.spec();
        // One value: each is a pipeline of its own.
        self.params.clip = rng.chance(chance).then_some(0.4);
        self.params.coupled = spec.can_couple && rng.chance(chance);
        self.peepholes = !spec.peepholes.is_empty() && rng.chance(chance);
        self.projection = (spec.can_project && rng.chance(chance)).then(|| rng.log_uniform(1, self.hidden_size));
        self
    }

    fn output_size(&self) -> usize {
        self.projection.unwrap_or(self.hidden_size)
    }

    /// Multiply-adds of a run.
    pub fn work(&self) -> usize {
        let gates = self.cell.spec().gates.len();
        let directions = if self.bidirectional.is_some() { 2 } else { 1 };
        let cell = gates * self.hidden_size * (self.output_size() + self.input_size);
        (cell + self.projection.unwrap_or(0) * self.hidden_size) * self.batch * self.seq_len * directions
    }

    fn layer(&self, rng: &mut Rng, backwards: bool) -> Recurrent {
        let rows = self.cell.spec().gates.len() * self.hidden_size;
        let scale = |n: usize| self.gain / (n as f32).sqrt();
        let mut matrix = |rows: usize, columns: usize, scale: f32| -> Arc<Tensor> {
            let values: Vec<f32> = (0..rows * columns).map(|_| rng.uniform(-scale, scale)).collect();
            Arc::new(Tensor::new([rows, columns], values).unwrap())
        };
        // By fan-in, so that sums stay of order 1 whatever the sizes.
        let weight_ih = matrix(rows, self.input_size, scale(self.input_size.max(self.hidden_size)));
        let weight_hh = matrix(rows, self.output_size(), scale(self.output_size()));
        let weight_hr = self.projection.map(|units| matrix(units, self.hidden_size, scale(self.hidden_size)));
        let mut vector = |len: usize| -> Arc<Tensor> {
            let values: Vec<f32> = (0..len).map(|_| rng.uniform(-0.5, 0.5)).collect();
            Arc::new(Tensor::new([len], values).unwrap())
        };
        let peephole = self.peepholes.then(|| vector(3 * self.hidden_size));
        let mut bias = || vector(rows);
        Recurrent {
            cell: self.cell,
            params: self.params,
            weight_ih,
            weight_hh,
            weight_hr,
            peephole,
            bias_ih: self.bias.then(&mut bias),
            bias_hh: (self.bias && self.cell == Cell::Gru).then(&mut bias),
            return_sequences: self.return_sequences,
            return_state: self.return_state,
            go_backwards: backwards,
            stateful: self.stateful,
            dead: self.dead,
            passes_mask: true,
        }
    }

    /// The layer alone in a model: inputs `x` and, if asked for, initial states `s0`, `s1`, ...
    pub fn model(&self) -> Model {
        let mut rng = Rng::new(self.seed);
        let mut model = Model::builder("net");
        let x = model.input("x", &[None, Some(self.input_size)]).unwrap();
        let sequence = match self.mask {
            Mask::None => x,
            _ => model.add("masking", LayerKind::Masking { mask_value: MASK_VALUE }, &[x]).unwrap(),
        };
        let kind = match self.bidirectional {
            None => LayerKind::Recurrent(self.layer(&mut rng, self.go_backwards)),
            Some(merge) => LayerKind::Bidirectional(Bidirectional {
                forward: self.layer(&mut rng, false),
                backward: self.layer(&mut rng, true),
                merge,
            }),
        };
        let states = self.initial_states(&mut model);
        let layer = model.layer("layer", kind).unwrap();
        let outputs =
            model.call(layer, Call { inputs: &[sequence], initial_state: &states, ..Call::default() }).unwrap();
        for output in outputs {
            model.output("layer", output).unwrap();
        }
        model.build().unwrap()
    }

    fn initial_states(&self, model: &mut Builder) -> Vec<wgpu_rnn::model::Value> {
        let sizes = self.state_sizes().into_iter().enumerate();
        sizes.map(|(index, size)| model.input(&format!("s{index}"), &[Some(size)]).unwrap()).collect()
    }

    /// Units of the initial states that are given.
    fn state_sizes(&self) -> Vec<usize> {
        let directions = if self.bidirectional.is_some() { 2 } else { 1 };
        let size = |state| if state == 0 { self.output_size() } else { self.hidden_size };
        let sizes: Vec<usize> = (0..self.cell.spec().states.len()).map(size).collect();
        if self.initial_state { sizes.repeat(directions) } else { Vec::new() }
    }

    /// Random inputs: `x`, then the states.
    pub fn inputs(&self) -> Vec<Tensor> {
        let mut rng = Rng::new(self.seed ^ 0x5eed);
        let shape = [self.batch, self.seq_len, self.input_size];
        let mut x: Vec<f32> = (0..shape.iter().product()).map(|_| rng.uniform(-1.5, 1.5)).collect();
        for row in 0..self.batch {
            let length = rng.below(self.seq_len + 1);
            for t in 0..self.seq_len {
                let dead = match self.mask {
                    Mask::None => false,
                    Mask::Right => t >= length,
                    Mask::Left => t < length,
                    Mask::Interior => rng.chance(0.4),
                };
                if dead {
                    let start = (row * self.seq_len + t) * self.input_size;
                    x[start..start + self.input_size].fill(MASK_VALUE);
                }
            }
        }
        let mut tensors = vec![Tensor::new(shape, x).unwrap()];
        for size in self.state_sizes() {
            let values: Vec<f32> = (0..self.batch * size).map(|_| rng.uniform(-1.0, 1.0)).collect();
            tensors.push(Tensor::new([self.batch, size], values).unwrap());
        }
        tensors
    }
}

/// Functions whose values stay bounded, so that a net of gain 1 is stable.
pub const BOUNDED: [Activation; 6] = [
    Activation::Tanh,
    Activation::Sigmoid,
    Activation::HARD_SIGMOID,
    Activation::Softsign,
    Activation::HardTanh,
    Activation::SparseSigmoid,
];

/// The one GPU of the test process. Without an adapter this fails, unless `WGPU_RNN_SKIP_GPU` is
/// set, which it then says.
#[cfg(feature = "gpu")]
pub fn gpu() -> Option<wgpu_rnn::gpu::Gpu> {
    use wgpu_rnn::gpu::{Gpu, GpuOptions};
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    GPU.get_or_init(|| match pollster::block_on(Gpu::open(GpuOptions::default())) {
        Ok(gpu) => {
            eprintln!("adapter: {}", gpu.info());
            Some(gpu)
        }
        Err(error) if std::env::var_os("WGPU_RNN_SKIP_GPU").is_some() => {
            eprintln!("SKIPPED: {error}");
            None
        }
        Err(error) => panic!("{error} (set WGPU_RNN_SKIP_GPU=1 to skip the GPU's tests)"),
    })
    .clone()
}

/// The ways in which `gpu` can run a recurrence. Not every device has subgroups that are wide enough for
/// [`Strategy::Held`](wgpu_rnn::gpu::Strategy::Held), and where the CPU computes there are too few workgroups at once for
/// [`Strategy::Cooperative`](wgpu_rnn::gpu::Strategy::Cooperative); all must have the others.
#[cfg(feature = "gpu")]
pub fn strategies(gpu: &wgpu_rnn::gpu::Gpu) -> Vec<wgpu_rnn::gpu::Strategy> {
    use wgpu_rnn::{
        Error, Session, SessionOptions,
        gpu::{AdapterKind, Strategy},
    };
    let net = Net::new(0, Cell::Rnn, 8);
    let can = |strategy: &Strategy| {
        let mut options = SessionOptions::on(Device::Opened(gpu.clone()));
        options.strategy = Some(*strategy);
        match Session::new(&net.model(), options).unwrap().run(net.inputs()) {
            Err(Error::Limit { need, .. }) if *strategy == Strategy::Held && need.contains("subgroup") => {
                eprintln!("SKIPPED: {strategy}, which this device cannot run");
                false
            }
            _ if *strategy == Strategy::Cooperative && gpu.info().kind == AdapterKind::Software => {
                eprintln!("SKIPPED: {strategy}, of which the unit tests run what fits two processors");
                false
            }
            result => result.is_ok() || panic!("{strategy}: {result:?}"),
        }
    };
    Strategy::ALL.iter().copied().filter(can).collect()
}

/// Every device that results are compared on, by name.
pub fn devices() -> Vec<(&'static str, Device)> {
    let cpu = ("cpu", Device::Cpu);
    #[cfg(feature = "gpu")]
    if let Some(gpu) = gpu() {
        return vec![cpu, ("gpu", Device::Opened(gpu))];
    }
    vec![cpu]
}
