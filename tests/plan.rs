//! Plans: what the rewrites do, and that results do not change by them.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::Arc;

use common::Rng;
use wgpu_rnn::{
    Activation, Device, Model, Session, SessionOptions, Tensor,
    cell::Cell,
    compare::{Tolerance, compare},
    model::{BatchNormalization, Bidirectional, Dense, HeadActivation, LayerKind, MergeMode, MergeOp, Recurrent},
    plan::{Op, Plan, PlanOptions, Precision, Rewrites},
};

fn random(rng: &mut Rng, shape: &[usize], low: f32, high: f32) -> Arc<Tensor> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.uniform(low, high)).collect();
    Arc::new(Tensor::new(shape, values).unwrap())
}

/// Dense, batch normalisation, function; then both directions of a GRU.
fn model() -> Model {
    let mut rng = Rng::new(7);
    let mut model = Model::builder("rewrites");
    let x = model.input("x", &[None, Some(6)]).unwrap();
    let dense = Dense {
        weight: random(&mut rng, &[5, 6], -1.0, 1.0),
        bias: Some(random(&mut rng, &[5], -1.0, 1.0)),
        activation: HeadActivation::Pointwise(Activation::Linear),
    };
    let y = model.add("dense", LayerKind::Dense(dense), &[x]).unwrap();
    let norm = BatchNormalization {
        axis: -1,
        gamma: Some(random(&mut rng, &[5], 0.5, 2.0)),
        beta: Some(random(&mut rng, &[5], -1.0, 1.0)),
        moving_mean: random(&mut rng, &[5], -1.0, 1.0),
        moving_variance: random(&mut rng, &[5], 0.1, 3.0),
        epsilon: 1e-3,
    };
    let y = model.add("norm", LayerKind::BatchNormalization(norm), &[y]).unwrap();
    let function = HeadActivation::Pointwise(Activation::Tanh);
    let y = model.add("tanh", LayerKind::Activation(function), &[y]).unwrap();
    let mut layer = |go_backwards| Recurrent {
        go_backwards,
        passes_mask: true,
        ..Recurrent::new(Cell::Gru, random(&mut rng, &[12, 5], -1.0, 1.0), random(&mut rng, &[12, 4], -0.5, 0.5))
    };
    let (forward, backward) = (layer(false), layer(true));
    let both = Bidirectional { forward, backward, merge: MergeMode::Ave };
    let z = model.add("both", LayerKind::Bidirectional(both), &[y]).unwrap();
    model.output("z", z).unwrap();
    model.build().unwrap()
}

fn kinds(rewrites: Rewrites, precision: Precision) -> Vec<&'static str> {
    let options = PlanOptions { rewrites, precision, ..PlanOptions::default() };
    let plan = Plan::new(&model(), &options).unwrap();
    plan.steps
        .iter()
        .map(|step| match step.op {
            Op::Linear { .. } => "linear",
            Op::BatchNorm { .. } => "batch_norm",
            Op::Map { .. } => "map",
            Op::Recurrence(_) => "recurrence",
            Op::Copy { .. } => "copy",
            Op::Combine { .. } => "combine",
            _ => "other",
        })
        .collect()
}

#[test]
fn each_rewrite_does_what_it_says() {
    let plain = ["linear", "batch_norm", "map", "recurrence", "recurrence", "combine", "map"];
    assert_eq!(kinds(Rewrites::NONE, Precision::F32), plain);
    let folded = ["linear", "map", "recurrence", "recurrence", "combine", "map"];
    assert_eq!(kinds(Rewrites { fold_batch_norm: true, ..Rewrites::NONE }, Precision::F32), folded);
    assert_eq!(kinds(Rewrites { fuse_activation: true, ..Rewrites::NONE }, Precision::F32), plain);
    let merged = ["linear", "batch_norm", "map", "recurrence", "copy", "copy", "combine", "map"];
    assert_eq!(kinds(Rewrites { merge_directions: true, ..Rewrites::NONE }, Precision::F32), merged);
    let all = ["linear", "recurrence", "copy", "copy", "combine", "map"];
    assert_eq!(kinds(Rewrites::ALL, Precision::F32), all);
    // The stored weights are the ones that are rounded.
    for precision in [Precision::F16, Precision::Bf16, Precision::I8] {
        assert_eq!(kinds(Rewrites::ALL, precision), merged);
    }
}

#[test]
fn rewrites_do_not_change_results() {
    let model = model();
    let x = random(&mut Rng::new(8), &[3, 7, 6], -2.0, 2.0);
    for precision in Precision::ALL {
        let run = |device| {
            let mut options = SessionOptions::on(device);
            options.weights = precision;
            Session::new(&model, options).unwrap().run((*x).clone()).unwrap()
        };
        let (reference, actual) = (run(Device::Reference), run(Device::Cpu));
        let (reference, actual) = (reference.single().unwrap(), actual.single().unwrap());
        let report =
            compare(&reference.to_f64(), &actual.to_f32(), reference.shape(), Tolerance::FREE_RUNNING).unwrap();
        assert!(report.passed(), "{precision:?}: {report}");
    }
}

#[test]
fn a_wrong_fold_shows_as_a_difference() {
    let model = model();
    let x = random(&mut Rng::new(8), &[1, 3, 6], -2.0, 2.0);
    let plan = |rewrites| Plan::new(&model, &PlanOptions { rewrites, ..PlanOptions::default() }).unwrap();
    let mut wrong = plan(Rewrites::ALL);
    let bias = wrong.weights.iter_mut().find(|weight| weight.name.ends_with("folded bias")).unwrap();
    let spoiled: Vec<f32> = bias.tensor.to_f32().iter().map(|value| value + 1e-3).collect();
    bias.tensor = Arc::new(Tensor::new(bias.tensor.shape(), spoiled).unwrap());
    let run = |plan: &Plan| {
        let bound = plan.bind(&[x.shape().to_vec()]).unwrap();
        let (input, output) = (plan.inputs[0].buffer, plan.outputs[0].buffer);
        let values = wgpu_rnn::reference::run(plan, &bound, &[(input, x.to_f64().into_owned())], &[output]).unwrap();
        (values.into_iter().next().unwrap(), bound.shape(output).to_vec())
    };
    let (expected, shape) = run(&plan(Rewrites::NONE));
    let (actual, _) = run(&wrong);
    let actual: Vec<f32> = actual.into_iter().map(|value| value as f32).collect();
    assert!(!compare(&expected, &actual, &shape, Tolerance::FREE_RUNNING).unwrap().passed());
}

#[test]
fn constants_stay_f32_whatever_the_precision() {
    // 1 + 2^-12 is no f16, no bf16, and no scale.
    let value = 1.0 + 1.0 / 4096.0;
    let mut model = Model::builder("constant");
    let x = model.input("x", &[Some(1)]).unwrap();
    let constant = Arc::new(Tensor::new([1, 1], vec![value]).unwrap());
    let constant = model.add("constant", LayerKind::Constant(constant), &[]).unwrap();
    let y = model.add("sum", LayerKind::Merge(MergeOp::Add), &[x, constant]).unwrap();
    model.output("y", y).unwrap();
    let model = model.build().unwrap();
    let devices = [Device::Reference, Device::Cpu];
    for (device, precision) in devices.into_iter().flat_map(|device| Precision::ALL.map(|p| (device.clone(), p))) {
        let mut options = SessionOptions::on(device);
        options.weights = precision;
        let y = Session::new(&model, options).unwrap().run(Tensor::new([2, 1], vec![0.0f32, 1.0]).unwrap()).unwrap();
        assert_eq!(*y.single().unwrap().to_f32(), [value, value + 1.0]);
    }
}
