//! Runs one recurrent layer by tract, rten, candle or ONNX Runtime's C API, as the program `peers` asks for it.
//!
//! A process is one peer (the first argument) with a number of threads (the second one). It speaks with `peers` as
//! `worker.py` does: one JSON object per line, answered by one; arrays are files of little-endian f32.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod candle;
mod case;
mod layer;
mod onnx;
#[path = "../../src/order.rs"]
mod order;
mod ort;
mod rten;
mod tract;

use std::{
    env, fmt, fs,
    io::{self, BufRead, Write},
};

use ::ort::environment::Environment;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{
    case::Case,
    layer::{Opened, Runs},
};

/// The peer is not here.
#[derive(Debug)]
struct Missing {
    why: String,
    how: &'static str,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Missing {}

enum Peer {
    Candle,
    Ort(Environment, usize),
    Rten,
    Tract,
}

struct Worker {
    name: String,
    threads: usize,
    peer: Option<Peer>,
    opened: Option<Box<dyn Runs>>,
}

impl Peer {
    fn start(name: &str, threads: usize) -> Result<Self> {
        match name {
            "candle" => Ok(Self::Candle),
            "ort-c" => Ok(Self::Ort(ort::load()?, threads)),
            "rten" => Ok(Self::Rten),
            "tract" => {
                tract::set_threads(threads);
                Ok(Self::Tract)
            }
            other => bail!("unknown peer {other}"),
        }
    }

    fn open(&self, case: &Case) -> Result<Box<dyn Runs>> {
        Ok(match self {
            Self::Candle => Box::new(Opened::new(candle::Candle::new(case)?, case)),
            Self::Ort(environment, threads) => Box::new(Opened::new(ort::Ort::new(environment, case, *threads)?, case)),
            Self::Rten => Box::new(Opened::new(rten::Rten::new(case)?, case)),
            Self::Tract => Box::new(Opened::new(tract::Tract::new(case)?, case)),
        })
    }
}

impl Worker {
    fn answer(&mut self, request: &Value) -> Result<Value> {
        let text = |name: &str| request.get(name).and_then(Value::as_str).with_context(|| format!("{name} is missing"));
        match text("do")? {
            "start" => {
                self.peer = Some(Peer::start(&self.name, self.threads)?);
                // Those of packages stand in the lock file, which `peers` has, as it has the library's.
                Ok(json!({"versions": {}}))
            }
            "open" => {
                // What the layer before held makes room first.
                self.opened = None;
                let case = Case::read(request)?;
                self.opened = Some(self.peer.as_ref().context("open before start")?.open(&case)?);
                Ok(json!({}))
            }
            "run" => {
                let runs = request.get("runs").and_then(Value::as_u64).context("runs is missing")?;
                Ok(json!({"seconds": self.opened.as_mut().context("run before open")?.run(usize::try_from(runs)?)?}))
            }
            // Whose device would be the host.
            "resident" | "on_device" => Ok(json!({"seconds": null})),
            "outputs" => {
                let output = self.opened.as_ref().context("outputs before open")?.output()?;
                let bytes: Vec<u8> = output.iter().flat_map(|value| value.to_le_bytes()).collect();
                fs::write(text("file")?, bytes)?;
                Ok(json!({}))
            }
            other => bail!("unknown request {other}"),
        }
    }

    fn serve(&mut self) -> Result<()> {
        let mut answers = io::stdout();
        for line in io::stdin().lock().lines() {
            let answered =
                serde_json::from_str(&line?).context("not a request").and_then(|request| self.answer(&request));
            let answer = answered.unwrap_or_else(|error| match error.downcast_ref::<Missing>() {
                Some(missing) => json!({"missing": missing.why, "how": missing.how}),
                None => json!({"error": format!("{error:#}")}),
            });
            writeln!(answers, "{answer}")?;
            answers.flush()?;
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let name = arguments.next().context("no peer is named")?;
    let threads = arguments.next().context("no number of threads")?.parse()?;
    let serve = || Worker { name: name.clone(), threads, peer: None, opened: None }.serve();
    // Else each call would first have to wake a thread of its pool, which costs more than a timestep.
    if name == "rten" { ::rten::thread_pool().run(serve) } else { serve() }
}
