//! The layers that are understood: their classes, options and weights.

use serde_json::{Map, Value, json};

use super::{
    Reader, activation, attention,
    compose::Compose,
    config::{Options, object, shown, text},
    distributed, normalizing,
    part::Part,
    recurrent,
    rules::Rules,
    timewise,
    weights::Scope,
};
use crate::{
    activation::Activation,
    error::{Error, Result, quoted},
    formats::limits::Limits,
    model::{BatchNormalization, Builder, Dense, Embedding, HeadActivation, LayerKind, LayerNormalization, MergeOp},
};

/// A layer's options and weights, and the rules of the file.
pub(super) struct Source<'a> {
    pub(super) options: Options<'a>,
    pub(super) scope: Scope<'a>,
    pub(super) rules: &'a Rules,
}

/// A layer as the file describes it.
pub(super) struct Described<'a> {
    pub(super) name: &'a str,
    pub(super) class: &'a str,
    pub(super) origin: Origin,
    pub(super) config: &'a Map<String, Value>,
    /// The layers of a Sequential that has nothing else in its configuration: Keras before 2.2.3.
    pub(super) listed: Option<&'a Value>,
    /// What messages call the layer that it is in.
    pub(super) within: Option<String>,
}

/// Where a layer's class comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Keras' own layer.
    Layer,
    /// A function of `keras.ops`.
    Function,
    /// A model used as a layer.
    Model,
    /// Anything else.
    Custom,
}

/// What a layer is here.
pub(super) enum Reading<'a> {
    /// One layer, and whether it was trainable.
    Kind(Box<LayerKind>, bool),
    /// Several, in a block; calls may have these flags.
    Composed { block: usize, flags: &'static [&'static str], compose: Compose<'a> },
}

/// What reads a layer of a class.
type Read = fn(&Source<'_>) -> Result<LayerKind>;
/// What reads a layer that is made of several.
type ReadComposed = for<'a> fn(&Source<'a>, &mut Builder) -> Result<Compose<'a>>;

/// The classes, in the order in which messages list them.
const CLASSES: [(&str, Read); 44] = [
    ("Embedding", embedding),
    ("SimpleRNN", recurrent::layer),
    ("LSTM", recurrent::layer),
    ("GRU", recurrent::layer),
    ("RNN", recurrent::of_cells),
    ("CuDNNLSTM", recurrent::layer),
    ("CuDNNGRU", recurrent::layer),
    ("Bidirectional", recurrent::bidirectional),
    ("Dense", dense),
    ("Conv1D", timewise::convolution),
    ("DepthwiseConv1D", timewise::depthwise),
    ("MaxPooling1D", timewise::max_pooling),
    ("AveragePooling1D", timewise::average_pooling),
    ("ZeroPadding1D", timewise::zero_padding),
    ("Activation", |s| Ok(LayerKind::Activation(activation::head(&s.options, "activation", s.rules)?))),
    ("ReLU", |s| relu(&s.options)),
    ("LeakyReLU", |s| leaky_relu(&s.options)),
    ("ThresholdedReLU", |s| thresholded_relu(&s.options)),
    ("ELU", |s| elu(&s.options)),
    ("Softmax", |s| softmax(&s.options)),
    ("Masking", masking),
    ("Flatten", flatten),
    ("Reshape", |s| Ok(LayerKind::Reshape { target: s.options.shape("target_shape")? })),
    ("Permute", timewise::permute),
    ("RepeatVector", |s| Ok(LayerKind::RepeatVector { count: s.options.count("n")? })),
    ("Concatenate", |s| Ok(LayerKind::Concatenate { axis: s.options.integer("axis", -1)? })),
    ("Add", |_| Ok(LayerKind::Merge(MergeOp::Add))),
    ("Subtract", |_| Ok(LayerKind::Merge(MergeOp::Subtract))),
    ("Multiply", |_| Ok(LayerKind::Merge(MergeOp::Multiply))),
    ("Average", |_| Ok(LayerKind::Merge(MergeOp::Average))),
    ("Maximum", |_| Ok(LayerKind::Merge(MergeOp::Maximum))),
    ("Minimum", |_| Ok(LayerKind::Merge(MergeOp::Minimum))),
    ("GlobalAveragePooling1D", |s| Ok(LayerKind::GlobalAveragePooling { keepdims: keepdims(s)? })),
    ("GlobalMaxPooling1D", |s| Ok(LayerKind::GlobalMaxPooling { keepdims: keepdims(s)? })),
    ("BatchNormalization", batch_normalization),
    ("LayerNormalization", layer_normalization),
    ("Rescaling", normalizing::rescaling),
    ("Dropout", identity),
    ("SpatialDropout1D", identity),
    ("GaussianNoise", identity),
    ("GaussianDropout", identity),
    ("AlphaDropout", identity),
    ("ActivityRegularization", identity),
    ("Identity", identity),
];

/// The classes that are made of several layers here, with the flags that their calls may have.
const COMPOSED: [(&str, ReadComposed, &[&str]); 10] = [
    ("SeparableConv1D", timewise::separable, &[]),
    ("Cropping1D", timewise::cropping, &[]),
    ("UpSampling1D", timewise::up_sampling, &[]),
    ("PReLU", normalizing::prelu, &[]),
    ("UnitNormalization", normalizing::unit, &[]),
    ("GroupNormalization", normalizing::group, &[]),
    ("Normalization", normalizing::normalization, &[]),
    ("Dot", normalizing::dot, &[]),
    ("Attention", attention::attention, ATTENTION),
    ("AdditiveAttention", attention::additive, ATTENTION),
];
const ATTENTION: &[&str] = &["use_causal_mask", "return_attention_scores"];
/// The class that wraps any other.
const DISTRIBUTED: &str = "TimeDistributed";

/// The classes of all layers that are understood.
pub(super) fn classes() -> impl Iterator<Item = &'static str> {
    let plain = CLASSES.iter().map(|(class, _)| *class);
    plain.chain(COMPOSED.iter().map(|(class, ..)| *class)).chain([DISTRIBUTED])
}

/// Classes that have something better to say than that they are not supported.
pub(super) const ADVICE: [(&str, &str, &str); 7] = [
    ("Lambda", "Python code, which is never run from model files,", "replace it with a layer of Keras' own"),
    ("TorchModuleWrapper", "a PyTorch module", "replace it with layers of Keras' own"),
    ("TFSMLayer", "a TensorFlow graph", "replace it with layers of Keras' own"),
    ("TFOpLambda", "a TensorFlow function in the graph", "use a layer of Keras' own in its place"),
    ("SlicingOpLambda", "an index in the graph", "load it with Keras 3, or use a layer in its place"),
    ("ConvLSTM1D", "a recurrent convolution", "use Conv1D and LSTM, one after the other"),
    ("MultiHeadAttention", "the layer MultiHeadAttention", "use Attention, or export the model to ONNX"),
];

impl<'a> Described<'a> {
    /// The layer that `value` describes; `place` is where it stands.
    pub(super) fn new(value: &'a Value, place: &str) -> Result<Self> {
        let map = object(Some(value), place)?;
        let class = text(map.get("class_name"), &format!("{place}.class_name"))?;
        let registered = map.get("registered_name").and_then(Value::as_str);
        let module = map.get("module").and_then(Value::as_str);
        let listed = map.get("config").filter(|config| module.is_none() && class == "Sequential" && config.is_array());
        let config = match listed {
            Some(_) => map,
            None => object(map.get("config"), &format!("{place}.config"))?,
        };
        let name = map.get("name").filter(|name| !name.is_null()).or_else(|| config.get("name"));
        let name =
            if listed.is_some() && name.is_none() { "sequential" } else { text(name, &format!("{place}.name"))? };
        let origin = match (module, class) {
            // Legacy files name the class only. A function of keras.ops has no options of layers.
            (None, "Sequential" | "Functional" | "Model") => Origin::Model,
            (None, "InputLayer") => Origin::Layer,
            (None, _) if map.contains_key("inbound_nodes") && !config.contains_key("trainable") => Origin::Function,
            (None, _) => Origin::Layer,
            (Some("keras"), "Sequential") => Origin::Model,
            (
                Some(
                    "keras"
                    | "keras.models"
                    | "keras.src.models.functional"
                    | "keras.src.engine.functional"
                    | "tf_keras.src.engine.functional",
                ),
                "Functional" | "Model",
            ) => Origin::Model,
            (Some("keras.layers"), _) if registered.is_none() => Origin::Layer,
            (Some(module), _) if module.starts_with("keras.src.ops.") || module == "keras.ops" => Origin::Function,
            _ => Origin::Custom,
        };
        Ok(Self { name, class, origin, config, listed, within: None })
    }

    /// A layer or cell that is an option of another.
    pub(super) fn of_part(value: Option<&'a Value>, place: &str) -> Result<Self> {
        Self::new(value.unwrap_or(&Value::Null), place)
    }

    /// Whether the layer is a model that Keras makes by a first call: one whose inputs are known.
    pub(super) fn is_made_by_call(&self, keras2: bool) -> bool {
        let first = self.config.get("layers").or(self.listed).and_then(Value::as_array).and_then(|all| all.first());
        let has_input = || first.and_then(|first| first.get("class_name")).is_some_and(|class| class == "InputLayer");
        self.origin == Origin::Model && (self.class != "Sequential" || (keras2 && has_input()))
    }

    /// What messages call the layer.
    pub(super) fn subject(&self) -> String {
        let outer = self.within.as_ref().map_or(String::new(), |outer| format!("{outer}: "));
        format!("{outer}layer {} ({})", quoted(self.name), plain(self.class))
    }

    pub(super) fn options(&self, limits: &'a Limits) -> Options<'a> {
        Options::new(self.subject(), self.class, self.config, limits)
    }

    /// Whether the layer takes initial states.
    pub(super) fn is_recurrent(&self) -> bool {
        self.origin == Origin::Layer
            && matches!(self.class, "SimpleRNN" | "LSTM" | "GRU" | "Bidirectional" | "RNN" | "CuDNNLSTM" | "CuDNNGRU")
    }

    /// What the layer is, under `name` in the model.
    pub(super) fn read(
        &self,
        reader: &'a Reader<'a>,
        builder: &mut Builder,
        scope: Scope<'a>,
        name: &str,
    ) -> Result<Reading<'a>> {
        let subject = self.subject();
        if let Some((_, what, instead)) = ADVICE.iter().find(|(class, ..)| *class == self.class) {
            return Err(Error::unsupported(subject, *what, *instead));
        }
        match self.origin {
            Origin::Layer if classes().any(|class| class == self.class) => {}
            Origin::Layer => {
                let what = format!("the layer {}", plain(self.class));
                return Err(Error::unsupported(subject, what, "use a layer that docs/formats.md lists"));
            }
            Origin::Function => {
                let what = format!("the function {} of keras.ops in the graph", plain(self.class));
                return Err(Error::unsupported(subject, what, "use a layer in its place"));
            }
            Origin::Model => return Err(Error::internal("a model that is read as a layer")),
            Origin::Custom => {
                let what = format!("the class {}, whose code is not in the file,", plain(self.class));
                return Err(Error::unsupported(subject, what, "replace it with layers of Keras' own"));
            }
        }
        if CLASSES.iter().any(|(class, _)| *class == self.class) {
            return self.kind(reader, scope).map(|(kind, trainable)| Reading::Kind(Box::new(kind), trainable));
        }
        let source = self.source(reader, scope)?;
        if self.class == DISTRIBUTED {
            let reading = time_distributed(&source, reader, builder, name)?;
            source.options.finish()?;
            return Ok(reading);
        }
        let read = COMPOSED.iter().find(|(class, ..)| *class == self.class);
        let (_, read, flags) = read.ok_or_else(|| Error::internal("a class without a reader"))?;
        let block = builder.begin_block(name, self.class)?;
        let compose = read(&source, builder);
        builder.end_block();
        let compose = compose?;
        source.options.finish()?;
        Ok(Reading::Composed { block, flags, compose })
    }

    /// The layer's options, of which those that all layers have are read, and weights.
    fn source(&self, reader: &'a Reader<'a>, scope: Scope<'a>) -> Result<Source<'a>> {
        let source = Source { options: self.options(reader.limits), scope, rules: &reader.rules };
        source.options.dtype()?;
        if reader.rules.keras2 {
            // Statements about the input's shape, which is known.
            source.options.ignore(&["batch_input_shape"]);
        }
        source.options.trainable()?;
        Ok(source)
    }

    /// The kind of a layer that is one here too, and whether it was trainable.
    fn kind(&self, reader: &'a Reader<'a>, scope: Scope<'a>) -> Result<(LayerKind, bool)> {
        let source = self.source(reader, scope)?;
        let read = CLASSES.iter().find(|(class, _)| *class == self.class);
        let (_, read) = read.ok_or_else(|| Error::internal("a class without a reader"))?;
        let kind = read(&source)?;
        let trainable = source.options.trainable()?;
        source.options.finish()?;
        Ok((kind, trainable))
    }
}

/// A class name for messages: escaped and cut, but not quoted.
pub(super) fn plain(class: &str) -> String {
    quoted(class).trim_matches('\'').to_owned()
}

fn embedding(s: &Source<'_>) -> Result<LayerKind> {
    let (rows, columns) = (s.options.count("input_dim")?, s.options.count("output_dim")?);
    let mask_zero = s.options.flag("mask_zero", false)?;
    // Only ever a statement about the input's shape.
    s.options.ignore(&["input_length"]);
    let table = s.scope.plain(0, "embeddings", &[Some(rows), Some(columns)])?;
    Ok(LayerKind::Embedding(Embedding { table, mask_zero }))
}

fn dense(s: &Source<'_>) -> Result<LayerKind> {
    let units = s.options.units()?;
    let activation = activation::head(&s.options, "activation", s.rules)?;
    let use_bias = s.options.flag("use_bias", true)?;
    let weight = s.scope.transposed(0, "kernel", [None, Some(units)])?;
    let bias = if use_bias { Some(s.scope.plain(1, "bias", &[Some(units)])?) } else { None };
    Ok(LayerKind::Dense(Dense { weight, bias, activation }))
}

fn pointwise(activation: Activation) -> LayerKind {
    LayerKind::Activation(HeadActivation::Pointwise(activation))
}

pub(super) fn relu(options: &Options<'_>) -> Result<LayerKind> {
    Ok(pointwise(Activation::Relu {
        negative_slope: options.number("negative_slope", 0.0)?,
        max_value: options.optional_number("max_value")?.unwrap_or(f32::INFINITY),
        threshold: options.number("threshold", 0.0)?,
    }))
}

pub(super) fn leaky_relu(options: &Options<'_>) -> Result<LayerKind> {
    // Keras 2 has another name for it.
    let key = if options.has("alpha") { "alpha" } else { "negative_slope" };
    let negative_slope = options.number(key, 0.3)?;
    Ok(pointwise(Activation::Relu { negative_slope, max_value: f32::INFINITY, threshold: 0.0 }))
}

fn thresholded_relu(options: &Options<'_>) -> Result<LayerKind> {
    let threshold = options.number("theta", 1.0)?;
    Ok(pointwise(Activation::Relu { negative_slope: 0.0, max_value: f32::INFINITY, threshold }))
}

pub(super) fn elu(options: &Options<'_>) -> Result<LayerKind> {
    Ok(pointwise(Activation::Elu { alpha: options.number("alpha", 1.0)? }))
}

fn softmax(options: &Options<'_>) -> Result<LayerKind> {
    match options.integers("axis")?.as_slice() {
        &[axis] => Ok(LayerKind::Softmax { axis }),
        axes => Err(Error::unsupported(&options.subject, format!("the softmax of the axes {axes:?}"), "use one axis")),
    }
}

fn masking(s: &Source<'_>) -> Result<LayerKind> {
    Ok(LayerKind::Masking { mask_value: s.options.number("mask_value", 0.0)? })
}

fn time_distributed<'a>(
    s: &Source<'a>,
    reader: &'a Reader<'a>,
    builder: &mut Builder,
    name: &str,
) -> Result<Reading<'a>> {
    let value = s.options.value("layer").unwrap_or(&Value::Null);
    let mut inner = Described::new(value, &format!("{}: layer", s.options.subject))?;
    inner.within = Some(s.options.subject.clone());
    let subject = inner.subject();
    let scope = s.scope.below("layer").inside(inner.name, &subject);
    if inner.origin == Origin::Layer && SAME_ON_A_SEQUENCE.contains(&inner.class) {
        let (kind, _) = inner.kind(reader, scope)?;
        return Ok(Reading::Kind(Box::new(LayerKind::TimeDistributed(Box::new(kind))), s.options.trainable()?));
    }
    let block = builder.begin_block(name, s.options.class)?;
    let part = Part::inner(reader, builder, &inner, value, scope, &format!("{name}/{}", inner.name));
    builder.end_block();
    Ok(Reading::Composed { block, flags: &[], compose: distributed::composed(part?, subject) })
}

/// Layers that do the same to every timestep of a sequence as they do to it alone.
const SAME_ON_A_SEQUENCE: [&str; 9] =
    ["Dense", "Activation", "ReLU", "LeakyReLU", "ELU", "Dropout", "GaussianNoise", "GaussianDropout", "Identity"];

pub(super) fn channels_last(s: &Source<'_>) -> Result<()> {
    match s.options.value("data_format") {
        None | Some(Value::Null) => Ok(()),
        Some(format) if format == "channels_last" => Ok(()),
        format => {
            let what = format!("data_format = {}", shown(format));
            Err(Error::unsupported(&s.options.subject, what, "use data_format='channels_last'"))
        }
    }
}

fn flatten(s: &Source<'_>) -> Result<LayerKind> {
    channels_last(s)?;
    Ok(LayerKind::Flatten)
}

fn keepdims(s: &Source<'_>) -> Result<bool> {
    channels_last(s)?;
    s.options.flag("keepdims", false)
}

fn batch_normalization(s: &Source<'_>) -> Result<LayerKind> {
    let &[axis] = s.options.integers("axis")?.as_slice() else {
        return Err(Error::unsupported(&s.options.subject, "normalisation of several axes", "use one axis"));
    };
    let epsilon = s.options.number("epsilon", 1e-3)?;
    let (scale, center) = (s.options.flag("scale", true)?, s.options.flag("center", true)?);
    s.options.only("renorm", &json!(false), "save the model with renorm=False")?;
    s.options.ignore(&["momentum", "synchronized", "renorm_clipping", "renorm_momentum"]);
    let mut index = 0;
    let mut next = |role: &str| {
        index += 1;
        s.scope.plain(index - 1, role, &[None])
    };
    let gamma = if scale { Some(next("gamma")?) } else { None };
    let beta = if center { Some(next("beta")?) } else { None };
    let (moving_mean, moving_variance) = (next("moving_mean")?, next("moving_variance")?);
    Ok(LayerKind::BatchNormalization(BatchNormalization { axis, gamma, beta, moving_mean, moving_variance, epsilon }))
}

fn layer_normalization(s: &Source<'_>) -> Result<LayerKind> {
    let axes = s.options.integers("axis")?;
    if axes.iter().any(|&axis| axis < 0) && axes.iter().any(|&axis| axis >= 0) {
        let what = format!("a list of axes that are counted from both ends ({axes:?})");
        return Err(Error::unsupported(&s.options.subject, what, "count them from one end"));
    }
    let epsilon = s.options.number("epsilon", 1e-3)?;
    let (scale, center) = (s.options.flag("scale", true)?, s.options.flag("center", true)?);
    s.options.only("rms_scaling", &json!(false), "use LayerNormalization without it")?;
    let expected = vec![None; axes.len()];
    let gamma = if scale { Some(s.scope.plain(0, "gamma", &expected)?) } else { None };
    let beta = if center { Some(s.scope.plain(usize::from(scale), "beta", &expected)?) } else { None };
    Ok(LayerKind::LayerNormalization(LayerNormalization { axes, gamma, beta, epsilon }))
}

/// Layers that do nothing once a model is trained.
fn identity(s: &Source<'_>) -> Result<LayerKind> {
    s.options.ignore(&["rate", "seed", "noise_shape", "stddev", "l1", "l2"]);
    Ok(LayerKind::Identity)
}
