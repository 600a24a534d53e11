//! [`Importer`]: goes through a graph, node by node, and puts a model together.

use std::collections::{HashMap, HashSet};

use super::{
    batch,
    call::{Call, subject},
    expression::Expressions,
    external::Folder,
    operators,
    proto::{Axis, Graph, Info, ModelFile, Node},
    tensor::{self, Const, Element, Kind, tensor_subject},
    track::{Fill, Tracked, View},
    wire::Span,
};
use crate::{
    dim::{Dim, Symbol},
    error::{Error, Result, quoted},
    formats::limits::Limits,
    layout::Layout,
    model::{Builder, LayerKind, Model, Value},
    tensor::Tensor,
};

/// A graph while it is read.
pub(super) struct Importer<'a> {
    pub(super) builder: Builder,
    pub(super) limits: &'a Limits,
    /// The version of the operator set.
    pub(super) opset: i64,
    /// The number of rows: the batch of a run, or 1 where the file has a batch of 1.
    pub(super) rows: Dim,
    /// The number of rows, where the file states it.
    fixed_rows: Option<usize>,
    pub(super) folder: &'a Folder,
    pub(super) expressions: Expressions,
    values: HashMap<&'a str, Tracked>,
    initializers: HashMap<&'a str, Span<'a>>,
    /// How many times each tensor is still read.
    uses: HashMap<&'a str, usize>,
    /// The name of the node being read, for its layers.
    node: String,
    /// The names of layers, and how many were asked for under each.
    names: HashMap<String, usize>,
    /// Bytes of tensors made so far, and how many there may be.
    made: usize,
    allowed: usize,
}

/// What is granted for tensors beside twice what the file holds.
const GRANTED: usize = 16 << 20;

/// Puts the model of a file together; `given` are tensors for inputs that are weights.
pub(super) fn model(
    file: &ModelFile<'_>,
    opset: i64,
    given: &HashMap<&str, Tensor>,
    folder: &Folder,
    limits: &Limits,
) -> Result<Model> {
    let graph = &file.graph;
    let live = live_nodes(graph)?;
    let axes = batch::axes(graph, &live, given, limits)?;
    let name = if graph.name.is_empty() { "onnx" } else { graph.name };
    let mut importer = Importer {
        builder: Model::builder(name),
        limits,
        opset,
        rows: Dim::from(Symbol::BATCH),
        fixed_rows: axes.rows,
        folder,
        expressions: Expressions::default(),
        values: HashMap::new(),
        initializers: graph.initializers.iter().copied().collect(),
        uses: HashMap::new(),
        node: String::new(),
        names: HashMap::new(),
        made: 0,
        allowed: GRANTED,
    };
    importer.count_uses(graph, &live);
    importer.count_weights(graph, given)?;
    importer.add_inputs(graph, &axes, given)?;
    // What is not understood at all is said first.
    let nodes: Vec<&Node<'_>> = live.iter().filter_map(|&index| graph.nodes.get(index)).collect();
    nodes.iter().try_for_each(|node| operators::find(node).map(drop))?;
    for node in nodes {
        importer.node(node)?;
    }
    for output in &graph.outputs {
        importer.add_output(output)?;
    }
    importer.builder.build()
}

/// The nodes that an output depends on, in order; checks that each name is made once, before it is read.
pub(super) fn live_nodes(graph: &Graph<'_>) -> Result<Vec<usize>> {
    let twice = |name: &str| Error::mismatch(tensor_subject(name), "one node or input that makes it", "several");
    let mut made: HashSet<&str> = HashSet::new();
    for input in &graph.inputs {
        if input.name.is_empty() || !made.insert(input.name) {
            return Err(twice(input.name));
        }
    }
    let mut stored: HashSet<&str> = HashSet::new();
    for (name, _) in &graph.initializers {
        if !stored.insert(name) {
            return Err(twice(name));
        }
    }
    // Up to IR version 3, initializers are inputs too.
    made.extend(stored);
    for node in &graph.nodes {
        for name in node.inputs.iter().filter(|name| !name.is_empty()) {
            if !made.contains(name) {
                return Err(Error::mismatch(subject(node), "inputs that nodes before it make", quoted(name)));
            }
        }
        for name in node.outputs.iter().filter(|name| !name.is_empty()) {
            if !made.insert(name) {
                return Err(twice(name));
            }
        }
    }
    let mut needed: HashSet<&str> = graph.outputs.iter().map(|output| output.name).collect();
    if let Some(missing) = graph.outputs.iter().find(|output| !made.contains(output.name)) {
        return Err(Error::mismatch(tensor_subject(missing.name), "a node that makes this output", "none"));
    }
    let mut live = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        if node.outputs.iter().any(|name| needed.contains(name)) {
            needed.extend(&node.inputs);
            live.push(index);
        }
    }
    live.reverse();
    Ok(live)
}

impl<'a> Importer<'a> {
    fn count_uses(&mut self, graph: &Graph<'a>, live: &[usize]) {
        let nodes = live.iter().filter_map(|&index| graph.nodes.get(index));
        let read = nodes.flat_map(|node| node.inputs.iter().copied());
        for name in read.chain(graph.outputs.iter().map(|output| output.name)) {
            *self.uses.entry(name).or_insert(0) += 1;
        }
    }

    /// Grants memory for what the file holds.
    fn count_weights(&mut self, graph: &Graph<'a>, given: &HashMap<&str, Tensor>) -> Result<()> {
        let mut bytes = given.values().map(|tensor| tensor.len().saturating_mul(4)).fold(0usize, usize::saturating_add);
        for (name, span) in &graph.initializers {
            let subject = tensor_subject(name);
            let header = tensor::Header::parse(&subject, *span, self.limits)?;
            // Inside a file no element takes less than a byte, so that this is no mere claim once it is read.
            let elements = if header.is_external() {
                header.count(&subject)?
            } else {
                header.count(&subject)?.min(span.bytes.len())
            };
            bytes = bytes.saturating_add(elements.saturating_mul(4));
        }
        self.allowed = GRANTED.saturating_add(bytes.saturating_mul(2));
        Ok(())
    }

    /// Makes room for a tensor of that many bytes before it is made.
    pub(super) fn room(&mut self, at: &str, elements: usize) -> Result<()> {
        self.made = self.made.saturating_add(elements.saturating_mul(4));
        if self.made <= self.allowed {
            return Ok(());
        }
        Err(Error::Limit {
            what: format!("{at}: what is computed while loading"),
            need: format!("{} bytes", self.made),
            limit: format!("{} bytes (twice the weights of the file)", self.allowed),
            hint: "export the model without such constants".to_owned(),
        })
    }

    fn release(&mut self, tracked: &Tracked) {
        if let Tracked::Const(constant) = tracked
            && std::sync::Arc::strong_count(&constant.tensor) == 1
        {
            self.made = self.made.saturating_sub(constant.tensor.len().saturating_mul(4));
        }
    }

    /// A size where the file's number of rows, if it states one, is filled in.
    pub(super) fn reduced(&self, dim: &Dim) -> Dim {
        match self.fixed_rows {
            Some(rows) => dim.with(Symbol::BATCH, &Dim::from(rows)),
            None => dim.clone(),
        }
    }

    fn add_inputs(&mut self, graph: &Graph<'a>, axes: &batch::Axes, given: &HashMap<&str, Tensor>) -> Result<()> {
        if axes.rows == Some(1) {
            self.rows = Dim::from(1);
        }
        if let Some(rows) = axes.rows.filter(|&rows| rows != 1) {
            self.builder.fix_batch(rows);
        }
        let mut symbols: HashMap<&str, Dim> = HashMap::new();
        for info in &graph.inputs {
            if let Some(tensor) = given.get(info.name) {
                let kind = Kind::Float;
                let constant = Const { kind, tensor: std::sync::Arc::new(tensor.clone()) };
                self.values.insert(info.name, Tracked::Const(constant));
            } else if !self.initializers.contains_key(info.name) {
                self.add_input(info, axes.of(info.name), &mut symbols)?;
            }
        }
        Ok(())
    }

    fn add_input(&mut self, info: &Info<'a>, rows: Option<usize>, symbols: &mut HashMap<&'a str, Dim>) -> Result<()> {
        let subject = format!("input {}", quoted(info.name));
        let (element, axes) = info.tensor_type(self.limits)?;
        let kind = Element::new(&subject, element)?.kind();
        let axes =
            axes.ok_or_else(|| Error::unsupported(&subject, "a tensor of unknown rank", "export it with a shape"))?;
        let mut dims = vec![if rows.is_some() { self.rows.clone() } else { Dim::from(1) }];
        let mut groups = Vec::new();
        for (index, axis) in axes.iter().enumerate() {
            if rows == Some(index) {
                groups.push(vec![0]);
                continue;
            }
            groups.push(vec![dims.len()]);
            dims.push(match axis {
                Axis::Fixed(size) => Dim::from(*size),
                Axis::Open => self.builder.symbol(&format!("axis {index} of {subject}")),
                Axis::Named(name) => match symbols.get(name) {
                    Some(dim) => dim.clone(),
                    None => {
                        let dim = self.builder.symbol(&format!("size {}", quoted(name)));
                        symbols.insert(name, dim.clone());
                        dim
                    }
                },
            });
        }
        let value = self.builder.input_as(info.name, dims, Layout::new(groups.clone())?, false)?;
        self.names.insert(info.name.to_owned(), 1);
        let view = self.view(kind, value, groups)?;
        self.values.insert(info.name, Tracked::View(view));
        Ok(())
    }

    /// The shape that the file states of an output is not held against what is computed: exporters that trace one
    /// run leave its sizes there, and runtimes only warn of it.
    fn add_output(&mut self, info: &Info<'a>) -> Result<()> {
        let at = format!("output {}", quoted(info.name));
        self.node = info.name.to_owned();
        let tracked = self.take(&at, info.name)?;
        let view = self.materialised(&at, &tracked)?;
        self.builder.output_as(info.name, view.value, Layout::new(view.axes)?)
    }

    fn node(&mut self, node: &Node<'a>) -> Result<()> {
        let operator = operators::find(node)?;
        self.node =
            if node.name.is_empty() { node.outputs.first().copied().unwrap_or("") } else { node.name }.to_owned();
        let at = subject(node);
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for name in &node.inputs {
            inputs.push(if name.is_empty() { None } else { Some(self.take(&at, name)?) });
        }
        let wanted = node.outputs.iter().map(|name| self.uses.contains_key(name)).collect();
        let call = Call::new(node, operator.attributes, inputs, wanted)?;
        if call.inputs.len() > operator.inputs {
            return Err(call.mismatch(format!("at most {} inputs", operator.inputs), call.inputs.len().to_string()));
        }
        let outputs = (operator.import)(self, &call)?;
        for (name, tracked) in node.outputs.iter().zip(outputs) {
            if self.uses.contains_key(name) {
                self.check_sizes(&at, &tracked)?;
                self.values.insert(name, simplified(tracked)?);
            }
        }
        for tracked in call.inputs.iter().flatten() {
            self.release(tracked);
        }
        match node.outputs.iter().find(|name| self.uses.contains_key(*name) && !self.values.contains_key(*name)) {
            Some(missing) => Err(Error::mismatch(at, "at most the outputs of the operator", quoted(missing))),
            None => Ok(()),
        }
    }

    /// Refuses sizes that would take long to compute with.
    fn check_sizes(&self, at: &str, tracked: &Tracked) -> Result<()> {
        const TERMS: usize = 4096;
        const SYMBOLS: usize = 16;
        let dims = match tracked {
            Tracked::Const(_) => return Ok(()),
            Tracked::Sizes(sizes) => sizes.values.clone(),
            other => self.dims(other)?,
        };
        let (mut terms, mut symbols) = (1usize, 0);
        for (count, longest) in dims.iter().map(Dim::extent) {
            terms = match tracked {
                Tracked::Sizes(_) => terms.max(count),
                _ => terms.saturating_mul(count.max(1)),
            };
            symbols += longest;
        }
        let few = if matches!(tracked, Tracked::Sizes(_)) { 64 } else { TERMS };
        if terms > few || symbols > SYMBOLS.max(2 * dims.len()) {
            return Err(Error::unsupported(at, "sizes that depend on so much of a run", "export it with fixed sizes"));
        }
        Ok(())
    }

    /// The tensor of that name, which is forgotten when it is read for the last time.
    fn take(&mut self, at: &str, name: &'a str) -> Result<Tracked> {
        let last = self.uses.get_mut(name).is_none_or(|uses| {
            *uses = uses.saturating_sub(1);
            *uses == 0
        });
        if !self.values.contains_key(name) {
            let span = self.initializers.get(name).copied();
            let span = span.ok_or_else(|| Error::mismatch(at, "inputs that nodes before it make", quoted(name)))?;
            let constant = tensor::decode(&tensor_subject(name), span, self.folder, self.limits)?;
            self.room(at, constant.tensor.len())?;
            self.values.insert(name, Tracked::Const(constant));
        }
        let found = if last { self.values.remove(name) } else { self.values.get(name).cloned() };
        found.ok_or_else(|| Error::internal("a tensor that is not there"))
    }

    /// Adds a layer of the node being read, and calls it.
    pub(super) fn layer(&mut self, _at: &str, what: &str, kind: LayerKind, inputs: &[Value]) -> Result<Value> {
        let name = self.layer_name(what);
        self.builder.add(&name, kind, inputs)
    }

    /// A name for a layer of the node being read; `what` is empty for the one that is the node itself.
    pub(super) fn layer_name(&mut self, what: &str) -> String {
        let base = match (self.node.is_empty(), what.is_empty()) {
            (true, true) => "node".to_owned(),
            (true, false) => what.to_owned(),
            (false, true) => self.node.clone(),
            (false, false) => format!("{}/{what}", self.node),
        };
        loop {
            let count = self.names.entry(base.clone()).or_insert(0);
            *count += 1;
            if *count == 1 {
                return base;
            }
            let name = format!("{base}_{}", *count - 1);
            if !self.names.contains_key(&name) {
                self.names.insert(name.clone(), 1);
                return name;
            }
        }
    }

    /// The tensor as a value of the model.
    pub(super) fn materialised(&mut self, at: &str, tracked: &Tracked) -> Result<View> {
        match tracked {
            Tracked::View(view) => Ok(view.clone()),
            Tracked::Const(constant) => {
                let shape = [&[1], constant.shape()].concat();
                let tensor = Tensor::new(shape, constant.tensor.to_f32().into_owned())?;
                self.room(at, tensor.len())?;
                let value = self.layer(at, "constant", LayerKind::Constant(tensor.into()), &[])?;
                let axes = (1..=constant.shape().len()).map(|axis| vec![axis]).collect();
                self.view(constant.kind, value, axes)
            }
            Tracked::Splat(splat) => {
                let Fill::Number(number) = splat.value else {
                    return Err(self.size_as_value(at));
                };
                // The batch is an axis of its own, and first.
                let is_rows = |dim: &Dim| dim.symbols().any(|symbol| symbol == Symbol::BATCH);
                let rows = splat.dims.iter().position(is_rows);
                let mut shape =
                    vec![rows.and_then(|axis| splat.dims.get(axis).cloned()).unwrap_or_else(|| Dim::from(1))];
                let mut axes = Vec::new();
                for (axis, dim) in splat.dims.iter().enumerate() {
                    if rows == Some(axis) {
                        axes.push(vec![0]);
                    } else if is_rows(dim) {
                        return Err(self.mixes_rows(at));
                    } else {
                        axes.push(vec![shape.len()]);
                        shape.push(dim.clone());
                    }
                }
                #[allow(clippy::cast_possible_truncation)] // the model computes in f32
                let start = number as f32;
                let axis = shape.len() - 1;
                let value = self.layer(at, "fill", LayerKind::Ramp { start, step: 0.0, axis, shape }, &[])?;
                self.view(splat.kind, value, axes)
            }
            Tracked::Sizes(sizes) => {
                let known = sizes.values.iter().map(|dim| self.reduced(dim).constant()).collect::<Option<Vec<_>>>();
                let values = known.ok_or_else(|| self.size_as_value(at))?;
                let shape = if sizes.scalar { Vec::new() } else { vec![values.len()] };
                self.materialised(at, &Tracked::Const(Const::of_ints(shape, values)?))
            }
        }
    }

    fn size_as_value(&self, at: &str) -> Error {
        Error::unsupported(at, "a size of the run as a value to compute with", "export the model with fixed sizes")
    }
}

/// Sizes that do not depend on the run are a constant like any other.
fn simplified(tracked: Tracked) -> Result<Tracked> {
    let Tracked::Sizes(sizes) = &tracked else { return Ok(tracked) };
    let Some(values) = sizes.values.iter().map(Dim::constant).collect::<Option<Vec<i64>>>() else { return Ok(tracked) };
    let shape = if sizes.scalar { Vec::new() } else { vec![values.len()] };
    Const::of_ints(shape, values).map(Tracked::Const)
}
