//! What is asked for: a layer with its weights, and its input.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Lstm,
    /// It resets after the recurrent product, as PyTorch's.
    Gru,
}

impl Cell {
    pub(crate) fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru => 3,
        }
    }

    pub(crate) fn states(self) -> usize {
        match self {
            Self::Lstm => 2,
            Self::Gru => 1,
        }
    }
}

/// The sizes of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) cell: Cell,
    pub(crate) hidden: usize,
    pub(crate) input_size: usize,
    pub(crate) batch: usize,
    pub(crate) seq_len: usize,
    /// A timestep in each call, the states carried from one to the next; else the whole sequence in one call.
    pub(crate) stream: bool,
}

/// Weights in PyTorch's order of gates: LSTM input, forget, cell, output; GRU reset, update, new.
pub(crate) struct Case {
    pub(crate) sizes: Sizes,
    /// `[gates * hidden_size, input_size]`
    pub(crate) weight_ih: Vec<f32>,
    /// `[gates * hidden_size, hidden_size]`
    pub(crate) weight_hh: Vec<f32>,
    /// `[gates * hidden_size]`
    pub(crate) bias_ih: Vec<f32>,
    /// `[gates * hidden_size]`
    pub(crate) bias_hh: Vec<f32>,
    /// `[batch, seq_len, input_size]`
    pub(crate) x: Vec<f32>,
}

impl Case {
    /// As the program wrote them.
    pub(crate) fn read(request: &Value) -> Result<Self> {
        let size = |name: &str| {
            let value = request.get(name).and_then(Value::as_u64).and_then(|value| usize::try_from(value).ok());
            value.filter(|&value| value > 0).with_context(|| format!("{name} is missing or no size"))
        };
        let text = |name: &str| request.get(name).and_then(Value::as_str).with_context(|| format!("{name} is missing"));
        let cell = match text("cell")? {
            "lstm" => Cell::Lstm,
            "gru" => Cell::Gru,
            other => bail!("unknown cell {other}"),
        };
        let stream = request.get("stream").and_then(Value::as_bool).context("stream is missing")?;
        let (hidden, input_size) = (size("hidden_size")?, size("input_size")?);
        let (batch, seq_len) = (size("batch")?, size("seq_len")?);
        let sizes = Sizes { cell, hidden, input_size, batch, seq_len, stream };
        let (folder, rows) = (Path::new(text("folder")?), cell.gates() * hidden);
        Ok(Self {
            sizes,
            weight_ih: array(folder, "weight_ih", rows * input_size)?,
            weight_hh: array(folder, "weight_hh", rows * hidden)?,
            bias_ih: array(folder, "bias_ih", rows)?,
            bias_hh: array(folder, "bias_hh", rows)?,
            x: array(folder, "x", batch * seq_len * input_size)?,
        })
    }
}

/// Little-endian f32 in a file.
fn array(folder: &Path, name: &str, values: usize) -> Result<Vec<f32>> {
    let path = folder.join(format!("{name}.f32"));
    let bytes = fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    ensure!(bytes.len() == values * 4, "{name} has {} bytes, not those of {values} values", bytes.len());
    Ok(bytes.chunks_exact(4).filter_map(|value| value.try_into().ok().map(f32::from_le_bytes)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_sizes_is_refused() {
        let request = serde_json::json!({"cell": "lstm", "stream": false, "hidden_size": 0});
        assert!(Case::read(&request).is_err_and(|error| error.to_string().contains("hidden_size")));
        assert!(Case::read(&serde_json::json!({"cell": "rnn"})).is_err());
    }
}
