//! Which axis of each input counts rows. A file does not say; operators do: a recurrent layer has its
//! batch at axis 1, a convolution at axis 0. Axes that must be the same are put into one class
//! through the graph, forwards and backwards, and what an operator says of one holds for all.

mod parts;
mod shapes;

use std::collections::HashMap;

use super::{
    external::Folder,
    proto::{Attribute, Axis, Graph, Node},
    tensor::{self, Const, Header, tensor_subject},
    wire::Span,
};
use crate::{
    error::{Error, Result, quoted},
    formats::limits::Limits,
    tensor::Tensor,
};

/// Which axes count rows.
#[derive(Debug, Default)]
pub(super) struct Axes {
    inputs: HashMap<String, usize>,
    /// The number of rows, where the file states one.
    pub(super) rows: Option<usize>,
}

impl Axes {
    pub(super) fn of(&self, input: &str) -> Option<usize> {
        self.inputs.get(input).copied()
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Class {
    parent: usize,
    rows: bool,
    /// Whether it cannot be rows.
    other: bool,
    /// Whether an operator needs several positions of it at once.
    mixed: bool,
    size: Option<usize>,
}

#[derive(Default)]
struct Classes<'a> {
    all: Vec<Class>,
    /// The classes of the axes of each tensor that depends on inputs.
    tensors: HashMap<&'a str, Vec<usize>>,
    /// Small tensors of integers that the file gives.
    known: HashMap<&'a str, Known>,
    /// Sizes that nodes take from shapes, as the axes that they are sizes of.
    lists: HashMap<&'a str, Vec<usize>>,
    /// The shapes of tensors that the file gives.
    constants: HashMap<&'a str, Vec<usize>>,
}

/// A number, or a list of numbers, that the file gives.
#[derive(Clone)]
struct Known {
    scalar: bool,
    values: Vec<i64>,
}

fn find<'l, 'a>(attributes: &'l [Attribute<'a>], name: &str) -> Option<&'l Attribute<'a>> {
    attributes.iter().find(|attribute| attribute.name == name)
}

fn int(attributes: &[Attribute<'_>], name: &str, default: i64) -> i64 {
    find(attributes, name).and_then(|attribute| attribute.int).unwrap_or(default)
}

/// `axis` counted from the front.
fn place(axis: i64, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { axis.saturating_add(i64::try_from(rank).unwrap_or(0)) } else { axis };
    usize::try_from(axis).ok().filter(|&axis| axis < rank)
}

fn places(axes: &[i64], rank: usize) -> Option<Vec<usize>> {
    axes.iter().map(|&axis| place(axis, rank)).collect()
}

/// Finds the rows of every input.
pub(super) fn axes(graph: &Graph<'_>, live: &[usize], given: &HashMap<&str, Tensor>, limits: &Limits) -> Result<Axes> {
    let mut classes = Classes::default();
    let stored: HashMap<&str, Span<'_>> = graph.initializers.iter().copied().collect();
    for (&name, &span) in &stored {
        classes.constants.insert(name, Header::parse("a tensor", span, limits)?.dims);
        if let Some(values) = small(span, limits)? {
            classes.known.insert(name, values);
        }
    }
    let mut named: HashMap<&str, usize> = HashMap::new();
    let mut inputs = Vec::new();
    for info in &graph.inputs {
        if stored.contains_key(info.name) || given.contains_key(info.name) {
            continue;
        }
        let Some(axes) = info.tensor_type(limits)?.1 else { continue };
        let mut of_tensor = Vec::new();
        for axis in &axes {
            of_tensor.push(match axis {
                Axis::Fixed(size) => classes.add(false, Some(*size)),
                Axis::Open => classes.add(false, None),
                Axis::Named(name) => *named.entry(name).or_insert_with(|| classes.add(false, None)),
            });
        }
        inputs.push((info.name, of_tensor.clone()));
        classes.tensors.insert(info.name, of_tensor);
    }
    for node in live.iter().filter_map(|&index| graph.nodes.get(index)) {
        classes.node(node, limits)?;
    }
    classes.conclude(&inputs)
}

/// The most integers of a list that is looked at.
const SMALL: usize = 64;

/// The values of a list of integers.
fn small(span: Span<'_>, limits: &Limits) -> Result<Option<Known>> {
    let header = Header::parse("a tensor", span, limits)?;
    if header.dims.len() > 1
        || !matches!(header.element, 6 | 7)
        || header.count("a tensor")? > SMALL
        || header.is_external()
    {
        return Ok(None);
    }
    let constant: Const = tensor::decode("a tensor", span, &Folder::new(None, limits), limits)?;
    let scalar = constant.shape().is_empty();
    Ok(constant.ints().map(|values| Known { scalar, values: values.to_vec() }))
}

impl<'a> Classes<'a> {
    fn add(&mut self, other: bool, size: Option<usize>) -> usize {
        self.all.push(Class { parent: self.all.len(), rows: false, other, mixed: false, size });
        self.all.len() - 1
    }

    fn root(&mut self, mut class: usize) -> usize {
        while let Some(parent) = self.all.get(class).map(|class| class.parent).filter(|&parent| parent != class) {
            // Halves the way for the next time.
            let grandparent = self.all.get(parent).map_or(parent, |class| class.parent);
            if let Some(slot) = self.all.get_mut(class) {
                slot.parent = grandparent;
            }
            class = parent;
        }
        class
    }

    fn get(&mut self, class: usize) -> Class {
        let root = self.root(class);
        self.all.get(root).copied().unwrap_or_default()
    }

    fn change(&mut self, class: usize, change: impl FnOnce(&mut Class)) {
        let root = self.root(class);
        if let Some(class) = self.all.get_mut(root) {
            change(class);
        }
    }

    /// Puts two axes into one class; an axis of extent 1 may stand for any other.
    fn join(&mut self, left: usize, right: usize) {
        let (a, b) = (self.get(left), self.get(right));
        if (a.size == Some(1)) != (b.size == Some(1)) {
            return;
        }
        let (left, right) = (self.root(left), self.root(right));
        self.change(left, |class| {
            class.rows |= b.rows;
            class.other |= b.other;
            class.mixed |= b.mixed;
            class.size = a.size.or(b.size);
        });
        if let Some(slot) = self.all.get_mut(right) {
            slot.parent = left;
        }
    }

    fn rows(&mut self, axes: &[usize], axis: usize) {
        for (index, &class) in axes.iter().enumerate() {
            self.change(class, |class| if index == axis { class.rows = true } else { class.other = true });
        }
    }

    fn of(&self, node: &Node<'a>, index: usize) -> Option<Vec<usize>> {
        node.inputs.get(index).and_then(|name| self.tensors.get(name)).cloned()
    }

    fn known(&self, node: &Node<'a>, attribute: Option<&Attribute<'_>>, index: usize) -> Option<Vec<i64>> {
        match attribute {
            Some(attribute) => Some(attribute.ints.clone()),
            None => node.inputs.get(index).and_then(|name| self.known.get(name)).map(|known| known.values.clone()),
        }
    }

    fn node(&mut self, node: &Node<'a>, limits: &Limits) -> Result<()> {
        let attributes = node.attributes()?;
        let attribute = |name: &str| find(&attributes, name);
        let int = |name: &str, default: i64| int(&attributes, name, default);
        self.mix(node, &attributes);
        self.sizes(node, &attributes);
        let first = self.of(node, 0);
        let keep = int("keepdims", 1) == 1;
        let outputs: Vec<Vec<usize>> = match (node.op, first) {
            ("Constant", _) => {
                if let (Some(span), Some(name)) = (attribute("value").and_then(|a| a.tensor), node.outputs.first()) {
                    self.constants.insert(name, Header::parse("a tensor", span, limits)?.dims);
                    if let Some(values) = small(span, limits)? {
                        self.known.insert(name, values);
                    }
                }
                let list = attribute("value_ints").filter(|list| list.ints.len() <= SMALL);
                if let (Some(list), Some(name)) = (list, node.outputs.first()) {
                    self.known.insert(name, Known { scalar: false, values: list.ints.clone() });
                }
                Vec::new()
            }
            ("RNN" | "GRU" | "LSTM", Some(x)) => {
                let batch_first = int("layout", 0) == 1;
                self.rows(&x, usize::from(!batch_first));
                for (index, rows) in [(4, 0), (5, usize::from(!batch_first)), (6, usize::from(!batch_first))] {
                    if let Some(axes) = self.of(node, index) {
                        self.rows(&axes, rows);
                    }
                }
                let [dirs, hidden] = [self.add(true, None), self.add(true, None)];
                match *x.as_slice() {
                    [batch, seq, _] if batch_first => {
                        vec![vec![batch, seq, dirs, hidden], vec![batch, dirs, hidden], vec![batch, dirs, hidden]]
                    }
                    [seq, batch, _] => {
                        vec![vec![seq, dirs, batch, hidden], vec![dirs, batch, hidden], vec![dirs, batch, hidden]]
                    }
                    _ => Vec::new(),
                }
            }
            ("Transpose", Some(x)) => {
                let order = attribute("perm")
                    .map_or_else(|| Some((0..x.len()).rev().collect()), |perm| places(&perm.ints, x.len()));
                order.map(|order| order.iter().filter_map(|&axis| x.get(axis).copied()).collect()).into_iter().collect()
            }
            ("Gather", data) => {
                let index = self.of(node, 1);
                let axis = place(int("axis", 0), data.as_ref().map_or(1, Vec::len)).unwrap_or(0);
                match (data, index) {
                    (None, Some(mut index)) => {
                        index.push(self.add(true, None));
                        vec![index]
                    }
                    (Some(data), None) => vec![self.gather(node, data, axis)],
                    _ => Vec::new(),
                }
            }
            ("MatMul", x) => match (x, self.of(node, 1)) {
                (Some(mut x), None) => {
                    x.pop();
                    x.push(self.add(true, None));
                    vec![x]
                }
                (Some(mut x), Some(y)) if x.len() == y.len() && x.len() > 2 => {
                    let lead = x.len() - 2;
                    x.iter().zip(&y).take(lead).for_each(|(&a, &b)| self.join(a, b));
                    x.pop();
                    x.extend(y.last());
                    vec![x]
                }
                _ => Vec::new(),
            },
            ("Gemm", Some(x)) => {
                let rows = x.get(usize::try_from(int("transA", 0)).unwrap_or(0)).copied();
                rows.map(|rows| vec![rows, self.add(true, None)]).into_iter().collect()
            }
            ("Concat", _) => {
                let all: Vec<Vec<usize>> = (0..node.inputs.len()).filter_map(|index| self.of(node, index)).collect();
                match all.first().cloned() {
                    Some(mut first) => {
                        let axis = place(int("axis", 0), first.len());
                        for other in &all {
                            for (index, (&a, &b)) in first.iter().zip(other).enumerate() {
                                if Some(index) != axis {
                                    self.join(a, b);
                                }
                            }
                        }
                        if let Some(slot) = axis.and_then(|axis| first.get_mut(axis)) {
                            *slot = self.add(true, None);
                        }
                        vec![first]
                    }
                    None => Vec::new(),
                }
            }
            ("Slice", Some(x)) => vec![self.slice(node, &attributes, x)],
            ("Split", Some(x)) => {
                let sizes = self.known(node, attribute("split"), 1);
                self.split(&x, place(int("axis", 0), x.len()), sizes.as_deref(), node.outputs.len())
            }
            ("Squeeze", Some(x)) => {
                let axes = self.known(node, attribute("axes"), 1).and_then(|axes| places(&axes, x.len()));
                let left = |axes: Vec<usize>| {
                    x.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, &c)| c).collect()
                };
                axes.map(left).into_iter().collect()
            }
            ("Unsqueeze", Some(x)) => {
                let axes = self.known(node, attribute("axes"), 1);
                let axes = axes.and_then(|axes| places(&axes, x.len() + axes.len()));
                axes.map(|axes| {
                    let mut left = x.iter().copied();
                    let count = x.len() + axes.len();
                    (0..count)
                        .filter_map(
                            |axis| if axes.contains(&axis) { Some(self.add(false, Some(1))) } else { left.next() },
                        )
                        .collect()
                })
                .into_iter()
                .collect()
            }
            ("Reshape", Some(x)) => {
                let target = self.known(node, attribute("shape"), 1);
                target
                    .map(|target| {
                        let mut same = true;
                        target
                            .iter()
                            .enumerate()
                            .map(|(index, &size)| {
                                let old = x.get(index).copied();
                                let known = old.and_then(|old| self.get(old).size);
                                same &= size == 0 || known.is_some_and(|known| i64::try_from(known) == Ok(size));
                                match old {
                                    Some(old) if same => old,
                                    _ => self.add(false, usize::try_from(size).ok().filter(|&size| size > 0)),
                                }
                            })
                            .collect()
                    })
                    .into_iter()
                    .collect()
            }
            ("Flatten", Some(x)) if int("axis", 1) == 1 => {
                x.first().map(|&rows| vec![rows, self.add(false, None)]).into_iter().collect()
            }
            (
                "Conv" | "MaxPool" | "AveragePool" | "GlobalAveragePool" | "GlobalMaxPool" | "BatchNormalization",
                Some(x),
            ) => {
                self.rows(&x, 0);
                x.first()
                    .map(|&rows| {
                        let rest = x.iter().skip(1).map(|_| self.add(true, None)).collect::<Vec<_>>();
                        [
                            vec![rows],
                            if node.op == "BatchNormalization" { x.iter().skip(1).copied().collect() } else { rest },
                        ]
                        .concat()
                    })
                    .into_iter()
                    .collect()
            }
            ("ReverseSequence", Some(x)) => {
                let rows = place(int("batch_axis", 1), x.len()).unwrap_or(0);
                if let Some(&class) = x.get(rows) {
                    self.change(class, |class| class.rows = true);
                }
                if let Some(lengths) = self.of(node, 1) {
                    self.rows(&lengths, 0);
                }
                vec![x]
            }
            (op, Some(x)) if op.starts_with("Reduce") || matches!(op, "ArgMax" | "ArgMin") => {
                let axes = match attribute("axis") {
                    Some(axis) => axis.int.map(|axis| vec![axis]),
                    None => self.known(node, attribute("axes"), 1),
                };
                let axes = axes.and_then(|axes| places(&axes, x.len()));
                axes.map(|axes| {
                    let one = |(axis, &class): (usize, &usize)| match (axes.contains(&axis), keep) {
                        (false, _) => Some(class),
                        (true, true) => Some(self.add(false, Some(1))),
                        (true, false) => None,
                    };
                    x.iter().enumerate().filter_map(one).collect()
                })
                .into_iter()
                .collect()
            }
            ("Shape" | "Size" | "Range" | "OneHot" | "Tile" | "If" | "Loop" | "Scan", _) => Vec::new(),
            ("ConstantOfShape", _) => self.list(node, 0).into_iter().collect(),
            ("Expand", x) => {
                let all = self.list(node, 1).map(|target| [vec![target], x.into_iter().collect()].concat());
                let given = node.inputs.get(..1).unwrap_or_default();
                all.and_then(|all| self.broadcast(&all, given)).into_iter().collect()
            }
            // Of each element, with broadcasting.
            _ => self.pointwise(node).into_iter().collect(),
        };
        for (name, axes) in node.outputs.iter().zip(outputs) {
            self.tensors.insert(name, axes);
        }
        Ok(())
    }

    fn pointwise(&mut self, node: &Node<'a>) -> Option<Vec<usize>> {
        let all: Vec<Vec<usize>> = (0..node.inputs.len()).filter_map(|index| self.of(node, index)).collect();
        // What a Pad is given beside its first input is no operand.
        let given = if node.op == "Pad" { &[] } else { node.inputs.as_slice() };
        self.broadcast(&all, given)
    }

    /// The rows of each input: what operators say, else the axis that is [`likely`](Self::likely). What is found for
    /// one input holds for the others, the ones with most axes first.
    fn conclude(&mut self, inputs: &[(&'a str, Vec<usize>)]) -> Result<Axes> {
        let mut axes = Axes::default();
        let mut order: Vec<&(&str, Vec<usize>)> = inputs.iter().collect();
        let said = |this: &mut Self, classes: &[usize]| classes.iter().any(|&class| this.get(class).rows);
        order.sort_by_cached_key(|(_, classes)| (!said(self, classes), std::cmp::Reverse(classes.len())));
        for (name, classes) in order {
            let found: Vec<Class> = classes.iter().map(|&class| self.get(class)).collect();
            let mut rows = (0..found.len()).filter(|&axis| found.get(axis).is_some_and(|class| class.rows));
            let axis = match (rows.next(), rows.next()) {
                (Some(axis), None) => axis,
                (None, _) => match self.likely(classes, axes.inputs.is_empty()) {
                    Some(axis) => axis,
                    None => continue,
                },
                (Some(_), Some(_)) => {
                    let subject = format!("input {}", quoted(name));
                    let instead = "export it with the batch along one";
                    return Err(Error::unsupported(subject, "an input with the batch along two axes", instead));
                }
            };
            self.rows(classes, axis);
            axes.inputs.insert((*name).to_owned(), axis);
            match (found.get(axis).and_then(|class| class.size), axes.rows) {
                (Some(size), Some(other)) if other != size => {
                    let found = format!("{other} and {size}");
                    return Err(Error::mismatch(tensor_subject(name), "one batch size for all inputs", found));
                }
                (Some(size), _) => axes.rows = Some(size),
                (None, _) => {}
            }
        }
        if axes.inputs.is_empty() {
            axes.rows = Some(1);
        }
        Ok(axes)
    }
}
