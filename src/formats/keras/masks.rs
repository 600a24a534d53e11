//! Which values carry a mask, for what the meaning of a mask depends on: the version of Keras, or
//! what is inside a layer. (What a mask does is the model's business, not that of the file.)

use std::{cell::RefCell, collections::HashMap};

use serde_json::Value as Json;

use super::{
    layers::{Described, Origin},
    rules::Rules,
};
use crate::{
    error::{Error, Result},
    formats::KerasBackend,
    model::{CallMask, Value},
};

/// The values that carry a mask.
pub(super) struct Masks {
    rules: Rules,
    /// By value: the value whose mask it is.
    sources: RefCell<HashMap<Value, Value>>,
}

/// Layers whose output carries no mask, whatever comes in.
const DROP: [&str; 19] = [
    "Flatten",
    "Reshape",
    "RepeatVector",
    "Permute",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "Conv1D",
    "SeparableConv1D",
    "DepthwiseConv1D",
    "MaxPooling1D",
    "AveragePooling1D",
    "ZeroPadding1D",
    "Cropping1D",
    "UpSampling1D",
    "Dot",
    "CuDNNLSTM",
    "CuDNNGRU",
    "InputLayer",
    "Input",
];
const MERGES: [&str; 7] = ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"];
const REMEDY: &str = "load it with Keras 3 and save it with model.save('model.keras')";

impl Masks {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, sources: RefCell::default() }
    }

    /// Refuses a call whose masks would not mean what they mean in other files.
    pub(super) fn check(&self, described: &Described<'_>, inputs: &[Value], mask: CallMask) -> Result<()> {
        let sources = self.sources.borrow();
        let carried: Vec<Option<&Value>> = inputs.iter().map(|input| sources.get(input)).collect();
        let given = matches!(mask, CallMask::Given(_));
        if mask == CallMask::None || (!given && carried.iter().all(Option::is_none)) {
            return Ok(());
        }
        let refused = |what: &str, instead: &str| Err(Error::unsupported(described.subject(), what, instead));
        if described.is_recurrent() {
            if self.rules.standalone {
                return refused("masks in a recurrent layer of Keras before 2.4", REMEDY);
            }
            if self.rules.passes_mask.is_none() && described.flag("return_sequences") {
                let what = "a masked recurrent layer in a file that does not say which version of Keras wrote it";
                return refused(what, "give the version with LoadOptions::keras_version, such as (3, 15)");
            }
        }
        if described.masks_in_the_wrong_order() && self.rules.backend == KerasBackend::TensorFlow {
            let what = "a masked layer that is unrolled, runs backwards and gives zeros at masked timesteps,";
            return refused(what, "save it with unroll=False, which Keras masks in the right order");
        }
        if self.rules.keras2 && MERGES.contains(&described.class) {
            let alike = carried.windows(2).all(|pair| pair.first() == pair.last());
            if !alike || matches!(described.class, "Multiply" | "Maximum" | "Minimum") {
                return refused("a merge of masked values as Keras 2 has it", REMEDY);
            }
        }
        if described.class == "TimeDistributed" && described.inner_sees_masks() {
            let instead = "call it on values without a mask";
            return refused("a mask on the timesteps of a recurrent layer or a model inside", instead);
        }
        Ok(())
    }

    /// Takes down what a call gives.
    pub(super) fn note(&self, described: &Described<'_>, inputs: &[Value], outputs: &[Value]) {
        let Some(&output) = outputs.first() else { return };
        let mut sources = self.sources.borrow_mut();
        // The outputs of a model were noted when its layers were called.
        if described.origin != Origin::Layer || DROP.contains(&described.class) {
            return;
        }
        if described.class == "Masking" || (described.class == "Embedding" && described.flag("mask_zero")) {
            sources.insert(output, output);
            return;
        }
        if described.is_recurrent() && (self.rules.passes_mask == Some(false) || !described.flag("return_sequences")) {
            return;
        }
        // What attention gives has the mask of the query.
        let count = if matches!(described.class, "Attention" | "AdditiveAttention") { 1 } else { inputs.len() };
        let carried: Vec<Option<Value>> = inputs.iter().take(count).map(|input| sources.get(input).copied()).collect();
        let source = match carried.as_slice() {
            all if all.iter().all(Option::is_none) => return,
            [Some(first), rest @ ..] if rest.iter().all(|other| *other == Some(*first)) => *first,
            // A mask made of several.
            _ => output,
        };
        sources.insert(output, source);
    }
}

impl Described<'_> {
    /// Whether the option `key` is true, of the layer or of the one that it wraps.
    fn flag(&self, key: &str) -> bool {
        let inner = self.config.get("layer").and_then(|layer| layer.get("config"));
        let value = self.config.get(key).or_else(|| inner.and_then(|inner| inner.get(key)));
        value.and_then(Json::as_bool).unwrap_or(false)
    }

    /// Whether TensorFlow's loop would zero the outputs of a layer by a mask that is the wrong way round.
    fn masks_in_the_wrong_order(&self) -> bool {
        let both = self.class == "Bidirectional";
        let zero = both || (self.flag("zero_output_for_mask") && self.flag("go_backwards"));
        self.is_recurrent() && self.flag("unroll") && self.flag("return_sequences") && zero
    }

    fn inner_sees_masks(&self) -> bool {
        let class = self.config.get("layer").and_then(|layer| layer.get("class_name")).and_then(Json::as_str);
        const SEE: [&str; 10] = [
            "SimpleRNN",
            "LSTM",
            "GRU",
            "RNN",
            "Bidirectional",
            "TimeDistributed",
            "GlobalAveragePooling1D",
            "Sequential",
            "Functional",
            "Model",
        ];
        class.is_none_or(|class| SEE.contains(&class))
    }
}
