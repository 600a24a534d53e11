//! `Model::summary` against what Keras prints, and the parameter counts that everyone knows.
#![cfg(feature = "keras")]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "common/keras_files.rs"]
mod keras_files;
#[path = "common/npz.rs"]
mod npz;

use std::{fs, sync::Arc};

use keras_files::{cases, folder, path};
use serde_json::Value as Json;
use wgpu_rnn::{
    Activation, Data, Model, Tensor,
    cell::Cell,
    model::{
        BatchNormalization, Bidirectional, Builder, Dense, Embedding, HeadActivation, LayerKind, LayerNormalization,
        MergeMode, Recurrent, Style, Value,
    },
};

fn printed(case: &str) -> String {
    fs::read_to_string(folder().join(format!("{case}.summary.txt"))).unwrap()
}

#[test]
fn golden_files_print_what_keras_printed() {
    let mut compared = 0;
    for case in cases() {
        let name = case["name"].as_str().unwrap();
        // Those that are refused are known to tests/keras_import.rs.
        let Ok(model) = Model::load(path(name)) else { continue };
        assert_eq!(model.summary(), printed(name), "{name}");
        compared += 1;
    }
    assert!(compared > 100, "{compared}");
}

fn zeros(shape: &[usize]) -> Arc<Tensor> {
    // Not by `vec.into()`, which would write to every page.
    Arc::new(Tensor::new(shape, Data::F32(vec![0.0; shape.iter().product()])).unwrap())
}

/// A layer of `cases.json`: a class, arguments and options.
struct Description<'a> {
    class: &'a str,
    arguments: &'a [Json],
    options: Json,
}

impl<'a> Description<'a> {
    fn new(entry: &'a Json) -> Self {
        let [class, arguments @ ..] = entry.as_array().unwrap().as_slice() else { panic!("{entry}") };
        let (arguments, options) = match arguments.split_last() {
            Some((options @ Json::Object(_), arguments)) => (arguments, options.clone()),
            _ => (arguments, Json::Null),
        };
        Self { class: class.as_str().unwrap(), arguments, options }
    }

    fn number(&self, index: usize) -> usize {
        usize::try_from(self.arguments[index].as_u64().unwrap()).unwrap()
    }

    fn flag(&self, key: &str, default: bool) -> bool {
        self.options[key].as_bool().unwrap_or(default)
    }

    fn dense(&self, features: usize) -> LayerKind {
        let units = self.number(0);
        let activation = match self.options["activation"].as_str() {
            Some("softmax") => HeadActivation::Softmax,
            Some("sigmoid") => HeadActivation::Pointwise(Activation::Sigmoid),
            _ => HeadActivation::Pointwise(Activation::Linear),
        };
        LayerKind::Dense(Dense { weight: zeros(&[units, features]), bias: Some(zeros(&[units])), activation })
    }

    fn recurrent(&self, features: usize, go_backwards: bool) -> Recurrent {
        let units = self.number(0);
        let cell = match self.class {
            "SimpleRNN" => Cell::Rnn,
            "LSTM" => Cell::Lstm,
            "GRU" if self.flag("reset_after", true) => Cell::Gru,
            _ => Cell::GruResetBefore,
        };
        let gates = cell.spec().gates.len() * units;
        Recurrent {
            bias_ih: Some(zeros(&[gates])),
            bias_hh: (cell == Cell::Gru).then(|| zeros(&[gates])),
            return_sequences: self.flag("return_sequences", false),
            return_state: self.flag("return_state", false),
            go_backwards,
            stateful: self.flag("stateful", false),
            passes_mask: true,
            ..Recurrent::new(cell, zeros(&[gates, features]), zeros(&[gates, units]))
        }
    }

    fn kind(&self, features: usize) -> LayerKind {
        match self.class {
            "Embedding" => {
                LayerKind::Embedding(Embedding { table: zeros(&[self.number(0), self.number(1)]), mask_zero: false })
            }
            "SimpleRNN" | "LSTM" | "GRU" => LayerKind::Recurrent(self.recurrent(features, false)),
            "Bidirectional" => {
                let inner = Description::new(&self.arguments[0]);
                let merge = match self.options.get("merge_mode") {
                    None => MergeMode::Concat,
                    Some(Json::Null) => MergeMode::Separate,
                    Some(mode) => {
                        assert_eq!(mode, "sum");
                        MergeMode::Sum
                    }
                };
                let (forward, backward) = (inner.recurrent(features, false), inner.recurrent(features, true));
                LayerKind::Bidirectional(Bidirectional { forward, backward, merge })
            }
            "Dense" => self.dense(features),
            "TimeDistributed" => {
                LayerKind::TimeDistributed(Box::new(Description::new(&self.arguments[0]).dense(features)))
            }
            "Dropout" => LayerKind::Identity,
            "Flatten" => LayerKind::Flatten,
            "BatchNormalization" => LayerKind::BatchNormalization(BatchNormalization {
                axis: -1,
                gamma: Some(zeros(&[features])),
                beta: Some(zeros(&[features])),
                moving_mean: zeros(&[features]),
                moving_variance: zeros(&[features]),
                epsilon: 1e-3,
            }),
            "LayerNormalization" => LayerKind::LayerNormalization(LayerNormalization {
                axes: vec![-1],
                gamma: Some(zeros(&[features])),
                beta: Some(zeros(&[features])),
                epsilon: 1e-3,
            }),
            other => panic!("{other}"),
        }
    }
}

/// The model of a list of layers, with the names that Keras gives them.
fn model(layers: &[Json]) -> Model {
    let mut builder: Builder = Model::builder("sequential");
    builder.style(Style::Sequential);
    let (input, layers) = layers.split_first().unwrap();
    let input = Description::new(input);
    let shape: Vec<Option<usize>> =
        input.arguments[0].as_array().unwrap().iter().map(|dim| dim.as_u64().map(|dim| dim as usize)).collect();
    builder.batch_size(input.options["batch_size"].as_u64().map(|size| size as usize));
    let mut values: Vec<Value> = vec![builder.input("input_layer", &shape).unwrap()];
    let mut features = shape.last().copied().flatten().unwrap_or(0);
    let (mut last, mut flat) = (String::new(), shape.iter().map(|dim| dim.unwrap_or(0)).product::<usize>());
    for (index, entry) in layers.iter().enumerate() {
        let description = Description::new(entry);
        let class = description.class;
        // A layer inside another one is counted too.
        let of_class = |other: &&Json| other[0] == class || other[1][0] == class;
        let count = layers[..index].iter().filter(of_class).count();
        let snake = match class {
            "SimpleRNN" => "simple_rnn",
            "TimeDistributed" => "time_distributed",
            "BatchNormalization" => "batch_normalization",
            "LayerNormalization" => "layer_normalization",
            other => &other.to_lowercase(),
        };
        let counted = if count == 0 { snake.to_owned() } else { format!("{snake}_{count}") };
        last = description.options["name"].as_str().map_or(counted, str::to_owned);
        let kind = description.kind(features);
        let layer = builder.layer(&last, kind).unwrap();
        values = builder.call(layer, wgpu_rnn::model::Call { inputs: &values[..1], ..Default::default() }).unwrap();
        features = match class {
            "Embedding" => description.number(1),
            "Flatten" => flat,
            "Dropout" | "BatchNormalization" | "LayerNormalization" => features,
            "TimeDistributed" => Description::new(&description.arguments[0]).number(0),
            "Bidirectional" => {
                let sum = description.options.get("merge_mode").is_some();
                Description::new(&description.arguments[0]).number(0) * if sum { 1 } else { 2 }
            }
            _ => description.number(0),
        };
        flat = shape.first().copied().flatten().unwrap_or(0) * features;
    }
    for value in values {
        builder.output(&last, value).unwrap();
    }
    builder.build().unwrap()
}

#[test]
fn models_without_a_file_print_what_keras_printed() {
    let list: Json = serde_json::from_slice(&fs::read(folder().join("cases.json")).unwrap()).unwrap();
    let mut compared = 0;
    for case in list["summary_only"].as_array().unwrap() {
        let layers = case["layers"].as_array().unwrap();
        let name = case["name"].as_str().unwrap();
        // A model here has the shapes of all its layers: there is none that was not built.
        if layers[0][0] != "Input" {
            continue;
        }
        let summary = model(layers).summary();
        // Layers that do nothing once trained are told apart in files only.
        let expected = printed(name).replace("dropout (Dropout)   ", "dropout (Identity)  ");
        assert_eq!(summary, expected, "{name}");
        compared += 1;
    }
    assert!(compared >= 8, "{compared}");
}

#[test]
fn parameters_are_counted_as_keras_counts_them() {
    let text = |text: &str| serde_json::from_str::<Json>(text).unwrap();
    let cases = [
        (r#"[["Input", [2, 10]], ["SimpleRNN", 3]]"#, vec![42]),
        (r#"[["Input", [10, 5]], ["SimpleRNN", 3, {"return_sequences": true}], ["SimpleRNN", 3]]"#, vec![27, 21]),
        (
            r#"[["Input", [20]], ["Embedding", 5000, 100], ["SimpleRNN", 128], ["Dense", 1]]"#,
            vec![500_000, 29_312, 129],
        ),
        (r#"[["Input", [3, 10000]], ["SimpleRNN", 32], ["Dense", 1]]"#, vec![321_056, 33]),
        (
            r#"[["Input", [3, 10000]], ["SimpleRNN", 32, {"return_sequences": true}], ["SimpleRNN", 32], ["Dense", 1]]"#,
            vec![321_056, 2080, 33],
        ),
        (r#"[["Input", [3, 10000]], ["LSTM", 32], ["Dense", 1]]"#, vec![1_284_224, 33]),
        (r#"[["Input", [20]], ["Embedding", 50, 8], ["SimpleRNN", 32], ["Dense", 1]]"#, vec![400, 1312, 33]),
    ];
    for (layers, expected) in cases {
        let model = model(text(layers).as_array().unwrap());
        let counts: Vec<usize> = model.layers()[1..].iter().map(|layer| layer.kind.parameter_count()).collect();
        assert_eq!(counts, expected, "{layers}");
        assert_eq!(model.parameter_count(), expected.iter().sum::<usize>());
    }
}
