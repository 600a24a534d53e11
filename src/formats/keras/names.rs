//! Where a layer's weights stand in `model.weights.h5`: groups have the names of classes, counted.

use std::collections::HashMap;

/// The names given so far in one container.
#[derive(Default)]
pub(super) struct Names {
    given: HashMap<String, usize>,
}

impl Names {
    /// The name of the next layer of `class`: `dense`, `dense_1`, `dense_2`.
    pub(super) fn next(&mut self, class: &str) -> String {
        let name = snake_case(class);
        let given = self.given.entry(name.clone()).or_insert(0);
        *given += 1;
        match *given {
            1 => name,
            count => format!("{name}_{}", count - 1),
        }
    }
}

/// `GlobalAveragePooling1D` as `global_average_pooling1d`.
fn snake_case(class: &str) -> String {
    let chars: Vec<char> = class.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut name = String::new();
    for (index, c) in chars.iter().enumerate() {
        let lower = |at: Option<usize>| at.and_then(|at| chars.get(at)).is_some_and(char::is_ascii_lowercase);
        let word = c.is_ascii_uppercase() && (lower(index.checked_sub(1)) || lower(index.checked_add(1)));
        if word && index > 0 {
            name.push('_');
        }
        name.extend(c.to_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_keras() {
        let names = [
            ("SimpleRNN", "simple_rnn"),
            ("LSTM", "lstm"),
            ("GRU", "gru"),
            ("ReLU", "re_lu"),
            ("ELU", "elu"),
            ("LeakyReLU", "leaky_re_lu"),
            ("TimeDistributed", "time_distributed"),
            ("BatchNormalization", "batch_normalization"),
            ("GlobalAveragePooling1D", "global_average_pooling1d"),
            ("SpatialDropout1D", "spatial_dropout1d"),
            ("InputLayer", "input_layer"),
        ];
        for (class, name) in names {
            assert_eq!(snake_case(class), name);
        }
        let mut names = Names::default();
        assert_eq!(
            ["Dense", "LSTM", "Dense", "Dense"].map(|class| names.next(class)),
            ["dense", "lstm", "dense_1", "dense_2"]
        );
    }
}
