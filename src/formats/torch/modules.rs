//! The modules that are understood: their arguments, tensors and layers.

use serde_json::{Value as Json, json};

use super::{
    chain::Chain,
    recurrent::{self, Stack, take},
    weights::Source,
};
use crate::{
    activation::Activation,
    dim::Dim,
    error::{Error, Result},
    formats::json::shown,
    model::{
        BatchNormalization, Conv1d, Dense, Embedding, HeadActivation, LayerKind, LayerNormalization, MergeOp, Padding,
    },
};

/// Where a module has its features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axes {
    /// Anywhere.
    Any,
    /// In the last axis.
    FeaturesLast,
    /// In the axis behind the batch, timesteps last.
    ChannelsSecond,
}

/// A kind of module.
pub(super) struct Known {
    pub(super) kind: &'static str,
    axes: Axes,
    pub(super) takes_ids: bool,
    role: Role,
    /// How many features it reads, if it says so.
    pub(super) features: fn(&Source<'_>) -> Result<Option<usize>>,
    add: Add,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Reads a sequence.
    Recurrent,
    /// Reads one timestep, with states.
    Cell,
    /// Reads a sequence, without states.
    Windowed,
    Plain,
}

/// How a module is added under a name.
type Add = fn(&Source<'_>, &mut Chain<'_>, &str) -> Result<()>;

impl Known {
    /// Where the module has its features.
    pub(super) fn axes(&self, source: &Source<'_>) -> Axes {
        // One weight for all is a plain function; one per feature counts features as a convolution does.
        let per_feature = self.kind == "PReLU" && source.shape("weight").is_some_and(|shape| shape != [1]);
        if per_feature { Axes::ChannelsSecond } else { self.axes }
    }

    pub(super) fn is_recurrent(&self) -> bool {
        self.role == Role::Recurrent
    }

    pub(super) fn is_cell(&self) -> bool {
        self.role == Role::Cell
    }

    pub(super) fn needs_sequence(&self) -> bool {
        matches!(self.role, Role::Recurrent | Role::Windowed)
    }

    /// Whether the module has tensors, so that it needs a prefix.
    pub(super) fn has_tensors(&self) -> bool {
        self.axes != Axes::Any || self.kind == "PReLU"
    }

    /// Tensors one of which each module of this kind has.
    pub(super) fn marks(&self) -> &'static [&'static str] {
        match self.role {
            Role::Recurrent => &["weight_ih_l0"],
            Role::Cell => &["weight_ih"],
            _ => &["weight", "running_mean"],
        }
    }

    /// Adds the module; one with states takes and gives them if `states`.
    pub(super) fn add(&self, source: &Source<'_>, chain: &mut Chain<'_>, name: &str, states: bool) -> Result<()> {
        chain.class = self.kind.to_owned();
        match self.role {
            Role::Recurrent if !chain.is_sequence => Err(no_timesteps(source)),
            Role::Recurrent => {
                let take = take(source)?;
                source.options.ignore(&["batch_first"]);
                let stack = Stack::read(source, super::MAX_LAYERS)?;
                source.options.finish()?;
                stack.add(chain, name, take, states)
            }
            Role::Cell if chain.is_sequence => Err(Error::unsupported(
                &source.options.subject,
                "a cell behind modules that give every timestep",
                "use the module of whole sequences, or put \"take\" before it",
            )),
            Role::Cell => {
                recurrent::add_cell(source, chain, name, states)?;
                source.options.finish()
            }
            Role::Windowed if !chain.is_sequence => Err(no_timesteps(source)),
            Role::Windowed | Role::Plain => {
                (self.add)(source, chain, name)?;
                source.options.finish()
            }
        }
    }
}

fn no_timesteps(source: &Source<'_>) -> Error {
    Error::unsupported(&source.options.subject, "a sequence module behind \"take\"", "leave \"take\" out before it")
}

/// How many features a tensor's axis tells.
fn of(source: &Source<'_>, tensor: &str, axis: usize) -> Result<Option<usize>> {
    source.size(tensor, axis).map(Some)
}

const fn recurrent(kind: &'static str) -> Known {
    let features = |s: &Source<'_>| of(s, "weight_ih_l0", 1);
    Known { kind, axes: Axes::FeaturesLast, takes_ids: false, role: Role::Recurrent, features, add: none }
}

const fn cell(kind: &'static str) -> Known {
    let features = |s: &Source<'_>| of(s, "weight_ih", 1);
    Known { kind, axes: Axes::FeaturesLast, takes_ids: false, role: Role::Cell, features, add: none }
}

fn none(_: &Source<'_>, _: &mut Chain<'_>, _: &str) -> Result<()> {
    Err(Error::internal("a recurrent module as a plain one"))
}

const fn plain(kind: &'static str, add: Add) -> Known {
    Known { kind, axes: Axes::Any, takes_ids: false, role: Role::Plain, features: |_| Ok(None), add }
}

/// Every module, in the order in which messages and `docs/formats.md` list them.
pub(super) const MODULES: [Known; 42] = [
    recurrent("RNN"),
    recurrent("LSTM"),
    recurrent("GRU"),
    cell("RNNCell"),
    cell("LSTMCell"),
    cell("GRUCell"),
    Known {
        kind: "Embedding",
        axes: Axes::FeaturesLast,
        takes_ids: true,
        role: Role::Plain,
        features: |_| Ok(None),
        add: embedding,
    },
    Known {
        kind: "Linear",
        axes: Axes::FeaturesLast,
        takes_ids: false,
        role: Role::Plain,
        features: |s| of(s, "weight", 1),
        add: linear,
    },
    Known {
        kind: "LayerNorm",
        axes: Axes::FeaturesLast,
        takes_ids: false,
        role: Role::Plain,
        features: |s| normalized(s).map(Some),
        add: layer_norm,
    },
    Known {
        kind: "BatchNorm1d",
        axes: Axes::ChannelsSecond,
        takes_ids: false,
        role: Role::Plain,
        features: |s| of(s, "running_mean", 0),
        add: batch_norm,
    },
    Known {
        kind: "Conv1d",
        axes: Axes::ChannelsSecond,
        takes_ids: false,
        role: Role::Windowed,
        features: |s| Ok(s.size("weight", 1)?.checked_mul(groups(s)?)),
        add: conv,
    },
    plain("Dropout", dropout),
    plain("AlphaDropout", dropout),
    plain("FeatureAlphaDropout", dropout),
    plain("Dropout1d", dropout),
    plain("Identity", |_, chain, name| chain.module(name, LayerKind::Identity)),
    plain("ReLU", |s, chain, name| pointwise(s, chain, name, Activation::RELU)),
    plain("ReLU6", |s, chain, name| pointwise(s, chain, name, bounded(0.0, 6.0))),
    plain("LeakyReLU", |s, chain, name| {
        let slope = s.options.number("negative_slope", 0.01)?;
        pointwise(s, chain, name, leaky(slope))
    }),
    plain("RReLU", |s, chain, name| {
        let (lower, upper) = (s.options.number("lower", 0.125)?, s.options.number("upper", 1.0 / 3.0)?);
        pointwise(s, chain, name, leaky(f32::midpoint(lower, upper)))
    }),
    plain("PReLU", prelu),
    plain("ELU", |s, chain, name| {
        let alpha = s.options.number("alpha", 1.0)?;
        pointwise(s, chain, name, Activation::Elu { alpha })
    }),
    plain("SELU", |s, chain, name| pointwise(s, chain, name, Activation::Selu)),
    plain("CELU", |s, chain, name| {
        let alpha = s.options.number("alpha", 1.0)?;
        if alpha == 0.0 {
            return Err(s.options.wrong("alpha", "a number other than 0"));
        }
        pointwise(s, chain, name, Activation::Celu { alpha })
    }),
    plain("GELU", |s, chain, name| {
        let function = match s.options.text("approximate", "none")? {
            "none" => Activation::Gelu,
            "tanh" => Activation::GeluTanh,
            _ => return Err(s.options.wrong("approximate", "none or tanh")),
        };
        pointwise(s, chain, name, function)
    }),
    plain("SiLU", |s, chain, name| pointwise(s, chain, name, Activation::Silu)),
    plain("Mish", |s, chain, name| pointwise(s, chain, name, Activation::Mish)),
    plain("Sigmoid", |s, chain, name| pointwise(s, chain, name, Activation::Sigmoid)),
    plain("LogSigmoid", |s, chain, name| pointwise(s, chain, name, Activation::LogSigmoid)),
    plain("Tanh", |s, chain, name| pointwise(s, chain, name, Activation::Tanh)),
    plain("Tanhshrink", |s, chain, name| pointwise(s, chain, name, Activation::TanhShrink)),
    plain("Hardsigmoid", |s, chain, name| pointwise(s, chain, name, Activation::HARD_SIGMOID)),
    plain("Hardswish", |s, chain, name| pointwise(s, chain, name, Activation::HardSilu)),
    plain("Hardtanh", |s, chain, name| {
        let (min, max) = (s.options.number("min_val", -1.0)?, s.options.number("max_val", 1.0)?);
        if min >= max {
            return Err(s.options.wrong("max_val", "a number above min_val"));
        }
        pointwise(s, chain, name, bounded(min, max))
    }),
    plain("Hardshrink", |s, chain, name| {
        let threshold = lambda(s)?;
        pointwise(s, chain, name, Activation::HardShrink { threshold })
    }),
    plain("Softshrink", |s, chain, name| {
        let threshold = lambda(s)?;
        pointwise(s, chain, name, Activation::SoftShrink { threshold })
    }),
    plain("Softplus", softplus),
    plain("Softsign", |s, chain, name| pointwise(s, chain, name, Activation::Softsign)),
    plain("Threshold", threshold),
    plain("Softmax", |s, chain, name| of_features(s, chain, name, HeadActivation::Softmax)),
    plain("Softmin", |s, chain, name| {
        let negated = Activation::Affine { alpha: -1.0, beta: 0.0 };
        let kind = LayerKind::Activation(HeadActivation::Pointwise(negated));
        chain.value = chain.add(&format!("{name}/negated"), kind, &[chain.value])?;
        of_features(s, chain, name, HeadActivation::Softmax)
    }),
    plain("LogSoftmax", |s, chain, name| of_features(s, chain, name, HeadActivation::LogSoftmax)),
];

fn leaky(negative_slope: f32) -> Activation {
    Activation::Relu { negative_slope, max_value: f32::INFINITY, threshold: 0.0 }
}

fn bounded(min: f32, max: f32) -> Activation {
    Activation::Clip { min, max }
}

fn lambda(s: &Source<'_>) -> Result<f32> {
    let threshold = s.options.number("lambd", 0.5)?;
    if threshold < 0.0 {
        return Err(s.options.wrong("lambd", "a number of at least 0"));
    }
    Ok(threshold)
}

fn pointwise(s: &Source<'_>, chain: &mut Chain<'_>, name: &str, function: Activation) -> Result<()> {
    s.options.ignore(&["inplace"]);
    chain.module(name, LayerKind::Activation(HeadActivation::Pointwise(function)))
}

/// A function along the features, which `dim` must name.
fn of_features(s: &Source<'_>, chain: &mut Chain<'_>, name: &str, function: HeadActivation) -> Result<()> {
    let rank = chain.builder.shape(chain.value)?.len();
    let last = i64::try_from(rank).unwrap_or(i64::MAX) - 1;
    let dim = match s.options.value("dim") {
        // What PyTorch takes where nothing is said.
        None | Some(Json::Null) if rank == 2 => -1,
        value => value.and_then(Json::as_i64).unwrap_or(0),
    };
    if dim != -1 && dim != last {
        let what = format!("dim = {}", shown(s.options.value("dim")));
        return Err(Error::unsupported(&s.options.subject, what, "use -1, the features"));
    }
    chain.module(name, LayerKind::Activation(function))
}

/// `log(1 + exp(beta x)) / beta`. PyTorch's `x` above `threshold / beta` differs from that by less than f32 can tell
/// for thresholds from 17 on.
fn softplus(s: &Source<'_>, chain: &mut Chain<'_>, name: &str) -> Result<()> {
    let (beta, threshold) = (s.options.number("beta", 1.0)?, s.options.number("threshold", 20.0)?);
    if beta <= 0.0 {
        return Err(s.options.wrong("beta", "a number above 0"));
    }
    if threshold < 17.0 {
        let what = format!("threshold = {threshold}, which bends the function visibly,");
        return Err(Error::unsupported(&s.options.subject, what, "use PyTorch's default of 20"));
    }
    let scaled = |alpha| LayerKind::Activation(HeadActivation::Pointwise(Activation::Affine { alpha, beta: 0.0 }));
    if beta != 1.0 {
        chain.value = chain.add(&format!("{name}/scaled"), scaled(beta), &[chain.value])?;
    }
    pointwise(s, chain, name, Activation::Softplus)?;
    if beta != 1.0 {
        chain.value = chain.add(&format!("{name}/unscaled"), scaled(1.0 / beta), &[chain.value])?;
    }
    Ok(())
}

fn threshold(s: &Source<'_>, chain: &mut Chain<'_>, name: &str) -> Result<()> {
    let required = |key| match s.options.value(key) {
        None => Err(s.options.wrong(key, "a number")),
        Some(_) => s.options.number(key, 0.0),
    };
    let (threshold, value) = (required("threshold")?, required("value")?);
    if value != 0.0 {
        let what = format!("value = {value}");
        return Err(Error::unsupported(&s.options.subject, what, "use 0"));
    }
    let function = Activation::Relu { negative_slope: 0.0, max_value: f32::INFINITY, threshold };
    pointwise(s, chain, name, function)
}

/// `max(x, 0) + weight * min(x, 0)`, one weight for all features or one for each.
fn prelu(s: &Source<'_>, chain: &mut Chain<'_>, name: &str) -> Result<()> {
    let count = s.size("weight", 0)?;
    s.options.agree("num_parameters", count)?;
    s.options.ignore(&["init"]);
    let weight = s.tensor("weight", &[Some(count)])?;
    let (shape, input) = (chain.builder.shape(chain.value)?, chain.value);
    let features = shape.last().and_then(Dim::fixed);
    if count != 1 && features != Some(count) {
        let found = features.map_or_else(|| "none".to_owned(), |features| features.to_string());
        return Err(Error::mismatch(&s.options.subject, format!("{count} features, one per parameter"), found));
    }
    let mut of = vec![1; shape.len()];
    of.last_mut().into_iter().for_each(|last| *last = count);
    let weight = crate::tensor::Tensor::new(of, weight.to_f32().into_owned())?;
    let class = chain.class.clone();
    let block = chain.builder.begin_block(&chain.names.unique(name), &class)?;
    let function = |function| LayerKind::Activation(HeadActivation::Pointwise(function));
    let above = chain.add(&format!("{name}/above"), function(Activation::RELU), &[input])?;
    let below = function(Activation::Clip { min: f32::NEG_INFINITY, max: 0.0 });
    let below = chain.add(&format!("{name}/below"), below, &[input])?;
    let weight = chain.add(&format!("{name}/weight"), LayerKind::Constant(weight.into()), &[])?;
    let below = chain.add(&format!("{name}/scaled"), LayerKind::Merge(MergeOp::Multiply), &[below, weight])?;
    chain.value = chain.add(&format!("{name}/sum"), LayerKind::Merge(MergeOp::Add), &[above, below])?;
    chain.builder.end_block();
    chain.builder.block_call(block, &[input], &[chain.value]);
    Ok(())
}

fn dropout(s: &Source<'_>, chain: &mut Chain<'_>, name: &str) -> Result<()> {
    let p = s.options.number("p", 0.5)?;
    if !(0.0..=1.0).contains(&p) {
        return Err(s.options.wrong("p", "a number from 0 to 1"));
    }
    s.options.ignore(&["inplace"]);
    chain.module(name, LayerKind::Identity)
}

fn embedding(s: &Source<'_>, chain: &mut Chain<'_>, name: &str) -> Result<()> {
    s.options.agree("num_embeddings", s.size("weight", 0)?)?;
    s.options.agree("embedding_dim", s.size("weight", 1)?)?;
    s.options.only("max_norm", &Json::Null, "apply it to the table before saving")?;
    // Of training: the row of padding_idx is looked up as any other.
    s.options.ignore(&["padding_idx", "norm_type", "scale_grad_by_freq", "sparse"]);
    let table = s.tensor("weight", &[None, None])?;
    chain.module(name, LayerKind::Embedding(Embedding { table, mask_zero: false }))
}

fn linear(s: &Source<'_>, chain: &mut Chain<'_>, name: &str) -> Result<()> {
    let out = s.size("weight", 0)?;
    s.options.agree("out_features", out)?;
    s.options.agree("in_features", s.size("weight", 1)?)?;
    s.options.agree_flag("bias", s.has("bias"))?;
    let (weight, bias) = (s.tensor("weight", &[Some(out), None])?, s.optional("bias", &[Some(out)])?);
    let activation = HeadActivation::Pointwise(Activation::Linear);
    chain.module(name, LayerKind::Dense(Dense { weight, bias, activation }))
}

/// The one extent of `normalized_shape`.
fn normalized(s: &Source<'_>) -> Result<usize> {
    let stated = match s.options.value("normalized_shape") {
        Some(Json::Array(sizes)) if sizes.len() == 1 => sizes.first(),
        Some(Json::Array(sizes)) => {
            let what = format!("normalized_shape of {} axes", sizes.len());
            return Err(Error::unsupported(&s.options.subject, what, "normalise the features only"));
        }
        value => value,
    };
    let stated = stated.map(|size| size.as_u64().and_then(|size| usize::try_from(size).ok()));
    match (stated, s.shape("weight")) {
        (Some(None | Some(0)), _) => Err(s.options.wrong("normalized_shape", "a number of features")),
        (Some(Some(size)), None | Some([_])) => Ok(size),
        (None, Some(&[size])) => Ok(size),
        (None, None) => Err(s.options.wrong("normalized_shape", "a number of features")),
        (_, Some(shape)) => {
            let what = format!("a normalized_shape of {} axes", shape.len());
            Err(Error::unsupported(&s.options.subject, what, "normalise the features only"))
        }
    }
}

fn layer_norm(s: &Source<'_>, chain: &mut Chain<'_>, name: &str) -> Result<()> {
    let size = normalized(s)?;
    s.options.agree_flag("elementwise_affine", s.has("weight"))?;
    if s.has("weight") {
        s.options.agree_flag("bias", s.has("bias"))?;
    }
    s.options.ignore(&["bias"]);
    let epsilon = epsilon(s)?;
    if chain.builder.shape(chain.value)?.last().and_then(Dim::fixed) != Some(size) {
        let found = chain.builder.shape(chain.value)?.last().map_or(String::new(), ToString::to_string);
        return Err(Error::mismatch(&s.options.subject, format!("{size} features"), found));
    }
    let (gamma, beta) = (s.optional("weight", &[Some(size)])?, s.optional("bias", &[Some(size)])?);
    chain.module(name, LayerKind::LayerNormalization(LayerNormalization { axes: vec![-1], gamma, beta, epsilon }))
}

fn epsilon(s: &Source<'_>) -> Result<f32> {
    let epsilon = s.options.number("eps", 1e-5)?;
    if epsilon < 0.0 {
        return Err(s.options.wrong("eps", "a number of at least 0"));
    }
    Ok(epsilon)
}

fn batch_norm(s: &Source<'_>, chain: &mut Chain<'_>, name: &str) -> Result<()> {
    s.options.only("track_running_stats", &json!(true), "save a module that keeps running statistics")?;
    let size = s.size("running_mean", 0)?;
    s.options.agree("num_features", size)?;
    s.options.agree_flag("affine", s.has("weight"))?;
    s.options.ignore(&["momentum"]);
    s.ignore("num_batches_tracked");
    let epsilon = epsilon(s)?;
    let kind = BatchNormalization {
        axis: -1,
        gamma: s.optional("weight", &[Some(size)])?,
        beta: s.optional("bias", &[Some(size)])?,
        moving_mean: s.tensor("running_mean", &[Some(size)])?,
        moving_variance: s.tensor("running_var", &[Some(size)])?,
        epsilon,
    };
    chain.module(name, LayerKind::BatchNormalization(kind))
}

fn groups(s: &Source<'_>) -> Result<usize> {
    match s.options.stated_count("groups")? {
        Some(0) => Err(s.options.wrong("groups", "a number of at least 1")),
        groups => Ok(groups.unwrap_or(1)),
    }
}

fn conv(s: &Source<'_>, chain: &mut Chain<'_>, name: &str) -> Result<()> {
    /// More than any sequence has timesteps.
    const FAR: usize = 1 << 24;
    let (out, width, groups) = (s.size("weight", 0)?, s.size("weight", 2)?, groups(s)?);
    let channels = s.size("weight", 1)?;
    s.options.agree("out_channels", out)?;
    s.options.agree("in_channels", channels.saturating_mul(groups))?;
    if s.options.window("kernel_size", width, FAR)? != width {
        return Err(s.options.wrong("kernel_size", &format!("{width} (as the tensors have it)")));
    }
    s.options.agree_flag("bias", s.has("bias"))?;
    s.options.only("padding_mode", &json!("zeros"), "use zeros")?;
    let (stride, dilation) = (s.options.window("stride", 1, FAR)?, s.options.window("dilation", 1, FAR)?);
    if out % groups != 0 {
        return Err(s.options.wrong("groups", &format!("a divisor of the {out} channels of the output")));
    }
    let padding = match s.options.value("padding") {
        Some(Json::String(text)) if text == "valid" => Padding::Valid,
        Some(Json::String(text)) if text == "same" => {
            if stride != 1 {
                return Err(s.options.wrong("stride", "1 with the padding \"same\""));
            }
            let all = width.saturating_sub(1).saturating_mul(dilation);
            Padding::Explicit { before: all / 2, after: all - all / 2 }
        }
        _ => {
            let each = s.options.window("padding", 0, FAR)?;
            Padding::Explicit { before: each, after: each }
        }
    };
    let kind = Conv1d {
        weight: s.convolution("weight", &[Some(out), Some(channels), Some(width)])?,
        bias: s.optional("bias", &[Some(out)])?,
        width,
        stride,
        dilation,
        padding,
        groups,
        activation: HeadActivation::Pointwise(Activation::Linear),
    };
    chain.module(name, LayerKind::Conv1d(kind))
}

/// The modules, as the table of `docs/formats.md`.
pub(super) fn table() -> String {
    let of = |wanted: &dyn Fn(&Known) -> bool| {
        MODULES.iter().filter(|known| wanted(known)).map(|known| known.kind).collect::<Vec<_>>().join(", ")
    };
    let plain = |known: &Known| matches!(known.role, Role::Plain | Role::Windowed);
    format!(
        "| modules | |\n| --- | --- |\n\
         | of sequences, with `h_0`, `c_0`, `h_n`, `c_n` where they are alone | {} |\n\
         | of one timestep, the same | {} |\n\
         | with tensors | {} |\n\
         | without | {} |\n",
        of(&Known::is_recurrent),
        of(&Known::is_cell),
        of(&|known| plain(known) && known.has_tensors()),
        of(&|known| plain(known) && !known.has_tensors()),
    )
}
