//! Streams: the bits of runs, and what an audio thread asks for.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
#[path = "common/counting.rs"]
mod counting;

use std::sync::Arc;

use common::{Rng, nets::Net};
use wgpu_rnn::{
    Activation, Device, Error, Model, Session, SessionOptions, State, Stream, Tensor,
    cell::{Cell, CellParams},
    model::{Bidirectional, Dense, Embedding, HeadActivation, LayerKind, MergeMode, Recurrent},
    plan::{Carry, Precision},
};

#[global_allocator]
static COUNTING: counting::Counting = counting::Counting;

fn tensor(rng: &mut Rng, shape: &[usize]) -> Arc<Tensor> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.uniform(-0.4, 0.4)).collect();
    Arc::new(Tensor::new(shape, values).unwrap())
}

fn recurrent(rng: &mut Rng, cell: Cell, input_size: usize, hidden_size: usize) -> Recurrent {
    let rows = cell.spec().gates.len() * hidden_size;
    let layer = Recurrent::new(cell, tensor(rng, &[rows, input_size]), tensor(rng, &[rows, hidden_size]));
    Recurrent { bias_ih: Some(tensor(rng, &[rows])), ..layer }
}

/// A table, two layers and a head: from ids to 5 probabilities.
fn text(cell: Cell) -> Model {
    let rng = &mut Rng::new(7);
    let mut model = Model::builder("text");
    let ids = model.input("ids", &[None]).unwrap();
    let table = LayerKind::Embedding(Embedding { table: tensor(rng, &[11, 6]), mask_zero: true });
    let mut x = model.add("table", table, &[ids]).unwrap();
    for (name, input_size) in [("first", 6), ("second", 19)] {
        let layer = LayerKind::Recurrent(recurrent(rng, cell, input_size, 19));
        x = model.add(name, layer, &[x]).unwrap();
    }
    let (weight, bias) = (tensor(rng, &[5, 19]), Some(tensor(rng, &[5])));
    x = model
        .add(
            "head",
            LayerKind::Dense(Dense { weight, bias, activation: HeadActivation::Pointwise(Activation::Sigmoid) }),
            &[x],
        )
        .unwrap();
    x = model.add("softmax", LayerKind::Softmax { axis: -1 }, &[x]).unwrap();
    model.output("y", x).unwrap();
    model.build().unwrap()
}

fn session(model: &Model, weights: Precision) -> Session {
    let mut options = SessionOptions::on(Device::Cpu);
    (options.weights, options.carry) = (weights, Carry::All);
    Session::new(model, options).unwrap()
}

/// The values of `[batch, seq_len, width]` at the timesteps from `start` on.
fn timesteps(x: &[f32], batch: usize, width: usize, start: usize, count: usize) -> Vec<f32> {
    let rows = x.chunks(x.len() / batch);
    rows.flat_map(|row| &row[start * width..(start + count) * width]).copied().collect()
}

#[test]
fn steps_have_the_bits_of_a_run() {
    for cell in Cell::ALL {
        for weights in Precision::ALL {
            let (model, rng) = (text(cell), &mut Rng::new(3));
            for (batch, count) in [(1, 1), (1, 4), (3, 2)] {
                let [session, pieces] = [(); 2].map(|()| session(&model, weights));
                // Dead timesteps show where a run begins, so that only pieces have the same; others do not.
                let ids =
                    |rng: &mut Rng, least| (0..batch * 12).map(|_| (least + rng.below(11 - least)) as f32).collect();
                let (dead, live): (Vec<f32>, Vec<f32>) = (ids(rng, 0), ids(rng, 1));
                let run = |session: &Session, ids: &[f32]| {
                    let outputs = session.run(Tensor::new([batch, ids.len() / batch], ids.to_vec()).unwrap()).unwrap();
                    outputs.single().unwrap().to_f32().into_owned()
                };
                let whole = run(&session, &live);
                let mut stream = session.stream(&[vec![batch, count]]).unwrap();
                assert_eq!(stream.output_shapes(), [[batch, count, 5]]);
                let mut y = vec![0.0; batch * count * 5];
                for start in (0..12).step_by(count) {
                    let ids = timesteps(&dead, batch, 1, start, count);
                    stream.step(&[&ids], &mut [&mut y]).unwrap();
                    assert_eq!(y, run(&pieces, &ids), "{cell:?} {weights:?} {batch} {start}");
                }
                assert_eq!(stream.state().unwrap(), pieces.state().unwrap());
                stream.reset_state().unwrap();
                for start in (0..12).step_by(count) {
                    stream.step(&[&timesteps(&live, batch, 1, start, count)], &mut [&mut y]).unwrap();
                    assert_eq!(y, timesteps(&whole, batch, 5, start, count), "{cell:?} {weights:?} {batch} {start}");
                }
                // Where the run ended, the stream is.
                assert_eq!(stream.state().unwrap(), session.state().unwrap());
                stream.reset_state().unwrap();
                assert!(stream.state().unwrap().iter().all(|(_, h)| h.to_f32().iter().all(|&h| h == 0.0)));
                stream.set_state(&session.state().unwrap()).unwrap();
                assert_eq!(stream.state().unwrap(), session.state().unwrap());
            }
        }
    }
}

/// Sessions of many kinds of layers, with the shape of their input.
fn streams() -> Vec<(String, Stream, usize, usize)> {
    let mut all = Vec::new();
    let mut add = |name: String, session: &Session, shape: Vec<usize>| {
        let stream = session.stream(std::slice::from_ref(&shape)).unwrap();
        let outputs = stream.output_shapes()[0].iter().product();
        all.push((name, stream, shape.iter().product(), outputs));
    };
    for cell in Cell::ALL {
        for weights in Precision::ALL {
            add(format!("{cell:?} {weights:?}"), &session(&text(cell), weights), vec![2, 3]);
        }
        let rng = &mut Rng::new(5);
        let mut model = Model::builder("both");
        let x = model.input("x", &[None, Some(4)]).unwrap();
        let layer = |rng: &mut Rng, backwards| Recurrent { go_backwards: backwards, ..recurrent(rng, cell, 4, 21) };
        let (forward, backward) = (layer(rng, false), layer(rng, true));
        let both = Bidirectional { forward, backward, merge: MergeMode::Ave };
        let y = model.add("both", LayerKind::Bidirectional(both), &[x]).unwrap();
        model.output("y", y).unwrap();
        let session = Session::new(&model.build().unwrap(), SessionOptions::on(Device::Cpu)).unwrap();
        add(format!("bidirectional {cell:?}"), &session, vec![1, 6, 4]);
    }
    all
}

#[test]
fn a_step_allocates_nothing() {
    for (name, mut stream, inputs, outputs) in streams() {
        let (x, mut y) = (vec![1.0; inputs], vec![0.0; outputs]);
        let step = || (0..50).for_each(|_| stream.step(&[&x], &mut [&mut y]).unwrap());
        let ((), calls) = counting::calls_of(step);
        assert_eq!(calls, 0, "{name}");
    }
    // The test can fail.
    assert!(counting::calls_of(|| vec![1]).1 > 0);
}

/// On a thread that the system ends at the first call that is neither of reading, writing and exiting.
#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn a_step_makes_no_system_call() {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
        time::{Duration, Instant},
    };

    static STEPS: AtomicUsize = AtomicUsize::new(0);
    static EXTRA: AtomicUsize = AtomicUsize::new(0);
    let (mut streams, mut y) = (streams(), vec![0.0; 1000]);
    let all = 50 * streams.len();
    // It ends without the means of the standard library, so nobody may join it.
    let strict = thread::spawn(move || {
        strict::begin();
        for (_, stream, inputs, outputs) in &mut streams {
            for _ in 0..50 {
                stream.step(&[&[1.0; 1000][..*inputs]], &mut [&mut y[..*outputs]]).unwrap();
                STEPS.fetch_add(1, Ordering::Relaxed);
            }
        }
        // The test can fail: this one is a call.
        thread::yield_now();
        EXTRA.store(1, Ordering::Relaxed);
        strict::exit()
    });
    let start = Instant::now();
    while STEPS.load(Ordering::Relaxed) < all && start.elapsed() < Duration::from_secs(20) {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(STEPS.load(Ordering::Relaxed), all, "a step made a call");
    thread::sleep(Duration::from_millis(50));
    assert_eq!(EXTRA.load(Ordering::Relaxed), 0, "calls are allowed");
    drop(strict);
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[allow(unsafe_code)]
mod strict {
    use std::arch::asm;

    /// From here on this thread may read, write and exit.
    pub(super) fn begin() {
        let (prctl, set_seccomp, strict) = (157isize, 22isize, 1isize);
        let result: isize;
        // SAFETY: prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) reads and writes no memory of ours.
        unsafe {
            asm!("syscall", inlateout("rax") prctl => result, in("rdi") set_seccomp, in("rsi") strict, in("rdx") 0,
                in("r10") 0, in("r8") 0, lateout("rcx") _, lateout("r11") _, options(nostack));
        }
        assert_eq!(result, 0, "no seccomp");
    }

    /// Ends this thread.
    pub(super) fn exit() -> ! {
        // SAFETY: exit does not return, so that nothing needs to be as it was.
        unsafe { asm!("syscall", in("rax") 60, in("rdi") 0, options(noreturn, nostack)) }
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let model = text(Cell::Lstm);
    let session = session(&model, Precision::F32);
    let mut stream = session.stream(&[vec![1, 2]]).unwrap();
    let mut y = [0.0; 10];
    stream.step(&[&[3.0, 4.0]], &mut [&mut y]).unwrap();
    let before = stream.state().unwrap();
    let mut fails = |x: &[&[f32]], y: &mut [&mut [f32]], expected: &str| {
        let error = stream.step(x, y).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(stream.state().unwrap(), before);
    };
    fails(&[&[3.0]], &mut [&mut [0.0; 10]], "inputs of 2 values and outputs of 10");
    fails(&[&[3.0, 4.0]], &mut [&mut [0.0; 9]], "outputs of 9");
    fails(&[], &mut [&mut [0.0; 10]], "inputs of  and");
    fails(&[&[3.0, 4.0]], &mut [], "outputs of ");
    for bad in [11.0, -1.0, 0.5, f32::NAN, f32::INFINITY] {
        fails(&[&[3.0, bad]], &mut [&mut [0.0; 10]], "'ids'");
    }
    assert!(
        stream
            .set_state(
                &Session::new(
                    &Net { stateful: true, ..Net::new(1, Cell::Rnn, 3) }.model(),
                    SessionOptions::on(Device::Cpu)
                )
                .map(|other| {
                    let net = Net { stateful: true, ..Net::new(1, Cell::Rnn, 3) };
                    other.run(net.inputs()).unwrap();
                    other.state().unwrap()
                })
                .unwrap()
            )
            .is_err()
    );
    let mut refused = |state: &State, expected: &str| {
        let error = stream.set_state(state).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(stream.state().unwrap(), before);
    };
    let tensors = |value: f32, rows: usize| {
        let of =
            |(name, _): (&str, &Tensor)| (name.to_owned(), Tensor::new([rows, 19], vec![value; rows * 19]).unwrap());
        session.restore_state(before.iter().map(of).collect(), before.fingerprint()).unwrap()
    };
    refused(&tensors(0.5, 2), "2 rows");
    let mut strict = SessionOptions::on(Device::Cpu);
    (strict.carry, strict.refuse_non_finite) = (Carry::All, true);
    let mut strict = Session::new(&model, strict).unwrap().stream(&[vec![1, 2]]).unwrap();
    assert!(matches!(strict.set_state(&tensors(f32::NAN, 1)), Err(Error::NonFinite { .. })));
    for shapes in [vec![], vec![vec![1, 2], vec![1, 2]], vec![vec![1]], vec![vec![1, 2, 3]]] {
        assert!(matches!(session.stream(&shapes), Err(Error::Mismatch { .. })), "{shapes:?}");
    }
    let reference = Session::new(&model, SessionOptions::on(Device::Reference)).unwrap();
    assert!(matches!(reference.stream(&[vec![1, 2]]), Err(Error::Unsupported { .. })));
}

/// Two sessions of a model may carry the states of all its layers and those of the stateful ones.
#[test]
fn a_state_of_other_layers_is_refused() {
    let rng = &mut Rng::new(9);
    let mut model = Model::builder("m");
    let mut x = model.input("x", &[None, Some(3)]).unwrap();
    for (name, input_size, stateful) in [("plain", 3, false), ("stateful", 8, true)] {
        let layer = Recurrent { stateful, ..recurrent(rng, Cell::Gru, input_size, 8) };
        x = model.add(name, LayerKind::Recurrent(layer), &[x]).unwrap();
    }
    model.output("y", x).unwrap();
    let model = model.build().unwrap();
    let one = Session::new(&model, SessionOptions::on(Device::Cpu)).unwrap();
    let both = session(&model, Precision::F32);
    let mut streams = [&one, &both].map(|session| session.stream(&[vec![1, 1, 3]]).unwrap());
    let states = streams.each_mut().map(|stream| stream.state().unwrap());
    for (at, (stream, session)) in streams.iter_mut().zip([&one, &both]).enumerate() {
        stream.set_state(&states[at]).unwrap();
        session.set_state(states[at].clone()).unwrap();
        let other = &states[1 - at];
        for error in [stream.set_state(other).unwrap_err(), session.set_state(other.clone()).unwrap_err()] {
            assert!(error.to_string().contains("which the session carries"), "{error}");
        }
    }
}

/// A state that fades ends at 0, not in denormal numbers, which many processors are slow with.
#[test]
fn a_fading_state_is_never_denormal() {
    for cell in Cell::ALL {
        let rng = &mut Rng::new(11);
        let mut layer = Recurrent { stateful: true, bias_ih: None, ..recurrent(rng, cell, 1, 24) };
        // Small enough that nothing keeps itself alive.
        let small: Vec<f32> = layer.weight_hh.to_f32().iter().map(|weight| weight * 0.3).collect();
        layer.weight_hh = Arc::new(Tensor::new(layer.weight_hh.shape(), small).unwrap());
        layer.params = CellParams::new(Activation::Tanh, Activation::HardSigmoid { alpha: 0.2, beta: 0.5 });
        let mut model = Model::builder("fading");
        let x = model.input("x", &[None, Some(1)]).unwrap();
        let y = model.add("layer", LayerKind::Recurrent(layer), &[x]).unwrap();
        model.output("y", y).unwrap();
        let session = Session::new(&model.build().unwrap(), SessionOptions::on(Device::Cpu)).unwrap();
        let mut stream = session.stream(&[vec![1, 1, 1]]).unwrap();
        let mut y = [0.0; 24];
        stream.step(&[&[5.0]], &mut [&mut y]).unwrap();
        let mut faded = 0;
        while y.iter().any(|&y| y != 0.0) {
            stream.step(&[&[0.0]], &mut [&mut y]).unwrap();
            assert!(y.iter().all(|y| *y == 0.0 || y.is_normal()), "{cell:?}: {y:?}");
            faded += 1;
            assert!(faded < 10_000, "{cell:?} does not fade: {y:?}");
        }
        assert!(faded > 10, "{cell:?} fades at once");
        // Nor does a denormal input make a state.
        stream.step(&[&[1e-39]], &mut [&mut y]).unwrap();
        assert_eq!(y, [0.0; 24], "{cell:?}");
    }
}
