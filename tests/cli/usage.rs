//! Usage, the environment, and streams that go away.

use std::{
    io::{Read, Write},
    process::Stdio,
};

use crate::{Folder, command, files::npy, finish, golden, wgpu_rnn};

#[test]
fn help_and_version() {
    let help = wgpu_rnn(&["--help"]).ok();
    assert!(
        help.starts_with("Runs recurrent networks saved by Keras, PyTorch or an ONNX exporter on GPUs (wgpu) and CPUs"),
        "{help}"
    );
    assert!(help.contains("  70  internal error"), "{help}");
    assert_eq!(wgpu_rnn(&["--version"]).ok(), format!("wgpu-rnn {}\n", env!("CARGO_PKG_VERSION")));
    for command in ["run", "verify", "summary", "inspect", "devices", "demo", "bench", "profile", "calibrate"] {
        assert!(wgpu_rnn(&[command, "--help"]).ok().contains(&format!("Usage: wgpu-rnn {command}")));
    }
    let nothing = wgpu_rnn(&[]);
    assert_eq!((nothing.code, nothing.out.as_str()), (2, ""));
    assert!(nothing.err.contains("Usage: wgpu-rnn <COMMAND>"), "{nothing:?}");
}

#[test]
fn wrong_usage_is_one_line_and_exit_code_2() {
    for (arguments, expected) in [
        (
            vec!["run"],
            "the following required arguments were not provided: --input <FILE> --output <FILE> <MODEL>; see --help",
        ),
        (vec!["fly"], "unrecognized subcommand 'fly'; see --help"),
        (
            vec!["verify", "m", "--batch", "0"],
            "invalid value '0' for '--batch <BATCH>': it must be at least 1; see --help",
        ),
        (
            vec!["verify", "m", "--atol", "-1"],
            "invalid value '-1' for '--atol <ATOL>': it must be finite and not negative; see --help",
        ),
        (
            vec!["verify", "m", "--device", "tpu"],
            "invalid value 'tpu' for '--device <DEVICE>' [possible values: auto, gpu, cpu, reference]; a \
             similar value exists: 'cpu'; see --help",
        ),
        (vec!["verify", "m", "--device", "cpu", "--adapter", "x"], "--adapter needs --device gpu or auto"),
        (vec!["bench", "m", "--device", "cpu", "--adapter", "x"], "--adapter needs --device gpu or auto"),
        (vec!["verify", "m", "-i", "x.npy", "--seed", "1"], "--seed is for random inputs, without --input"),
        (vec!["bench", "m", "-i", "x.npy", "--batch", "1"], "--batch is for random inputs, without --input"),
        (
            vec!["run", "m", "-i", "x.npy", "-o", "y.npz", "--state-out", "y.npz"],
            "--output and --state-out are the same file",
        ),
        (vec!["demo", "1 2 3"], "there are no letters to tell a language by"),
    ] {
        let done = wgpu_rnn(&arguments);
        assert_eq!(done.err.lines().count(), 1, "{done:?}");
        assert_eq!(done.error(2), expected);
    }
}

#[test]
fn models_that_cannot_be_read_are_exit_code_3() {
    let folder = Folder::new();
    assert_eq!(
        wgpu_rnn(&["summary", "/nonexistent.keras"]).error(3),
        "/nonexistent.keras: No such file or directory (os error 2)"
    );
    let text = folder.write("m.keras", b"not a model");
    let error = wgpu_rnn(&["summary", &text]).error(3);
    assert!(error.starts_with(&text), "{error}");
    let pickle = folder.write("m.pt", b"\x80\x02\x8a\nl\xfc\x9cF\xf9");
    let unsupported = wgpu_rnn(&["summary", &pickle]).error(3);
    assert!(unsupported.contains("a pickle, which can run any code"), "{unsupported}");
}

#[test]
fn the_environment_sets_defaults_and_the_command_line_wins() {
    let model = golden("lstm.keras");
    let with = |name: &str, value: &str, arguments: &[&str]| {
        let mut command = command(&[&["verify", &model, "--json"], arguments].concat());
        command.env(name, value);
        finish(command)
    };
    assert_eq!(with("WGPU_RNN_DEVICE", "reference", &[]).json()["device"], "reference");
    assert_eq!(with("WGPU_RNN_DEVICE", "reference", &["--device", "cpu"]).json()["device"], "cpu");
    assert_eq!(with("WGPU_RNN_ADAPTER", "no such adapter", &["--device", "cpu"]).json()["device"], "cpu");
    assert_eq!(with("WGPU_RNN_ATOL", "0.5", &["--device", "cpu"]).json()["atol"], 0.5);
    // Set to nothing it names nothing.
    assert_eq!(with("WGPU_RNN_ADAPTER", "", &["--device", "cpu"]).json()["device"], "cpu");
    let bad = with("WGPU_RNN_BATCH", "many", &["--device", "cpu"]).error(2);
    assert_eq!(bad, "invalid value 'many' for '--batch <BATCH>': invalid digit found in string; see --help");
}

#[test]
fn of_a_device_and_an_adapter_what_was_typed_wins() {
    let with = |variables: &[(&str, &str)], arguments: &[&str]| {
        let layers = ["bench", "--cell", "rnn", "--hidden", "3", "--seq-len", "2", "--runs", "1", "--json"];
        let mut command = command(&[&layers, arguments].concat());
        command.envs(variables.iter().copied());
        finish(command)
    };
    let [cpu, nosuch] = [("WGPU_RNN_DEVICE", "cpu"), ("WGPU_RNN_ADAPTER", "no such adapter")];
    assert_eq!(with(&[cpu, nosuch], &[]).json()["results"][0]["device"], "cpu");
    assert_eq!(with(&[nosuch], &["--device", "cpu"]).json()["results"][0]["device"], "cpu");
    assert_eq!(with(&[cpu], &["--adapter", "no such adapter"]).code, 5);
    assert_eq!(with(&[("WGPU_RNN_ADAPTER", "")], &["--device", "cpu"]).json()["results"][0]["device"], "cpu");
}

#[test]
fn auto_says_what_it_takes() {
    let done = wgpu_rnn(&["verify", &golden("lstm.keras"), "--json"]);
    assert!(done.err.starts_with("running on "), "{done:?}");
    assert!(done.json()["device"].is_string());
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child =
        command(&["summary", &golden("lstm.keras")]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let mut full = command(&["summary", &golden("lstm.keras")]);
    full.stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    assert_eq!(finish(full).error(3), "standard output: No space left on device (os error 28)");
}

#[cfg(unix)]
#[test]
fn inputs_may_come_from_a_pipe() {
    let folder = Folder::new();
    let output = folder.path("y.npy");
    let model = golden("lstm.keras");
    let mut child = command(&["run", &model, "-i", "/dev/stdin", "-o", &output, "--device", "cpu"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&npy(&[1, 5, 4], &[0.5; 20])).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
