//! `verify` and the inputs that it makes.
#![cfg(feature = "keras")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use wgpu_rnn::{
    Data, Device, Error, Inputs, Model, Session, SessionOptions, Tensor,
    compare::Tolerance,
    plan::Precision,
    verify::{Reference, Verification, random_inputs, verify},
};

fn golden(name: &str) -> Model {
    Model::load(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/keras").join(format!("{name}.keras")))
        .unwrap()
}

fn on_cpu(model: &Model) -> Session {
    Session::new(model, SessionOptions::on(Device::Cpu)).unwrap()
}

fn ids(tensor: &Tensor) -> &[i64] {
    match tensor.data() {
        Data::I64(ids) => ids,
        other => panic!("{other:?}"),
    }
}

#[test]
fn random_inputs_depend_on_the_seed_alone() {
    let model = golden("several_inputs_and_outputs");
    let inputs = |seed| random_inputs(&model, 2, 9, seed).unwrap();
    assert_eq!(inputs(1), inputs(1));
    assert_ne!(inputs(1), inputs(2));
    let shapes: Vec<_> = inputs(1).into_iter().map(|(name, tensor)| (name, tensor.shape().to_vec())).collect();
    let expected = [("ids", vec![2, 5]), ("extra", vec![2, 2]), ("signal", vec![2, 4, 3])];
    assert_eq!(shapes, expected.map(|(name, shape)| (name.to_owned(), shape)));
    assert!(inputs(1)[2].1.to_f32().iter().all(|x| (-1.0..1.0).contains(x)));
}

#[test]
fn open_lengths_are_seq_len_and_ids_are_in_the_vocabulary() {
    let inputs = random_inputs(&golden("time_none_ids"), 40, 9, 0).unwrap();
    assert_eq!(inputs[0].1.shape(), [40, 9]);
    let ids = ids(&inputs[0].1);
    assert!((0..10).all(|id| ids.contains(&id)) && ids.iter().all(|id| (0..10).contains(id)));
}

/// Which timesteps of a row are dead, as text.
fn dead(row: &[bool]) -> String {
    row.iter().map(|&dead| if dead { '-' } else { '#' }).collect()
}

#[test]
fn rows_are_dead_on_the_left_right_inside_nowhere_and_everywhere() {
    let check = |rows: Vec<String>| {
        assert!(rows[0].starts_with("-") && rows[0].trim_start_matches('-').chars().all(|c| c == '#'), "{rows:?}");
        assert!(rows[1].ends_with("-") && rows[1].trim_end_matches('-').chars().all(|c| c == '#'), "{rows:?}");
        assert!(rows[2].contains("#-"), "{rows:?}");
        assert!(!rows[3].contains('-'), "{rows:?}");
        assert!(!rows[4].contains('#'), "{rows:?}");
    };
    for seed in 0..20 {
        let inputs = random_inputs(&golden("lstm_masks"), 5, 7, seed).unwrap();
        check(
            ids(&inputs[0].1).chunks(7).map(|row| dead(&row.iter().map(|&id| id == 0).collect::<Vec<_>>())).collect(),
        );
        // Masking(0) and Masking(2.5) on [batch, seq_len, feature].
        let inputs = random_inputs(&golden("masking_layer"), 5, 7, seed).unwrap();
        for ((_, tensor), value) in inputs.iter().zip([0.0, 2.5]) {
            let &[_, seq_len, width] = tensor.shape() else { panic!() };
            let values = tensor.to_f32();
            let timesteps =
                values.chunks(width).map(|features| features.iter().all(|&x| x == value)).collect::<Vec<_>>();
            check(timesteps.chunks(seq_len).map(dead).collect());
        }
    }
}

#[test]
fn sizes_that_overflow_are_a_limit() {
    let model = golden("time_none_ids");
    assert!(matches!(random_inputs(&model, usize::MAX, 2, 0), Err(Error::Limit { .. })));
    assert!(matches!(random_inputs(&model, 1 << 30, 1 << 30, 0), Err(Error::Limit { .. })));
    assert_eq!(random_inputs(&model, 2, 0, 0).unwrap()[0].1.shape(), [2, 0]);
}

#[test]
fn a_session_is_verified_run_after_run() {
    let model = golden("lstm_stateful_masks");
    let batch = model.batch_size().unwrap();
    let session = on_cpu(&model);
    for seed in 0..3 {
        let inputs = random_inputs(&model, batch, 8, seed).unwrap();
        let verification = verify(&session, Inputs::from_iter(inputs), Tolerance::FREE_RUNNING).unwrap();
        assert!(verification.passed(), "{:?}", verification.largest);
    }
    // The states that the session carries are those of three runs, on any device.
    let reference = Session::new(&model, SessionOptions::on(Device::Reference)).unwrap();
    reference.set_state(session.state().unwrap()).unwrap();
}

#[test]
fn the_reference_has_the_weights_of_the_session() {
    let model = golden("lstm_stack3");
    let mut options = SessionOptions::on(Device::Cpu);
    options.weights = Precision::F16;
    let session = Session::new(&model, options).unwrap();
    let inputs = Inputs::from_iter(random_inputs(&model, 3, 8, 0).unwrap());
    assert!(verify(&session, inputs.clone(), Tolerance::FREE_RUNNING).unwrap().passed());
    assert_eq!(Reference::of(&session).unwrap().precision(), Precision::F16);
    // Beside full weights, the rounding shows.
    let full = Reference::of(&on_cpu(&model)).unwrap().run(inputs.clone(), None).unwrap();
    let verification = Verification::new(&full, &session.run(inputs).unwrap(), Tolerance::FREE_RUNNING).unwrap();
    assert!(!verification.passed() && verification.max_abs_error() > 1e-5);
}

#[test]
fn differences_are_found_where_they_are() {
    // Every timestep is an output, and what comes later does not matter.
    let model = golden("lstm_stateful");
    let run = |values: Vec<f32>| on_cpu(&model).run(Tensor::new([2, 4, 3], values).unwrap()).unwrap();
    let values: Vec<f32> = (0..24u8).map(|i| f32::from(i % 5) * 0.3 - 0.5).collect();
    let mut changed = values.clone();
    changed[12 + 2 * 3] += 0.5; // row 1, timestep 2
    let expected = run(values);
    let verification = Verification::new(&expected, &run(changed), Tolerance::FREE_RUNNING).unwrap();
    assert!(!verification.passed());
    assert_eq!(verification.first_diverging_timestep(), Some(2));
    let largest = verification.largest.clone().unwrap();
    assert_eq!(largest.index[0], 1);
    assert_eq!(largest.error, verification.max_abs_error());
    let same = Verification::new(&expected, &expected.clone(), Tolerance::FREE_RUNNING).unwrap();
    assert!(same.passed() && same.first_diverging_timestep().is_none());
}
