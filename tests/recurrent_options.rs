//! Clip, coupled gates, peepholes and projection as a model has them: sizes, states, refusals.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::Arc;

use common::{Rng, nets::Net};
use wgpu_rnn::{
    Device, Model, Session, SessionOptions, Tensor,
    cell::Cell,
    model::{Bidirectional, Call, LayerKind, MergeMode, Recurrent, Value},
    plan::{Plan, PlanOptions, Precision},
};

fn zeros(shape: &[usize]) -> Arc<Tensor> {
    Arc::new(Tensor::new(shape, vec![0f32; shape.iter().product()]).unwrap())
}

/// Of 4 units and 3 features.
fn layer(cell: Cell) -> Recurrent {
    let rows = cell.spec().gates.len() * 4;
    Recurrent {
        return_sequences: false,
        return_state: true,
        passes_mask: true,
        ..Recurrent::new(cell, zeros(&[rows, 3]), zeros(&[rows, 4]))
    }
}

/// Projected to 2 units.
fn projected() -> Recurrent {
    Recurrent { weight_hh: zeros(&[16, 2]), weight_hr: Some(zeros(&[2, 4])), ..layer(Cell::Lstm) }
}

fn refusal(layer: Recurrent) -> String {
    let mut model = Model::builder("options");
    model.layer("rnn", LayerKind::Recurrent(layer)).unwrap_err().to_string()
}

#[test]
fn what_a_cell_cannot_have_is_refused_by_name() {
    for cell in [Cell::Rnn, Cell::Gru, Cell::GruResetBefore] {
        let name = cell.spec().name;
        let peephole = refusal(Recurrent { peephole: Some(zeros(&[12])), ..layer(cell) });
        assert!(peephole.contains("'rnn'") && peephole.contains(&format!("peepholes of cell {name}")), "{peephole}");
        let mut coupled = layer(cell);
        coupled.params.coupled = true;
        let coupled = refusal(coupled);
        assert!(coupled.contains(&format!("coupled gates of cell {name}")), "{coupled}");
        let rows = cell.spec().gates.len() * 4;
        let projection = Recurrent { weight_hh: zeros(&[rows, 2]), weight_hr: Some(zeros(&[2, 4])), ..layer(cell) };
        let projection = refusal(projection);
        assert!(projection.contains(&format!("projection of the hidden state of cell {name}")), "{projection}");
    }
}

#[test]
fn weights_that_do_not_fit_are_refused_by_name() {
    for (layer, names) in [
        (Recurrent { peephole: Some(zeros(&[11])), ..layer(Cell::Lstm) }, ["peephole", "[12]", "[11]"]),
        (Recurrent { weight_hh: zeros(&[16, 4]), ..projected() }, ["weight_hh", "[16, 2]", "[16, 4]"]),
        (Recurrent { weight_hr: Some(zeros(&[2, 4, 1])), ..projected() }, ["weight_hr", "[2, 4]", "[2, 4, 1]"]),
        (Recurrent { weight_hr: Some(zeros(&[2, 0])), ..projected() }, ["weight_hr", "at least one unit", "[2, 0]"]),
        (Recurrent { weight_hr: Some(zeros(&[0, 4])), ..projected() }, ["weight_hr", "at least one unit", "[0, 4]"]),
        (Recurrent { weight_hr: Some(zeros(&[5, 4])), ..projected() }, ["weight_hr", "at most 4", "5"]),
    ] {
        let message = refusal(layer);
        assert!(names.iter().all(|name| message.contains(name)), "{message}");
    }
    for clip in [0.0, -1.0, f32::NAN] {
        let mut layer = layer(Cell::Gru);
        layer.params.clip = Some(clip);
        let message = refusal(layer);
        assert!(message.contains("clip") && message.contains("above 0"), "{message}");
    }
    let nan = Recurrent { weight_hr: Some(Arc::new(Tensor::new([2, 4], vec![f32::NAN; 8]).unwrap())), ..projected() };
    assert!(refusal(nan).contains("weight_hr"));
}

#[test]
fn a_projected_layer_has_states_of_two_sizes() {
    let mut model = Model::builder("projected");
    let x = model.input("x", &[None, Some(3)]).unwrap();
    let states = [model.input("h", &[Some(2)]).unwrap(), model.input("c", &[Some(4)]).unwrap()];
    let rnn = model.layer("rnn", LayerKind::Recurrent(projected())).unwrap();
    let mut call = |initial_state: &[Value]| model.call(rnn, Call { inputs: &[x], initial_state, ..Call::default() });
    let swapped = call(&[states[1], states[0]]).unwrap_err().to_string();
    assert!(swapped.contains("[batch, 2] and [batch, 4]"), "{swapped}");
    for output in call(&states).unwrap() {
        model.output("y", output).unwrap();
    }
    let model = model.build().unwrap();
    let widths: Vec<_> = model.outputs().iter().map(|output| output.shape.clone()).collect();
    assert_eq!(widths, [vec![None, Some(2)], vec![None, Some(2)], vec![None, Some(4)]]);
    assert_eq!(model.parameter_count(), 16 * 3 + 16 * 2 + 2 * 4);
}

#[test]
fn the_projection_is_a_matrix_and_the_peephole_is_not() {
    let net = Net { peepholes: true, projection: Some(3), ..Net::new(4, Cell::Lstm, 5) };
    let options = PlanOptions { precision: Precision::F16, ..PlanOptions::default() };
    let plan = Plan::new(&net.model(), &options).unwrap();
    let half: Vec<_> = plan.weights.iter().filter(|w| w.precision == Precision::F16).map(|w| w.name.as_str()).collect();
    assert_eq!(half, ["layer weight_ih", "layer weight_hh", "layer weight_hr"]);
}

/// Directions that are not alike run one after the other, with the same result as together.
#[test]
fn directions_of_a_bidirectional_layer_may_differ() {
    let mut rng = Rng::new(3);
    let mut one = || Net { peepholes: true, projection: Some(3), ..Net::new(rng.next(), Cell::Lstm, 5) };
    let recurrent = |net: &Net| match &net.model().layers()[1].kind {
        LayerKind::Recurrent(r) => r.clone(),
        _ => panic!("no recurrent layer"),
    };
    let forward = recurrent(&one());
    let plain = recurrent(&Net::new(9, Cell::Lstm, 5));
    let without_peephole = Recurrent { peephole: None, ..recurrent(&one()) };
    for (backward, steps) in [(recurrent(&one()), 1), (without_peephole, 2), (plain, 2)] {
        let mut model = Model::builder("both");
        let x = model.input("x", &[None, Some(3)]).unwrap();
        let both = Bidirectional {
            forward: forward.clone(),
            backward: Recurrent { go_backwards: true, ..backward },
            merge: MergeMode::Concat,
        };
        let width = both.forward.output_size() + both.backward.output_size();
        let y = model.add("both", LayerKind::Bidirectional(both), &[x]).unwrap();
        model.output("y", y).unwrap();
        let model = model.build().unwrap();
        let plan = Plan::new(&model, &PlanOptions::default()).unwrap();
        let recurrences = plan.steps.iter().filter(|s| matches!(s.op, wgpu_rnn::plan::Op::Recurrence(_))).count();
        assert_eq!(recurrences, steps);
        let x: Vec<f32> = (0..2 * 4 * 3).map(|_| Rng::new(width as u64).uniform(-1.0, 1.0)).collect();
        let run = |device| {
            let session = Session::new(&model, SessionOptions::on(device)).unwrap();
            session.run(Tensor::new([2, 4, 3], x.clone()).unwrap()).unwrap()
        };
        let (expected, found) = (run(Device::Reference), run(Device::Cpu));
        let (expected, found) = (expected.single().unwrap(), found.single().unwrap());
        assert_eq!(expected.shape(), [2, 4, width]);
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-6;
        assert!(expected.to_f32().iter().zip(found.to_f32().iter()).all(close));
    }
}
