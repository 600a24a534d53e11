//! [`Model::summary`]: the table that Keras 3 prints on an 80 column page without colours
//! (`keras/src/utils/summary_utils.py`, drawn by `rich`).

use std::collections::HashMap;

use super::{CallMask, Model, Style, Value};
use crate::dim::{Dim, Symbol};

/// A line of the table.
#[derive(Clone, Debug)]
struct Row {
    name: String,
    class_name: String,
    /// Of the outputs of the last call; `None` where the run decides.
    shapes: Vec<Vec<Option<usize>>>,
    parameters: usize,
    /// What goes into all calls.
    inputs: Vec<Edge>,
}

/// An output of a call of another layer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Edge {
    layer: String,
    node: usize,
    output: usize,
}

/// Widths of the columns' text: of a chain of layers, and of a graph.
const CHAIN: [usize; 3] = [31, 22, 13];
const GRAPH: [usize; 4] = [19, 17, 10, 17];
const HEADER: [&str; 4] = ["Layer (type)", "Output Shape", "Param #", "Connected to"];
/// The column of the parameter counts, the only one set to the right.
const COUNTS: usize = 2;
/// Width of the page: Keras takes four columns less for the table.
const PAGE: usize = 80;

impl Model {
    /// The table of layers, output shapes and parameter counts that Keras 3 prints for this model.
    ///
    /// ```
    /// # use wgpu_rnn::{Tensor, model::{Embedding, LayerKind, Model}};
    /// let mut model = Model::builder("words");
    /// let ids = model.input("ids", &[Some(4)])?;
    /// let table = Tensor::new([5, 3], vec![0.5f32; 15])?.into();
    /// let embedding = Embedding { table, mask_zero: false };
    /// let vectors = model.add("embedding", LayerKind::Embedding(embedding), &[ids])?;
    /// model.output("vectors", vectors)?;
    /// let summary = model.build()?.summary();
    /// assert!(summary.starts_with("Model: \"words\"\n"));
    /// assert!(summary.contains("│ embedding (Embedding)           │ (None, 4, 3)           │            15 │"));
    /// assert!(summary.ends_with(" Non-trainable params: 0 (0.00 B)\n"));
    /// # Ok::<(), wgpu_rnn::Error>(())
    /// ```
    #[must_use]
    pub fn summary(&self) -> String {
        let rows = rows(self);
        let mut text = String::new();
        for line in wrap(&visible(&format!("Model: \"{}\"", self.name)), PAGE, true) {
            text += &line;
            text.push('\n');
        }
        if self.style == Style::Functional && !is_chain(&rows) {
            table(&mut text, &GRAPH, &rows);
        } else {
            table(&mut text, &CHAIN, &rows);
        }
        self.totals(&mut text);
        text
    }

    fn totals(&self, text: &mut String) {
        const WORD: usize = size_of::<f32>();
        let (mut trainable, mut frozen) = (0, 0);
        for layer in self.layers.iter().filter(|layer| !layer.is_stated) {
            for (_, tensor, by_gradient) in layer.kind.weights() {
                *(if by_gradient && layer.trainable { &mut trainable } else { &mut frozen }) += tensor.len();
            }
        }
        let (optimizer, optimizer_bytes) = (self.optimizer_parameters, self.optimizer_bytes);
        let mut line = |what: &str, count: usize, bytes: usize| {
            *text += &format!(" {what} params: {} ({})\n", grouped(count), size(bytes));
        };
        let count = trainable + frozen;
        line("Total", count.saturating_add(optimizer), (count * WORD).saturating_add(optimizer_bytes));
        line("Trainable", trainable, trainable * WORD);
        line("Non-trainable", frozen, frozen * WORD);
        if optimizer > 0 {
            line("Optimizer", optimizer, optimizer_bytes);
        }
    }
}

/// The rows of a model's layers and blocks. A sequential model does not list its input.
fn rows(model: &Model) -> Vec<Row> {
    let row = |name: &str, class_name: &str, parameters| Row {
        name: name.to_owned(),
        class_name: class_name.to_owned(),
        shapes: Vec::new(),
        parameters,
        inputs: Vec::new(),
    };
    // A block stands before the first of its layers.
    let layers = model.layers.iter().enumerate().filter(|(_, layer)| layer.block.is_none());
    let layers = layers.map(|(index, layer)| {
        ((index, 1), Part::Layer(index), row(&layer.name, &layer.class_name, layer.parameter_count()))
    });
    let mut in_blocks = vec![0usize; model.blocks.len()];
    for layer in &model.layers {
        if let Some(sum) = outermost(model, layer.block).and_then(|block| in_blocks.get_mut(block)) {
            *sum += layer.parameter_count();
        }
    }
    let blocks = model.blocks.iter().enumerate().filter(|(_, block)| block.parent.is_none());
    let blocks = blocks.map(|(index, block)| {
        let parameters = in_blocks.get(index).copied().unwrap_or(0);
        ((block.position, 0), Part::Block(index), row(&block.name, &block.class_name, parameters))
    });
    let mut parts: Vec<_> = layers.chain(blocks).collect();
    parts.sort_by_key(|(place, ..)| *place);

    let mut nodes_of = vec![Vec::new(); model.layers.len()];
    for (index, node) in model.nodes.iter().enumerate() {
        if let Some(nodes) = nodes_of.get_mut(node.layer) {
            nodes.push(index);
        }
    }
    // Calls in the order in which they were made, each with what went in and what came out.
    let mut edges: HashMap<Value, Edge> = HashMap::new();
    for (_, part, row) in &mut parts {
        for (number, (_, outputs)) in calls(model, &nodes_of, *part).into_iter().enumerate() {
            row.shapes = outputs.iter().map(|&value| printed(model, model.shape(value).unwrap_or_default())).collect();
            for (output, &value) in outputs.iter().enumerate() {
                edges.insert(value, Edge { layer: row.name.clone(), node: number, output });
            }
        }
    }
    let mut rows = Vec::new();
    for (_, part, mut row) in parts {
        let inputs = calls(model, &nodes_of, part).into_iter().flat_map(|(inputs, _)| inputs);
        row.inputs = inputs.filter_map(|value| edges.get(&value).cloned()).collect();
        rows.push(row);
    }
    if model.style == Style::Sequential {
        rows.retain(|row| row.class_name != "InputLayer");
    }
    rows
}

/// What a row stands for.
#[derive(Clone, Copy)]
enum Part {
    Layer(usize),
    Block(usize),
}

/// The values that go into each call of a part, and those that come out; `nodes_of` has the calls of each layer.
fn calls(model: &Model, nodes_of: &[Vec<usize>], part: Part) -> Vec<(Vec<Value>, Vec<Value>)> {
    match part {
        Part::Layer(layer) => {
            let nodes = nodes_of.get(layer).map(Vec::as_slice).unwrap_or_default();
            nodes
                .iter()
                .filter_map(|&index| Some((index, model.nodes.get(index)?)))
                .map(|(index, node)| {
                    let mask = match node.mask {
                        CallMask::Given(mask) => Some(mask),
                        _ => None,
                    };
                    let inputs = node.inputs.iter().chain(&node.initial_state).copied().chain(mask).collect();
                    let outputs = (0..node.output_shapes.len()).map(|output| Value { node: index, output }).collect();
                    (inputs, outputs)
                })
                .collect()
        }
        Part::Block(block) => {
            let calls = model.blocks.get(block).map(|block| block.calls.as_slice()).unwrap_or_default();
            calls.iter().map(|call| (call.inputs.clone(), call.outputs.clone())).collect()
        }
    }
}

/// The block that is part of no other and that `block` is part of, or is.
fn outermost(model: &Model, block: Option<usize>) -> Option<usize> {
    let mut found = block?;
    // A parent is older than its parts.
    while let Some(parent) = model.blocks.get(found)?.parent.filter(|&parent| parent < found) {
        found = parent;
    }
    Some(found)
}

fn printed(model: &Model, shape: &[Dim]) -> Vec<Option<usize>> {
    let is_batch = |dim: &Dim| dim.as_symbol() == Some(Symbol::BATCH);
    shape.iter().map(|dim| if is_batch(dim) { model.batch_size } else { dim.fixed() }).collect()
}

/// Keras leaves out the column of connections where each layer follows the one before it.
fn is_chain(rows: &[Row]) -> bool {
    let mut followed: Vec<&str> = rows.iter().flat_map(|row| &row.inputs).map(|edge| edge.layer.as_str()).collect();
    followed.sort_unstable();
    followed.dedup();
    rows.iter().all(|row| row.inputs.len() <= 1) && followed.len() + 1 == rows.len()
}

/// `text` with control characters, which a terminal would obey, as escapes.
pub(super) fn visible(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    text.chars().map(escape).collect()
}

fn shapes_text(shapes: &[Vec<Option<usize>>]) -> String {
    let dim = |dim: &Option<usize>| dim.map_or_else(|| "None".to_owned(), |dim| dim.to_string());
    let shape = |shape: &Vec<Option<usize>>| format!("({})", shape.iter().map(dim).collect::<Vec<_>>().join(", "));
    match shapes {
        [one] => shape(one),
        many => format!("[{}]", many.iter().map(shape).collect::<Vec<_>>().join(", ")),
    }
}

fn edges_text(edges: &[Edge]) -> String {
    if edges.is_empty() {
        return "-".to_owned();
    }
    let edge = |edge: &Edge| format!("{}[{}][{}]", edge.layer, edge.node, edge.output);
    edges.iter().map(edge).collect::<Vec<_>>().join(", ")
}

fn table(text: &mut String, widths: &[usize], rows: &[Row]) {
    let rule = |left: char, bar: char, cross: char, right: char| {
        let bars: Vec<String> = widths.iter().map(|width| bar.to_string().repeat(width + 2)).collect();
        format!("{left}{}{right}\n", bars.join(&cross.to_string()))
    };
    *text += &rule('┏', '━', '┳', '┓');
    line(text, widths, '┃', &HEADER.map(str::to_owned));
    *text += &rule('┡', '━', '╇', '┩');
    for (index, row) in rows.iter().enumerate() {
        if index > 0 {
            *text += &rule('├', '─', '┼', '┤');
        }
        let name = visible(&format!("{} ({})", row.name, row.class_name));
        let connected = visible(&edges_text(&row.inputs));
        let cells = [name, shapes_text(&row.shapes), grouped(row.parameters), connected];
        line(text, widths, '│', &cells);
    }
    *text += &rule('└', '─', '┴', '┘');
}

/// One row, as high as its highest cell.
fn line(text: &mut String, widths: &[usize], bar: char, cells: &[String]) {
    let cells: Vec<Vec<String>> = cells.iter().zip(widths).map(|(cell, &width)| wrap(cell, width, false)).collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    for y in 0..height {
        text.push(bar);
        for (column, (cell, &width)) in cells.iter().zip(widths).enumerate() {
            let part = cell.get(y).map_or("", String::as_str);
            let part = if column == COUNTS { part.trim_end() } else { part };
            let space = " ".repeat(width.saturating_sub(cells_of(part)));
            let (before, after) = if column == COUNTS { (space, String::new()) } else { (String::new(), space) };
            *text += &format!(" {before}{part}{after} {bar}");
        }
        text.push('\n');
    }
}

/// Breaks `text` between words into lines of `width`. A word that is wider is folded, or cut with an ellipsis.
fn wrap(text: &str, width: usize, fold: bool) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in words(text) {
        let wide = cells_of(word.trim_end());
        let current = lines.last().is_some_and(|line| !line.is_empty());
        if used + wide <= width {
            used += cells_of(word);
        } else if wide > width && fold {
            if current {
                lines.push(String::new());
            }
            used = 0;
            for c in word.chars() {
                if used + cell(c) > width {
                    lines.push(String::new());
                    used = 0;
                }
                used += cell(c);
                lines.last_mut().into_iter().for_each(|line| line.push(c));
            }
            continue;
        } else {
            if current {
                lines.push(String::new());
            }
            used = cells_of(word);
        }
        lines.last_mut().into_iter().for_each(|line| line.push_str(word));
    }
    lines.into_iter().map(|line| cut(line, width)).collect()
}

/// `line` without the blanks that stick out, or with an ellipsis in place of what does.
fn cut(mut line: String, width: usize) -> String {
    while cells_of(&line) > width && line.ends_with(char::is_whitespace) {
        line.pop();
    }
    if cells_of(&line) <= width {
        return line;
    }
    let mut kept = String::new();
    for c in line.chars() {
        if cells_of(&kept) + cell(c) >= width {
            break;
        }
        kept.push(c);
    }
    kept += &" ".repeat(width.saturating_sub(cells_of(&kept) + 1));
    kept.push('…');
    kept
}

/// Words with the blanks after them; those at the start belong to the first.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let start = rest.len() - rest.trim_start().len();
        let word = rest.get(start..).unwrap_or_default();
        let end = word.find(char::is_whitespace).map_or(rest.len(), |end| start + end);
        let blanks = rest.get(end..).unwrap_or_default();
        let next = end + blanks.len() - blanks.trim_start().len();
        let (word, after) = rest.split_at(next);
        words.push(word);
        rest = after;
    }
    words
}

fn cells_of(text: &str) -> usize {
    text.chars().map(cell).sum()
}

/// How many columns of a terminal a character takes: combining marks none, East Asian ones two.
fn cell(c: char) -> usize {
    match u32::from(c) {
        0..=0x1f | 0x7f..=0x9f | 0x300..=0x36f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0x33ff
        | 0x3400..=0x4dbf
        | 0x4e00..=0x9fff
        | 0xa000..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// `1234567` as `1,234,567`.
fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes as `2.02 MB`.
#[allow(clippy::cast_precision_loss)] // two decimals are printed
fn size(bytes: usize) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "KB", "MB", "GB", "TB"] {
        if size < 1024.0 {
            return format!("{size:.2} {unit}");
        }
        size /= 1024.0;
    }
    format!("{size:.2} PB")
}
