//! The layers that arrange values, take windows of them or look at lengths, against loops written out
//! here, on every device.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod ports;
mod windows;

use std::sync::Arc;

use common::{Rng, nets::devices};
use wgpu_rnn::{
    Device, Inputs, Model, Outputs, Session, SessionOptions, Tensor,
    dim::Dim,
    model::{Builder, Call, LayerKind, MergeOp, Reduction, Value},
};

/// Runs `model` everywhere and compares its only output.
pub fn check(model: &Model, inputs: impl Into<Inputs>, shape: &[usize], expected: &[f64]) {
    let inputs = inputs.into();
    for (name, outputs) in everywhere(model, &inputs) {
        let found = outputs.single().unwrap();
        assert_eq!(found.shape(), shape, "{name}");
        for (at, (found, expected)) in found.to_f64().iter().zip(expected).enumerate() {
            assert!((found - expected).abs() <= 2e-6, "{name}: {found} instead of {expected} at {at}");
        }
    }
}

pub fn everywhere(model: &Model, inputs: &Inputs) -> Vec<(&'static str, Outputs)> {
    let run = |(name, device)| {
        let session = Session::new(model, SessionOptions::on(device)).unwrap();
        (name, session.run(inputs.clone()).unwrap())
    };
    std::iter::once(("reference", Device::Reference)).chain(devices()).map(run).collect()
}

/// A tensor of whole numbers that tell where each value stands.
pub fn counted(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    Tensor::new(shape, (0..count).map(|i| i as f32).collect::<Vec<_>>()).unwrap()
}

pub fn random(rng: &mut Rng, shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    Tensor::new(shape, (0..count).map(|_| rng.uniform(-1.0, 1.0)).collect::<Vec<_>>()).unwrap()
}

/// A model of one layer on the input `x`.
pub fn single(shape: &[Option<usize>], kind: LayerKind) -> Model {
    built(|model| {
        let x = model.input("x", shape).unwrap();
        model.add("y", kind, &[x]).unwrap()
    })
}

pub fn built(make: impl FnOnce(&mut Builder) -> Value) -> Model {
    let mut model = Model::builder("model");
    let y = make(&mut model);
    model.output("y", y).unwrap();
    model.build().unwrap()
}

#[test]
fn permute_and_slice() {
    let model = single(&[None, Some(2)], LayerKind::Permute { axes: vec![0, 2, 1] });
    check(&model, counted(&[2, 3, 2]), &[2, 2, 3], &[0., 2., 4., 1., 3., 5., 6., 8., 10., 7., 9., 11.]);

    let last = built(|model| {
        let steps = model.symbol("seq_len");
        let dims = vec![model.batch(), steps.clone(), Dim::from(2)];
        let x = model.input_as("x", dims, wgpu_rnn::layout::Layout::identity(3), false).unwrap();
        let start = &steps - &Dim::from(1);
        model.add("y", LayerKind::Slice { axis: 1, start, step: -2, extent: Dim::from(2) }, &[x]).unwrap()
    });
    check(&last, counted(&[2, 4, 2]), &[2, 2, 2], &[6., 7., 2., 3., 14., 15., 10., 11.]);
    // Two positions, two apart, need three.
    for (name, device) in devices() {
        let session = Session::new(&last, SessionOptions::on(device)).unwrap();
        let error = session.run(counted(&[2, 2, 2])).unwrap_err().to_string();
        assert_eq!(error, "layer 'y': expected inputs that are long enough, found -1 and 0", "{name}");
    }
}

#[test]
fn pad_expand_and_reduce() {
    let pad = LayerKind::Pad { axis: 1, before: Dim::from(1), after: Dim::from(2), value: 7.0 };
    check(&single(&[None], pad), counted(&[2, 2]), &[2, 5], &[7., 0., 1., 7., 7., 7., 2., 3., 7., 7.]);

    let expand = built(|model| {
        let x = model.input("x", &[Some(1), Some(2)]).unwrap();
        let shape = vec![model.batch(), Dim::from(3), Dim::from(2)];
        model.add("y", LayerKind::Expand { shape }, &[x]).unwrap()
    });
    check(&expand, counted(&[1, 1, 2]), &[1, 3, 2], &[0., 1., 0., 1., 0., 1.]);

    let x = counted(&[2, 3, 2]);
    for (op, expected) in [
        (Reduction::Sum, [6., 9., 24., 27.]),
        (Reduction::Mean, [2., 3., 8., 9.]),
        (Reduction::Max, [4., 5., 10., 11.]),
        (Reduction::Min, [0., 1., 6., 7.]),
    ] {
        let kept = LayerKind::Reduce { op, axis: 1, keepdims: true };
        check(&single(&[None, Some(2)], kept), x.clone(), &[2, 1, 2], &expected);
    }
}

#[test]
fn constants_and_ramps_join_in() {
    let model = built(|model| {
        let x = model.input("x", &[Some(3)]).unwrap();
        let two = Arc::new(Tensor::new([1, 3], vec![2f32, 4.0, 8.0]).unwrap());
        let two = model.add("two", LayerKind::Constant(two), &[]).unwrap();
        let shape = vec![Dim::from(1), Dim::from(3)];
        let ramp = model.add("ramp", LayerKind::Ramp { start: 1.0, step: 1.0, axis: 1, shape }, &[]).unwrap();
        let quotient = model.add("quotient", LayerKind::Merge(MergeOp::Divide), &[x, two]).unwrap();
        model.add("y", LayerKind::Merge(MergeOp::Maximum), &[quotient, ramp]).unwrap()
    });
    check(&model, counted(&[3, 3]), &[3, 3], &[1., 2., 3., 1.5, 2., 3., 3., 2., 3.]);

    // An output that no input has a part in is there for each row.
    let alone = built(|model| {
        model.input("x", &[Some(1)]).unwrap();
        let shape = vec![Dim::from(1), Dim::from(2)];
        model.add("y", LayerKind::Ramp { start: 5.0, step: 0.5, axis: 1, shape }, &[]).unwrap()
    });
    check(&alone, counted(&[2, 1]), &[2, 2], &[5.0, 5.5, 5.0, 5.5]);
}

#[test]
fn products_of_values() {
    let rng = &mut Rng::new(3);
    for transposed in [false, true] {
        let model = built(|model| {
            let left = model.input("left", &[None, Some(4)]).unwrap();
            let right = if transposed { [None, Some(4)] } else { [Some(4), None] };
            let right = model.input("right", &right).unwrap();
            model.add("y", LayerKind::MatMul { transposed }, &[left, right]).unwrap()
        });
        let (m, n, k) = (5, 3, 4);
        let left = random(rng, &[2, m, k]);
        let right = random(rng, &if transposed { [2, n, k] } else { [2, k, n] });
        let (a, b) = (left.to_f64().into_owned(), right.to_f64().into_owned());
        let mut expected = Vec::new();
        for row in 0..2 {
            for i in 0..m {
                for j in 0..n {
                    let at = |x: usize| if transposed { (row * n + j) * k + x } else { (row * k + x) * n + j };
                    expected.push((0..k).map(|x| a[(row * m + i) * k + x] * b[at(x)]).sum::<f64>());
                }
            }
        }
        check(&model, vec![left, right], &[2, m, n], &expected);
    }
}

#[test]
fn lengths_mask_and_turn_round() {
    let mask = built(|model| {
        let x = model.input("x", &[None, Some(1)]).unwrap();
        let lengths = model.input("lengths", &[]).unwrap();
        model.add("y", LayerKind::LengthMask, &[lengths, x]).unwrap()
    });
    let lengths = |values: &[i64]| Tensor::new([values.len()], values.to_vec()).unwrap();
    let given = |values: &[i64]| Inputs::new().with("x", counted(&[3, 3, 1])).with("lengths", lengths(values));
    check(&mask, given(&[2, 0, 3]), &[3, 3], &[1., 1., 0., 0., 0., 0., 1., 1., 1.]);
    let session = Session::new(&mask, SessionOptions::on(Device::Cpu)).unwrap();
    let error = session.run(given(&[2, 4, 3])).unwrap_err().to_string();
    assert_eq!(error, "input 'lengths'[1]: expected a length from 0 to 3, the timesteps of layer 'y', found 4");

    let reverse = built(|model| {
        let x = model.input("x", &[None, Some(1)]).unwrap();
        let lengths = model.input("lengths", &[]).unwrap();
        model.add("y", LayerKind::ReverseSequence, &[x, lengths]).unwrap()
    });
    check(&reverse, given(&[2, 0, 3]), &[3, 3, 1], &[1., 0., 2., 3., 4., 5., 8., 7., 6.]);
}

#[test]
fn positions_are_taken_row_by_row() {
    let model = built(|model| {
        let x = model.input("x", &[None, Some(2)]).unwrap();
        let index = model.input("index", &[Some(1)]).unwrap();
        model.add("y", LayerKind::Take, &[x, index]).unwrap()
    });
    let index = Tensor::new([2, 1], vec![2i64, 0]).unwrap();
    check(&model, vec![counted(&[2, 3, 2]), index], &[2, 1, 2], &[4., 5., 6., 7.]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut model = Model::builder("model");
    let x = model.input("x", &[None, Some(2)]).unwrap();
    let mut refused = |kind: LayerKind| {
        let name = format!("y{kind:?}");
        let layer = model.layer(&name, kind).unwrap();
        let error = model.call(layer, Call { inputs: &[x], ..Call::default() }).unwrap_err().to_string();
        error.split_once(": expected ").unwrap().1.to_owned()
    };
    assert_eq!(
        refused(LayerKind::Permute { axes: vec![1, 0, 2] }),
        "a value whose axes are [1, 0, 2], the batch staying first, found inputs (None, None, 2)"
    );
    let slice = |start: usize, extent: usize| LayerKind::Slice {
        axis: 2,
        start: Dim::from(start),
        step: 1,
        extent: Dim::from(extent),
    };
    assert_eq!(refused(slice(1, 2)), "2 positions from 1 on at axis 2, found inputs (None, None, 2)");
    assert_eq!(refused(slice(0, 3)), "3 positions from 0 on at axis 2, found inputs (None, None, 2)");
    let shape = vec![Dim::from(3)];
    assert_eq!(refused(LayerKind::Expand { shape }), "a value that broadcasts to (3,), found inputs (None, None, 2)");
    let axis = LayerKind::Reduce { op: Reduction::Sum, axis: 3, keepdims: false };
    assert_eq!(refused(axis), "inputs and axes that fit it, found inputs (None, None, 2)");
    assert_eq!(refused(LayerKind::Take), "inputs and axes that fit it, found inputs (None, None, 2)");
}
