//! Peers in a process each: of `worker.py` (PyTorch, ONNX Runtime), or of the package `peers-worker` (candle, ONNX Runtime
//! by its C API, rten, tract).

use std::{
    env::{self, consts::EXE_SUFFIX},
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use wgpu_rnn::Tensor;

use super::{Name, Peer, Start};
use crate::{case::Case, machine};

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(600);

pub(super) struct Worker {
    child: Child,
    requests: ChildStdin,
    answers: Receiver<std::io::Result<String>>,
    folder: PathBuf,
    output: PathBuf,
    values: usize,
    versions: Vec<(String, String)>,
}

/// Names the library of ONNX Runtime to the package `ort`.
const LIBRARY: &str = "ORT_DYLIB_PATH";

/// What it answers.
enum Answer {
    Done(Value),
    Missing { why: String, how: String },
}

impl Worker {
    /// PyTorch or ONNX Runtime, or why it is not here and what to do about it.
    pub(super) fn in_python(name: Name, threads: Option<usize>, python: &Path, folder: &Path) -> Start<Self> {
        let mut command = Command::new(python);
        command.args(["-c", include_str!("../../worker.py")]);
        Self::start(name, threads, command, folder, "install Python 3.10 or newer, or name it with --python")
    }

    /// A peer of the package `peers-worker`, whose program stands beside this one.
    pub(super) fn in_rust(name: Name, threads: usize, python: &Path, folder: &Path) -> Start<Self> {
        const HOW: &str = "cargo build --release --package peers-worker";
        let own = env::current_exe().map_err(|error| (error.to_string(), HOW.to_owned()))?;
        let mut command = Command::new(own.with_file_name(format!("peers-worker{EXE_SUFFIX}")));
        // Some ask their environment only.
        command.envs(["RAYON_NUM_THREADS", "RTEN_NUM_THREADS"].map(|variable| (variable, threads.to_string())));
        let mut library = None;
        if name == Name::OrtC {
            // One that is named tells its version to nobody.
            library = match env::var(LIBRARY) {
                Ok(path) => Some((format!("of {path}"), path)),
                Err(_) => onnxruntime(python),
            };
            command.envs(library.iter().map(|(_, path)| (LIBRARY, path)));
        }
        let mut worker = Self::start(name, Some(threads), command, folder, HOW)?;
        worker.versions.extend(library.map(|(version, _)| ("ONNX Runtime".to_owned(), version)));
        let packages: &[&str] = match name {
            Name::Candle => &["candle-nn"],
            Name::OrtC => &["ort"],
            Name::Rten => &["rten"],
            _ => &["tract-onnx"],
        };
        worker.versions.extend(packages.iter().map(|&package| (package.to_owned(), machine::locked(package))));
        Ok(worker)
    }

    fn start(name: Name, threads: Option<usize>, mut command: Command, folder: &Path, how: &str) -> Start<Self> {
        command.args([name.option(), threads.unwrap_or(0).to_string()]);
        let program = Path::new(command.get_program()).display().to_string();
        let spawned = Self::spawn(command, folder);
        let mut worker = spawned.map_err(|error| (format!("{program} does not start: {error:#}"), how.to_owned()))?;
        match worker.ask(&json!({"do": "start"})) {
            Err(error) => Err((format!("{error:#}"), format!("see that {program} can run it"))),
            Ok(Answer::Missing { why, how }) => Err((why, how)),
            Ok(Answer::Done(answer)) => {
                let versions = answer.get("versions").and_then(Value::as_object).into_iter().flatten();
                worker.versions = versions.map(|(name, text)| (name.clone(), plain(text))).collect();
                Ok(worker)
            }
        }
    }

    fn spawn(mut command: Command, folder: &Path) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let requests = child.stdin.take().context("without standard input")?;
        let answers = child.stdout.take().context("without standard output")?;
        Ok(Self {
            requests,
            answers: lines(answers),
            folder: folder.to_owned(),
            output: folder.join(format!("y-{}.f32", child.id())),
            child,
            values: 0,
            versions: Vec::new(),
        })
    }

    fn ask(&mut self, request: &Value) -> Result<Answer> {
        let sent = writeln!(self.requests, "{request}").and_then(|()| self.requests.flush());
        let answer = match (sent, self.answers.recv_timeout(DEADLINE)) {
            (Ok(()), Ok(line)) => line?,
            (_, Err(RecvTimeoutError::Timeout)) => bail!("no answer within {} seconds", DEADLINE.as_secs()),
            _ => match self.child.try_wait()? {
                Some(status) => bail!("its process ended ({status}); standard error says why"),
                None => bail!("its process closed its output"),
            },
        };
        let answer: Value = serde_json::from_str(&answer).with_context(|| format!("not an answer: {answer}"))?;
        let text = |key: &str| answer.get(key).map(plain);
        if let Some(error) = text("error") {
            bail!(error);
        }
        if let Some(why) = text("missing") {
            return Ok(Answer::Missing { why, how: text("how").unwrap_or_default() });
        }
        Ok(Answer::Done(answer))
    }

    fn done(&mut self, request: &Value) -> Result<Value> {
        match self.ask(request)? {
            Answer::Done(answer) => Ok(answer),
            Answer::Missing { why, how } => bail!("{why}; {how}"),
        }
    }

    fn seconds(&mut self, what: &str, runs: usize) -> Result<Option<Vec<f64>>> {
        let answer = self.done(&json!({"do": what, "runs": runs}))?;
        match answer.get("seconds") {
            Some(Value::Null) => Ok(None),
            Some(Value::Array(all)) if all.len() == runs => {
                let all = all.iter().map(|one| one.as_f64().context("a time that is no number"));
                all.collect::<Result<_>>().map(Some)
            }
            _ => Err(anyhow!("not {runs} times: {answer}")),
        }
    }
}

impl Peer for Worker {
    fn open(&mut self, case: &Case) -> Result<()> {
        let (workload, weights) = (case.workload, &case.weights);
        let arrays: [(&str, &Tensor); 5] = [
            ("weight_ih", &weights.weight_ih),
            ("weight_hh", &weights.weight_hh),
            ("bias_ih", &weights.bias_ih),
            ("bias_hh", &weights.bias_hh),
            ("x", &case.x),
        ];
        for (name, tensor) in arrays {
            let bytes: Vec<u8> = tensor.to_f32().iter().flat_map(|value| value.to_le_bytes()).collect();
            let path = self.folder.join(format!("{name}.f32"));
            fs::write(&path, bytes).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        self.values = workload.batch * workload.seq_len * workload.hidden;
        self.done(&json!({
            "do": "open",
            "folder": self.folder,
            "cell": workload.cell_name(),
            "hidden_size": workload.hidden,
            "input_size": workload.input_size,
            "batch": workload.batch,
            "seq_len": workload.seq_len,
            "stream": workload.stream,
        }))?;
        Ok(())
    }

    fn run(&mut self, runs: usize) -> Result<Vec<f64>> {
        self.seconds("run", runs)?.context("no times")
    }

    fn output(&mut self) -> Result<Vec<f32>> {
        self.done(&json!({"do": "outputs", "file": self.output}))?;
        let bytes = fs::read(&self.output)?;
        fs::remove_file(&self.output)?;
        let values = bytes.chunks_exact(4).filter_map(|value| value.try_into().ok().map(f32::from_le_bytes));
        let values: Vec<f32> = values.collect();
        if values.len() != self.values {
            bail!("the output has {} values, not {}", values.len(), self.values);
        }
        Ok(values)
    }

    fn resident(&mut self, runs: usize) -> Result<Option<Vec<f64>>> {
        self.seconds("resident", runs)
    }

    fn on_device(&mut self, runs: usize) -> Result<Option<Vec<f64>>> {
        self.seconds("on_device", runs)
    }

    fn versions(&self) -> Vec<(String, String)> {
        self.versions.clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may hang; what it was asked for no longer matters.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The version and the library of the package of `python`, if it has one.
fn onnxruntime(python: &Path) -> Option<(String, String)> {
    const FIND: &str = "import pathlib, onnxruntime
folder = pathlib.Path(onnxruntime.__file__).parent / 'capi'
print(onnxruntime.__version__)
print(next(path for name in ('libonnxruntime.*', 'onnxruntime.dll') for path in folder.glob(name)))";
    let found = Command::new(python).args(["-c", FIND]).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(found.stdout).ok()?;
    let mut lines = text.lines().map(str::to_owned);
    lines.next().zip(lines.next())
}

/// A thread reads, so that waiting can end.
fn lines(from: impl std::io::Read + Send + 'static) -> Receiver<std::io::Result<String>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// A text without quotes; anything else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
