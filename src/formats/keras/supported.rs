//! What of Keras is supported, as text: `docs/formats.md` holds it, and a test compares the two.

use super::{activation, config, functions, layers};

/// The tables of `docs/formats.md`, from the lists that files are read by.
#[must_use]
pub(crate) fn table() -> String {
    let row = |what: &str, names: Vec<&str>| format!("| {what} | {} |\n", names.join(", "));
    let mut text = String::from("| supported | |\n| --- | --- |\n");
    text += &row("layers", layers::classes().collect());
    text += &row("cells of `RNN`, one or several", vec!["SimpleRNNCell", "LSTMCell", "GRUCell", "StackedRNNCells"]);
    text += &row("models inside models, and in `TimeDistributed`", vec!["Sequential", "Functional"]);
    text += &row("functions of `keras.ops` in a graph", functions::classes());
    text += &row("activations of each element, in cells and layers", activation::pointwise_names().collect());
    text += &row("activations of the last axis, in layers", activation::axis_names().collect());
    text += &row("activation layers in the place of an activation", vec!["ReLU", "LeakyReLU", "ELU"]);
    text += &row("dtype policies", config::POLICIES.to_vec());
    text += "\n| refused by name | why | instead |\n| --- | --- | --- |\n";
    for (class, what, instead) in layers::ADVICE {
        text += &format!("| {class} | {} | {instead} |\n", what.trim_end_matches(','));
    }
    text
}
