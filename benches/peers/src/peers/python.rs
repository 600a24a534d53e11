//! PyTorch and ONNX Runtime, in a process of `worker.py` each.

use std::{
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
use crate::case::Case;

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(600);

pub(super) struct Python {
    child: Child,
    requests: ChildStdin,
    answers: Receiver<std::io::Result<String>>,
    folder: PathBuf,
    output: PathBuf,
    values: usize,
    versions: Vec<(String, String)>,
}

/// What `worker.py` answers.
enum Answer {
    Done(Value),
    Missing { why: String, how: String },
}

impl Python {
    /// A process, or why there is none and what to do about it.
    pub(super) fn start(name: Name, threads: Option<usize>, python: &Path, folder: &Path) -> Start<Self> {
        let spawned = Self::spawn(name, threads, python, folder);
        let mut worker = spawned.map_err(|error| {
            let why = format!("{} does not start: {error:#}", python.display());
            (why, "install Python 3.10 or newer, or name it with --python".to_owned())
        })?;
        match worker.ask(&json!({"do": "start"})) {
            Err(error) => Err((format!("{error:#}"), format!("see that {} can run it", python.display()))),
            Ok(Answer::Missing { why, how }) => Err((why, how)),
            Ok(Answer::Done(answer)) => {
                let versions = answer.get("versions").and_then(Value::as_object).into_iter().flatten();
                worker.versions = versions.map(|(name, text)| (name.clone(), plain(text))).collect();
                Ok(worker)
            }
        }
    }

    fn spawn(name: Name, threads: Option<usize>, python: &Path, folder: &Path) -> Result<Self> {
        let mut command = Command::new(python);
        command.args(["-c", include_str!("../../worker.py"), &name.option(), &threads.unwrap_or(0).to_string()]);
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

impl Peer for Python {
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

impl Drop for Python {
    fn drop(&mut self) {
        // It may hang; what it was asked for no longer matters.
        drop(self.child.kill());
        drop(self.child.wait());
    }
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
