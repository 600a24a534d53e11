//! The crate's own files (`docs/format.md`): safetensors with the structure of the model as JSON in the
//! metadata, weights under the names of their layers, and known answers.

mod inspect;
mod read;
mod write;

use std::collections::BTreeMap;

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

pub use self::write::{SaveOptions, WeightType};
pub(super) use self::{inspect::inspect, read::read};
use crate::model::Parts;

/// The key of the structure in the metadata.
pub(super) const KEY: &str = "wgpu_rnn";
/// How matrices and tables may be stored, each with the first version of a file that has it. A file is of the first
/// version that has all its types; every version is read.
const TYPES: [(Dtype, u64); 4] = [(Dtype::F32, 1), (Dtype::F16, 1), (Dtype::I8, 2), (Dtype::BF16, 3)];

/// The structure.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u64,
    written_by: String,
    model: Parts,
    /// Weights that are the tensor of another, by name.
    shared: BTreeMap<String, String>,
    known_answers: Vec<Answer>,
}

/// The names of what goes in and comes out; their tensors are stored by number.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    inputs: Vec<String>,
    outputs: Vec<String>,
}

/// The table of `docs/formats.md`.
pub(super) fn table() -> String {
    format!(
        "| | |\n| --- | --- |\n\
         | format, read and written | 1; 2 where a type is I8; 3 where one is BF16 |\n\
         | matrices and tables ({}), as `--weights` says | F32, F16, BF16, or I8 with a scale for each row |\n\
         | all other weights, known answers | F32 |\n",
        write::MATRICES.join(", ")
    )
}

/// The name of a weight's tensor: what a role is has no slash in it.
fn weight_name(layer: &str, role: &str) -> String {
    format!("{layer}/{role}")
}

/// The name of the scales of a weight whose tensor has this name.
fn scale_name(weight: &str) -> String {
    format!("{weight}/scale")
}

/// The shape of the scales of a weight: one for each row.
fn scale_shape(weight: &[usize]) -> &[usize] {
    weight.split_last().map_or(&[], |(_, rows)| rows)
}

/// The name of the tensor of an input or output of a known answer, which has no slash.
fn answer_name(answer: usize, side: &str, index: usize) -> String {
    format!("known_answers.{answer}.{side}.{index}")
}
