//! [`Builder`]: puts a [`Model`] together, call by call, checking each.

use std::collections::HashSet;

use super::{Layer, LayerKind, Model, Node, Style, Value, check, infer};
use crate::{
    dim::{Dim, Equality, Symbol},
    error::{Error, Result, quoted},
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
    model: Model,
    names: HashSet<String>,
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
            inputs: Vec::new(),
            outputs: Vec::new(),
            symbols: vec!["batch".to_owned()],
            equalities: Vec::new(),
            batch_size: None,
            optimizer_parameters: 0,
            optimizer_bytes: 0,
        };
        Self { model, names: HashSet::new() }
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

    /// Adds an input of `shape`, the batch axis left out; `None` where each run decides.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the name is taken.
    pub fn input(&mut self, name: &str, shape: &[Option<usize>]) -> Result<Value> {
        let mut dims = vec![Dim::from(Symbol::BATCH)];
        for (axis, size) in shape.iter().enumerate() {
            dims.push(match size {
                Some(size) => Dim::from(*size),
                None => {
                    let symbol = Symbol(self.model.symbols.len());
                    self.model.symbols.push(format!("axis {} of input {}", axis + 1, quoted(name)));
                    Dim::from(symbol)
                }
            });
        }
        let layer = self.layer_as(name, "InputLayer", LayerKind::Input, true)?;
        let node = self.model.nodes.len();
        self.model.nodes.push(Node {
            layer,
            inputs: Vec::new(),
            initial_state: Vec::new(),
            mask: CallMask::Carried,
            output_shapes: vec![dims],
        });
        let value = Value { node, output: 0 };
        self.model.inputs.push(value);
        Ok(value)
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
        self.layer_as(name, class, kind, true)
    }

    /// [`layer`](Self::layer) under the class name of a file.
    pub(crate) fn layer_as(&mut self, name: &str, class_name: &str, kind: LayerKind, trainable: bool) -> Result<usize> {
        check::check_weights(name, &kind)?;
        if !self.names.insert(name.to_owned()) {
            return Err(Error::mismatch(
                format!("layer {}", quoted(name)),
                "a name of its own",
                "another layer of that name",
            ));
        }
        self.model.layers.push(Layer { name: name.to_owned(), class_name: class_name.to_owned(), kind, trainable });
        Ok(self.model.layers.len() - 1)
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
        let mut unify = infer::Unify { layer: which.name.clone(), equalities: Vec::new() };
        infer::check_mask(&subject, inputs.first(), mask.as_deref(), &mut unify)?;
        let output_shapes = infer::output_shapes(&subject, &which.kind, &inputs, &states, &mut unify)?;
        let Self { model, .. } = self;
        model.equalities.extend::<Vec<Equality>>(unify.equalities);
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

    /// The batch size stated so far.
    #[cfg(feature = "keras")]
    pub(crate) fn stated_batch_size(&self) -> Option<usize> {
        self.model.batch_size
    }

    /// Puts the inputs into the order in which they are bound.
    #[cfg(feature = "keras")]
    pub(crate) fn order_inputs(&mut self, inputs: Vec<Value>) {
        self.model.inputs = inputs;
    }

    /// Names an output of the model. A name that is taken gets `_1`, `_2`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the value is not one of this model.
    pub fn output(&mut self, name: &str, value: Value) -> Result<()> {
        self.model.shape(value).map_err(|_| Error::mismatch("output", "a value of this model", quoted(name)))?;
        let taken = |name: &str| self.model.outputs.iter().any(|(other, _)| other == name);
        let mut unique = name.to_owned();
        let mut suffix = 0;
        while taken(&unique) {
            suffix += 1;
            unique = format!("{name}_{suffix}");
        }
        self.model.outputs.push((unique, value));
        Ok(())
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
