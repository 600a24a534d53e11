//! The messages of an ONNX file that an importer needs, as far as they are needed: attributes and
//! tensors stay bytes until somebody asks. A field that is not known is an error.

use super::wire::{Field, Span, malformed};
use crate::{
    error::{Error, Result},
    formats::limits::{Limits, within},
};

/// A file: its operator set and its graph.
#[derive(Debug)]
pub(super) struct ModelFile<'a> {
    pub(super) ir_version: i64,
    pub(super) producer: &'a str,
    pub(super) producer_version: &'a str,
    /// Domain and version, as listed.
    pub(super) opsets: Vec<(&'a str, i64)>,
    pub(super) functions: usize,
    pub(super) graph: Graph<'a>,
}

/// The graph of a file.
#[derive(Debug, Default)]
pub(super) struct Graph<'a> {
    pub(super) name: &'a str,
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) initializers: Vec<(&'a str, Span<'a>)>,
    pub(super) inputs: Vec<Info<'a>>,
    pub(super) outputs: Vec<Info<'a>>,
}

/// A node of a graph. Its attributes are read by [`Node::attributes`].
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    pub(super) name: &'a str,
    pub(super) domain: &'a str,
    pub(super) op: &'a str,
    /// An empty name stands for an input that is left out.
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
    body: Span<'a>,
}

/// A name with a type.
#[derive(Clone, Debug)]
pub(super) struct Info<'a> {
    pub(super) name: &'a str,
    body: Span<'a>,
}

/// An axis of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Axis<'a> {
    Fixed(usize),
    Named(&'a str),
    Open,
}

/// An attribute of a node.
#[derive(Clone, Debug, Default)]
pub(super) struct Attribute<'a> {
    pub(super) name: &'a str,
    pub(super) kind: i64,
    pub(super) float: Option<f32>,
    pub(super) int: Option<i64>,
    pub(super) text: Option<Span<'a>>,
    pub(super) tensor: Option<Span<'a>>,
    pub(super) has_graph: bool,
    pub(super) floats: Vec<f32>,
    pub(super) ints: Vec<i64>,
    pub(super) texts: Vec<Span<'a>>,
    /// Whether it holds something that no operator here has: sparse tensors, types, references.
    pub(super) other: bool,
}

/// The most values in a list of one attribute.
const LIST: usize = 1 << 16;
/// The most operator sets of a file.
const OPSETS: usize = 256;
/// The most attributes of one node.
const ATTRIBUTES: usize = 256;

fn unknown<T>(field: &Field<'_>, message: &str) -> Result<T> {
    Err(malformed(field.offset, message, "a field of ONNX", format!("field {}", field.number)))
}

/// Counts what is decoded, so that many tiny messages cannot fill memory.
struct Count<'l> {
    limits: &'l Limits,
    edges: usize,
}

impl Count<'_> {
    fn edge(&mut self) -> Result<()> {
        self.edges += 1;
        within(|| "the graph".to_owned(), self.edges as u64, self.limits.onnx_edges, "onnx_edges")
    }
}

impl<'a> ModelFile<'a> {
    pub(super) fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Self> {
        let mut model = Self {
            ir_version: 0,
            producer: "",
            producer_version: "",
            opsets: Vec::new(),
            functions: 0,
            graph: Graph::default(),
        };
        let mut graph = None;
        let mut fields = Span::whole(bytes).fields("ModelProto");
        while let Some(field) = fields.next()? {
            match field.number {
                1 => model.ir_version = field.int()?,
                2 => model.producer = field.text("producer_name")?,
                3 => model.producer_version = field.text("producer_version")?,
                // domain, model_version, doc_string, metadata_props, training_info, configuration
                4..=6 | 14 | 20 | 26 => {}
                7 if graph.is_some() => return Err(malformed(field.offset, "ModelProto", "one graph", "several")),
                7 => graph = Some(field.span()?),
                8 => {
                    if model.opsets.len() == OPSETS {
                        return Err(malformed(field.offset, "ModelProto", format!("{OPSETS} operator sets"), "more"));
                    }
                    model.opsets.push(opset(field.span()?)?);
                }
                25 => model.functions += 1,
                _ => return unknown(&field, "ModelProto"),
            }
        }
        let graph = graph.ok_or_else(|| malformed(bytes.len(), "ModelProto", "a graph", "none"))?;
        model.graph = Graph::parse(graph, limits)?;
        Ok(model)
    }
}

fn opset(span: Span<'_>) -> Result<(&str, i64)> {
    let (mut domain, mut version) = ("", 0);
    let mut fields = span.fields("OperatorSetIdProto");
    while let Some(field) = fields.next()? {
        match field.number {
            1 => domain = field.text("domain")?,
            2 => version = field.int()?,
            _ => return unknown(&field, "OperatorSetIdProto"),
        }
    }
    Ok((domain, version))
}

impl<'a> Graph<'a> {
    fn parse(span: Span<'a>, limits: &Limits) -> Result<Self> {
        let mut graph = Self::default();
        let mut count = Count { limits, edges: 0 };
        let mut fields = span.fields("GraphProto");
        while let Some(field) = fields.next()? {
            match field.number {
                1 => {
                    graph.nodes.push(Node::parse(field.span()?, &mut count)?);
                    let found = graph.nodes.len() as u64;
                    within(|| "the graph".to_owned(), found, limits.onnx_nodes, "onnx_nodes")?;
                }
                2 => graph.name = field.text("name")?,
                5 => {
                    let tensor = field.span()?;
                    graph.initializers.push((tensor_name(tensor)?, tensor));
                    let found = graph.initializers.len() as u64;
                    within(|| "the graph".to_owned(), found, limits.onnx_tensors, "onnx_tensors")?;
                }
                // doc_string, value_info (shapes are worked out anew), quantization_annotation, metadata_props
                10 | 13 | 14 | 16 => {}
                11 => graph.inputs.push(Info::parse(field.span()?, &mut count)?),
                12 => graph.outputs.push(Info::parse(field.span()?, &mut count)?),
                15 => {
                    return Err(Error::unsupported("the graph", "a sparse initializer", "save dense tensors"));
                }
                _ => return unknown(&field, "GraphProto"),
            }
        }
        Ok(graph)
    }
}

/// The name of a tensor, the rest being left alone.
fn tensor_name(span: Span<'_>) -> Result<&str> {
    let mut name = "";
    let mut fields = span.fields("TensorProto");
    while let Some(field) = fields.next()? {
        if field.number == 8 {
            name = field.text("name of a tensor")?;
        }
    }
    Ok(name)
}

impl<'a> Node<'a> {
    fn parse(body: Span<'a>, count: &mut Count<'_>) -> Result<Self> {
        let mut node = Self { name: "", domain: "", op: "", inputs: Vec::new(), outputs: Vec::new(), body };
        let mut fields = body.fields("NodeProto");
        while let Some(field) = fields.next()? {
            match field.number {
                1 => {
                    count.edge()?;
                    node.inputs.push(field.text("input")?);
                }
                2 => {
                    count.edge()?;
                    node.outputs.push(field.text("output")?);
                }
                3 => node.name = field.text("name")?,
                4 => node.op = field.text("op_type")?,
                7 => node.domain = field.text("domain")?,
                // attribute, doc_string, overload, metadata_props, device_configurations
                5 | 6 | 8 | 9 | 10 => {}
                _ => return unknown(&field, "NodeProto"),
            }
        }
        Ok(node)
    }

    pub(super) fn attributes(&self) -> Result<Vec<Attribute<'a>>> {
        let mut all: Vec<Attribute<'a>> = Vec::new();
        let mut fields = self.body.fields("NodeProto");
        while let Some(field) = fields.next()? {
            if field.number == 5 {
                let attribute = Attribute::parse(field.span()?)?;
                if all.iter().any(|other| other.name == attribute.name) {
                    let found = format!("{} twice", crate::error::quoted(attribute.name));
                    return Err(malformed(field.offset, "NodeProto", "attributes of different names", found));
                }
                if all.len() == ATTRIBUTES {
                    return Err(malformed(field.offset, "NodeProto", format!("{ATTRIBUTES} attributes"), "more"));
                }
                all.push(attribute);
            }
        }
        Ok(all)
    }
}

impl<'a> Attribute<'a> {
    fn parse(span: Span<'a>) -> Result<Self> {
        let mut it = Self::default();
        let mut room = LIST;
        let mut one_more = || {
            room =
                room.checked_sub(1).ok_or_else(|| malformed(span.offset, "AttributeProto", "65536 values", "more"))?;
            Ok(())
        };
        let mut fields = span.fields("AttributeProto");
        while let Some(field) = fields.next()? {
            match field.number {
                1 => it.name = field.text("name of an attribute")?,
                2 => it.float = Some(field.float()?),
                3 => it.int = Some(field.int()?),
                4 => it.text = Some(field.span()?),
                5 => it.tensor = Some(field.span()?),
                6 | 11 => it.has_graph = true,
                7 => field.fixed32(|value| {
                    one_more()?;
                    it.floats.push(f32::from_le_bytes(value));
                    Ok(())
                })?,
                8 => field.ints(|value| {
                    one_more()?;
                    it.ints.push(value);
                    Ok(())
                })?,
                9 => {
                    one_more()?;
                    it.texts.push(field.span()?);
                }
                13 => {}
                20 => it.kind = field.int()?,
                10 | 14 | 15 | 21 | 22 | 23 => it.other = true,
                _ => return unknown(&field, "AttributeProto"),
            }
        }
        Ok(it)
    }
}

impl<'a> Info<'a> {
    fn parse(body: Span<'a>, count: &mut Count<'_>) -> Result<Self> {
        count.edge()?;
        let mut name = "";
        let mut fields = body.fields("ValueInfoProto");
        while let Some(field) = fields.next()? {
            match field.number {
                1 => name = field.text("name")?,
                2..=4 => {}
                _ => return unknown(&field, "ValueInfoProto"),
            }
        }
        Ok(Self { name, body })
    }

    /// The element type and the axes; no axes where the file does not say how many there are.
    pub(super) fn tensor_type(&self, limits: &Limits) -> Result<(i64, Option<Vec<Axis<'a>>>)> {
        let message = |span: Span<'a>, name: &'static str, number: u64| -> Result<Option<Span<'a>>> {
            let mut found = None;
            let mut fields = span.fields(name);
            while let Some(field) = fields.next()? {
                if field.number == number {
                    found = Some(field.span()?);
                }
            }
            Ok(found)
        };
        let wrong = |found: &str| malformed(self.body.offset, "ValueInfoProto", "the type of a tensor", found);
        let of_type = message(self.body, "ValueInfoProto", 2)?.ok_or_else(|| wrong("no type"))?;
        let tensor = message(of_type, "TypeProto", 1)?.ok_or_else(|| wrong("another type"))?;
        let (mut element, mut shape) = (0, None);
        let mut fields = tensor.fields("TypeProto.Tensor");
        while let Some(field) = fields.next()? {
            match field.number {
                1 => element = field.int()?,
                2 => shape = Some(field.span()?),
                _ => return unknown(&field, "TypeProto.Tensor"),
            }
        }
        let Some(shape) = shape else { return Ok((element, None)) };
        let mut axes = Vec::new();
        let mut fields = shape.fields("TensorShapeProto");
        while let Some(field) = fields.next()? {
            match field.number {
                1 => axes.push(axis(field.span()?)?),
                _ => return unknown(&field, "TensorShapeProto"),
            }
            within(|| "a tensor".to_owned(), axes.len() as u64, limits.rank, "rank")?;
        }
        Ok((element, Some(axes)))
    }
}

fn axis(span: Span<'_>) -> Result<Axis<'_>> {
    let mut axis = Axis::Open;
    let mut fields = span.fields("Dimension");
    while let Some(field) = fields.next()? {
        axis = match field.number {
            1 => {
                let size = field.int()?;
                let fixed = usize::try_from(size).ok().filter(|&size| size < 1 << 40);
                let wrong = || malformed(field.offset, "Dimension", "a size", size.to_string());
                // Some exporters write -1 or 0 for an axis that each run decides.
                if size == -1 || size == 0 { Axis::Open } else { Axis::Fixed(fixed.ok_or_else(wrong)?) }
            }
            2 => match field.text("dim_param")? {
                "" => Axis::Open,
                name => Axis::Named(name),
            },
            3 => axis,
            _ => return unknown(&field, "Dimension"),
        };
    }
    Ok(axis)
}
