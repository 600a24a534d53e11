//! [`Builder`]: puts a [`Model`] together, call by call, checking each.

use std::collections::{HashMap, HashSet};

use super::{Block, BlockCall, Layer, LayerKind, Model, Node, Port, Style, Value, check, infer};
use crate::{
    dim::{self, Dim, Symbol},
    error::{Error, Result, quoted},
    layout::Layout,
    tensor::MAX_RANK,
};

/// Puts a [`Model`] together, call by call, checking each.
///
/// ```
/// # use wgpu_rnn::{Tensor, model::{Dense, HeadActivation, LayerKind, Model}, Activation};
/// let mut model = Model::builder("head");
/// let x = model.input("x", &[Some(2)])?;
/// let weight = Tensor::new([1, 2], vec![0.5f32, -0.5])?.into();
/// let dense = Dense { weight, bias: None, activation: HeadActivation::Pointwise(Activation::Sigmoid) };
/// let y = model.add("dense", LayerKind::Dense(dense), &[x])?;
/// model.output("y", y)?;
/// let model = model.build()?;
/// assert_eq!(model.outputs()[0].shape, [None, Some(1)]);
/// # Ok::<(), wgpu_rnn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    pub(super) model: Model,
    pub(super) names: HashSet<String>,
    /// The blocks that are open, the innermost last.
    pub(super) open_blocks: Vec<usize>,
    /// How many parts of blocks have a name.
    #[cfg_attr(not(feature = "keras"), allow(dead_code))] // only layers of Keras are composed
    pub(super) parts: HashMap<String, usize>,
}

/// What a layer is called with.
#[derive(Clone, Debug, Default)]
pub struct Call<'a> {
    /// The tensors.
    pub inputs: &'a [Value],
    /// The states that a recurrent layer starts from, in the layer's order (bidirectional: forward
    /// first); empty for zeros.
    pub initial_state: &'a [Value],
    /// Which mask a recurrent or pooling layer sees.
    pub mask: CallMask,
}

/// Which mask a call of a recurrent or pooling layer sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallMask {
    /// The one that its input carries.
    #[default]
    Carried,
    /// None, whatever its input carries.
    None,
    /// This value, `[batch, seq_len]`: 1 at live timesteps, 0 at dead ones.
    Given(Value),
}

impl Builder {
    pub(super) fn new(name: String) -> Self {
        let model = Model {
            name,
            style: Style::default(),
            layers: Vec::new(),
            nodes: Vec::new(),
            blocks: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            symbols: vec!["batch".to_owned()],
            derived: Vec::new(),
            conditions: Vec::new(),
            batch_size: None,
            batch_is_fixed: false,
            accepts_unbatched: false,
            late: None,
            optimizer_parameters: 0,
            optimizer_bytes: 0,
            notes: Vec::new(),
            known_answers: Vec::new(),
        };
        Self { model, names: HashSet::new(), open_blocks: Vec::new(), parts: HashMap::new() }
    }

    /// The model as it stands, for one that has no layers yet.
    #[cfg(feature = "onnx")]
    pub(super) fn unchecked(self) -> Model {
        self.model
    }

    /// Sets how the model is listed by [`Model::summary`].
    pub fn style(&mut self, style: Style) -> &mut Self {
        self.model.style = style;
        self
    }

    /// States the batch size; a stateful model accepts no other.
    pub fn batch_size(&mut self, batch_size: Option<usize>) -> &mut Self {
        self.model.batch_size = batch_size;
        self
    }

    /// Fixes the batch size: runs with another are refused.
    pub fn fix_batch(&mut self, batch_size: usize) -> &mut Self {
        self.model.batch_size = Some(batch_size);
        self.model.batch_is_fixed = true;
        self
    }

    /// Adds to [`Model::notes`].
    pub fn note(&mut self, note: impl Into<String>) -> &mut Self {
        self.model.notes.push(note.into());
        self
    }

    /// States how many values an optimizer kept beside the weights; only [`Model::summary`] shows it.
    pub fn optimizer_parameters(&mut self, count: usize) -> &mut Self {
        self.optimizer(count, count.saturating_mul(size_of::<f32>()))
    }

    /// [`optimizer_parameters`](Self::optimizer_parameters), where some are wider than an f32.
    pub(crate) fn optimizer(&mut self, count: usize, bytes: usize) -> &mut Self {
        self.model.optimizer_parameters = count;
        self.model.optimizer_bytes = bytes;
        self
    }

    /// Lets the inputs come without their batch axis, all of them or none; outputs then lack theirs.
    pub fn accept_unbatched(&mut self) -> &mut Self {
        self.model.accepts_unbatched = true;
        self
    }

    /// The batch size of a run.
    #[must_use]
    pub fn batch(&self) -> Dim {
        Dim::from(Symbol::BATCH)
    }

    /// A size that each run decides, for [`input_as`](Self::input_as).
    pub fn symbol(&mut self, name: &str) -> Dim {
        let symbol = Symbol(self.model.symbols.len());
        self.model.symbols.push(name.to_owned());
        Dim::from(symbol)
    }

    /// `floor(dim / divisor)`. A run in which `dim` is negative is refused.
    pub fn quotient(&mut self, dim: &Dim, divisor: usize) -> Dim {
        dim::quotient(&mut self.model.symbols, &mut self.model.derived, dim, divisor)
    }

    /// `max(dim, 0)`
    pub fn positive(&mut self, dim: &Dim) -> Dim {
        dim::positive(&mut self.model.symbols, &mut self.model.derived, dim)
    }

    /// Refuses runs in which two sizes differ; `subject` says whose they are.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if they differ in every run.
    pub fn require_equal(&mut self, subject: &str, left: &Dim, right: &Dim) -> Result<()> {
        let mut unify = infer::Unify::new(subject, &mut self.model);
        match unify.equal(left, right) {
            Some(_) => Ok(()),
            None => Err(Error::mismatch(subject, left.to_string(), right.to_string())),
        }
    }

    /// Refuses runs in which an axis of `len` has fewer positions than a slice takes of it.
    #[cfg(feature = "onnx")]
    pub(crate) fn require_slice(
        &mut self,
        subject: &str,
        len: &Dim,
        start: &Dim,
        step: i64,
        extent: &Dim,
    ) -> Result<()> {
        let mut unify = infer::Unify::new(subject, &mut self.model);
        let wrong =
            || Error::mismatch(subject, format!("positions of an axis of {len}"), format!("{extent} from {start} on"));
        infer::slice_fits(len, start, step, extent, &mut unify).ok_or_else(wrong)
    }

    /// Adds an input of `shape`, the batch axis left out; `None` where each run decides.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the name is taken.
    pub fn input(&mut self, name: &str, shape: &[Option<usize>]) -> Result<Value> {
        let mut dims = vec![self.batch()];
        for (axis, size) in shape.iter().enumerate() {
            dims.push(match size {
                Some(size) => Dim::from(*size),
                None => self.symbol(&format!("axis {} of input {}", axis + 1, quoted(name))),
            });
        }
        let layout = Layout::identity(dims.len());
        self.input_as(name, dims, layout, false)
    }

    /// Adds an input that is `dims` inside, the batch first, and comes in the order of `layout`. One
    /// that is `optional` may be left out, which is as good as zeros.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the name is taken or the layout is not one of these axes.
    pub fn input_as(&mut self, name: &str, dims: Vec<Dim>, layout: Layout, optional: bool) -> Result<Value> {
        check_input(name, &dims, &layout)?;
        let layer = self.layer_as(name, "InputLayer", LayerKind::Input, true)?;
        let value = self.input_node(layer, dims)?;
        self.model.inputs.push(Port { name: name.to_owned(), value, layout, optional });
        Ok(value)
    }

    /// The value of an input layer.
    pub(super) fn input_node(&mut self, layer: usize, dims: Vec<Dim>) -> Result<Value> {
        let is_input = self.model.layers.get(layer).is_some_and(|layer| matches!(layer.kind, LayerKind::Input));
        if !is_input || self.model.nodes.iter().any(|node| node.layer == layer) || dims.len() > MAX_RANK {
            let found = format!("layer {layer} with {} axes", dims.len());
            return Err(Error::mismatch("input", format!("an input layer, once, of at most {MAX_RANK} axes"), found));
        }
        let node = self.model.nodes.len();
        self.model.nodes.push(Node {
            layer,
            inputs: Vec::new(),
            initial_state: Vec::new(),
            mask: CallMask::Carried,
            output_shapes: vec![dims],
        });
        Ok(Value { node, output: 0 })
    }

    /// Makes the value of an input layer one that a caller gives.
    #[cfg(feature = "native")]
    pub(super) fn input_port(&mut self, name: &str, value: Value, layout: Layout, optional: bool) -> Result<()> {
        let wrong = || Error::mismatch(format!("input {}", quoted(name)), "an input layer of its own", "another value");
        let layer = self.model.nodes.get(value.node).and_then(|node| self.model.layers.get(node.layer));
        let taken = self.model.inputs.iter().any(|port| port.value == value);
        if taken || layer.is_none_or(|layer| !matches!(layer.kind, LayerKind::Input) || layer.name != name) {
            return Err(wrong());
        }
        check_input(name, self.model.shape(value).map_err(|_| wrong())?, &layout)?;
        self.model.inputs.push(Port { name: name.to_owned(), value, layout, optional });
        Ok(())
    }

    /// Opens a block: what is added until [`end_block`](Self::end_block) is part of it, and
    /// [`Model::summary`] lists the block in its place.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the name is taken.
    pub fn begin_block(&mut self, name: &str, class_name: &str) -> Result<usize> {
        self.take_name(name)?;
        self.model.blocks.push(Block {
            name: name.to_owned(),
            class_name: class_name.to_owned(),
            parent: self.open_blocks.last().copied(),
            position: self.model.layers.len(),
            calls: Vec::new(),
        });
        let block = self.model.blocks.len() - 1;
        self.open_blocks.push(block);
        Ok(block)
    }

    /// Closes the block that was opened last.
    pub fn end_block(&mut self) {
        self.open_blocks.pop();
    }

    /// Records that `block` was called once, with `inputs`, and gave `outputs`.
    pub fn block_call(&mut self, block: usize, inputs: &[Value], outputs: &[Value]) {
        if let Some(block) = self.model.blocks.get_mut(block) {
            block.calls.push(BlockCall { inputs: inputs.to_vec(), outputs: outputs.to_vec() });
        }
    }

    /// The shape of a value, batch first.
    ///
    /// # Errors
    /// [`Error::Internal`] if the value is not one of this model.
    pub fn shape(&self, value: Value) -> Result<&[Dim]> {
        self.model.shape(value)
    }

    /// Adds a layer and calls it once; for layers with one output.
    ///
    /// # Errors
    /// As [`layer`](Self::layer) and [`call`](Self::call).
    pub fn add(&mut self, name: &str, kind: LayerKind, inputs: &[Value]) -> Result<Value> {
        let layer = self.layer(name, kind)?;
        let outputs = self.call(layer, Call { inputs, ..Call::default() })?;
        match outputs.as_slice() {
            [one] => Ok(*one),
            many => {
                Err(Error::mismatch(format!("layer {}", quoted(name)), "one output", format!("{} outputs", many.len())))
            }
        }
    }

    /// Adds a layer without calling it, and returns its number for [`call`](Self::call).
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the name is taken or the weights do not fit together,
    /// [`Error::NonFinite`] if one holds a NaN or an infinity.
    pub fn layer(&mut self, name: &str, kind: LayerKind) -> Result<usize> {
        let class = check::class_name(&kind);
        let trainable = !matches!(kind, LayerKind::Constant(_));
        self.layer_as(name, class, kind, trainable)
    }

    /// [`layer`](Self::layer) under the class name of a file.
    pub(crate) fn layer_as(&mut self, name: &str, class_name: &str, kind: LayerKind, trainable: bool) -> Result<usize> {
        check::check_weights(name, &kind)?;
        self.take_name(name)?;
        let block = self.open_blocks.last().copied();
        let (name, class_name) = (name.to_owned(), class_name.to_owned());
        self.model.layers.push(Layer { name, class_name, kind, trainable, block, is_stated: false });
        Ok(self.model.layers.len() - 1)
    }

    pub(super) fn take_name(&mut self, name: &str) -> Result<()> {
        if self.names.insert(name.to_owned()) {
            return Ok(());
        }
        Err(Error::mismatch(format!("layer {}", quoted(name)), "a name of its own", "another layer of that name"))
    }

    /// Calls a layer; a layer may be called any number of times and shares its weights.
    ///
    /// # Errors
    /// [`Error::Mismatch`] naming the layer, if the inputs' shapes do not fit it.
    pub fn call(&mut self, layer: usize, call: Call<'_>) -> Result<Vec<Value>> {
        let Some(which) = self.model.layers.get(layer) else {
            return Err(Error::mismatch(
                "call",
                format!("a layer below {}", self.model.layers.len()),
                layer.to_string(),
            ));
        };
        let subject = format!("layer {}", quoted(&which.name));
        let shapes = |values: &[Value]| -> Result<Vec<Vec<Dim>>> {
            let shape = |&value| self.model.shape(value).map(<[Dim]>::to_vec);
            values
                .iter()
                .map(shape)
                .collect::<Result<_>>()
                .map_err(|_| Error::mismatch(&subject, "values of this model", "another value"))
        };
        let (inputs, states) = (shapes(call.inputs)?, shapes(call.initial_state)?);
        let mask = if let CallMask::Given(mask) = call.mask { shapes(&[mask])?.pop() } else { None };
        let kind = which.kind.clone();
        let mut unify = infer::Unify::new(&subject, &mut self.model);
        infer::check_mask(&subject, inputs.first(), mask.as_deref(), &mut unify)?;
        let output_shapes = infer::output_shapes(&subject, &kind, &inputs, &states, &mut unify)?;
        let Self { model, .. } = self;
        let node = model.nodes.len();
        let outputs = (0..output_shapes.len()).map(|output| Value { node, output }).collect();
        model.nodes.push(Node {
            layer,
            inputs: call.inputs.to_vec(),
            initial_state: call.initial_state.to_vec(),
            mask: call.mask,
            output_shapes,
        });
        Ok(outputs)
    }

    /// Names an output of the model. A name that is taken gets `_1`, `_2`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the value is not one of this model.
    pub fn output(&mut self, name: &str, value: Value) -> Result<()> {
        let rank = self.output_rank(name, value)?;
        self.output_as(name, value, Layout::identity(rank))
    }

    /// [`output`](Self::output) in the order of `layout`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] also if the layout leaves out an axis of the value.
    pub fn output_as(&mut self, name: &str, value: Value, layout: Layout) -> Result<()> {
        let rank = self.output_rank(name, value)?;
        let shape = self.model.shape(value)?;
        let named = |axis: usize| layout.groups().iter().flatten().any(|&known| known == axis);
        let missing = shape.iter().enumerate().any(|(axis, dim)| dim.fixed() != Some(1) && !named(axis));
        if missing || layout.groups().iter().flatten().any(|&axis| axis >= rank) {
            let found = format!("{layout:?}");
            return Err(Error::mismatch(
                format!("output {}", quoted(name)),
                "a layout with a place for each axis",
                found,
            ));
        }
        let taken = |name: &str| self.model.outputs.iter().any(|port| port.name == name);
        let mut unique = name.to_owned();
        let mut suffix = 0;
        while taken(&unique) {
            suffix += 1;
            unique = format!("{name}_{suffix}");
        }
        self.model.outputs.push(Port { name: unique, value, layout, optional: false });
        Ok(())
    }

    fn output_rank(&self, name: &str, value: Value) -> Result<usize> {
        let shape = self.model.shape(value);
        shape.map(<[Dim]>::len).map_err(|_| Error::mismatch("output", "a value of this model", quoted(name)))
    }

    /// The model.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if it has no input or no output.
    pub fn build(self) -> Result<Model> {
        let subject = || format!("model {}", quoted(&self.model.name));
        if self.model.inputs.is_empty() {
            return Err(Error::mismatch(subject(), "at least one input", "none"));
        }
        if self.model.outputs.is_empty() {
            return Err(Error::mismatch(subject(), "at least one output", "none"));
        }
        Ok(self.model)
    }
}

/// Checks that a layout has one place for each axis of an input.
fn check_input(name: &str, dims: &[Dim], layout: &Layout) -> Result<()> {
    let subject = || format!("input {}", quoted(name));
    if dims.len() > MAX_RANK {
        return Err(Error::mismatch(subject(), format!("at most {MAX_RANK} axes"), dims.len().to_string()));
    }
    let placed = |axis: usize| layout.groups().iter().any(|group| group.as_slice() == [axis]);
    let fits = layout.groups().iter().flatten().all(|&axis| axis < dims.len())
        && dims.iter().enumerate().all(|(axis, dim)| placed(axis) || dim.fixed() == Some(1));
    if fits {
        return Ok(());
    }
    Err(Error::mismatch(subject(), "a layout with one place for each axis", format!("{layout:?}")))
}
