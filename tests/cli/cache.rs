//! `calibrate`, and what is kept from run to run. These need an adapter; a software one will do.

use std::fs;

use serde_json::{Value, json};

use crate::{Done, Folder, command, finish, golden, keys};

/// The program with a cache folder.
fn with_cache(folder: &str, arguments: &[&str]) -> Done {
    let mut command = command(arguments);
    command.env("WGPU_RNN_CACHE", folder);
    finish(command)
}

/// The files of a cache folder that end so.
fn kept(folder: &str, extension: &str) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

fn bench(folder: &str, more: &[&str]) -> Done {
    let layers = ["bench", "--cell", "rnn", "--hidden", "3", "--seq-len", "2", "--device", "gpu", "--runs", "1"];
    with_cache(folder, &[&layers[..], more].concat())
}

#[test]
fn calibrate_measures_and_keeps() {
    let outer = Folder::new();
    let folder = outer.path("not/there/yet");
    let done = with_cache(&folder, &["calibrate", "--json"]).json();
    assert_eq!(keys(&done), ["adapter", "calibration", "cpu", "kept", "schema", "seconds"]);
    let cpu = &done["cpu"];
    assert_eq!(keys(cpu), ["calibration", "kept", "seconds"]);
    let figures = ["cache_bytes", "cache_bytes_per_s", "hand_over_s", "memory_bytes_per_s", "multiply_adds_per_s"];
    assert_eq!(keys(&cpu["calibration"]), figures);
    let of_cpu = std::path::PathBuf::from(cpu["kept"].as_str().unwrap());
    assert!(fs::read_to_string(&of_cpu).unwrap().starts_with("wgpu-rnn calibration of a CPU 1\n"));
    let figures = done["calibration"].as_object().unwrap();
    assert_eq!(figures.len(), 6);
    assert!(figures.values().all(|figure| figure.as_f64() > Some(0.0)), "{figures:?}");
    let others = kept(&folder, "calibration").into_iter().filter(|path| *path != of_cpu);
    let [file] = others.collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(done["kept"], json!(file.to_str().unwrap()));

    // `bench` and `profile` show it beside what they achieved, to all its digits.
    let peak = |result: &Value| result["peak_gflops"].as_f64().unwrap_or(f64::NAN);
    let measured = 2e-9 * figures["multiply_adds_per_s"].as_f64().unwrap();
    let result = bench(&folder, &["--json"]).json()["results"][0].clone();
    assert!((peak(&result) / measured - 1.0).abs() < 1e-9, "{result} {measured}");
    let text = bench(&folder, &[]).ok();
    assert!(text.contains(": measured peaks: ") && text.contains(" %)"), "{text}");
    let profile = with_cache(&folder, &["profile", &golden("lstm.keras"), "--json"]).json();
    assert!((peak(&profile) / measured - 1.0).abs() < 1e-9, "{profile} {measured}");

    // One that is damaged is as if it were not there.
    fs::write(&file, b"\xff\x00 nonsense").unwrap();
    let done = bench(&folder, &["--json"]);
    assert!(
        done.err.contains("left aside: calibration: the first line: expected 'wgpu-rnn calibration 1'"),
        "{done:?}"
    );
    assert!(peak(&done.json()["results"][0]).is_nan());
    // That of the CPU is asked for where `auto` may choose.
    fs::write(&of_cpu, b"nonsense").unwrap();
    let done = with_cache(&folder, &["verify", &golden("lstm.keras"), "--device", "auto"]);
    assert!(done.err.contains("left aside: calibration: the first line: expected 'wgpu-rnn calibration of a CPU 1'"));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let done = bench(&folder, &["--json"]);
    assert!(done.err.contains("left aside: not a plain file"), "{done:?}");
    assert!(peak(&done.json()["results"][0]).is_nan());
}

#[test]
fn without_a_folder_nothing_is_kept() {
    let done = with_cache("", &["calibrate"]).ok();
    assert!(done.ends_with(", not kept\n"), "{done}");
    // Measured for this run alone.
    let result = bench("", &["--calibrate", "--json"]).json()["results"][0].clone();
    assert!(result["peak_gb_per_s"].as_f64() > Some(0.0), "{result}");
    assert_eq!(bench("", &["--json"]).json()["results"][0]["peak_gb_per_s"], Value::Null);

    let outer = Folder::new();
    let file = outer.write("file", b"");
    let done = with_cache(&file, &["calibrate", "--json"]);
    assert!(done.err.contains("warning: nothing is kept: "), "{done:?}");
    assert_eq!(done.json()["kept"], Value::Null);
}

#[test]
fn what_a_driver_compiled_is_kept() {
    let folder = Folder::new();
    let folder = folder.path("cache");
    let first = bench(&folder, &["--json"]).json()["results"][0].clone();
    if first["pipelines_kept"].is_null() {
        // Only Vulkan has such a cache.
        assert_eq!(kept(&folder, "pipelines").len(), 0);
        return;
    }
    assert_eq!(first["pipelines_kept"], false);
    let [file] = kept(&folder, "pipelines").try_into().unwrap();
    let before = fs::read(&file).unwrap();
    let again = bench(&folder, &["--json"]).json()["results"][0].clone();
    assert_eq!(again["pipelines_kept"], true);
    assert_eq!(again["max_abs_error"], first["max_abs_error"]);
    assert!(bench(&folder, &[]).ok().contains("kept from earlier"));

    // Cut off: a new one takes its place.
    fs::write(&file, &before[..before.len() - 1]).unwrap();
    let done = bench(&folder, &["--json"]);
    assert!(done.err.contains("left aside: damaged, or of another adapter"), "{done:?}");
    assert_eq!(done.json()["results"][0]["pipelines_kept"], false);
    assert_eq!(bench(&folder, &["--json"]).json()["results"][0]["pipelines_kept"], true);
}
