//! Convolutions and poolings.

use std::sync::Arc;

use wgpu_rnn::{
    Activation, Error, Model, Session, SessionOptions, Tensor,
    model::{Conv1d, HeadActivation, LayerKind, Padding, Pool1d, Reduction},
};

use super::{
    check,
    common::{Rng, nets::devices},
    counted, random, single,
};

/// How many windows there are, and how many positions before the first one the first one sees:
/// TensorFlow's rules, written out.
fn layout(len: usize, width: usize, stride: usize, dilation: usize, padding: Padding) -> (usize, usize) {
    let span = (width - 1) * dilation + 1;
    let (before, after) = match padding {
        Padding::Valid => (0, 0),
        Padding::Causal => (span - 1, 0),
        Padding::Explicit { before, after } => (before, after),
        Padding::Same => {
            let total = ((len.div_ceil(stride) - 1) * stride + span).saturating_sub(len);
            (total / 2, total - total / 2)
        }
    };
    ((len + before + after - span) / stride + 1, before)
}

#[test]
fn convolutions_of_every_kind() {
    let rng = &mut Rng::new(11);
    for case in 0..120 {
        let groups = [1, 1, 2, 3, 4][rng.below(5)];
        let (group_in, group_out) = (1 + rng.below(3), 1 + rng.below(3));
        let (channels, out) = (groups * group_in, groups * group_out);
        let (width, stride, dilation) = (1 + rng.below(4), 1 + rng.below(3), 1 + rng.below(3));
        let span = (width - 1) * dilation + 1;
        let explicit = Padding::Explicit { before: rng.below(3), after: rng.below(3) };
        let padding = [Padding::Valid, Padding::Same, Padding::Causal, explicit][case % 4];
        let (batch, len) = (1 + rng.below(3), span + rng.below(9));
        let weight = random(rng, &[out, width * group_in]);
        let bias = rng.chance(0.5).then(|| random(rng, &[out]));
        let x = random(rng, &[batch, len, channels]);

        let (count, before) = layout(len, width, stride, dilation, padding);
        let (w, values) = (weight.to_f64().into_owned(), x.to_f64().into_owned());
        let mut expected = Vec::new();
        for row in 0..batch {
            for at in 0..count {
                for o in 0..out {
                    let mut sum = bias.as_ref().map_or(0.0, |bias| bias.to_f64()[o]);
                    for k in 0..width {
                        let Some(t) = (at * stride + k * dilation).checked_sub(before).filter(|&t| t < len) else {
                            continue;
                        };
                        for c in 0..group_in {
                            let channel = o / group_out * group_in + c;
                            sum += w[(o * width + k) * group_in + c] * values[(row * len + t) * channels + channel];
                        }
                    }
                    expected.push(sum.max(0.0));
                }
            }
        }
        let conv = Conv1d {
            weight: Arc::new(weight),
            bias: bias.map(Arc::new),
            width,
            stride,
            dilation,
            padding,
            groups,
            activation: HeadActivation::Pointwise(Activation::RELU),
        };
        let open = rng.chance(0.5).then_some(len);
        let model = single(&[open, Some(channels)], LayerKind::Conv1d(conv.clone()));
        eprintln!("case {case}: {conv:?} on {:?}", x.shape());
        check(&model, x, &[batch, count, out], &expected);
    }
}

#[test]
fn poolings_of_every_kind() {
    let rng = &mut Rng::new(12);
    for case in 0..120 {
        let (width, stride, dilation) = (1 + rng.below(4), 1 + rng.below(3), 1 + rng.below(2));
        let span = (width - 1) * dilation + 1;
        // No window may lie wholly outside.
        let explicit = Padding::Explicit { before: rng.below(2).min(width - 1), after: rng.below(2).min(width - 1) };
        let padding = [Padding::Valid, Padding::Same, explicit][case % 3];
        let (batch, len, channels) = (1 + rng.below(3), span + rng.below(9), 1 + rng.below(4));
        let op = [Reduction::Max, Reduction::Mean][case % 2];
        let count_padding = rng.chance(0.3);
        let x = random(rng, &[batch, len, channels]);
        let (count, before) = layout(len, width, stride, dilation, padding);
        let values = x.to_f64().into_owned();
        let mut expected = Vec::new();
        for row in 0..batch {
            for at in 0..count {
                for c in 0..channels {
                    let seen = (0..width).filter_map(|k| (at * stride + k * dilation).checked_sub(before));
                    let seen: Vec<f64> =
                        seen.filter(|&t| t < len).map(|t| values[(row * len + t) * channels + c]).collect();
                    let divisor = if count_padding { width } else { seen.len() };
                    expected.push(match op {
                        Reduction::Max => seen.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                        _ => seen.iter().sum::<f64>() / divisor as f64,
                    });
                }
            }
        }
        let pool = Pool1d { op, width, stride, dilation, padding, count_padding };
        let open = rng.chance(0.5).then_some(len);
        eprintln!("case {case}: {pool:?} on {:?}", x.shape());
        check(&single(&[open, Some(channels)], LayerKind::Pool1d(pool)), x, &[batch, count, channels], &expected);
    }
}

#[test]
fn a_sequence_shorter_than_the_window_is_refused() {
    let pool = |width| {
        let (op, padding) = (Reduction::Max, Padding::Valid);
        LayerKind::Pool1d(Pool1d { op, width, stride: 2, dilation: 1, padding, count_padding: false })
    };
    let mut model = Model::builder("model");
    let x = model.input("x", &[Some(3), Some(1)]).unwrap();
    let error = model.add("pool", pool(4), &[x]).unwrap_err();
    assert_eq!(error.to_string(), "layer 'pool': expected at least 4 timesteps, found 3 before padding");
    let model = single(&[None, Some(1)], pool(4));
    for (name, device) in devices() {
        let session = Session::new(&model, SessionOptions::on(device)).unwrap();
        let error = session.run(counted(&[1, 3, 1])).unwrap_err();
        assert!(matches!(error, Error::Mismatch { .. }), "{name}: {error}");
        assert_eq!(session.run(counted(&[1, 4, 1])).unwrap().single().unwrap().shape(), [1, 1, 1]);
    }
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let mut model = Model::builder("model");
    let mut refused = |out: usize, columns: usize, groups: usize| {
        let weight = Arc::new(Tensor::new([out, columns], vec![0.5f32; out * columns]).unwrap());
        let activation = HeadActivation::Pointwise(Activation::Linear);
        let (stride, dilation, padding) = (1, 1, Padding::Valid);
        let conv = Conv1d { weight, bias: None, width: 2, stride, dilation, padding, groups, activation };
        model.layer("conv", LayerKind::Conv1d(conv)).unwrap_err().to_string()
    };
    let text = "layer 'conv': weight: expected outputs and channels in equal groups, found";
    assert_eq!(refused(4, 3, 1), format!("{text} [4, 3] with width 2 and 1 groups"));
    assert_eq!(refused(4, 4, 3), format!("{text} [4, 4] with width 2 and 3 groups"));
    assert_eq!(refused(4, 4, 0), format!("{text} [4, 4] with width 2 and 0 groups"));
}
