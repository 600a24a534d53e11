//! `convert`: any model as a file of this crate's own.

use std::path::Path;

use serde_json::json;
use wgpu_rnn::{
    Device, Model, Session, SessionOptions,
    formats::{self, LoadOptions, SaveOptions, WeightType},
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

/// Whether nothing is lost but an earlier result: `path` may be the weights of the very model, in its folder
/// or as an ONNX file's external data.
fn may_replace(path: &Path) -> bool {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() && meta.len() > 0 => {
            formats::inspect(path, &LoadOptions::default()).is_ok_and(|found| found.format.starts_with("wgpu-rnn"))
        }
        _ => true,
    }
}

pub(crate) fn convert(args: &ConvertArgs) -> Outcome<()> {
    let ending = args.output.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    if let Some(ending) = ending.filter(|ending| OF_OTHERS.contains(&ending.as_str())) {
        let out = args.output.display();
        return Err(Failure::usage(format!("{out}: OUT is a safetensors file, a name in .{ending} would belie it")));
    }
    if args.known_answers == 0 && (args.batch.is_some() || args.seq_len.is_some()) {
        return Err(Failure::usage("--batch and --seq-len are for --known-answers"));
    }
    files::check_writable(&args.output)?;
    if files::same(&args.model.path, &args.output) {
        return Err(Failure::usage("the model and OUT are the same file"));
    }
    if !may_replace(&args.output) {
        let out = args.output.display();
        return Err(Failure::usage(format!("{out}: exists, and is no file that convert wrote; remove it first")));
    }
    let mut model = setup::model(&args.model)?;
    let mut options = SaveOptions::default();
    options.weights = match args.weights {
        WeightsName::F32 => WeightType::F32,
        WeightsName::F16 => WeightType::F16,
        WeightsName::Bf16 => WeightType::Bf16,
        WeightsName::I8 => WeightType::I8,
    };
    if args.known_answers > 0 {
        let _busy = busy("working out known answers");
        // Of the weights as they are stored.
        if options.weights != WeightType::F32 {
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
    let weights = args.weights.name();
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
