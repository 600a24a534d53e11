//! From a [`Model`] to a [`Plan`]: every layer becomes steps. Masks follow Keras' rules: each
//! value carries the mask that Keras would attach to it, and beside it the mask of a ragged batch,
//! which no layer may drop.

mod arrange;
mod layers;
mod merge;
mod ragged;
mod recurrent;
mod windows;

use std::{collections::HashMap, sync::Arc};

use super::{Buffer, BufferId, InputPort, Op, OutputPort, Plan, Precision, Rewrites, Step, Weight, WeightId, rewrite};
use crate::{
    dim::{self, Dim, Symbol},
    error::{Error, Result, quoted},
    model::{CallMask, Model, Port, Value},
    tensor::{Tensor, TensorId},
};

/// How a model is planned.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    /// Which rewrites are on.
    pub rewrites: Rewrites,
    /// How matrices are stored. Every executor computes with the values that are stored, rounded as they are.
    pub precision: Precision,
    /// Which layers carry their states from run to run.
    pub carry: Carry,
    /// Whether the batch is ragged: every input whose second axis is open gets a second port, the
    /// mask `[batch, seq_len]` of its live timesteps.
    pub ragged: bool,
}

/// Which layers carry their states from run to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Carry {
    /// Those that the model calls stateful.
    #[default]
    Stateful,
    /// Every recurrent layer: a long sequence may be given in pieces. Refused for layers that run
    /// backwards, which need its end first.
    All,
}

impl Plan {
    /// Plans `model`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] naming the layer that cannot do what `options` or the model ask.
    pub fn new(model: &Model, options: &PlanOptions) -> Result<Self> {
        let mut lowering = Lowering {
            model,
            options,
            plan: Self {
                symbols: model.symbols.clone(),
                derived: model.derived.clone(),
                conditions: model.conditions.clone(),
                ..Self::default()
            },
            values: HashMap::new(),
            weights: HashMap::new(),
            visits: vec![0; model.layers.len()],
        };
        if model.late.is_some() {
            return Err(Error::unsupported(
                format!("model {}", quoted(&model.name)),
                "planning without the weights that it leaves to the caller",
                "give them with Model::with_weights",
            ));
        }
        for port in &model.inputs {
            lowering.input(port)?;
        }
        for node in live_nodes(model) {
            lowering.node(node)?;
        }
        for port in &model.outputs {
            let buffer = lowering.output(port)?;
            lowering.plan.outputs.push(OutputPort { name: port.name.clone(), buffer, layout: port.layout.clone() });
        }
        // Last: what a model cannot do at all it cannot do with other weights either.
        if model.layers.iter().any(|layer| layer.kind.weights().iter().any(|(_, tensor, _)| tensor.is_hollow())) {
            return Err(Error::unsupported(
                format!("model {}", quoted(&model.name)),
                "planning with weights that its session has released",
                "load the model again",
            ));
        }
        let mut plan = lowering.plan;
        rewrite::apply(&mut plan, options)?;
        Ok(plan)
    }
}

/// The nodes that an output depends on, or that carry a state, in order.
fn live_nodes(model: &Model) -> Vec<usize> {
    let mut live = vec![false; model.nodes.len()];
    for port in &model.outputs {
        mark(&mut live, port.value);
    }
    for (index, node) in model.nodes.iter().enumerate().rev() {
        let is_stateful = model.layers.get(node.layer).is_some_and(|layer| layer.kind.is_stateful());
        if !is_stateful && live.get(index) != Some(&true) {
            continue;
        }
        mark(&mut live, Value { node: index, output: 0 });
        let mask = if let CallMask::Given(mask) = node.mask { Some(mask) } else { None };
        for &value in node.inputs.iter().chain(&node.initial_state).chain(&mask) {
            mark(&mut live, value);
        }
    }
    (0..live.len()).filter(|&index| live.get(index) == Some(&true)).collect()
}

fn mark(live: &mut [bool], value: Value) {
    if let Some(live) = live.get_mut(value.node) {
        *live = true;
    }
}

/// A value of the model while it is lowered.
#[derive(Clone, Debug)]
struct Lowered {
    buffer: BufferId,
    /// Keras' mask, `[batch, seq_len]`.
    mask: Option<BufferId>,
    /// The mask of a ragged batch, `[batch, seq_len]`.
    ragged: Option<BufferId>,
    /// The inputs that this value only rearranges; empty once anything was computed.
    origins: Vec<usize>,
}

struct Lowering<'a> {
    model: &'a Model,
    options: &'a PlanOptions,
    plan: Plan,
    values: HashMap<Value, Lowered>,
    /// Weights by identity, so that a shared layer has them once.
    weights: HashMap<TensorId, WeightId>,
    /// How often each layer was called so far.
    visits: Vec<usize>,
}

impl Lowering<'_> {
    fn input(&mut self, input: &Port) -> Result<()> {
        let name = input.name.clone();
        let shape = self.model.shape(input.value)?.to_vec();
        let port = self.plan.inputs.len();
        let buffer = self.buffer(&name, shape.clone());
        let (layout, optional) = (input.layout.clone(), input.optional);
        self.plan.inputs.push(InputPort { layout, optional, ..InputPort::new(&name, buffer, shape.len()) });
        let open = shape.get(1).is_some_and(|dim| dim.fixed().is_none());
        let ragged = (self.options.ragged && open).then(|| {
            let name = format!("{name} mask");
            let mask = self.buffer(&name, shape.into_iter().take(2).collect());
            self.plan.inputs.push(InputPort { ragged_mask_of: Some(port), ..InputPort::new(name, mask, 2) });
            mask
        });
        self.values.insert(input.value, Lowered { buffer, mask: None, ragged, origins: vec![port] });
        Ok(())
    }

    /// The buffer of an output. What does not depend on the rows of a run is repeated for each, since
    /// a run may be split by rows.
    fn output(&mut self, port: &Port) -> Result<BufferId> {
        let value = self.value(port.value)?;
        if self.options.ragged && !self.padded_axes(&value).is_empty() {
            return Err(Error::unsupported(
                format!("output {}", quoted(&port.name)),
                "a ragged batch (its axis of timesteps is not the second)",
                "run sequences of one length together",
            ));
        }
        let buffer = value.buffer;
        let mut shape = self.shape(buffer);
        if shape.first().is_none_or(|rows| rows.symbols().any(|symbol| symbol == Symbol::BATCH)) {
            return Ok(buffer);
        }
        if shape.first().and_then(Dim::fixed) != Some(1) {
            return Err(Error::unsupported(
                format!("output {}", quoted(&port.name)),
                "a value without a batch axis",
                "use an output that depends on an input's rows",
            ));
        }
        if let Some(rows) = shape.first_mut() {
            *rows = Dim::from(Symbol::BATCH);
        }
        Ok(self.expanded(&port.name, buffer, shape))
    }

    /// `floor(dim / divisor)`
    fn quotient(&mut self, dim: &Dim, divisor: usize) -> Dim {
        dim::quotient(&mut self.plan.symbols, &mut self.plan.derived, dim, divisor)
    }

    /// `max(dim, 0)`
    fn positive(&mut self, dim: &Dim) -> Dim {
        dim::positive(&mut self.plan.symbols, &mut self.plan.derived, dim)
    }

    fn node(&mut self, index: usize) -> Result<()> {
        let model = self.model;
        let Some((node, layer)) = model.nodes.get(index).and_then(|node| Some((node, model.layers.get(node.layer)?)))
        else {
            return Err(Error::internal("a node without a layer"));
        };
        let inputs = node.inputs.iter().map(|&value| self.value(value)).collect::<Result<Vec<_>>>()?;
        if matches!(layer.kind, crate::model::LayerKind::Input) {
            return Ok(());
        }
        let states = node.initial_state.iter().map(|&value| self.value(value)).collect::<Result<Vec<_>>>()?;
        let mask = match node.mask {
            CallMask::Carried => inputs.first().and_then(|input| input.mask),
            CallMask::None => None,
            CallMask::Given(mask) => Some(self.value(mask)?.buffer),
        };
        if let Some(visits) = self.visits.get_mut(node.layer) {
            *visits += 1;
        }
        let call = Call {
            layer,
            name: layer.name.clone(),
            layer_index: node.layer,
            inputs,
            states,
            mask,
            mask_is_given: matches!(node.mask, CallMask::Given(_)),
            shapes: &node.output_shapes,
        };
        if self.options.ragged {
            self.check_ragged(&call)?;
        }
        let outputs = self.layer(&call, &layer.kind)?;
        for (output, lowered) in outputs.into_iter().enumerate() {
            let lowered = if self.options.ragged { self.with_ragged(lowered) } else { lowered };
            self.values.insert(Value { node: index, output }, lowered);
        }
        Ok(())
    }

    fn value(&self, value: Value) -> Result<Lowered> {
        self.values.get(&value).cloned().ok_or_else(|| Error::internal("a value used before it is computed"))
    }

    fn shape(&self, buffer: BufferId) -> Vec<Dim> {
        self.plan.buffers.get(buffer.0).map(|buffer| buffer.shape.clone()).unwrap_or_default()
    }

    fn buffer(&mut self, name: &str, shape: Vec<Dim>) -> BufferId {
        self.plan.buffers.push(Buffer { name: name.to_owned(), shape, view_of: None });
        BufferId(self.plan.buffers.len() - 1)
    }

    /// The values of `buffer` under another shape of the same size.
    fn view(&mut self, buffer: BufferId, shape: Vec<Dim>) -> BufferId {
        let root = self.plan.root(buffer);
        let name = self.plan.buffers.get(root.0).map(|b| b.name.clone()).unwrap_or_default();
        self.plan.buffers.push(Buffer { name, shape, view_of: Some(root) });
        BufferId(self.plan.buffers.len() - 1)
    }

    fn weight(&mut self, layer: &str, role: &str, tensor: &Arc<Tensor>) -> WeightId {
        let plan = &mut self.plan;
        *self.weights.entry(tensor.id()).or_insert_with(|| {
            let name = format!("{layer} {role}");
            plan.weights.push(Weight { name, tensor: Arc::clone(tensor), precision: Precision::F32 });
            WeightId(plan.weights.len() - 1)
        })
    }

    fn optional_weight(&mut self, layer: &str, role: &str, tensor: Option<&Arc<Tensor>>) -> Option<WeightId> {
        tensor.map(|tensor| self.weight(layer, role, tensor))
    }

    fn step(&mut self, name: &str, op: Op) {
        self.plan.steps.push(Step { name: name.to_owned(), op });
    }

    /// The mask that a recurrent layer or a pooling sees.
    fn effective_mask(&mut self, call: &Call<'_>) -> Option<BufferId> {
        let name = &call.name;
        match (call.mask, call.inputs.first().and_then(|input| input.ragged)) {
            (Some(mask), Some(ragged)) => {
                let both = self.buffer(&format!("{name} mask"), self.shape(mask));
                let op = Op::Combine { op: super::CombineOp::Multiply, left: mask, right: ragged, output: both };
                self.step(name, op);
                Some(both)
            }
            (mask, ragged) => mask.or(ragged),
        }
    }
}

/// One call of a layer while it is lowered.
struct Call<'a> {
    layer: &'a crate::model::Layer,
    name: String,
    layer_index: usize,
    inputs: Vec<Lowered>,
    states: Vec<Lowered>,
    /// Keras' mask as a recurrent or pooling layer sees it.
    mask: Option<BufferId>,
    mask_is_given: bool,
    shapes: &'a [Vec<Dim>],
}

impl Call<'_> {
    fn input(&self) -> Result<&Lowered> {
        self.inputs.first().ok_or_else(|| Error::internal("a call without an input"))
    }

    fn output_shape(&self) -> Result<Vec<Dim>> {
        self.shapes.first().cloned().ok_or_else(|| Error::internal("a call without an output"))
    }
}
