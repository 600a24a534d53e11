//! `devices`, `bench`, `demo`, and devices that are not there.

use serde_json::{Value, json};

use crate::{Folder, command, files::npy, finish, golden, keys, wgpu_rnn};

/// The program where no graphics driver can be found.
fn without_drivers(arguments: &[&str]) -> crate::Done {
    let mut command = command(arguments);
    for name in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
        command.env(name, "/nonexistent.json");
    }
    command.env("WGPU_BACKEND", "vulkan");
    finish(command)
}

#[test]
fn devices_lists_the_cpu_and_marks_what_auto_may_take() {
    let json = wgpu_rnn(&["devices", "--json"]).json();
    let devices = json["devices"].as_array().unwrap();
    for device in devices {
        assert_eq!(keys(device), ["backend", "default", "driver", "kind", "name"]);
    }
    let kinds: Vec<&str> = devices.iter().map(|device| device["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds[kinds.len() - 2..], ["cpu", "reference"]);
    // The CPU and a hardware GPU if there is one, never software.
    let marked: Vec<&str> = devices
        .iter()
        .filter(|device| device["default"] == true)
        .map(|device| device["kind"].as_str().unwrap())
        .collect();
    assert!(marked == ["cpu"] || (marked.len() == 2 && marked[1] == "cpu"), "{marked:?}");
    let software = |device: &&Value| device["kind"] == "software";
    assert!(devices.iter().filter(software).all(|device| device["default"] == false));
    let text = wgpu_rnn(&["devices"]).ok();
    assert_eq!(text.lines().count(), 1 + devices.len());
    assert!(text.starts_with("name"), "{text}");
}

#[test]
fn without_an_adapter_there_is_still_the_cpu() {
    let done = without_drivers(&["devices", "--json"]);
    assert!(done.err.starts_with("no GPU adapter: "), "{done:?}");
    if cfg!(feature = "gpu") {
        assert!(done.err.contains("apt-get install mesa-vulkan-drivers"), "{done:?}");
    }
    let json = done.json();
    let kinds: Vec<&Value> = json["devices"].as_array().unwrap().iter().map(|device| &device["kind"]).collect();
    assert_eq!(kinds, ["cpu", "reference"]);
    assert_eq!(json["devices"][0]["default"], true);

    let done = without_drivers(&["demo"]);
    assert!(done.err.starts_with("no GPU adapter: "), "{done:?}");
    assert!(done.ok().contains(" on the CPU.\n"));

    let model = golden("lstm.keras");
    let error = without_drivers(&["verify", &model, "--device", "gpu"]).error(5);
    assert!(error.starts_with("no GPU adapter: "), "{error}");
    assert_eq!(without_drivers(&["verify", &model, "--json"]).json()["device"], "cpu");
    let bench = without_drivers(&["bench", &model, "--json", "--runs", "1"]).json();
    assert_eq!(bench["results"].as_array().unwrap().len(), 1);
    let auto = without_drivers(&["verify", &model, "--device", "auto", "--json"]);
    assert!(auto.err.starts_with("running on the CPU: "), "{auto:?}");
    assert_eq!(auto.json()["device"], "cpu");
    // There is still a CPU to measure.
    let done = without_drivers(&["calibrate", "--json"]);
    assert!(done.err.starts_with("no GPU adapter: "), "{done:?}");
    let json = done.json();
    assert_eq!((&json["adapter"], &json["calibration"]), (&Value::Null, &Value::Null));
    assert!(json["cpu"]["calibration"]["multiply_adds_per_s"].as_f64() > Some(0.0), "{json}");
    assert_eq!(without_drivers(&["calibrate", "--adapter", "x"]).code, 5);
}

#[test]
fn bench_times_and_verifies() {
    let model = golden("time_none.keras");
    let arguments = ["bench", &model, "--device", "cpu,reference", "--batch", "2", "--seq-len", "8", "--threads", "1"];
    let json = wgpu_rnn(&[&arguments[..], &["--runs", "3", "--json"]].concat()).json();
    let results = json["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    for (result, device) in results.iter().zip(["cpu", "reference"]) {
        let expected = [
            "adapter",
            "batch",
            "bytes",
            "cold_ms",
            "cpu_estimate_ms",
            "device",
            "dispatches",
            "gave_up",
            "gb_per_s",
            "gflops",
            "gpu_estimate_ms",
            "kernels_ms",
            "layers",
            "max_abs_error",
            "model",
            "outside_ms",
            "peak_cache_gb_per_s",
            "peak_gb_per_s",
            "peak_gflops",
            "pipelines_kept",
            "reason",
            "runs",
            "seq_len",
            "strategy",
            "submissions",
            "threads",
            "total_ms",
            "us_per_timestep",
            "verified",
            "weight_bytes",
            "weights",
        ];
        assert_eq!(keys(result), expected);
        assert_eq!((&result["device"], &result["weight_bytes"]), (&json!(device), &json!(null)));
        assert_eq!((&result["batch"], &result["seq_len"], &result["threads"]), (&json!(2), &json!(8), &json!(1)));
        assert_eq!((&result["weights"], &result["adapter"]), (&json!("f32"), &json!(null)));
        assert_eq!(keys(&result["total_ms"]), ["median", "min", "p90", "p99"]);
        assert_eq!((&result["verified"], &result["runs"]), (&json!({"rows": 2, "timesteps": 8}), &json!(3)));
        assert!(result["cold_ms"]["load"].as_f64() > Some(0.0) && result["gflops"].as_f64() > Some(0.0));
        let time = |name: &str| result["total_ms"][name].as_f64().unwrap();
        assert!(0.0 < time("min") && time("min") <= time("median") && time("median") <= time("p90"));
        let per_timestep = result["us_per_timestep"].as_f64().unwrap();
        assert!((per_timestep - time("median") * 1e3 / 8.0).abs() < 1e-9);
        assert!(result["max_abs_error"].as_f64().unwrap() < 1e-5);
    }
    let text = wgpu_rnn(&[&arguments[..], &["--runs", "1"]].concat()).ok();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with(": batch 2, seq_len 8, weights f32") && lines[1].is_empty(), "{text}");
    assert!(lines[2].starts_with("device     threads  strategy") && lines[3].starts_with("cpu"), "{text}");
}

/// The reference beside which they are held makes its products as ever.
#[test]
fn bench_takes_products_of_integers() {
    let layers = ["bench", "--cell", "lstm", "--hidden", "20", "--seq-len", "3", "--runs", "1", "--json"];
    let done =
        wgpu_rnn(&[&layers[..], &["--device", "cpu", "--weights", "i8", "--integer-arithmetic"]].concat()).json();
    let error = done["results"][0]["max_abs_error"].as_f64().unwrap();
    assert!(error > 1e-7 && error < 1e-4, "{error}");
}

#[test]
fn bench_takes_inputs_and_stateful_models() {
    let folder = Folder::new();
    let input = folder.write("x.npy", &npy(&[4, 5, 4], &[0.5; 80]));
    let model = golden("lstm.keras");
    let json = wgpu_rnn(&["bench", &model, "-i", &input, "--device", "cpu", "--runs", "1", "--json"]).json();
    assert_eq!((&json["results"][0]["batch"], &json["results"][0]["seq_len"]), (&json!(4), &json!(5)));
    let model = golden("lstm_stateful.keras");
    let json = wgpu_rnn(&["bench", &model, "--device", "cpu", "--runs", "2", "--json"]).json();
    assert_eq!(json["results"][0]["batch"], 2);
}

#[test]
fn bench_of_layers_writes_tables_and_plots() {
    let folder = Folder::new();
    let (csv, svg) = (folder.path("t.csv"), folder.path("t.svg"));
    let devices = if cfg!(feature = "gpu") { ["cpu", "gpu"] } else { ["cpu", "reference"] };
    let sizes = ["--cell", "lstm,gru", "--hidden", "3,5", "--batch", "1,2", "--seq-len", "4"];
    let listed = devices.join(",");
    let sizes = [&sizes[..], &["--device", &listed]].concat();
    let more = ["--layers", "2", "--bidirectional", "--runs", "1", "--csv", &csv, "--plot", &svg, "--json"];
    let done = wgpu_rnn(&[&["bench"][..], &sizes, &more].concat()).json();
    let results = done["results"].as_array().unwrap();
    assert_eq!(results.len(), 2 * 2 * 2 * 2);
    let first = &results[0];
    let layers = json!({"cell": "lstm", "hidden_size": 3, "input_size": 3, "layers": 2, "bidirectional": true});
    assert_eq!((&first["layers"], &first["model"]), (&layers, &json!("2 x bidirectional LSTM 3, input 3")));
    assert_eq!(first["dispatches"], Value::Null);
    if let Some(gpu) = results.iter().find(|result| result["device"] == "gpu") {
        assert!(gpu["dispatches"].as_u64() > Some(3) && gpu["bytes"].as_f64() > Some(0.0), "{gpu}");
    }
    assert!(results.iter().all(|result| devices.contains(&result["device"].as_str().unwrap())));
    assert!(results.iter().all(|result| result["max_abs_error"].as_f64() < Some(1e-5)));

    let table = std::fs::read_to_string(&csv).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 1 + results.len());
    assert!(lines[0].starts_with("adapter,batch,bytes,") && lines[0].contains(",layers.hidden_size,"), "{}", lines[0]);
    assert!(lines[1].contains("\"2 x bidirectional LSTM 3, input 3\""), "{}", lines[1]);
    let drawing = std::fs::read_to_string(&svg).unwrap();
    assert!(drawing.starts_with("<svg") && drawing.contains("hidden size") && drawing.contains("cpu: lstm"));

    let flat = ["bench", "--cell", "rnn", "--hidden", "3", "--device", "cpu", "--runs", "1", "--plot", &svg];
    assert!(wgpu_rnn(&flat).error(3).contains("--plot: expected several batch sizes"));
    let both = ["bench", &golden("lstm.keras"), "--cell", "rnn"];
    wgpu_rnn(&both).error(2);
    let none = wgpu_rnn(&["bench"]).error(2);
    assert!(none.contains("MODEL"), "{none}");
}

#[test]
#[cfg(feature = "gpu")]
fn a_profile_has_every_kernel_and_every_choice() {
    let model = golden("lstm.keras");
    let profile = wgpu_rnn(&["profile", &model, "--batch", "3", "--json"]).json();
    let expected = [
        "adapter",
        "batch",
        "gave_up",
        "kernels",
        "model",
        "peak_cache_gb_per_s",
        "peak_gb_per_s",
        "peak_gflops",
        "recurrences",
        "results",
        "schema",
        "seq_len",
        "submissions",
        "total_ms",
    ];
    assert_eq!(keys(&profile), expected);
    assert_eq!((&profile["batch"], &profile["seq_len"]), (&json!(3), &json!(5)));
    assert_eq!(profile["results"][0]["kernels"], profile["kernels"]);
    let kernels = profile["kernels"].as_array().unwrap();
    let recurrence = kernels.iter().find(|kernel| kernel["kernel"] == "recurrence_persistent").unwrap();
    assert_eq!(recurrence["dispatches"], 1);
    assert!(recurrence["multiply_adds"].as_f64() > Some(0.0) && recurrence["bytes"].as_f64() > Some(0.0));
    let choice = &profile["recurrences"][0];
    assert!(choice["reason"].as_str().unwrap().starts_with(choice["strategy"].as_str().unwrap()), "{choice}");
    let text = wgpu_rnn(&["profile", &model]).ok();
    assert!(text.contains("recurrence_persistent") && text.contains("share"), "{text}");
}

#[test]
#[cfg(feature = "gpu")]
fn layers_are_profiled_like_models() {
    let sizes =
        ["profile", "--cell", "lstm,gru", "--hidden", "5", "--input-size", "3", "--batch", "2", "--seq-len", "4"];
    let json = wgpu_rnn(&[&sizes[..], &["--json"]].concat()).json();
    // With several, which one the outer fields are of would be a guess.
    assert_eq!(keys(&json), ["results", "schema"]);
    let names: Vec<&Value> = json["results"].as_array().unwrap().iter().map(|result| &result["model"]).collect();
    assert_eq!(names, [&json!("LSTM 5, input 3"), &json!("GRU 5, input 3")]);
    let text = wgpu_rnn(&sizes).ok();
    assert!(text.starts_with("LSTM 5, input 3: batch 2, seq_len 4\n"), "{text}");
    assert!(text.contains("\n\n\nGRU 5, input 3: batch 2, seq_len 4\n"), "{text}");
    wgpu_rnn(&["profile"]).error(2);
}

#[test]
fn the_demo_knows_its_samples() {
    let samples: Value = serde_json::from_str(include_str!("../../examples/language/samples.json")).unwrap();
    let json = wgpu_rnn(&["demo", "--json"]).json();
    assert_eq!(keys(&json), ["devices", "schema", "texts"]);
    let texts = json["texts"].as_array().unwrap();
    assert_eq!(texts.len(), samples.as_array().unwrap().len());
    for (text, sample) in texts.iter().zip(samples.as_array().unwrap()) {
        assert_eq!((&text["text"], &text["languages"][0]["code"]), (&sample["text"], &sample["code"]));
    }
    let devices = json["devices"].as_array().unwrap();
    assert_eq!(devices.last().unwrap()["device"], "cpu");
    for device in devices {
        assert_eq!(keys(device), ["adapter", "device", "max_abs_error", "ms", "software"]);
        assert!(device["max_abs_error"].as_f64().unwrap() < 1e-5 && device["ms"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn the_demo_reads_texts() {
    let text =
        wgpu_rnn(&["demo", "Guten Morgen, wie geht es dir heute?", "12:30", "Good morning, how are you today?"]).ok();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "Guten Morgen, wie geht es dir heute?");
    assert!(lines[1].starts_with("    German ") && lines[1].contains(" %  █"), "{text}");
    assert!(text.contains("\n\n12:30\n    no letters to tell a language by\n\n"), "{text}");
    assert!(text.contains("\nGood morning, how are you today?\n    English "), "{text}");
    assert!(text.contains("\nCPU "), "{text}");
    // A row does not depend on its neighbours, nor on the padding that they bring.
    let guess = |texts: &[&str]| wgpu_rnn(&[&["demo", "--json"], texts].concat()).json()["texts"][0].clone();
    let long = "a text that is a good deal longer than the other one, so that there is padding";
    assert_eq!(guess(&["Wo ist der Bahnhof?"]), guess(&["Wo ist der Bahnhof?", long]));
}

#[cfg(not(feature = "gpu"))]
#[test]
fn a_program_without_gpu_says_so() {
    let expected = "no GPU adapter: this program was built without the feature `gpu`; build it with the feature, or use \
                    the device `cpu`";
    assert_eq!(wgpu_rnn(&["verify", &golden("lstm.keras"), "--device", "gpu"]).error(5), expected);
    assert_eq!(wgpu_rnn(&["verify", &golden("lstm.keras"), "--adapter", "x"]).error(5), expected);
}

/// These need an adapter; a software one will do.
#[cfg(feature = "gpu")]
mod gpu {
    use super::{Value, golden, json, wgpu_rnn};
    use crate::{
        Folder,
        files::{assert_close, golden_array, read_npy, read_npz},
    };

    fn first_adapter() -> Value {
        let devices = wgpu_rnn(&["devices", "--json"]).json()["devices"].clone();
        let first = devices[0].clone();
        assert_ne!(first["kind"], "cpu", "these tests need an adapter: see scripts/test");
        first
    }

    #[test]
    fn gpu_runs_and_is_verified() {
        let adapter = first_adapter();
        let model = golden("lstm_masks.keras");
        // Often, since a driver that goes down at the end of a process may take it along.
        for _ in 0..3 {
            let done = wgpu_rnn(&["verify", &model, "--device", "gpu", "--json"]);
            if adapter["kind"] == "software" {
                assert!(done.err.starts_with("warning: ") && done.err.contains("computes on the CPU"), "{done:?}");
            }
            let json = done.json();
            assert_eq!((&json["passed"], &json["device"]), (&json!(true), &json!("gpu")));
            let name = adapter["name"].as_str().unwrap();
            assert!(json["adapter"].as_str().unwrap().starts_with(name), "{json}");
        }
        // Also where there is an error.
        let done = wgpu_rnn(&["verify", &model, "--device", "gpu", "--atol", "0", "--rtol", "0"]);
        assert_eq!(done.code, 1, "{done:?}");
    }

    #[test]
    fn adapters_go_by_a_part_of_their_name() {
        let name = first_adapter()["name"].as_str().unwrap().to_owned();
        let part: String = name.chars().take(5).collect::<String>().to_uppercase();
        let json = wgpu_rnn(&["verify", &golden("lstm.keras"), "--adapter", &part, "--json"]).json();
        assert_eq!(json["device"], "gpu");
        let error = wgpu_rnn(&["verify", &golden("lstm.keras"), "--adapter", "no such adapter"]).error(5);
        assert!(error.starts_with("no adapter named 'no such adapter'; there is "), "{error}");
    }

    #[test]
    fn gpu_gives_what_keras_gave() {
        first_adapter();
        let folder = Folder::new();
        let input = folder.write("x.npy", &golden_array(&golden("lstm.npz"), "call0.in.input_layer"));
        let output = folder.path("y.npy");
        for weights in ["f32", "f16", "bf16", "i8"] {
            let model = golden("lstm.keras");
            wgpu_rnn(&["run", &model, "-i", &input, "-o", &output, "--device", "gpu", "--weights", weights]).ok();
            if weights == "f32" {
                assert_close(&read_npy(&output), &read_npz(&golden("lstm.npz"), "call0.out.0"));
            }
        }
    }

    #[test]
    fn bench_names_the_strategy() {
        first_adapter();
        let json = wgpu_rnn(&["bench", &golden("lstm.keras"), "--device", "gpu", "--runs", "2", "--json"]).json();
        let result = &json["results"][0];
        assert!(result["adapter"].is_string() && result["threads"].is_null(), "{result}");
        assert!(["step", "persistent", "held"].contains(&result["strategy"].as_str().unwrap()), "{result}");
        assert!(result["weight_bytes"].as_u64() > Some(0), "{result}");
    }
}
