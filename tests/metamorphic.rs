//! What must be equal to the last bit: any cut of the sequence, any companions in the batch, ragged
//! against padded, a state saved and restored, one direction after the other, run after run.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

#[cfg(feature = "gpu")]
use common::nets::strategies;
use common::{
    Rng,
    nets::{Mask, Net, devices},
    stride,
};
use wgpu_rnn::{
    Device, Inputs, Session, SessionOptions, Tensor, cell::Cell, model::MergeMode, plan::Carry, plan::DeadTimesteps,
};

/// A device, and a way to run recurrences there.
fn ways() -> Vec<(String, SessionOptions)> {
    let mut ways = Vec::new();
    for (name, device) in devices() {
        #[cfg(feature = "gpu")]
        if let Device::Opened(gpu) = &device {
            for strategy in strategies(gpu) {
                let mut options = SessionOptions::on(device.clone());
                options.strategy = Some(strategy);
                ways.push((format!("gpu, {strategy}"), options));
            }
            continue;
        }
        ways.push((name.to_owned(), SessionOptions::on(device.clone())));
        let mut options = SessionOptions::on(device);
        options.threads = 3;
        ways.push((format!("{name}, 3 threads"), options));
    }
    ways
}

/// Nets of every cell, small and odd.
fn nets(count: usize) -> Vec<Net> {
    let mut nets = Vec::new();
    for (salt, cell) in Cell::ALL.into_iter().enumerate() {
        for index in 0..count {
            let seed = (salt * 1000 + index) as u64;
            let mut rng = Rng::new(seed);
            let mut net = Net::new(seed, cell, rng.log_uniform(1, 70));
            net.input_size = rng.log_uniform(1, 40);
            net.batch = rng.log_uniform(2, 20);
            net.seq_len = rng.log_uniform(2, 40);
            net.mask = [Mask::None, Mask::Right, Mask::Left, Mask::Interior][rng.below(4)];
            net.dead = [DeadTimesteps::RepeatOutput, DeadTimesteps::RepeatState, DeadTimesteps::Zero][rng.below(3)];
            net.return_state = rng.chance(0.5);
            nets.push(net.with_random_options(&mut rng, 0.3));
        }
    }
    nets
}

/// The first `count` nets of every cell that this way can run, or some of them.
fn nets_of(count: usize, options: &SessionOptions) -> Vec<Net> {
    let count = count.div_ceil(stride());
    #[cfg_attr(not(feature = "gpu"), allow(unused_mut))]
    let mut nets = nets(count);
    nets.retain(|net| net.projection.is_none() || !is_persistent(options));
    nets
}

#[cfg(feature = "gpu")]
fn is_persistent(options: &SessionOptions) -> bool {
    options.strategy.is_some_and(|strategy| strategy != wgpu_rnn::gpu::Strategy::Step)
}

#[cfg(not(feature = "gpu"))]
fn is_persistent(_: &SessionOptions) -> bool {
    false
}

fn session(net: &Net, options: &SessionOptions) -> Session {
    Session::new(&net.model(), options.clone()).unwrap()
}

/// Bits of a run, by output.
fn bits(session: &Session, inputs: Vec<Tensor>) -> Vec<Vec<u32>> {
    session.run(inputs).unwrap().iter().map(|(_, tensor)| tensor_bits(tensor)).collect()
}

fn tensor_bits(tensor: &Tensor) -> Vec<u32> {
    tensor.to_f32().iter().map(|value| value.to_bits()).collect()
}

/// Positions `range` along `axis` (0 or 1) of a tensor of rank 2 or 3.
fn part(tensor: &Tensor, axis: usize, range: std::ops::Range<usize>) -> Tensor {
    let mut shape = tensor.shape().to_vec();
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    let old = shape[axis];
    shape[axis] = range.len();
    let values = tensor.to_f32();
    let mut kept = Vec::new();
    for block in 0..outer {
        let start = block * old * inner;
        kept.extend_from_slice(&values[start + range.start * inner..start + range.end * inner]);
    }
    Tensor::new(shape, kept).unwrap()
}

#[test]
fn any_cut_of_the_sequence() {
    for (way, mut options) in ways() {
        options.carry = Carry::All;
        for mut net in nets_of(12, &options) {
            // The output at a dead timestep repeats one of the piece before, which Keras' rule, a
            // matter of one call, does not know; the states do.
            net.dead = DeadTimesteps::RepeatState;
            let session = session(&net, &options);
            let x = net.inputs().remove(0);
            let whole = session.run(vec![x.clone()]).unwrap();
            let whole_state = session.state().unwrap();
            session.reset_state();
            let mut rng = Rng::new(net.seed);
            let mut start = 0;
            while start < net.seq_len {
                let end = start + 1 + rng.below(net.seq_len - start);
                let piece = session.run(vec![part(&x, 1, start..end)]).unwrap();
                let (_, sequence) = piece.iter().next().unwrap();
                let (_, expected) = whole.iter().next().unwrap();
                assert_eq!(
                    tensor_bits(sequence),
                    tensor_bits(&part(expected, 1, start..end)),
                    "{way}: {net:?}, {start}..{end}"
                );
                start = end;
            }
            assert_eq!(session.state().unwrap(), whole_state, "{way}: {net:?}");
        }
    }
}

#[test]
fn any_companions() {
    for (way, options) in ways() {
        for net in nets_of(12, &options) {
            let session = session(&net, &options);
            let inputs = net.inputs();
            let all = session.run(inputs.clone()).unwrap();
            let mut rng = Rng::new(net.seed);
            for _ in 0..3 {
                let start = rng.below(net.batch);
                let range = start..start + 1 + rng.below(net.batch - start);
                let some = inputs.iter().map(|tensor| part(tensor, 0, range.clone())).collect();
                let expected: Vec<_> =
                    all.iter().map(|(_, tensor)| tensor_bits(&part(tensor, 0, range.clone()))).collect();
                assert_eq!(bits(&session, some), expected, "{way}: rows {range:?} of {net:?}");
            }
        }
    }
}

#[test]
fn ragged_is_padded_is_alone() {
    for (way, options) in ways() {
        for mut net in nets_of(8, &options) {
            net.mask = Mask::None;
            net.dead = DeadTimesteps::RepeatOutput;
            net.bidirectional = (net.seed % 2 == 0).then_some(MergeMode::Concat);
            net.return_sequences = net.seed % 3 != 0;
            let session = session(&net, &options);
            let mut rng = Rng::new(net.seed);
            let x = net.inputs().remove(0);
            let samples: Vec<Tensor> = (0..net.batch)
                .map(|row| {
                    let length = if row == 0 { net.seq_len } else { 1 + rng.below(net.seq_len) };
                    let sample = part(&part(&x, 0, row..row + 1), 1, 0..length);
                    Tensor::new([length, net.input_size], sample.to_f32().into_owned()).unwrap()
                })
                .collect();
            let ragged = session.run_ragged(samples.iter().cloned().map(Inputs::from).collect()).unwrap();
            for (sample, outputs) in samples.iter().zip(&ragged) {
                let shape = [1, sample.shape()[0], sample.shape()[1]];
                let alone = session.run(Tensor::new(shape, sample.to_f32().into_owned()).unwrap()).unwrap();
                for ((_, together), (_, alone)) in outputs.iter().zip(alone.iter()) {
                    assert_eq!(together.shape(), &alone.shape()[1..], "{way}: {net:?}");
                    assert_eq!(tensor_bits(together), tensor_bits(alone), "{way}: {net:?}");
                }
            }
        }
    }
}

#[test]
fn state_saved_and_restored() {
    for (way, options) in ways() {
        for mut net in nets_of(4, &options) {
            net.stateful = true;
            let first = session(&net, &options);
            let x = net.inputs();
            first.run(x.clone()).unwrap();
            let saved = first.state().unwrap();
            let tensors = saved.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
            let second = session(&net, &options);
            let restored = second.restore_state(tensors, saved.fingerprint()).unwrap();
            second.set_state(restored).unwrap();
            assert_eq!(bits(&first, x.clone()), bits(&second, x.clone()), "{way}: {net:?}");
            first.reset_state();
            assert_ne!(first.run(x.clone()).unwrap(), second.run(x).unwrap(), "{way}: states have no effect: {net:?}");
        }
    }
}

#[test]
fn both_directions_are_two_passes() {
    for (way, options) in ways() {
        for mut net in nets_of(4, &options) {
            net.return_state = false;
            net.bidirectional = Some(MergeMode::Separate);
            let both = session(&net, &options).run(net.inputs()).unwrap();
            // The forward layer of the same seed is the first to be made.
            net.bidirectional = None;
            net.go_backwards = false;
            let forward = session(&net, &options).run(net.inputs()).unwrap();
            let bits: Vec<_> = both.iter().map(|(_, tensor)| tensor_bits(tensor)).collect();
            assert_eq!(bits[0], tensor_bits(forward.single().unwrap()), "{way}: {net:?}");
        }
    }
}

#[test]
fn every_run_gives_the_same_bits() {
    for (way, options) in ways() {
        for net in nets_of(1, &options) {
            let session = session(&net, &options);
            let first = bits(&session, net.inputs());
            for _ in 0..25 {
                assert_eq!(bits(&session, net.inputs()), first, "{way}: {net:?}");
            }
        }
    }
}

#[test]
fn concurrent_runs_do_not_disturb_each_other() {
    for (way, options) in ways() {
        let net = &nets(1)[1];
        let session = session(net, &options);
        let expected = bits(&session, net.inputs());
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        assert_eq!(bits(&session, net.inputs()), expected, "{way}");
                    }
                });
            }
        });
    }
}

#[test]
fn reference_takes_the_same_calls() {
    let net = &nets(1)[0];
    let outputs = session(net, &SessionOptions::on(Device::Reference)).run(net.inputs()).unwrap();
    assert_eq!(outputs.len(), net.model().outputs().len());
}
