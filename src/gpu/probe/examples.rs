//! The examples: for each kind of step a small plan that uses the same pipelines.

use super::Example;
use crate::{
    activation::Activation,
    dim::Dim,
    gpu::{
        kernel::Products,
        kernels::{
            held::COOPERATIVE_HELD,
            strategy::{Strategy, Way},
        },
    },
    plan::{Direction, Op, Precision, Recurrence},
};

/// Sums so long that some drivers run them on other kernels.
const LONG: usize = 8192;

/// Products of few rows, some, and many, which run on different kernels; as do sums of very many `inputs`.
pub(super) fn linear(precision: Precision, activation: Activation, inputs: usize) -> [Example; 3] {
    // More than one chunk of inputs; the longer the sum, the smaller its terms.
    let (inputs, scale) = if inputs > LONG { (inputs, 1.0 / 256.0) } else { (70, 0.25) };
    [3, 20, 67].map(|rows| {
        let mut example = Example::new(format!("linear of {rows} rows of {inputs}, {precision:?}, {activation:?}"));
        let outputs = 5;
        let input = example.input(&[rows, inputs], 1.0);
        let weight = example.weight(&[outputs, inputs], scale, precision);
        let bias = Some(example.bias(outputs));
        let output = example.buffer(&[rows, outputs]);
        example.step(Op::Linear { input, weight, bias, activation, output })
    })
}

pub(super) fn gather(precision: Precision) -> Example {
    let mut example = Example::new(format!("gather, {precision:?}"));
    let ids = example.given(&[2, 3], vec![0.0, 6.0, 3.0, 1.0, 6.0, 2.0]);
    let table = example.weight(&[7, 3], 1.0, precision);
    let output = example.buffer(&[2, 3, 3]);
    example.step(Op::Gather { ids, table, output })
}

pub(super) fn recurrence(r: &Recurrence, way: Way, [input_precision, precision]: [Precision; 2]) -> Example {
    // The smallest layer that the same pipeline serves.
    let hidden = match way.strategy {
        Strategy::Persistent | Strategy::Held => way.units / 2 + 1,
        Strategy::Step => 11,
        // As many groups; where that is the least, more than one workgroup.
        Strategy::Cooperative => match way.products {
            Products::Held(groups) if groups > COOPERATIVE_HELD[0] => groups / 2 * 4 * way.slices + 1,
            _ => r.hidden_size.min(11),
        },
    };
    let (seq_len, features) = (4, 3);
    // Of many rows to a workgroup, more than one group to an invocation.
    let (hidden, batch) = if matches!(way.products, Products::Tiled(_)) { (21, 37) } else { (hidden, 5) };
    let (cell, count) = (r.cell, r.directions.len());
    let (gates, states) = (cell.spec().gates.len() * hidden, cell.spec().states.len());
    let flags: Vec<_> = r.directions.iter().map(|d| (d.reverse, d.flipped)).collect();
    let functions = (r.params, r.dead, flags);
    // Projected, a few units less.
    let output = if r.is_projected() { hidden - hidden / 4 } else { hidden };
    let extras = match (r.has_peepholes(), r.is_projected()) {
        (false, false) => "",
        (true, false) => ", peepholes",
        (false, true) => ", projected",
        (true, true) => ", peepholes, projected",
    };
    let mut example = Example::new(format!(
        "recurrence of cell {}, {:?} with {hidden} units, {:?}, rows by {:?}, {precision:?}, {functions:?}{extras}",
        cell.spec().name,
        way.strategy,
        way.products,
        way.width,
    ));
    (example.strategy, example.like) = (Some(way.strategy), Some(way));
    let input = example.input(&[batch, seq_len, features], 1.0);
    let mask = Some(example.mask(batch, seq_len));
    let mut directions = Vec::with_capacity(count);
    for direction in &r.directions {
        let weight_ih = example.weight(&[gates, features], 0.5, input_precision);
        // The more units, the smaller, so that the states do not grow with their number.
        let scale = if hidden < 32 { 0.25 } else { 0.0625 };
        let weight_hh = example.weight(&[gates, output], scale, precision);
        let (bias_ih, bias_hh) = (Some(example.bias(gates)), Some(example.bias(gates)));
        let size = |state| if state == 0 { output } else { hidden };
        let initial = (0..states).map(|state| Some(example.input(&[batch, size(state)], 0.5))).collect();
        let finals = (0..states).map(|state| Some(example.buffer(&[batch, size(state)]))).collect();
        let peephole = direction.peephole.map(|_| example.bias(cell.spec().peepholes.len() * hidden));
        let projection = direction.projection.map(|_| example.weight(&[output, hidden], scale, precision));
        let (reverse, flipped) = (direction.reverse, direction.flipped);
        directions.push(Direction {
            reverse,
            flipped,
            weight_ih,
            weight_hh,
            bias_ih,
            bias_hh,
            peephole,
            projection,
            initial,
            finals,
        });
    }
    let sequence = Some(example.buffer(&[batch, seq_len, count * output]));
    let last = Some(example.buffer(&[batch, count * output]));
    example.step(Op::Recurrence(Recurrence {
        cell,
        params: r.params,
        hidden_size: hidden,
        output_size: output,
        input_size: features,
        input,
        mask,
        dead: r.dead,
        directions,
        sequence,
        last,
    }))
}

/// The steps without matrices.
pub(super) fn simple(op: &Op) -> Example {
    let f32 = Precision::F32;
    match op {
        Op::Map { activation, .. } => {
            let mut example = Example::new(format!("map, {activation:?}"));
            // Several turns for what repeats.
            let scale = if matches!(activation, Activation::Sin | Activation::Cos) { 400.0 } else { 4.0 };
            let (input, output) = (example.input(&[300], scale), example.buffer(&[300]));
            let activation = *activation;
            example.step(Op::Map { input, activation, output })
        }
        Op::Constant { .. } => {
            let mut example = Example::new("constant".to_owned());
            let (weight, output) = (example.weight(&[300], 1.0, f32), example.buffer(&[300]));
            example.step(Op::Constant { weight, output })
        }
        Op::Ramp { .. } => {
            let mut example = Example::new("ramp".to_owned());
            let output = example.buffer(&[2, 150, 2]);
            example.step(Op::Ramp { start: 0.5, step: -0.25, axis: 1, output })
        }
        Op::Permute { .. } => {
            let mut example = Example::new("permute".to_owned());
            let (input, output) = (example.input(&[2, 5, 3, 4], 1.0), example.buffer(&[2, 4, 5, 3]));
            example.step(Op::Permute { input, axes: vec![0, 3, 1, 2], output })
        }
        Op::Window { .. } => {
            let mut example = Example::new("window".to_owned());
            let (input, output) = (example.input(&[3, 9, 2], 1.0), example.buffer(&[3, 6, 3, 2]));
            let before = Dim::from(3);
            example.step(Op::Window { input, stride: 2, dilation: 2, before, fill: -1.0, output })
        }
        Op::MatMul { transposed, .. } => {
            let transposed = *transposed;
            let mut example = Example::new(format!("mat_mul, transposed {transposed}"));
            let left = example.input(&[2, 3, 35, 70], 0.25);
            let right = example.input(&[2, 1, if transposed { 34 } else { 70 }, if transposed { 70 } else { 34 }], 1.0);
            let output = example.buffer(&[2, 3, 35, 34]);
            example.step(Op::MatMul { left, right, transposed, output })
        }
        Op::Take { .. } => {
            let mut example = Example::new("take".to_owned());
            let index = example.given(&[2, 4], vec![0.0, 2.5, -3.0, 4.0, f32::NAN, 1.5, 90.0, f32::INFINITY]);
            let (input, output) = (example.input(&[2, 5, 3], 1.0), example.buffer(&[2, 4, 3]));
            example.step(Op::Take { input, index, output })
        }
        Op::Combine { op, .. } => {
            let mut example = Example::new(format!("combine, {op:?}"));
            let left = example.input(&[2, 3, 4], 1.0);
            let right = example.given(&[2, 1, 4], vec![0.5, 0.0, -1.0, 2.0, f32::NAN, 0.0, 1.0, 0.25]);
            let output = example.buffer(&[2, 3, 4]);
            example.step(Op::Combine { op: *op, left, right, output })
        }
        Op::Reduce { op, mask, .. } => {
            let mut example = Example::new(format!("reduce, {op:?}, mask {}", mask.is_some()));
            let input = example.input(&[4, 5, 2], 1.0);
            let mask = mask.map(|_| example.mask(4, 5));
            let output = example.buffer(&[4, 2]);
            example.step(Op::Reduce { op: *op, input, axis: 1, mask, output })
        }
        Op::Softmax { log, .. } => {
            let mut example = Example::new(format!("softmax, logarithm {log}"));
            let (input, output) = (example.input(&[3, 300, 2], 8.0), example.buffer(&[3, 300, 2]));
            example.step(Op::Softmax { input, axis: 1, log: *log, output })
        }
        Op::LayerNorm { .. } => {
            let mut example = Example::new("layer_norm".to_owned());
            let (input, output) = (example.input(&[3, 300], 2.0), example.buffer(&[3, 300]));
            let (gamma, beta) = (Some(example.bias(300)), Some(example.bias(300)));
            example.step(Op::LayerNorm { input, first_axis: 1, axes: 1, gamma, beta, epsilon: 1e-3, output })
        }
        Op::BatchNorm { .. } => {
            let mut example = Example::new("batch_norm".to_owned());
            let (input, output) = (example.input(&[3, 4, 2], 1.0), example.buffer(&[3, 4, 2]));
            let [mean, gamma, beta] = [0; 3].map(|_| example.bias(4));
            let variance = example.weight(&[4], 0.0, f32);
            let (gamma, beta) = (Some(gamma), Some(beta));
            example.step(Op::BatchNorm { input, axis: 1, mean, variance, gamma, beta, epsilon: 0.5, output })
        }
        Op::NotEqual { .. } => {
            let mut example = Example::new("not_equal".to_owned());
            let values = vec![0.5, 0.5, 0.5, 0.5, 0.0, 0.5, f32::NAN, 0.5, 0.5, 1.0, 2.0, 3.0];
            let (input, output) = (example.given(&[4, 3], values), example.buffer(&[4]));
            example.step(Op::NotEqual { input, value: 0.5, output, width: 3 })
        }
        // Copies; products and recurrences have examples of their own.
        _ => {
            let mut example = Example::new("copy".to_owned());
            let (input, output) = (example.input(&[2, 5, 3], 1.0), example.buffer(&[2, 4, 3]));
            let (input_start, output_start, extent) = (Dim::from(4), Dim::from(1), Dim::from(2));
            example.step(Op::Copy { input, input_start, input_step: -3, output, output_start, axis: 1, extent })
        }
    }
}
