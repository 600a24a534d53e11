//! `run`: inputs bound in every way, outputs in both formats.

use crate::{
    Folder,
    files::{assert_close, golden_array, npy, npy_of, read_npy, read_npz, write_npz},
    golden, keys, npz, wgpu_rnn,
};

/// The model with inputs `ids`, `extra`, `signal` and outputs `yes_no`, `kind`, `wave`.
const SEVERAL: &str = "several_inputs_and_outputs";

/// Runs the model of several inputs on the CPU with `inputs`, each `--input`, and checks all outputs.
fn run_several(folder: &Folder, inputs: &[String]) {
    let model = golden(&format!("{SEVERAL}.keras"));
    let output = folder.path("out.npz");
    let mut arguments = vec!["run", &model, "--device", "cpu", "--output", &output];
    arguments.extend(inputs.iter().flat_map(|input| ["--input", input]));
    wgpu_rnn(&arguments).ok();
    assert_eq!(npz::names(&output), ["yes_no", "kind", "wave"]);
    for (index, name) in ["yes_no", "kind", "wave"].into_iter().enumerate() {
        let expected = read_npz(&golden(&format!("{SEVERAL}.npz")), &format!("call0.out.{index}"));
        assert_close(&read_npz(&output, name), &expected);
    }
}

fn several(folder: &Folder) -> [String; 3] {
    let golden = golden(&format!("{SEVERAL}.npz"));
    ["ids", "extra", "signal"]
        .map(|name| folder.write(&format!("{name}.npy"), &golden_array(&golden, &format!("call0.in.{name}"))))
}

#[test]
fn inputs_bind_in_order_by_name_and_by_member() {
    let folder = Folder::new();
    let [ids, extra, signal] = several(&folder);
    run_several(&folder, &[ids.clone(), extra.clone(), signal.clone()]);
    let named = |name: &str, path: &str| format!("{name}={path}");
    run_several(&folder, &[named("signal", &signal), named("ids", &ids), named("extra", &extra)]);
    // Arrays without a name get the inputs that are left.
    run_several(&folder, &[named("extra", &extra), ids.clone(), signal.clone()]);

    let golden = golden(&format!("{SEVERAL}.npz"));
    let arrays = ["signal", "ids", "extra"].map(|name| (name, read_npz(&golden, &format!("call0.in.{name}"))));
    let shapes = arrays.clone().map(|(_, (shape, _))| shape.iter().map(|&dim| dim as usize).collect::<Vec<_>>());
    let arrays: Vec<_> =
        arrays.into_iter().zip(&shapes).map(|((name, (_, values)), shape)| (name, shape.as_slice(), values)).collect();
    let all = folder.path("all.npz");
    write_npz(&all, &arrays);
    run_several(&folder, &[all]);
    let two = folder.path("two.npz");
    write_npz(&two, &arrays[..2]);
    run_several(&folder, &[two, extra.clone()]);
    let one = folder.path("one.npz");
    write_npz(&one, &[("whatever", shapes[2].as_slice(), arrays[2].2.clone())]);
    run_several(&folder, &[ids, named("extra", &one), signal]);
}

#[test]
fn a_name_that_no_input_has_is_part_of_the_path() {
    let folder = Folder::new();
    let input = folder.write("y=x.npy", &golden_array(&golden("lstm.npz"), "call0.in.input_layer"));
    let output = folder.path("out.npy");
    wgpu_rnn(&["run", &golden("lstm.keras"), "-i", &input, "-o", &output, "--device", "cpu"]).ok();
    assert_close(&read_npy(&output), &read_npz(&golden("lstm.npz"), "call0.out.0"));
    let missing = wgpu_rnn(&["run", &golden("lstm.keras"), "-i", "y=x.npy", "-o", &output, "--device", "cpu"]);
    assert_eq!(missing.error(3), "y=x.npy: No such file or directory (os error 2)");
}

#[test]
fn every_dtype_gives_the_same() {
    let folder = Folder::new();
    let run = |bytes: &[u8]| {
        let (input, output) = (folder.write("x.npy", bytes), folder.path("y.npy"));
        wgpu_rnn(&["run", &golden("lstm.keras"), "-i", &input, "-o", &output, "--device", "reference"]).ok();
        read_npy(&output)
    };
    let shape = [1, 5, 4];
    let values: Vec<i8> = (0..20).map(|i| i % 7 - 3).collect();
    let expected = run(&npy(&shape, &values.iter().map(|&v| f32::from(v)).collect::<Vec<_>>()));
    let bytes = |encode: &dyn Fn(i8) -> Vec<u8>| values.iter().flat_map(|&v| encode(v)).collect::<Vec<u8>>();
    for (descr, data) in [
        ("<f8", bytes(&|v| f64::from(v).to_le_bytes().to_vec())),
        (">f8", bytes(&|v| f64::from(v).to_be_bytes().to_vec())),
        (">f4", bytes(&|v| f32::from(v).to_be_bytes().to_vec())),
        ("<f2", bytes(&|v| half::f16::from_f32(f32::from(v)).to_le_bytes().to_vec())),
        ("<i8", bytes(&|v| i64::from(v).to_le_bytes().to_vec())),
        (">i2", bytes(&|v| i16::from(v).to_be_bytes().to_vec())),
        ("|i1", bytes(&|v| v.to_le_bytes().to_vec())),
    ] {
        assert_eq!(run(&npy_of(descr, "False", &shape, &data)), expected, "{descr}");
    }
    // Fortran's order: axis 0 (of extent 1), then time, then features.
    let transposed: Vec<f32> =
        (0..4).flat_map(|f| (0..5).map(move |t| t * 4 + f)).map(|at| f32::from(values[at])).collect();
    let data: Vec<u8> = transposed.iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(run(&npy_of("<f4", "True", &shape, &data)), expected);
}

#[test]
fn token_ids_may_have_any_type_but_must_be_ids() {
    let folder = Folder::new();
    let run = |bytes: &[u8]| {
        let (input, output) = (folder.write("x.npy", bytes), folder.path("y.npy"));
        let done = wgpu_rnn(&["run", &golden("time_none_ids.keras"), "-i", &input, "-o", &output, "--device", "cpu"]);
        (done, output)
    };
    let outputs: Vec<_> =
        [("|u1", vec![1, 2, 3]), (">u2", vec![0, 1, 0, 2, 0, 3]), ("<i4", vec![1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0])]
            .into_iter()
            .map(|(descr, data)| {
                let (done, output) = run(&npy_of(descr, "False", &[1, 3], &data));
                done.ok();
                read_npy(&output)
            })
            .collect();
    assert!(outputs.windows(2).all(|pair| pair[0] == pair[1]));
    let (done, _) = run(&npy(&[1, 3], &[1.0, 2.5, 3.0]));
    let expected = "'input_layer'[0, 1]: expected a token id, a whole number from 0 to 9 (the vocabulary of layer 'embedding'), found 2.5";
    assert_eq!(done.error(3), expected);
    let (done, _) = run(&npy_of("|u1", "False", &[1, 3], &[1, 2, 10]));
    let expected = "'input_layer'[0, 2]: expected a token id, a whole number from 0 to 9 (the vocabulary of layer 'embedding'), found 10";
    assert_eq!(done.error(3), expected);
}

#[test]
fn json_names_outputs_and_device() {
    let folder = Folder::new();
    let inputs = several(&folder);
    let (model, output) = (golden(&format!("{SEVERAL}.keras")), folder.path("out.npz"));
    let mut arguments = vec!["run", &model, "-o", &output, "--device", "cpu", "--json"];
    arguments.extend(inputs.iter().flat_map(|input| ["-i", input]));
    let done = wgpu_rnn(&arguments);
    assert_eq!(done.err, "");
    let json = done.json();
    assert_eq!(keys(&json), ["adapter", "device", "ms", "outputs", "reason", "schema"]);
    assert_eq!((json["device"].as_str(), json["adapter"].is_null()), (Some("cpu"), true));
    assert_eq!(json["reason"], "asked for");
    assert!(json["ms"].as_f64().unwrap() > 0.0);
    let batch = read_npz(&output, "kind").0[0];
    let expected = serde_json::json!([
        {"name": "yes_no", "shape": [batch, 1]},
        {"name": "kind", "shape": [batch, 3]},
        {"name": "wave", "shape": [batch, 4]},
    ]);
    assert_eq!(json["outputs"], expected);
}

#[test]
fn text_lists_the_outputs() {
    let folder = Folder::new();
    let input = folder.write("x.npy", &npy(&[2, 5, 4], &[0.5; 40]));
    let output = folder.path("y.npy");
    let text = wgpu_rnn(&["run", &golden("lstm.keras"), "-i", &input, "-o", &output, "--device", "cpu"]).ok();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..3], ["output  shape", "lstm    [2, 6]", ""]);
    assert!(lines[3].ends_with(&format!(" on the CPU, written to {output}")), "{text}");
}

#[test]
fn repeated_outputs_have_unique_names() {
    let folder = Folder::new();
    let input = folder.write("x.npy", &golden_array(&golden("repeated_outputs.npz"), "call0.in.x"));
    let output = folder.path("y.npz");
    wgpu_rnn(&["run", &golden("repeated_outputs.keras"), "-i", &input, "-o", &output, "--device", "cpu"]).ok();
    assert_eq!(npz::names(&output), ["dense", "x", "dense_1"]);
    // The same every time, whenever it is.
    let again = folder.path("z.npz");
    wgpu_rnn(&["run", &golden("repeated_outputs.keras"), "-i", &input, "-o", &again, "--device", "cpu"]).ok();
    assert_eq!(std::fs::read(output).unwrap(), std::fs::read(again).unwrap());
}

#[test]
fn weights_are_rounded_on_every_device() {
    let folder = Folder::new();
    let input = folder.write("x.npy", &golden_array(&golden("lstm.npz"), "call0.in.input_layer"));
    let run = |weights: &str, device: &str| {
        let output = folder.path("y.npy");
        let model = golden("lstm.keras");
        wgpu_rnn(&["run", &model, "-i", &input, "-o", &output, "--device", device, "--weights", weights]).ok();
        read_npy(&output)
    };
    let full = run("f32", "cpu");
    for weights in ["f16", "bf16", "i8"] {
        let rounded = run(weights, "cpu");
        assert_ne!(full, rounded);
        assert_close(&run(weights, "reference"), &rounded);
    }
}

#[test]
fn masks_follow_the_backend_asked_for() {
    let folder = Folder::new();
    let name = |suffix: &str| golden(&format!("lstm_masks_initial_state{suffix}"));
    let inputs: Vec<String> = ["ids", "h", "c"]
        .iter()
        .map(|input| folder.write(&format!("{input}.npy"), &golden_array(&name(".npz"), &format!("call0.in.{input}"))))
        .collect();
    let output = folder.path("y.npz");
    for (backend, expected) in [("tensorflow", name(".npz")), ("jax", name("_jax.npz"))] {
        let model = name(".keras");
        let mut arguments = vec!["run", &model, "-o", &output, "--device", "cpu", "--keras-backend", backend];
        arguments.extend(inputs.iter().flat_map(|input| ["-i", input]));
        wgpu_rnn(&arguments).ok();
        assert_close(&read_npz(&output, "sequences"), &read_npz(&expected, "call0.out.0"));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = Folder::new();
    let model = golden("lstm.keras");
    let (good, output) = (folder.write("x.npy", &npy(&[2, 5, 4], &[0.5; 40])), folder.path("y.npy"));
    let run = |inputs: &[&str], output: &str| {
        let mut arguments = vec!["run", &model, "-o", output, "--device", "cpu"];
        arguments.extend(inputs.iter().flat_map(|input| ["-i", input]));
        wgpu_rnn(&arguments)
    };
    let expected = format!("inputs: expected 1 ('input_layer'), found one more, {good}");
    assert_eq!(run(&[&good, &good], &output).error(3), expected);
    let named = format!("input_layer={good}");
    assert_eq!(run(&[&named, &named], &output).error(3), "input 'input_layer': expected one tensor, found two");
    let wrong = folder.write("w.npy", &npy(&[2, 5, 3], &[0.5; 30]));
    assert_eq!(
        run(&[&wrong], &output).error(3),
        "input 'input_layer': expected shape (None, 5, 4) (axis 2), found [2, 5, 3]"
    );
    let stranger = folder.path("s.npz");
    write_npz(&stranger, &[("arr_0", &[2, 5, 4], vec![0.5; 40])]);
    let expected = format!("{stranger}: members: expected names of inputs ('input_layer'), found 'arr_0'");
    assert_eq!(run(&[&stranger], &output).error(3), expected);

    let expected = "--output y.txt: the name must end in .npy or .npz";
    assert_eq!(run(&[&good], "y.txt").error(2), expected);
    let expected = "/nonexistent/y.npy: No such file or directory (os error 2)";
    assert_eq!(run(&[&good], "/nonexistent/y.npy").error(3), expected);
    let folder_as_file = folder.path("d.npy");
    std::fs::create_dir(&folder_as_file).unwrap();
    assert_eq!(run(&[&good], &folder_as_file).error(3), format!("{folder_as_file}: is a directory"));

    let several = golden(&format!("{SEVERAL}.keras"));
    let expected = "--output: the model has 3 outputs ('yes_no', 'kind', 'wave'); use .npz";
    assert_eq!(wgpu_rnn(&["run", &several, "-i", &good, "-o", &output, "--device", "cpu"]).error(2), expected);
    let expected = "inputs: expected 'ids', 'extra', 'signal', found none for 'extra', 'signal'";
    let npz = folder.path("y.npz");
    assert_eq!(wgpu_rnn(&["run", &several, "-i", &good, "-o", &npz, "--device", "cpu"]).error(3), expected);
    assert_eq!(folder.files(), ["d.npy", "s.npz", "w.npy", "x.npy"]);
}

#[cfg(target_os = "linux")]
#[test]
fn outputs_may_go_to_a_device_and_through_a_link() {
    let folder = Folder::new();
    let model = golden("lstm.keras");
    let input = folder.write("x.npy", &npy(&[2, 5, 4], &[0.5; 40]));
    let target = folder.write("target.npy", b"old");
    let link = folder.path("link.npy");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    wgpu_rnn(&["run", &model, "-i", &input, "-o", &link, "--device", "cpu"]).ok();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(read_npy(&target).0, [2, 6]);
    let full = folder.path("full.npy");
    std::os::unix::fs::symlink("/dev/full", &full).unwrap();
    let done = wgpu_rnn(&["run", &model, "-i", &input, "-o", &full, "--device", "cpu"]);
    assert_eq!(done.error(3), format!("{full}: No space left on device (os error 28)"));
}
