//! `verify`, `summary`.

use serde_json::json;

use crate::{
    Folder,
    files::{golden_array, npy},
    golden, keys, wgpu_rnn,
};

#[test]
fn summaries_are_those_of_keras() {
    for name in ["lstm", "several_inputs_and_outputs", "lstm_stateful_stack", "notebook_sentiment", "gru_bidirectional"]
    {
        let expected = std::fs::read_to_string(golden(&format!("{name}.summary.txt"))).unwrap();
        let printed = wgpu_rnn(&["summary", &golden(&format!("{name}.keras"))]).ok();
        assert_eq!(printed.trim_end_matches('\n'), expected.trim_end_matches('\n'));
    }
}

#[test]
fn random_inputs_verify() {
    for name in
        ["lstm_masks", "lstm_masks_bidirectional", "masking_layer", "several_inputs_and_outputs", "time_none_ids"]
    {
        for seed in ["0", "7"] {
            let model = golden(&format!("{name}.keras"));
            let json =
                wgpu_rnn(&["verify", &model, "--device", "cpu", "--batch", "6", "--seed", seed, "--json"]).json();
            assert_eq!(json["passed"], true, "{name} {json}");
        }
    }
}

#[test]
fn json_has_the_agreed_keys() {
    let model = golden("lstm_options.keras");
    let json = wgpu_rnn(&["verify", &model, "--device", "cpu", "--json"]).json();
    let expected = [
        "adapter",
        "atol",
        "device",
        "first_diverging_timestep",
        "index",
        "max_abs_error",
        "output",
        "passed",
        "reason",
        "rtol",
        "schema",
    ];
    assert_eq!(keys(&json), expected);
    assert_eq!((&json["passed"], &json["first_diverging_timestep"]), (&json!(true), &json!(null)));
    assert!(json["max_abs_error"].as_f64().unwrap() < 1e-6);
    assert!(json["output"].is_string() && json["index"].is_array());
}

#[test]
fn outside_of_the_tolerance_is_exit_code_1() {
    let model = golden("lstm_options.keras");
    let done = wgpu_rnn(&["verify", &model, "--device", "cpu", "--atol", "0", "--rtol", "0", "--json"]);
    assert_eq!(done.code, 1);
    let json: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((&json["passed"], &json["atol"]), (&json!(false), &json!(0.0)));
    assert_eq!(json["first_diverging_timestep"], 0);
    assert!(done.last_error().starts_with("the outputs are not within the tolerance (worst error "), "{done:?}");
    // The reference is itself.
    let same = ["verify", &model, "--device", "reference", "--atol", "1e-6", "--rtol", "1e-6", "--weights", "f16"];
    wgpu_rnn(&same).ok();
}

#[test]
fn text_says_where_and_how_errors_grow() {
    let text = wgpu_rnn(&["verify", &golden("time_none.keras"), "--device", "cpu", "--seq-len", "20"]).ok();
    assert!(text.starts_with("the CPU against the f64 reference\ninputs: 'x' [3, 20, "), "{text}");
    assert!(text.contains("\nerror over time, output 'dense'\ntimestep  worst error"), "{text}");
    assert!(text.contains("\n0-1  "), "{text}");
    assert!(text.contains("\npassed: the tolerance is max(1e-5, 1e-5 * |reference|)\nworst error "), "{text}");
}

#[test]
fn given_inputs_are_used() {
    let folder = Folder::new();
    let model = golden("lstm.keras");
    let input = folder.write("x.npy", &golden_array(&golden("lstm.npz"), "call0.in.input_layer"));
    let text = wgpu_rnn(&["verify", &model, "--device", "cpu", "-i", &input]).ok();
    assert!(text.contains("(given)"), "{text}");
    // A NaN goes in and comes out on both sides.
    let input = folder.write("x.npy", &npy(&[1, 5, 4], &[f32::NAN; 20]));
    assert_eq!(wgpu_rnn(&["verify", &model, "--device", "cpu", "-i", &input, "--json"]).json()["max_abs_error"], 0.0);
}

#[test]
fn stateful_models_run_the_rows_that_they_are_built_for() {
    let done = wgpu_rnn(&["verify", &golden("lstm_stateful_masks.keras"), "--device", "cpu"]);
    assert!(done.err.starts_with("the model is built for "), "{done:?}");
    done.ok();
}

#[test]
fn sizes_beyond_memory_are_a_limit() {
    let model = golden("time_none_ids.keras");
    let verify = |batch: &str, seq_len: &str| {
        wgpu_rnn(&["verify", &model, "--device", "cpu", "--batch", batch, "--seq-len", seq_len]).error(4)
    };
    let expected = "input 'input_layer' needs shape [1000000000000, 1000000000000], the limit is the memory of this \
                    machine; use a smaller batch or shorter sequences";
    assert_eq!(verify("1000000000000", "1000000000000"), expected);
    assert!(verify("10000000000", "1000000").starts_with("a tensor needs 10000000000000000 values, the limit is "));
}
