//! [`Parts`]: a model taken apart, to be written, and put together again under the same checks that a
//! [`Builder`](super::Builder) makes.

use serde::{Deserialize, Serialize};

use super::{Block, BlockCall, Builder, Call, CallMask, LayerKind, Model, Node, Port, Style, Value};
use crate::{
    dim::{Condition, Derived, Dim, Symbol},
    error::{Error, Result, quoted},
    layout::Layout,
};

/// What a model is made of, but for the values of its weights.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parts {
    name: String,
    style: Style,
    symbols: Vec<String>,
    derived: Vec<(usize, Derived)>,
    conditions: Vec<Condition>,
    pub(crate) layers: Vec<LayerPart>,
    blocks: Vec<BlockPart>,
    calls: Vec<CallPart>,
    inputs: Vec<PortPart>,
    outputs: Vec<PortPart>,
    batch_size: Option<usize>,
    batch_is_fixed: bool,
    accepts_unbatched: bool,
    optimizer_parameters: usize,
    optimizer_bytes: usize,
    notes: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LayerPart {
    pub(crate) name: String,
    class_name: String,
    trainable: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    stated: bool,
    block: Option<usize>,
    pub(crate) kind: LayerKind,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockPart {
    name: String,
    class_name: String,
    parent: Option<usize>,
    position: usize,
    calls: Vec<(Vec<ValuePart>, Vec<ValuePart>)>,
}

/// The call and which of its outputs.
type ValuePart = (usize, usize);

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CallPart {
    layer: usize,
    inputs: Vec<ValuePart>,
    initial_state: Vec<ValuePart>,
    mask: MaskPart,
    /// Of an input.
    shape: Option<Vec<Dim>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum MaskPart {
    Carried,
    None,
    Given(ValuePart),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PortPart {
    name: String,
    value: ValuePart,
    layout: Layout,
    optional: bool,
}

fn part(value: Value) -> ValuePart {
    (value.node, value.output)
}

fn parts(values: &[Value]) -> Vec<ValuePart> {
    values.iter().copied().map(part).collect()
}

fn value((node, output): ValuePart) -> Value {
    Value { node, output }
}

fn values(parts: &[ValuePart]) -> Vec<Value> {
    parts.iter().copied().map(value).collect()
}

impl Parts {
    /// The parts of a model that has all its weights.
    pub(crate) fn of(model: &Model) -> Self {
        let port = |port: &Port| PortPart {
            name: port.name.clone(),
            value: part(port.value),
            layout: port.layout.clone(),
            optional: port.optional,
        };
        let is_input = |node: &Node| model.layers.get(node.layer).is_some_and(|l| matches!(l.kind, LayerKind::Input));
        Self {
            name: model.name.clone(),
            style: model.style,
            symbols: model.symbols.clone(),
            derived: model.derived.iter().map(|(symbol, derived)| (symbol.0, derived.clone())).collect(),
            conditions: model.conditions.clone(),
            layers: model
                .layers
                .iter()
                .map(|layer| LayerPart {
                    name: layer.name.clone(),
                    class_name: layer.class_name.clone(),
                    trainable: layer.trainable,
                    stated: layer.is_stated,
                    block: layer.block,
                    kind: layer.kind.clone(),
                })
                .collect(),
            blocks: model
                .blocks
                .iter()
                .map(|block| BlockPart {
                    name: block.name.clone(),
                    class_name: block.class_name.clone(),
                    parent: block.parent,
                    position: block.position,
                    calls: block.calls.iter().map(|call| (parts(&call.inputs), parts(&call.outputs))).collect(),
                })
                .collect(),
            calls: model
                .nodes
                .iter()
                .map(|node| CallPart {
                    layer: node.layer,
                    inputs: parts(&node.inputs),
                    initial_state: parts(&node.initial_state),
                    mask: match node.mask {
                        CallMask::Carried => MaskPart::Carried,
                        CallMask::None => MaskPart::None,
                        CallMask::Given(value) => MaskPart::Given(part(value)),
                    },
                    shape: node.output_shapes.first().filter(|_| is_input(node)).cloned(),
                })
                .collect(),
            inputs: model.inputs.iter().map(port).collect(),
            outputs: model.outputs.iter().map(port).collect(),
            batch_size: model.batch_size,
            batch_is_fixed: model.batch_is_fixed,
            accepts_unbatched: model.accepts_unbatched,
            optimizer_parameters: model.optimizer_parameters,
            optimizer_bytes: model.optimizer_bytes,
            notes: model.notes.clone(),
        }
    }

    /// How many layers and calls there are.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.layers.len(), self.calls.len())
    }

    /// The model, each layer, shape and connection checked anew.
    ///
    /// # Errors
    /// [`Error::Mismatch`] naming what does not fit.
    pub(crate) fn build(self) -> Result<Model> {
        self.check_sizes()?;
        let mut builder = Builder::new(self.name);
        let symbols = self.symbols.len();
        builder.model.symbols = self.symbols;
        builder.model.derived = self.derived.into_iter().map(|(symbol, derived)| (Symbol(symbol), derived)).collect();
        let blocks = self.blocks.len();
        for layer in self.layers {
            if layer.block.is_some_and(|block| block >= blocks) {
                return Err(wrong(&layer.name, "a block of the model"));
            }
            let index = builder.layer_as(&layer.name, &layer.class_name, layer.kind, layer.trainable)?;
            if let Some(added) = builder.model.layers.get_mut(index) {
                (added.block, added.is_stated) = (layer.block, layer.stated);
            }
        }
        for call in &self.calls {
            match &call.shape {
                Some(shape) => {
                    let _ = builder.input_node(call.layer, shape.clone())?;
                }
                None => {
                    let mask = match call.mask {
                        MaskPart::Carried => CallMask::Carried,
                        MaskPart::None => CallMask::None,
                        MaskPart::Given(given) => CallMask::Given(value(given)),
                    };
                    let (inputs, initial_state) = (values(&call.inputs), values(&call.initial_state));
                    builder.call(call.layer, Call { inputs: &inputs, initial_state: &initial_state, mask })?;
                }
            }
        }
        if builder.model.symbols.len() != symbols {
            return Err(Error::mismatch("sizes", "all that the layers make", "some are missing"));
        }
        // Those that layers make must be there; a file may ask for more.
        let mut known: Vec<&Condition> = self.conditions.iter().collect();
        known.sort_unstable();
        if let Some(lost) = builder.model.conditions.iter().find(|made| known.binary_search(made).is_err()) {
            return Err(Error::mismatch(&lost.subject, "its conditions among those of the model", "one is missing"));
        }
        builder.model.conditions = self.conditions;
        for port in self.inputs {
            builder.input_port(&port.name, value(port.value), port.layout, port.optional)?;
        }
        for port in self.outputs {
            builder.output_as(&port.name, value(port.value), port.layout)?;
            if builder.model.outputs.last().is_none_or(|added| added.name != port.name) {
                return Err(wrong(&port.name, "a name of its own"));
            }
        }
        for (index, block) in self.blocks.into_iter().enumerate() {
            if block.parent.is_some_and(|parent| parent >= index) || block.position > builder.model.layers.len() {
                return Err(wrong(&block.name, "a parent and a position before it"));
            }
            builder.take_name(&block.name)?;
            let mut calls = Vec::new();
            for (inputs, outputs) in &block.calls {
                let (inputs, outputs) = (values(inputs), values(outputs));
                for &value in inputs.iter().chain(&outputs) {
                    builder.shape(value).map_err(|_| wrong(&block.name, "values of the model"))?;
                }
                calls.push(BlockCall { inputs, outputs });
            }
            let (name, class_name, parent, position) = (block.name, block.class_name, block.parent, block.position);
            builder.model.blocks.push(Block { name, class_name, parent, position, calls });
        }
        let mut model = builder.build()?;
        model.style = self.style;
        model.batch_size = self.batch_size;
        model.batch_is_fixed = self.batch_is_fixed;
        model.accepts_unbatched = self.accepts_unbatched;
        model.optimizer_parameters = self.optimizer_parameters;
        model.optimizer_bytes = self.optimizer_bytes;
        model.notes = self.notes;
        Ok(model)
    }

    /// Sizes name symbols that there are, and derived ones only those before them.
    fn check_sizes(&self) -> Result<()> {
        let count = self.symbols.len();
        let below = |dim: &Dim, limit: usize| dim.symbols().all(|symbol| symbol.0 < limit);
        if self.symbols.is_empty() {
            return Err(Error::mismatch("symbols", "at least that of the batch", "none"));
        }
        let mut before = 0;
        for (symbol, derived) in &self.derived {
            let (dim, divisor) = match derived {
                Derived::Quotient { dim, divisor } => (dim, *divisor),
                Derived::Positive(dim) => (dim, 1),
            };
            if *symbol <= before || *symbol >= count || !below(dim, *symbol) || divisor == 0 {
                let expected = "sizes in order, each of those before it";
                return Err(Error::mismatch(format!("derived size {symbol}"), expected, format!("{derived:?}")));
            }
            before = *symbol;
        }
        let kinds = self.layers.iter().flat_map(|layer| dims(&layer.kind));
        let shapes = self.calls.iter().flat_map(|call| call.shape.iter().flatten());
        let conditions = self.conditions.iter().flat_map(|condition| [&condition.left, &condition.right]);
        match kinds.chain(shapes).chain(conditions).find(|dim| !below(dim, count)) {
            Some(dim) => Err(Error::mismatch("sizes", format!("symbols below {count}"), format!("{dim:?}"))),
            None => Ok(()),
        }
    }
}

/// The sizes that a layer names.
fn dims(kind: &LayerKind) -> Vec<&Dim> {
    match kind {
        LayerKind::Ramp { shape, .. } | LayerKind::ReshapeTo { shape } | LayerKind::Expand { shape } => {
            shape.iter().collect()
        }
        LayerKind::Slice { start, extent, .. } => vec![start, extent],
        LayerKind::Pad { before, after, .. } => vec![before, after],
        LayerKind::TimeDistributed(inner) => dims(inner),
        _ => Vec::new(),
    }
}

fn wrong(name: &str, expected: &str) -> Error {
    Error::mismatch(quoted(name), expected, "another")
}
