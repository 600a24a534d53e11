//! `convert`: any model as a file of this crate's own.

use serde_json::json;
use wgpu_rnn::{
    Device, Model, Session, SessionOptions,
    formats::{SaveOptions, WeightType},
    verify::known_answers,
};

use crate::{
    args::{ConvertArgs, WeightsName},
    failure::{Failure, Outcome},
    files::{self, note, print},
    progress::busy,
    setup,
};

/// Endings that say that a file is of another format.
const OF_OTHERS: [&str; 10] = ["onnx", "keras", "h5", "hdf5", "pt", "pth", "json", "zip", "npy", "npz"];

pub(crate) fn convert(args: &ConvertArgs) -> Outcome<()> {
    let ending = args.output.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    if let Some(ending) = ending.filter(|ending| OF_OTHERS.contains(&ending.as_str())) {
        let out = args.output.display();
        return Err(Failure::usage(format!("{out}: OUT is a safetensors file, a name in .{ending} would belie it")));
    }
    files::check_writable(&args.output)?;
    if files::same(&args.model.path, &args.output) {
        return Err(Failure::usage("the model and OUT are the same file"));
    }
    let mut model = setup::model(&args.model)?;
    let mut options = SaveOptions::default();
    options.weights = match args.weights {
        WeightsName::F32 => WeightType::F32,
        WeightsName::F16 => WeightType::F16,
    };
    if args.known_answers > 0 {
        let _busy = busy("working out known answers");
        // Of the weights as they are stored.
        if options.weights == WeightType::F16 {
            model = Model::from_bytes(&model.to_bytes(&options)?)?;
        }
        let answers = known_answers(&model, args.known_answers, args.batch, args.seq_len, args.seed)?;
        model = model.with_known_answers(answers)?;
        // A model that no f32 device gets right would be of no use.
        Session::new(&model, SessionOptions::on(Device::Cpu))?;
    }
    let writing = busy("writing the file");
    model.save_with(&args.output, &options)?;
    drop(writing);
    let bytes = std::fs::metadata(&args.output).map_or(0, |meta| meta.len());
    let weights = match args.weights {
        WeightsName::F32 => "f32",
        WeightsName::F16 => "f16",
    };
    let (layers, answers) = (model.layers().len(), model.known_answers().len());
    if args.json.on {
        return Ok(print(
            &json!({
                "schema": 1,
                "output": args.output.display().to_string(),
                "bytes": bytes,
                "layers": layers,
                "parameters": model.parameter_count(),
                "weights": weights,
                "known_answers": answers,
            })
            .to_string(),
        )?);
    }
    note(&format!("{layers} layers, weights {weights}, known answers: {answers}"));
    Ok(print(&format!("{} ({bytes} bytes)", args.output.display()))?)
}
