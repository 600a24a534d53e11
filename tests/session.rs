//! What applications rely on in a session.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::Arc;

use common::nets::{Net, devices};
use wgpu_rnn::{
    Device, Model, Session, SessionOptions, State, Tensor,
    cell::Cell,
    model::{Embedding, LayerKind, Recurrent},
    plan::Plan,
};

#[test]
fn what_may_cross_threads() {
    fn send_and_sync<T: Send + Sync>() {}
    send_and_sync::<Model>();
    send_and_sync::<Plan>();
    send_and_sync::<Session>();
    send_and_sync::<State>();
    fn send<T: Send>(_: &T) {}
    let net = Net::new(1, Cell::Rnn, 3);
    let session = Session::new(&net.model(), SessionOptions::on(Device::Cpu)).unwrap();
    let run = session.run_async(net.inputs());
    send(&run);
    assert_eq!(pollster::block_on(run).unwrap(), session.run(net.inputs()).unwrap());
}

#[test]
fn concurrent_runs_of_a_stateful_session_follow_each_other() {
    for (name, device) in devices() {
        let net = Net { stateful: true, ..Net::new(2, Cell::Gru, 9) };
        let session = |device| Session::new(&net.model(), SessionOptions::on(device)).unwrap();
        let (together, alone) = (session(device.clone()), session(device));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..3).for_each(|_| drop(together.run(net.inputs()).unwrap())));
            }
        });
        (0..12).for_each(|_| drop(alone.run(net.inputs()).unwrap()));
        assert_eq!(together.state(), alone.state(), "{name}");
        assert!(alone.state().is_some());
    }
}

#[test]
fn ids_may_be_of_any_kind_of_number() {
    let mut model = Model::builder("text");
    let ids = model.input("ids", &[None]).unwrap();
    let table: Vec<f32> = (0..20u8).map(f32::from).collect();
    let table = Arc::new(Tensor::new([10, 2], table).unwrap());
    let y = model.add("embed", LayerKind::Embedding(Embedding { table, mask_zero: false }), &[ids]).unwrap();
    model.output("y", y).unwrap();
    let model = model.build().unwrap();
    for (name, device) in devices() {
        let session = Session::new(&model, SessionOptions::on(device)).unwrap();
        let run = |ids: Tensor| session.run(ids).unwrap().single().unwrap().to_f32().into_owned();
        let expected = [18.0, 19.0, 0.0, 1.0, 6.0, 7.0];
        assert_eq!(run(Tensor::new([1, 3], vec![9u8, 0, 3]).unwrap()), expected, "{name}");
        assert_eq!(run(Tensor::new([1, 3], vec![9i64, 0, 3]).unwrap()), expected, "{name}");
        assert_eq!(run(Tensor::new([1, 3], vec![9f32, 0.0, 3.0]).unwrap()), expected, "{name}");
        assert_eq!(run(Tensor::new([1, 3], vec![9f64, -0.0, 3.0]).unwrap()), expected, "{name}");
    }
}

#[test]
fn only_stateful_models_are_bound_to_a_batch_size() {
    let table = || LayerKind::Flatten;
    let mut free = Model::builder("free");
    free.batch_size(Some(4));
    let x = free.input("x", &[Some(2), Some(3)]).unwrap();
    let y = free.add("flat", table(), &[x]).unwrap();
    free.output("y", y).unwrap();
    let free = Session::new(&free.build().unwrap(), SessionOptions::on(Device::Cpu)).unwrap();
    let x = Tensor::new([1, 2, 3], vec![0.5f32; 6]).unwrap();
    assert_eq!(free.run(x).unwrap().single().unwrap().shape(), [1, 6]);

    let mut bound = Model::builder("bound");
    bound.batch_size(Some(2));
    let x = bound.input("x", &[None, Some(1)]).unwrap();
    let weight = |columns| Arc::new(Tensor::new([3, columns], vec![0.1f32; 3 * columns]).unwrap());
    let layer = Recurrent { stateful: true, ..Recurrent::new(Cell::Rnn, weight(1), weight(3)) };
    let y = bound.add("layer", LayerKind::Recurrent(layer), &[x]).unwrap();
    bound.output("y", y).unwrap();
    let bound = Session::new(&bound.build().unwrap(), SessionOptions::on(Device::Cpu)).unwrap();
    let x = |shape: &[usize]| Tensor::new(shape, vec![0.5f32; shape.iter().product()]).unwrap();
    for rows in 1..4 {
        let errors = [bound.run(x(&[rows, 4, 1])).err(), bound.stream(&[vec![rows, 4, 1]]).err()];
        for error in errors {
            let error = error.map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(error.contains("the 2 rows that the model was built for"), rows != 2, "{rows} rows: {error}");
        }
    }
}

#[cfg(feature = "gpu")]
#[test]
fn memory_is_known_before_it_is_taken() {
    use wgpu_rnn::{
        gpu::ProgramOptions,
        model::MergeMode,
        plan::{PlanOptions, Precision},
    };
    let Some(gpu) = common::nets::gpu() else { return };
    for (seed, cell) in Cell::ALL.into_iter().enumerate() {
        for precision in Precision::ALL {
            let bidirectional = (seed % 2 == 0).then_some(MergeMode::Concat);
            let net = Net { bidirectional, input_size: 7, ..Net::new(seed as u64, cell, 19) };
            let plan = Plan::new(&net.model(), &PlanOptions { precision, ..PlanOptions::default() }).unwrap();
            let shapes = [vec![4, 11, 7]];
            let bound = plan.bind(&shapes).unwrap();
            let before = gpu.memory_need(&plan, &bound, &ProgramOptions::default()).unwrap();
            let mut options = SessionOptions::on(Device::Opened(gpu.clone()));
            options.weights = precision;
            let session = Session::new(&net.model(), options).unwrap();
            assert_eq!(session.memory_need(&shapes).unwrap(), Some(before), "{net:?}");
            assert!(before.weights > 0 && before.total() > before.weights);
        }
    }
}

/// A file of a few bytes may claim such a batch.
#[test]
fn rows_without_timesteps_cost_nothing() {
    let net = Net::new(3, Cell::Lstm, 5);
    let mut devices = devices();
    devices.push(("reference", Device::Reference));
    for (name, device) in devices {
        let session = Session::new(&net.model(), SessionOptions::on(device)).unwrap();
        let x = Tensor::new([1_000_000_000_000, 0, 3], Vec::<f32>::new()).unwrap();
        let outputs = session.run(x).unwrap();
        assert_eq!(outputs.single().unwrap().shape(), [1_000_000_000_000, 0, 5], "{name}");
        // The last output of so many rows has no room anywhere.
        let last = Net { return_sequences: false, ..Net::new(3, Cell::Lstm, 5) };
        let session = Session::new(&last.model(), SessionOptions::on(session.options().device.clone())).unwrap();
        let x = Tensor::new([1_000_000_000_000_000_000, 0, 3], Vec::<f32>::new()).unwrap();
        assert!(matches!(session.run(x), Err(wgpu_rnn::Error::Limit { .. })), "{name}");
    }
}

#[test]
fn a_session_may_release_its_weights() {
    for (name, device) in devices() {
        for cell in [Cell::Lstm, Cell::GruResetBefore] {
            let net = Net { stateful: true, ..Net::new(3, cell, 7) };
            let model = net.model();
            let mut options = SessionOptions::on(device.clone());
            options.release_weights = true;
            let (kept, released) =
                (Session::new(&model, SessionOptions::on(device.clone())), Session::new(&model, options));
            let (kept, released) = (kept.unwrap(), released.unwrap());
            let matrices: Vec<_> = model.layers().iter().flat_map(|layer| layer.kind.weights()).collect();
            let matrices: Vec<_> = matrices.iter().filter(|(_, tensor, _)| tensor.shape().len() == 2).collect();
            let weak: Vec<_> = matrices.iter().map(|(_, tensor, _)| Arc::downgrade(tensor)).collect();
            assert!(!weak.is_empty());
            let summary = model.summary();
            for _ in 0..2 {
                assert_eq!(released.run(net.inputs()).unwrap(), kept.run(net.inputs()).unwrap(), "{name} {cell:?}");
            }
            assert_eq!(released.state(), kept.state(), "{name} {cell:?}");
            drop((kept, model));
            assert!(weak.iter().all(|weak| weak.upgrade().is_none()), "{name} {cell:?}");
            assert_eq!(released.model().summary(), summary);
            released.run(net.inputs()).unwrap();
            let error = released.rebuilt().unwrap_err().to_string();
            assert!(
                error.ends_with(
                    "planning with weights that its session has released is not supported; load the model again"
                ),
                "{error}"
            );
        }
    }
}
