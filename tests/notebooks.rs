//! The numbers of the notebooks that this project started from, on every device.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::Arc;

use common::nets::devices;
use wgpu_rnn::{
    Activation, Device, Model, Session, SessionOptions, Tensor,
    cell::Cell,
    model::{Bidirectional, Dense, Embedding, HeadActivation, LayerKind, MergeMode, Recurrent},
};

fn constant(shape: &[usize], value: f32) -> Arc<Tensor> {
    Arc::new(Tensor::new(shape, vec![value; shape.iter().product()]).unwrap())
}

fn recurrent(cell: Cell, input_size: usize, hidden: usize, weight: f32) -> Recurrent {
    let rows = cell.spec().gates.len() * hidden;
    Recurrent {
        bias_ih: Some(constant(&[rows], 0.0)),
        return_sequences: false,
        passes_mask: true,
        ..Recurrent::new(cell, constant(&[rows, input_size], weight), constant(&[rows, hidden], weight))
    }
}

fn rnn(input_size: usize, hidden: usize, return_sequences: bool) -> LayerKind {
    LayerKind::Recurrent(Recurrent { return_sequences, ..recurrent(Cell::Rnn, input_size, hidden, 0.1) })
}

fn dense(input: usize, output: usize) -> LayerKind {
    LayerKind::Dense(Dense {
        weight: constant(&[output, input], 0.1),
        bias: Some(constant(&[output], 0.0)),
        activation: HeadActivation::Pointwise(Activation::Linear),
    })
}

fn sequential(input: &[Option<usize>], layers: Vec<LayerKind>) -> Model {
    let mut model = Model::builder("sequential");
    let mut value = model.input("input", input).unwrap();
    for (index, layer) in layers.into_iter().enumerate() {
        value = model.add(&format!("layer_{index}"), layer, &[value]).unwrap();
    }
    model.output("output", value).unwrap();
    model.build().unwrap()
}

fn counts(model: &Model) -> Vec<usize> {
    model.layers().iter().skip(1).map(|layer| layer.kind.parameter_count()).collect()
}

#[test]
fn parameter_counts() {
    let shape = |a, b| [Some(a), Some(b)];
    assert_eq!(counts(&sequential(&shape(2, 10), vec![rnn(10, 3, false)])), [42]);
    assert_eq!(counts(&sequential(&shape(10, 5), vec![rnn(5, 3, true), rnn(3, 3, false)])), [27, 21]);
    let embedding =
        |rows, columns| LayerKind::Embedding(Embedding { table: constant(&[rows, columns], 0.1), mask_zero: false });
    let text = sequential(&[None], vec![embedding(5000, 100), rnn(100, 128, false), dense(128, 1)]);
    assert_eq!(counts(&text), [500_000, 29_312, 129]);
    assert_eq!(text.parameter_count(), 529_441);
    let wide = vec![rnn(10_000, 32, false), dense(32, 1)];
    assert_eq!(counts(&sequential(&shape(3, 10_000), wide)), [321_056, 33]);
    let stacked = vec![rnn(10_000, 32, true), rnn(32, 32, false), dense(32, 1)];
    assert_eq!(counts(&sequential(&shape(3, 10_000), stacked)), [321_056, 2_080, 33]);
    let lstm = LayerKind::Recurrent(recurrent(Cell::Lstm, 10_000, 32, 0.1));
    assert_eq!(counts(&sequential(&shape(3, 10_000), vec![lstm])), [1_284_224]);
    let small = vec![embedding(50, 8), rnn(8, 32, false), dense(32, 1)];
    assert_eq!(counts(&sequential(&[None], small)), [400, 1_312, 33]);
}

#[test]
fn shapes() {
    let x = Tensor::new([8, 2, 10], vec![0.5f32; 160]).unwrap();
    for (_, device) in devices() {
        for (sequences, shape) in [(false, vec![8, 3]), (true, vec![8, 2, 3])] {
            let model = sequential(&[Some(2), Some(10)], vec![rnn(10, 3, sequences)]);
            let session = Session::new(&model, SessionOptions::on(device.clone())).unwrap();
            assert_eq!(session.run(x.clone()).unwrap().single().unwrap().shape(), shape);
        }
    }
}

/// Kernel and recurrent weights 0.1; bias 0, but 1 for the forget gate, as Keras stores it.
fn bidirectional(return_sequences: bool) -> Model {
    let mut layer = recurrent(Cell::Lstm, 5, 3, 0.1);
    let bias = [0f32, 0., 0., 1., 1., 1., 0., 0., 0., 0., 0., 0.];
    layer.bias_ih = Some(Arc::new(Tensor::new([12], bias.to_vec()).unwrap()));
    layer.return_sequences = return_sequences;
    let backward = Recurrent { go_backwards: true, ..layer.clone() };
    let layer = Bidirectional { forward: layer, backward, merge: MergeMode::Separate };
    let mut model = Model::builder("bidirectional");
    let x = model.input("x", &[Some(4), Some(5)]).unwrap();
    let layer = model.layer("both", LayerKind::Bidirectional(layer)).unwrap();
    let call = wgpu_rnn::model::Call { inputs: &[x], ..Default::default() };
    for output in model.call(layer, call).unwrap() {
        model.output("both", output).unwrap();
    }
    model.build().unwrap()
}

#[test]
fn bidirectional_lstm() {
    let x: Vec<f32> =
        vec![0.1, 4.2, 1.5, 1.1, 2.8, 1.0, 3.1, 2.5, 0.7, 1.1, 0.3, 2.1, 1.5, 2.1, 0.1, 2.2, 1.4, 0.5, 0.9, 1.1f32];
    let x = Tensor::new([1, 4, 5], x).unwrap();
    let mut devices = devices();
    devices.push(("reference", Device::Reference));
    let last = [vec![0.630_313_8], vec![0.703_873_4]];
    let sequences = [
        vec![0.359_064_73, 0.551_113_25, 0.591_157_44, 0.630_313_8],
        vec![0.703_873_4, 0.588_635_86, 0.395_169_9, 0.219_422_44],
    ];
    for (name, device) in devices {
        for (return_sequences, expected) in [(false, &last), (true, &sequences)] {
            let session = Session::new(&bidirectional(return_sequences), SessionOptions::on(device.clone())).unwrap();
            let outputs = session.run(x.clone()).unwrap();
            assert_eq!(outputs.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["both", "both_1"]);
            for ((_, output), expected) in outputs.iter().zip(expected) {
                for (units, expected) in output.to_f32().chunks(3).zip(expected) {
                    for unit in units {
                        assert!((unit - expected).abs() < 1e-6, "{name}: {unit}, expected {expected}");
                    }
                }
            }
        }
    }
}

/// h = tanh(Wx x + Wh h + b), written out.
#[test]
fn loop_of_the_simple_rnn() {
    let (seq_len, input, hidden) = (6, 4, 3);
    let value = |i: usize| ((i * 37 % 19) as f32 - 9.0) / 12.0;
    let tensor = |shape: &[usize], salt: usize| {
        let count = shape.iter().product::<usize>();
        Arc::new(Tensor::new(shape, (0..count).map(|i| value(i + salt)).collect::<Vec<_>>()).unwrap())
    };
    let mut layer = recurrent(Cell::Rnn, input, hidden, 0.0);
    (layer.weight_ih, layer.weight_hh) = (tensor(&[hidden, input], 1), tensor(&[hidden, hidden], 5));
    layer.bias_ih = Some(tensor(&[hidden], 11));
    layer.return_sequences = true;
    let (wx, wh, b) = (layer.weight_ih.to_f64(), layer.weight_hh.to_f64(), layer.bias_ih.as_ref().unwrap().to_f64());
    let x = tensor(&[1, seq_len, input], 3);
    let (xs, mut h, mut expected) = (x.to_f64(), vec![0.0; hidden], Vec::new());
    for t in 0..seq_len {
        let old = h.clone();
        for u in 0..hidden {
            let from_x: f64 = (0..input).map(|k| wx[u * input + k] * xs[t * input + k]).sum();
            let from_h: f64 = (0..hidden).map(|k| wh[u * hidden + k] * old[k]).sum();
            h[u] = (from_x + from_h + b[u]).tanh();
        }
        expected.extend(h.clone());
    }
    let model = sequential(&[None, Some(input)], vec![LayerKind::Recurrent(layer)]);
    for (name, device) in devices() {
        let session = Session::new(&model, SessionOptions::on(device)).unwrap();
        let output = session.run((*x).clone()).unwrap();
        for (actual, expected) in output.single().unwrap().to_f64().iter().zip(&expected) {
            assert!((actual - expected).abs() < 1e-6, "{name}: {actual}, expected {expected}");
        }
    }
}
