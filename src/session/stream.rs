//! [`Stream`]: live data on the CPU, a few timesteps at a time, without an allocation.

use std::sync::Arc;

use super::{
    Session, State, ports,
    program::{Engine, Program},
};
use crate::{
    cpu::CpuStream,
    error::{Error, Result, quoted},
    layout::Layout,
    plan::{Bound, BufferId, Plan},
    tensor::{Tensor, unravel, zeros},
};

/// A session's model, ready for runs of one shape, one after the other, with states of its own.
///
/// [`step`](Self::step) allocates nothing, takes no lock and makes no system call, so that it may be called on an audio
/// thread. (With [`threads`](super::SessionOptions::threads) too: a stream computes where it is called.) Its values have
/// the bits of [`Session::run`] on the CPU.
///
/// ```
/// # use wgpu_rnn::{Device, Model, Result, Session, SessionOptions, Tensor, cell::*, model::*};
/// # fn main() -> Result<()> {
/// # let weights = |rows: usize, columns| Tensor::new([rows, columns], vec![0.1f32; rows * columns]);
/// # let mut model = Model::builder("m");
/// # let x = model.input("x", &[None, Some(1)])?;
/// # let layer = Recurrent { stateful: true, ..Recurrent::new(Cell::Gru, weights(24, 1)?, weights(24, 8)?) };
/// # let y = model.add("gru", LayerKind::Recurrent(layer), &[x])?;
/// # model.output("y", y)?;
/// # let model = model.build()?;
/// // A stateful layer of 8 units: from [batch, seq_len, 1] to [batch, seq_len, 8].
/// let session = Session::new(&model, SessionOptions::on(Device::Cpu))?;
/// let mut stream = session.stream(&[vec![1, 4, 1]])?; // four samples at a time
/// let mut y = [0.0; 4 * 8];
/// for samples in [[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]] {
///     stream.step(&[&samples], &mut [&mut y])?;
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Stream {
    plan: Arc<Plan>,
    bound: Bound,
    cpu: CpuStream,
    fingerprint: u64,
    refuse_non_finite: bool,
    /// Per input, what its values must be below, if they are ids or lengths.
    below: Vec<Option<usize>>,
}

impl Session {
    /// A stream of runs with inputs of `shapes`, one per input, in the order that the model has. Its states start from
    /// zeros and are its own: those of the session have no part in it. Layers that carry no states
    /// ([`SessionOptions::carry`](super::SessionOptions::carry)) start from zeros in each step. Of two devices
    /// ([`Device::Auto`](super::Device::Auto)) it is the CPU's.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on another device than the CPU, where weights come with the inputs, and where the model has
    /// another order of axes than the plan that is no mere matter of extents of 1; else as [`run`](Self::run), for the
    /// shapes.
    pub fn stream(&self, shapes: &[Vec<usize>]) -> Result<Stream> {
        let refused = |what: &str, instead: &str| Err(Error::unsupported("a stream", what, instead));
        if self.model.late.is_some() {
            return refused("a model whose weights are inputs", "give it its weights with Model::with_weights");
        }
        let own = pollster::block_on(self.program.on_cpu(&self.context()))?;
        let Program { plan, engine: Engine::Cpu(program), fingerprint } = own else {
            return refused("another device than the CPU", "use Device::Cpu, or run with the layer's states carried");
        };
        let names = || plan.inputs.iter().map(|port| quoted(&port.name)).collect::<Vec<_>>().join(", ");
        if shapes.len() != plan.inputs.len() {
            let expected = format!("a shape for each of {}", names());
            return Err(Error::mismatch("shapes of a stream", expected, format!("{} shapes", shapes.len())));
        }
        let bound = self.bind(shapes)?;
        self.model.check_batch(bound.batch())?;
        super::io::check_sizes(plan, &bound, self.options.max_value_bytes)?;
        let given: Vec<Option<&[usize]>> = shapes.iter().map(|shape| Some(shape.as_slice())).collect();
        let unbatched = ports::is_unbatched(self.model.accepts_unbatched, plan, &given);
        let inputs = plan.inputs.iter().map(|port| (&port.name, &port.layout, port.buffer));
        let outputs = plan.outputs.iter().map(|port| (&port.name, &port.layout, port.buffer));
        for (name, layout, buffer) in inputs.chain(outputs) {
            if !is_in_place(&ports::layout_of(layout, unbatched), bound.shape(buffer)) {
                let what = format!("{}, whose axes the model has in another order than [batch, ..]", quoted(name));
                return refused(&what, "use a batch of 1, one timestep, or Session::run");
            }
        }
        let below = plan.inputs.iter().map(|port| match (&port.ids, &port.lengths) {
            (Some((vocabulary, _)), _) => Ok(Some(*vocabulary)),
            (None, Some((longest, _))) => Ok(Some(bound.size(longest)?.saturating_add(1))),
            (None, None) => Ok(None),
        });
        let below = below.collect::<Result<_>>()?;
        let mut stream = Stream {
            plan: Arc::clone(plan),
            cpu: program.stream(&bound)?,
            bound,
            fingerprint: *fingerprint,
            refuse_non_finite: self.options.refuse_non_finite,
            below,
        };
        // One step takes all memory.
        let len = |buffer: BufferId| zeros::<f32>(stream.bound.len(buffer));
        let inputs = plan.inputs.iter().map(|port| len(port.buffer)).collect::<Result<Vec<_>>>()?;
        let mut outputs = plan.outputs.iter().map(|port| len(port.buffer)).collect::<Result<Vec<_>>>()?;
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let mut outputs: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        stream.cpu.run(&inputs, &mut outputs)?;
        stream.reset_state()?;
        Ok(stream)
    }
}

impl Stream {
    /// One run: `inputs` and `outputs` are the values of the model's, in its order, row-major. Ids are whole numbers in
    /// floats.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for other numbers of values, [`Error::TokenOutOfRange`] and [`Error::NonFinite`] as
    /// [`Session::run`]; states stay as they were.
    pub fn step(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<()> {
        let expected = [self.plan.inputs.len(), self.plan.outputs.len()];
        let sizes_fit = inputs.len() == expected[0]
            && outputs.len() == expected[1]
            && self.plan.inputs.iter().zip(inputs).all(|(port, x)| x.len() == self.bound.len(port.buffer))
            && self.plan.outputs.iter().zip(outputs.iter()).all(|(port, y)| y.len() == self.bound.len(port.buffer));
        if !sizes_fit {
            return Err(self.other_sizes(inputs, outputs));
        }
        for (index, values) in inputs.iter().enumerate() {
            self.check_values(index, values)?;
        }
        self.cpu.run(inputs, outputs)
    }

    /// The shape of each output, in the model's order and without its name: batch first, also where the file has another
    /// order of axes or none for the batch (then all but one of the axes that change places have an extent of 1).
    #[must_use]
    pub fn output_shapes(&self) -> Vec<Vec<usize>> {
        self.plan.outputs.iter().map(|port| self.bound.shape(port.buffer).to_vec()).collect()
    }

    /// The states after the last step.
    ///
    /// # Errors
    /// [`Error::Limit`] if memory is short.
    pub fn state(&mut self) -> Result<State> {
        let mut tensors = Vec::new();
        for (index, port) in self.plan.states.iter().enumerate() {
            let values = self.cpu.state(index)?.to_vec();
            tensors.push((port.name.clone(), Tensor::new(self.bound.shape(port.initial), values)?));
        }
        Ok(State::new(self.fingerprint, tensors))
    }

    /// Makes the next step start from `state`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if it belongs to another model, or to a session that carries other states of it, or has another
    /// number of rows; [`Error::NonFinite`] where the session refuses such values.
    pub fn set_state(&mut self, state: &State) -> Result<()> {
        state.check_for_run(&self.plan, self.fingerprint, self.bound.batch(), self.refuse_non_finite)?;
        for (index, (_, tensor)) in state.iter().enumerate() {
            self.cpu.state(index)?.copy_from_slice(&tensor.to_f32());
        }
        Ok(())
    }

    /// Makes the next step start from zeros. Allocates nothing.
    ///
    /// # Errors
    /// [`Error::Internal`] never, if the plan is sound.
    pub fn reset_state(&mut self) -> Result<()> {
        for index in 0..self.plan.states.len() {
            self.cpu.state(index)?.fill(0.0);
        }
        Ok(())
    }

    fn check_values(&self, index: usize, values: &[f32]) -> Result<()> {
        #[allow(clippy::cast_precision_loss)] // a vocabulary is exact in f64
        let good = |value: f32| match self.below.get(index).copied().flatten() {
            Some(below) => value >= 0.0 && f64::from(value) < below as f64 && value.fract() == 0.0,
            None => !self.refuse_non_finite || value.is_finite(),
        };
        match values.iter().position(|&value| !good(value)) {
            Some(at) => Err(self.bad_value(index, at, values.get(at).copied().unwrap_or(f32::NAN))),
            None => Ok(()),
        }
    }

    #[cold]
    fn bad_value(&self, index: usize, at: usize, value: f32) -> Error {
        let Some(port) = self.plan.inputs.get(index) else { return Error::internal("no such input") };
        let (name, place) = (quoted(&port.name), unravel(at, self.bound.shape(port.buffer)));
        match (&port.ids, &port.lengths) {
            (Some((vocabulary, layer)), _) => Error::TokenOutOfRange {
                input: name,
                index: place,
                id: value.to_string(),
                vocabulary: *vocabulary,
                layer: quoted(layer),
            },
            (None, Some((_, layer))) => Error::mismatch(
                format!("input {name}{place:?}"),
                format!("a length within the timesteps of layer {}", quoted(layer)),
                value.to_string(),
            ),
            (None, None) => Error::NonFinite { tensor: format!("input {name}"), index: place, value },
        }
    }

    #[cold]
    fn other_sizes(&self, inputs: &[&[f32]], outputs: &[&mut [f32]]) -> Error {
        let counts = |buffers: &mut dyn Iterator<Item = BufferId>| {
            buffers.map(|buffer| self.bound.len(buffer).to_string()).collect::<Vec<_>>().join(", ")
        };
        let found =
            |lens: &mut dyn Iterator<Item = usize>| lens.map(|len| len.to_string()).collect::<Vec<_>>().join(", ");
        let expected = format!(
            "inputs of {} values and outputs of {}",
            counts(&mut self.plan.inputs.iter().map(|port| port.buffer)),
            counts(&mut self.plan.outputs.iter().map(|port| port.buffer))
        );
        let inputs = found(&mut inputs.iter().map(|values| values.len()));
        let outputs = found(&mut outputs.iter().map(|values| values.len()));
        Error::mismatch("step of a stream", expected, format!("inputs of {inputs} and outputs of {outputs}"))
    }
}

/// Whether a tensor of `shape` in the canonical order lies in memory as it does in the order of `layout`.
fn is_in_place(layout: &Layout, shape: &[usize]) -> bool {
    let axes = layout.groups().iter().flatten();
    let moved: Vec<usize> = axes.copied().filter(|&axis| shape.get(axis).is_some_and(|&extent| extent != 1)).collect();
    moved.is_sorted()
}
