//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::peers::Name;

/// Times one recurrent layer by this crate and by others: the same weights and inputs, in turn, in one run, on the same
/// machine and adapter. What they compute is compared with the f64 reference first, and nothing is timed that differs.
#[derive(Debug, Parser)]
#[command(name = "peers")]
pub(crate) struct Args {
    /// A set of layers, several separated by commas [default: portable, without --cell]
    #[arg(long = "set", value_delimiter = ',', value_name = "SET")]
    pub(crate) sets: Vec<SetName>,
    /// Cells, separated by commas, instead of a set: every combination of them and of the sizes below
    #[arg(long = "cell", value_delimiter = ',', value_name = "CELL", conflicts_with = "sets")]
    pub(crate) cells: Vec<CellName>,
    /// Hidden sizes [default: 128]
    #[arg(long, value_delimiter = ',', value_parser = at_least_one, requires = "cells")]
    pub(crate) hidden: Vec<usize>,
    /// Input sizes [default: the hidden size]
    #[arg(long, value_delimiter = ',', value_parser = at_least_one, requires = "cells")]
    pub(crate) input_size: Vec<usize>,
    /// Rows that run together [default: 1]
    #[arg(long, value_delimiter = ',', value_parser = at_least_one, requires = "cells")]
    pub(crate) batch: Vec<usize>,
    /// Lengths [default: 100]
    #[arg(long, value_delimiter = ',', value_parser = at_least_one, requires = "cells")]
    pub(crate) seq_len: Vec<usize>,
    /// A timestep in each call, the states carried from one to the next, as with live data
    #[arg(long, requires = "cells")]
    pub(crate) stream: bool,
    /// Who runs them, separated by commas [default: all that are here]
    #[arg(long, value_delimiter = ',', value_name = "PEER")]
    pub(crate) peers: Vec<Name>,
    /// Numbers of threads of those that compute on the CPU, each timed apart [default: all cores; 1 for
    /// streams]
    #[arg(long, value_delimiter = ',', value_name = "N", value_parser = at_least_one)]
    pub(crate) threads: Vec<usize>,
    /// The adapter whose name contains SUBSTRING; else the first that `wgpu-rnn devices` lists
    #[arg(long, value_name = "SUBSTRING", env = "WGPU_RNN_ADAPTER")]
    pub(crate) adapter: Option<String>,
    /// The Python that has PyTorch and ONNX Runtime
    #[arg(long, value_name = "PROGRAM", default_value = "python3", env = "PEERS_PYTHON")]
    pub(crate) python: PathBuf,
    /// How often each has its turn [default: as often as fits in about 20 seconds per layer, 3 to 20]
    #[arg(long, value_parser = at_least_one)]
    pub(crate) rounds: Option<usize>,
    /// Also time runs whose input and output stay on the device (burn on wgpu, PyTorch with cuDNN)
    #[arg(long)]
    pub(crate) resident: bool,
    /// Seed of the weights and inputs
    #[arg(long, default_value = "0", env = "WGPU_RNN_SEED")]
    pub(crate) seed: u64,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write what was measured to FILE.md, as a page for people
    #[arg(long, value_name = "FILE.md")]
    pub(crate) markdown: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SetName {
    /// What any adapter should do well, software ones included: 128 and 256 units, batch 1, 16, 64
    Portable,
    /// Batch 1 to 256, 64 to 1024 units
    Cpu,
    /// Inference servers' LSTM and GRU of DeepBench, batch 1 and 4
    Deepbench,
    /// Large batches
    Offline,
    /// A sample in each call, the states carried, for 480 of them: 8 to 64 units, of one input and of as many as units
    Audio,
    /// LSTM of 768 units, batch 16, 1024 timesteps
    Anchor,
}

/// A GRU resets after the recurrent product, as PyTorch's does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CellName {
    Lstm,
    Gru,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn sets_and_cells_exclude_each_other() {
        assert!(Args::try_parse_from(["peers", "--set", "cpu", "--cell", "lstm"]).is_err());
        assert!(Args::try_parse_from(["peers", "--hidden", "4"]).is_err());
        assert!(Args::try_parse_from(["peers", "--cell", "lstm,gru", "--hidden", "0"]).is_err());
    }
}
