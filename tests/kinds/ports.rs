//! What callers pass in and get back: other orders of axes, inputs that may be missing, samples without
//! a batch, and weights that come with a run.

use wgpu_rnn::{
    Device, Inputs, Model, Session, SessionOptions, Tensor,
    cell::{Cell, DeadTimesteps},
    dim::Dim,
    layout::Layout,
    model::{Builder, Call, CallMask, LayerKind, Recurrent},
};

use super::{
    common::{Rng, nets::devices},
    counted, everywhere, random,
};

fn gru(rng: &mut Rng, input: usize, hidden: usize) -> Recurrent {
    let weight_ih = random(rng, &[3 * hidden, input]);
    let layer = Recurrent::new(Cell::Gru, weight_ih, random(rng, &[3 * hidden, hidden]));
    Recurrent { return_state: true, dead: DeadTimesteps::Zero, passes_mask: true, ..layer }
}

/// `input`, an optional `h_0`, and both outputs, in the order of `layout`.
fn model(layout: &[Vec<usize>], lengths: bool) -> Model {
    let mut model = Model::builder("gru");
    let layout = Layout::new(layout.to_vec()).unwrap();
    let dims = vec![model.batch(), model.symbol("seq_len"), Dim::from(2)];
    let x = model.input_as("input", dims, layout.clone(), false).unwrap();
    let state = Layout::new(vec![vec![], vec![0], vec![1]]).unwrap();
    let dims = vec![model.batch(), Dim::from(3)];
    let h = model.input_as("h_0", dims, state.clone(), true).unwrap();
    let mask = lengths.then(|| {
        let dims = vec![model.batch()];
        let lengths = model.input_as("lengths", dims, Layout::identity(1), false).unwrap();
        model.add("mask", LayerKind::LengthMask, &[lengths, x]).unwrap()
    });
    let layer = model.layer("gru", LayerKind::Recurrent(gru(&mut Rng::new(5), 2, 3))).unwrap();
    let mask = mask.map_or(CallMask::None, CallMask::Given);
    let outputs = model.call(layer, Call { inputs: &[x], initial_state: &[h], mask }).unwrap();
    model.output_as("output", outputs[0], layout).unwrap();
    model.output_as("h_n", outputs[1], state).unwrap();
    model.accept_unbatched();
    model.build().unwrap()
}

/// `[a, b, c]` as `[b, a, c]`.
fn turned(tensor: &Tensor) -> Tensor {
    let &[a, b, c] = tensor.shape() else { panic!("{:?}", tensor.shape()) };
    let values = tensor.to_f64();
    let turned = (0..b).flat_map(|j| (0..a).map(move |i| (i, j)));
    let turned: Vec<f64> = turned.flat_map(|(i, j)| values[(i * b + j) * c..][..c].to_vec()).collect();
    Tensor::new([b, a, c], turned).unwrap()
}

fn same(left: &Tensor, right: &Tensor) -> bool {
    left.shape() == right.shape() && left.to_f32() == right.to_f32()
}

#[test]
fn time_major_is_batch_major_turned() {
    let (batch_major, time_major) =
        (model(&[vec![0], vec![1], vec![2]], false), model(&[vec![1], vec![0], vec![2]], false));
    assert_eq!(time_major.inputs()[0].batch_axis, Some(1));
    assert_eq!(time_major.inputs()[1].shape, [Some(1), None, Some(3)]);
    assert!(time_major.inputs()[1].optional);
    let rng = &mut Rng::new(6);
    let (x, h) = (random(rng, &[4, 5, 2]), random(rng, &[1, 4, 3]));
    let inputs = |x: Tensor| Inputs::new().then(x).then(h.clone());
    let (one, other) = (everywhere(&batch_major, &inputs(x.clone())), everywhere(&time_major, &inputs(turned(&x))));
    for ((name, one), (_, other)) in one.iter().zip(&other) {
        assert!(same(&turned(one.get("output").unwrap()), other.get("output").unwrap()), "{name}");
        assert!(same(one.get("h_n").unwrap(), other.get("h_n").unwrap()), "{name}");
    }
}

#[test]
fn what_is_optional_counts_as_zeros() {
    let model = model(&[vec![1], vec![0], vec![2]], false);
    let x = counted(&[5, 4, 2]);
    let zeros = Tensor::new([1, 4, 3], vec![0f32; 12]).unwrap();
    let given = everywhere(&model, &Inputs::new().then(x.clone()).then(zeros));
    assert_eq!(everywhere(&model, &x.clone().into()), given);
    let session = Session::new(&model, SessionOptions::on(Device::Cpu)).unwrap();
    let error = session.run(Inputs::new().with("h_0", counted(&[1, 4, 3]))).unwrap_err();
    assert_eq!(error.to_string(), "inputs: expected 'input', 'h_0', found none for 'input'");
    let error = session.run(Inputs::new().then(x).then(counted(&[1, 3, 3]))).unwrap_err().to_string();
    assert_eq!(
        error,
        "input 'h_0': expected shape (1, None, 3) with 4 at axis 1 (batch, as in the inputs before it), found [1, 3, 3]"
    );
}

#[test]
fn a_sample_may_come_without_its_batch() {
    let model = model(&[vec![1], vec![0], vec![2]], false);
    for (name, device) in devices() {
        let session = Session::new(&model, SessionOptions::on(device)).unwrap();
        let batched = session.run(counted(&[5, 1, 2])).unwrap();
        let alone = session.run(counted(&[5, 2])).unwrap();
        for ((_, batched), (_, alone)) in batched.iter().zip(alone.iter()) {
            let mut shape = batched.shape().to_vec();
            shape.remove(1);
            assert_eq!(alone.shape(), shape, "{name}");
            assert_eq!(alone.data(), batched.data(), "{name}");
        }
        let mixed = Inputs::new().then(counted(&[5, 2])).then(counted(&[1, 1, 3]));
        assert!(session.run(mixed).is_err(), "{name}: one with and one without");
        let ragged = session.run_ragged(vec![counted(&[5, 2]).into(), counted(&[3, 2]).into()]).unwrap();
        assert_eq!(ragged[0], alone, "{name}");
        assert_eq!(ragged[1], session.run(counted(&[3, 2])).unwrap(), "{name}");
    }
}

#[test]
fn lengths_cut_rows() {
    let model = model(&[vec![1], vec![0], vec![2]], true);
    let x = counted(&[5, 2, 2]);
    let lengths = Tensor::new([2], vec![3i64, 5]).unwrap();
    let inputs = Inputs::new().with("input", x).with("lengths", lengths);
    for (name, outputs) in everywhere(&model, &inputs) {
        let output = outputs.get("output").unwrap();
        let h = outputs.get("h_n").unwrap().to_f64();
        let at = |t: usize, row: usize| output.to_f64()[(t * 2 + row) * 3..][..3].to_vec();
        assert_eq!(at(3, 0), [0.0; 3], "{name}");
        assert_eq!((at(2, 0), at(4, 1)), (h[..3].to_vec(), h[3..].to_vec()), "{name}");
    }
}

#[test]
fn a_file_may_fix_the_batch() {
    let mut model = Model::builder("fixed");
    let x = model.input("x", &[Some(1)]).unwrap();
    model.output("y", x).unwrap();
    model.fix_batch(3);
    let model = model.build().unwrap();
    let session = Session::new(&model, SessionOptions::on(Device::Cpu)).unwrap();
    assert!(session.run(counted(&[3, 1])).is_ok());
    let error = session.run(counted(&[2, 1])).unwrap_err().to_string();
    assert_eq!(error, "batch: expected the 3 rows that the model was built for, found 2 rows");
}

#[test]
fn layouts_must_place_every_axis() {
    let mut model = Builder::clone(&Model::builder("model"));
    let dims = vec![model.batch(), Dim::from(2)];
    let error = model.input_as("x", dims.clone(), Layout::new(vec![vec![1]]).unwrap(), false).unwrap_err();
    assert!(error.to_string().starts_with("input 'x': expected a layout with one place for each axis"), "{error}");
    let x = model.input_as("x", dims, Layout::identity(2), false).unwrap();
    let error = model.output_as("y", x, Layout::new(vec![vec![0]]).unwrap()).unwrap_err();
    assert!(error.to_string().starts_with("output 'y': expected a layout with a place for each axis"), "{error}");
}
