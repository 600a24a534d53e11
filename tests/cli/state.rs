//! `--state-in`, `--state-out`: a sequence in several runs of the program.

use wgpu_rnn::{Device, Session, SessionOptions, Tensor};

use crate::{
    Folder,
    files::{assert_close, golden_array, npy, read_npy, read_npz, write_npz},
    golden, npz, wgpu_rnn,
};

const MODEL: &str = "lstm_stateful";

/// Runs call `call` of the golden case, from and to the states given.
fn call(folder: &Folder, call: usize, device: &str, states: &[&str]) -> (Vec<u64>, Vec<f32>) {
    let bytes = golden_array(&golden(&format!("{MODEL}.npz")), &format!("call{call}.in.input_layer"));
    let (input, output) = (folder.write("x.npy", &bytes), folder.path("y.npy"));
    let model = golden(&format!("{MODEL}.keras"));
    let mut arguments = vec!["run", &model, "-i", &input, "-o", &output, "--device", device];
    arguments.extend(states);
    wgpu_rnn(&arguments).ok();
    read_npy(&output)
}

#[test]
fn a_sequence_goes_on_where_it_stopped() {
    let folder = Folder::new();
    let (a, b) = (folder.path("a.npz"), folder.path("b.npz"));
    let runs = [
        call(&folder, 0, "cpu", &["--state-out", &a]),
        call(&folder, 1, "cpu", &["--state-in", &a, "--state-out", &b]),
        // States fit any device; and a file may be read and replaced at once.
        call(&folder, 2, "reference", &["--state-in", &b, "--state-out", &b]),
    ];
    for (index, output) in runs.iter().enumerate() {
        assert_close(output, &read_npz(&golden(&format!("{MODEL}.npz")), &format!("call{index}.out.0")));
    }
    // One session that never stops gives the same bits.
    let model = wgpu_rnn::Model::load(golden(&format!("{MODEL}.keras"))).unwrap();
    let session = Session::new(&model, SessionOptions::on(Device::Cpu)).unwrap();
    for (index, output) in runs.iter().enumerate().take(2) {
        let (shape, values) = read_npz(&golden(&format!("{MODEL}.npz")), &format!("call{index}.in.input_layer"));
        let shape: Vec<usize> = shape.iter().map(|&dim| usize::try_from(dim).unwrap()).collect();
        let outputs = session.run(Tensor::new(shape, values).unwrap()).unwrap();
        assert_eq!(*outputs.single().unwrap().to_f32(), output.1);
    }
    // From zeros it is something else.
    assert_ne!(call(&folder, 1, "cpu", &[]), runs[1]);
    // Saved states are the very bits.
    assert_eq!(call(&folder, 1, "cpu", &["--state-in", &a]), runs[1]);

    assert_eq!(npz::names(&a), ["lstm/hidden_state", "lstm/cell_state", "__fingerprint__"]);
    assert_eq!(read_npz(&a, "lstm/hidden_state").0, [2, 5]);
    let fingerprint = npz::array(&a, "__fingerprint__").into_vec::<u8>();
    assert_eq!(fingerprint.unwrap().len(), 8);
}

#[test]
fn states_that_do_not_belong_are_refused() {
    let folder = Folder::new();
    let state = folder.path("s.npz");
    call(&folder, 0, "cpu", &["--state-out", &state]);
    let (model, output) = (golden(&format!("{MODEL}.keras")), folder.path("y.npy"));
    let (_, hidden) = read_npz(&state, "lstm/hidden_state");
    let input = folder.path("x.npy");
    let run =
        |state: &str| wgpu_rnn(&["run", &model, "-i", &input, "-o", &output, "--device", "cpu", "--state-in", state]);

    let bare = folder.path("bare.npz");
    write_npz(&bare, &[("lstm/hidden_state", &[2, 5], hidden.clone()), ("lstm/cell_state", &[2, 5], hidden)]);
    let expected =
        format!("{bare}: member '__fingerprint__': expected 8 bytes: a file that --state-out wrote, found none");
    assert_eq!(run(&bare).error(3), expected);
    let array = folder.write("s.npy", &npy(&[2, 5], &[0.0; 10]));
    assert_eq!(run(&array).error(3), format!("{array}: magic bytes: expected an .npz archive, found an .npy file"));

    let other = golden("gru_stateful.keras");
    let input = folder.write("x.npy", &golden_array(&golden("gru_stateful.npz"), "call0.in.input_layer"));
    let done = wgpu_rnn(&["run", &other, "-i", &input, "-o", &output, "--device", "cpu", "--state-in", &state]);
    assert_eq!(done.error(3), "state: expected one of this model and its weights, found one of another model");

    let stateless = golden("lstm.keras");
    let done = wgpu_rnn(&["run", &stateless, "-i", &input, "-o", &output, "--device", "cpu", "--state-out", &state]);
    let expected = "--state-in and --state-out are for stateful models; 'sequential' carries no state";
    assert_eq!(done.error(2), expected);
}

#[test]
fn a_stateful_model_keeps_its_batch_size() {
    let folder = Folder::new();
    let input = folder.write("x.npy", &npy(&[3, 4, 3], &[0.5; 36]));
    let model = golden(&format!("{MODEL}.keras"));
    let done = wgpu_rnn(&["run", &model, "-i", &input, "-o", &folder.path("y.npy"), "--device", "cpu"]);
    assert_eq!(done.error(3), "batch: expected the 2 rows that the model was built for, found 3 rows");
}
