//! `run`: arrays in, outputs out.

use std::{path::Path, time::Instant};

use serde_json::json;
use wgpu_rnn::{DeviceReport, Error, Inputs, Model, Outputs, Session, Tensor};

use crate::{
    args::RunArgs,
    arrays, binding,
    failure::{Failure, Outcome, shown},
    files::{self, print},
    lengths,
    progress::busy,
    setup,
    table::{ms_text, table},
};

/// The member of a state file that marks the model it belongs to.
const FINGERPRINT: &str = "__fingerprint__";

pub(crate) fn run(args: &RunArgs) -> Outcome<()> {
    let format = Format::of(&args.output)?;
    if args.state_out.as_deref().is_some_and(|path| files::same(path, &args.output)) {
        return Err(Failure::usage("--output and --state-out are the same file"));
    }
    for path in [Some(&args.output), args.state_out.as_ref()].into_iter().flatten() {
        files::check_writable(path)?;
    }
    let model = setup::model(&args.model)?;
    format.check(&model)?;
    let inputs = binding::read(&model, &args.inputs)?;
    let lengths = lengths::read(&args.lengths)?;
    let session = setup::session(&model, &args.device)?;
    if session.plan().states.is_empty() && (args.state_in.is_some() || args.state_out.is_some()) {
        let name = shown(model.name(), 128);
        return Err(Failure::usage(format!(
            "--state-in and --state-out are for stateful models; '{name}' carries no state"
        )));
    }
    if let Some(path) = &args.state_in {
        read_state(&session, path)?;
    }
    let working = busy(format!("running on {}", setup::device_text(session.device())));
    let started = Instant::now();
    let inputs = Inputs::from_iter(inputs);
    let outputs = match &lengths {
        Some(lengths) => session.run_padded(inputs, lengths)?,
        None => session.run(inputs)?,
    };
    let ms = started.elapsed().as_secs_f64() * 1e3;
    drop(working);
    let device = outputs.device().unwrap_or(session.device());
    setup::tell(&session, device);
    format.write(&args.output, &outputs)?;
    if let Some(path) = &args.state_out {
        write_state(&session, path)?;
    }
    setup::keep(&session, None);
    Ok(print(&if args.json.on { json_text(device, &outputs, ms) } else { text(device, &outputs, ms, &args.output) })?)
}

fn text(device: &DeviceReport, outputs: &Outputs, ms: f64, path: &Path) -> String {
    let rows: Vec<_> =
        outputs.iter().map(|(name, tensor)| vec![name.to_owned(), format!("{:?}", tensor.shape())]).collect();
    let outputs = table(&["output", "shape"], &[], &rows);
    format!("{outputs}\n\n{} on {}, written to {}", ms_text(ms), setup::device_text(device), path.display())
}

fn json_text(device: &DeviceReport, outputs: &Outputs, ms: f64) -> String {
    let outputs: Vec<_> = outputs.iter().map(|(name, tensor)| json!({"name": name, "shape": tensor.shape()})).collect();
    json!({
        "schema": 1,
        "device": device.kind,
        "adapter": setup::adapter(device),
        "reason": device.reason,
        "outputs": outputs,
        "ms": ms,
    })
    .to_string()
}

/// How outputs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Npy,
    Npz,
}

impl Format {
    fn of(path: &Path) -> Outcome<Self> {
        let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_lowercase);
        match extension.as_deref() {
            Some("npy") => Ok(Self::Npy),
            Some("npz") => Ok(Self::Npz),
            _ => Err(Failure::usage(format!("--output {}: the name must end in .npy or .npz", path.display()))),
        }
    }

    fn check(self, model: &Model) -> Outcome<()> {
        let names: Vec<String> = model.outputs().into_iter().map(|output| output.name).collect();
        if self == Self::Npy && names.len() != 1 {
            let listed = binding::listed(&names);
            return Err(Failure::usage(format!(
                "--output: the model has {} outputs ({listed}); use .npz",
                names.len()
            )));
        }
        Ok(())
    }

    fn write(self, path: &Path, outputs: &Outputs) -> Result<(), Error> {
        files::write_file(path, |out| match self {
            Self::Npy => outputs.iter().try_for_each(|(_, tensor)| arrays::write_npy(out, tensor)),
            Self::Npz => arrays::write_npz(out, outputs.iter(), None),
        })
    }
}

fn read_state(session: &Session, path: &Path) -> Result<(), Error> {
    let mut tensors = arrays::read_npz(path)?;
    let mark = tensors.iter().position(|(name, _)| name == FINGERPRINT).map(|at| tensors.remove(at).1);
    let fingerprint = mark.as_ref().and_then(fingerprint_of).ok_or_else(|| Error::Malformed {
        file: path.display().to_string(),
        at: format!("member '{FINGERPRINT}'"),
        expected: "8 bytes: a file that --state-out wrote".to_owned(),
        found: mark.as_ref().map_or("none".to_owned(), |mark| format!("{} {:?}", mark.data().dtype(), mark.shape())),
    })?;
    let state = session.restore_state(tensors, fingerprint)?;
    session.set_state(state)
}

fn fingerprint_of(mark: &Tensor) -> Option<u64> {
    let wgpu_rnn::Data::I64(values) = mark.data() else { return None };
    let bytes = values.iter().map(|&value| u8::try_from(value)).collect::<Result<Vec<_>, _>>().ok()?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn write_state(session: &Session, path: &Path) -> Result<(), Error> {
    let Some(state) = session.state() else {
        return Err(Error::Internal { what: "a stateful run left no state".to_owned() });
    };
    let mark = state.fingerprint().to_le_bytes();
    files::write_file(path, |out| arrays::write_npz(out, state.iter(), Some((FINGERPRINT, &mark))))
}
