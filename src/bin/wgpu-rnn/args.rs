//! The command line: what can be asked for, and which of two options wins.

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, parser::ValueSource};

use crate::failure::{EXIT_CODES, Failure, one_line};

/// Runs recurrent networks saved by Keras, PyTorch or an ONNX exporter on GPUs (wgpu) and CPUs, and verifies
/// the results.
#[derive(Debug, Parser)]
#[command(name = "wgpu-rnn", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a model on arrays and write its outputs
    Run(RunArgs),
    /// Compare a device with the f64 reference, on given or random inputs
    Verify(VerifyArgs),
    /// Print the layers of a model, as Keras does
    Summary(SummaryArgs),
    /// Show what is in a file, and why it cannot be run if it cannot
    Inspect(InspectArgs),
    /// Write a model of any kind as one file of this crate's own
    Convert(ConvertArgs),
    /// List the devices of this machine
    Devices(DevicesArgs),
    /// Tell the language of texts, and compare the devices of this machine
    Demo(DemoArgs),
    /// Time a model, or layers of given sizes, on the devices of this machine
    Bench(BenchArgs),
    /// Tell what each GPU kernel of a model, or of layers of given sizes, does and how long it takes
    Profile(ProfileArgs),
    /// Measure what the CPU and a GPU can do, and keep it for later runs
    Calibrate(CalibrateArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// An array [batch, seq_len, feature] or token ids: FILE.npy (several: in the model's order),
    /// NAME=FILE.npy for the input of that name, or FILE.npz with the inputs' names
    #[arg(long = "input", short, value_name = "FILE", required = true)]
    pub(crate) inputs: Vec<String>,
    #[command(flatten)]
    pub(crate) lengths: LengthsArgs,
    /// Where outputs go, as float32: FILE.npz, or FILE.npy for a model with one output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Start from the states in FILE (stateful models)
    #[arg(long, value_name = "FILE.npz")]
    pub(crate) state_in: Option<PathBuf>,
    /// Write the states after the run to FILE (stateful models)
    #[arg(long, value_name = "FILE.npz")]
    pub(crate) state_out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) json: JsonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Inputs as for `run`; without them, random ones
    #[arg(long = "input", short, value_name = "FILE")]
    pub(crate) inputs: Vec<String>,
    #[command(flatten)]
    pub(crate) lengths: LengthsArgs,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Rows of the random inputs
    #[arg(long, default_value = "3", value_parser = at_least_one, env = "WGPU_RNN_BATCH")]
    pub(crate) batch: usize,
    /// Length of the random inputs, where the model leaves it open [default: 32]
    #[arg(long, env = "WGPU_RNN_SEQ_LEN")]
    pub(crate) seq_len: Option<usize>,
    /// Seed of the random inputs
    #[arg(long, default_value = "0", env = "WGPU_RNN_SEED")]
    pub(crate) seed: u64,
    /// Allowed difference [default: 1e-5; 2e-3 with products in f16, 1e-4 with those of integers]
    #[arg(long, allow_negative_numbers = true, value_parser = tolerance, env = "WGPU_RNN_ATOL")]
    pub(crate) atol: Option<f64>,
    /// Allowed difference per unit of the reference's magnitude, where that is more [default: 1e-5; 2e-3 with products in f16, 1e-4 with those of integers]
    #[arg(long, allow_negative_numbers = true, value_parser = tolerance, env = "WGPU_RNN_RTOL")]
    pub(crate) rtol: Option<f64>,
    #[command(flatten)]
    pub(crate) json: JsonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SummaryArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Print the options of each layer, too: those that the file states and those that it leaves to its version
    #[arg(long)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) json: JsonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// The file to write
    #[arg(value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// How weight matrices are stored
    #[arg(long, default_value = "f32")]
    pub(crate) weights: WeightsName,
    /// How many known answers to put in: random inputs and what the reference gives for them, which
    /// every device is checked with when the file is loaded
    #[arg(long, value_name = "N", default_value = "0", value_parser = answers)]
    pub(crate) known_answers: usize,
    /// Rows of their inputs [default: the model's batch size, else 1 to 3]
    #[arg(long, value_parser = at_least_one)]
    pub(crate) batch: Option<usize>,
    /// Length of their inputs, where the model leaves it open [default: 5 to 14]
    #[arg(long)]
    pub(crate) seq_len: Option<usize>,
    /// Seed of their inputs
    #[arg(long, default_value = "0", env = "WGPU_RNN_SEED")]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) json: JsonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DevicesArgs {
    #[command(flatten)]
    pub(crate) json: JsonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Texts to tell the language of; without any, a few that are built in
    #[arg(value_name = "TEXT")]
    pub(crate) texts: Vec<String>,
    #[command(flatten)]
    pub(crate) json: JsonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CalibrateArgs {
    /// The adapter whose name contains SUBSTRING; else the first of `devices`
    #[arg(long, value_name = "SUBSTRING", env = "WGPU_RNN_ADAPTER")]
    pub(crate) adapter: Option<String>,
    #[command(flatten)]
    pub(crate) json: JsonArgs,
}

/// What is timed.
#[derive(Debug, Args)]
pub(crate) struct CaseArgs {
    /// The model, as for `run`; else --set or --cell says what is timed
    #[arg(value_name = "MODEL", required_unless_present_any = ["set", "cells"])]
    pub(crate) path: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// A standard set of layers with random weights, several separated by commas
    #[arg(long = "set", value_delimiter = ',', value_name = "SET", conflicts_with = "path")]
    pub(crate) set: Vec<SetName>,
    #[command(flatten)]
    pub(crate) sweep: SweepArgs,
    /// Inputs as for `run`; without them, random ones
    #[arg(long = "input", short, value_name = "FILE", conflicts_with_all = ["set", "cells"])]
    pub(crate) inputs: Vec<String>,
    /// Rows of the random inputs; several separated by commas are timed in turn [default: 1, or the set's]
    #[arg(long, value_delimiter = ',', value_parser = at_least_one, env = "WGPU_RNN_BATCH", conflicts_with = "set")]
    pub(crate) batch: Vec<usize>,
    /// Lengths of the random inputs, where the model leaves them open [default: 100]
    #[arg(long, value_delimiter = ',', env = "WGPU_RNN_SEQ_LEN", conflicts_with = "set")]
    pub(crate) seq_len: Vec<usize>,
    /// Seed of the random inputs and weights
    #[arg(long, default_value = "0", env = "WGPU_RNN_SEED")]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) case: CaseArgs,
    /// Devices to time, separated by commas [default: the CPU and every adapter]
    #[arg(long = "device", value_delimiter = ',', value_name = "DEVICE", env = "WGPU_RNN_DEVICE")]
    pub(crate) devices: Vec<DeviceName>,
    /// The adapter whose name contains SUBSTRING, for `gpu` and `auto`; without --device it alone is timed
    #[arg(long, value_name = "SUBSTRING", env = "WGPU_RNN_ADAPTER")]
    pub(crate) adapter: Option<String>,
    #[command(flatten)]
    pub(crate) how: HowArgs,
    /// Measure first what the adapters can do, as `calibrate` does
    #[arg(long)]
    pub(crate) calibrate: bool,
    /// Timed runs per device [default: as many as fit in about 2 seconds, 5 to 50]
    #[arg(long, value_parser = at_least_one, env = "WGPU_RNN_RUNS")]
    pub(crate) runs: Option<usize>,
    /// Also write all figures to FILE.csv
    #[arg(long, value_name = "FILE.csv")]
    pub(crate) csv: Option<PathBuf>,
    /// Also draw times over sequence length, batch and hidden size, as far as they vary, into FILE.svg
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) json: JsonArgs,
}

/// Layers with random weights: every combination of what is listed.
#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// Cells, separated by commas, instead of a model
    #[arg(long = "cell", id = "cells", value_delimiter = ',', value_name = "CELL", conflicts_with_all = ["path", "set"])]
    pub(crate) cells: Vec<CellName>,
    /// Hidden sizes [default: 128]
    #[arg(long, value_delimiter = ',', value_parser = at_least_one, requires = "cells")]
    pub(crate) hidden: Vec<usize>,
    /// Input sizes [default: the hidden size]
    #[arg(long, value_delimiter = ',', value_parser = at_least_one, requires = "cells")]
    pub(crate) input_size: Vec<usize>,
    /// Stacked layers [default: 1]
    #[arg(long, value_delimiter = ',', value_parser = at_least_one, requires = "cells")]
    pub(crate) layers: Vec<usize>,
    /// Whether layers are bidirectional
    #[arg(long, requires = "cells")]
    pub(crate) bidirectional: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    #[command(flatten)]
    pub(crate) case: CaseArgs,
    /// The adapter whose name contains SUBSTRING; else the first of `devices`
    #[arg(long, value_name = "SUBSTRING", env = "WGPU_RNN_ADAPTER")]
    pub(crate) adapter: Option<String>,
    #[command(flatten)]
    pub(crate) how: HowArgs,
    /// Measure first what the adapter can do, as `calibrate` does
    #[arg(long)]
    pub(crate) calibrate: bool,
    #[command(flatten)]
    pub(crate) json: JsonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// The model: a file of Keras, ONNX or PyTorch (safetensors), or of this program's own format
    #[arg(value_name = "MODEL")]
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
}

/// How a model's file is read.
#[derive(Clone, Debug, Args)]
pub(crate) struct LoadArgs {
    /// What the weights belong to: the modules of a PyTorch state dict, or Keras' configuration of a file that
    /// has weights only [default: config.json beside it]
    #[arg(long, value_name = "FILE.json")]
    pub(crate) config: Option<PathBuf>,
    /// Whose rule for outputs at masked timesteps to follow: that of Keras on TensorFlow and PyTorch,
    /// or on JAX and NumPy
    #[arg(long, value_name = "BACKEND", default_value = "tensorflow", env = "WGPU_RNN_KERAS_BACKEND")]
    pub(crate) keras_backend: KerasBackendName,
    /// The version of Keras that wrote a file which does not say it
    #[arg(long, value_name = "VERSION", value_parser = keras_version, env = "WGPU_RNN_KERAS_VERSION")]
    pub(crate) keras_version: Option<(u32, u32)>,
}

#[derive(Debug, Args)]
pub(crate) struct LengthsArgs {
    /// How many timesteps of each row count, where sequences are padded: an array [batch] of whole numbers
    #[arg(id = "lengths", long = "lengths", value_name = "FILE.npy")]
    pub(crate) path: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DeviceArgs {
    /// Where to run: `auto` takes the CPU or a GPU, whichever is estimated to be faster: a hardware GPU, or the one of
    /// --adapter; `gpu` takes any adapter [default: auto]
    #[arg(long, env = "WGPU_RNN_DEVICE")]
    pub(crate) device: Option<DeviceName>,
    /// The adapter whose name contains SUBSTRING; without `--device auto` the run is made there
    #[arg(long, value_name = "SUBSTRING", env = "WGPU_RNN_ADAPTER")]
    pub(crate) adapter: Option<String>,
    #[command(flatten)]
    pub(crate) how: HowArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HowArgs {
    /// How weight matrices are stored
    #[arg(long, default_value = "f32", env = "WGPU_RNN_WEIGHTS")]
    pub(crate) weights: WeightsName,
    /// Threads on the CPU [default: all cores]
    #[arg(long, value_name = "N", value_parser = at_least_one, env = "WGPU_RNN_THREADS")]
    pub(crate) threads: Option<usize>,
    /// Let the CPU make products with int8 weights of integers
    #[arg(long, env = "WGPU_RNN_INTEGER_ARITHMETIC")]
    pub(crate) integer_arithmetic: bool,
    #[cfg(feature = "gpu")]
    /// The only way to run recurrences on a GPU [default: each gets the best that fits; `profile` says why]
    #[arg(long, env = "WGPU_RNN_STRATEGY")]
    pub(crate) strategy: Option<StrategyName>,
    #[cfg(feature = "gpu")]
    /// Let workgroups of a GPU wait for each other where a layer is too large for one of them
    #[arg(long, env = "WGPU_RNN_COOPERATIVE")]
    pub(crate) cooperative: bool,
    #[cfg(feature = "gpu")]
    /// Run recurrent layers one after the other on a GPU, where they could run together
    #[arg(long, env = "WGPU_RNN_LAYER_BY_LAYER")]
    pub(crate) layer_by_layer: bool,
    #[cfg(feature = "gpu")]
    /// Let a GPU make products with f16 weights in f16
    #[arg(long, env = "WGPU_RNN_HALF_ARITHMETIC")]
    pub(crate) half_arithmetic: bool,
}

impl HowArgs {
    /// Nothing asked for.
    pub(crate) const PLAIN: Self = Self {
        weights: WeightsName::F32,
        threads: None,
        integer_arithmetic: false,
        #[cfg(feature = "gpu")]
        strategy: None,
        #[cfg(feature = "gpu")]
        cooperative: false,
        #[cfg(feature = "gpu")]
        layer_by_layer: false,
        #[cfg(feature = "gpu")]
        half_arithmetic: false,
    };
}

#[cfg(feature = "gpu")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StrategyName {
    /// A dispatch per timestep
    Step,
    /// One workgroup walks through a slice of timesteps
    Persistent,
    /// The same, holding its weights
    Held,
    /// Many workgroups walk together
    Cooperative,
}

#[derive(Debug, Args)]
pub(crate) struct JsonArgs {
    /// Print one JSON object instead of text
    #[arg(long = "json")]
    pub(crate) on: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DeviceName {
    Auto,
    Gpu,
    Cpu,
    Reference,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WeightsName {
    F32,
    F16,
    /// bfloat16: the range of f32, with fewer digits than f16
    Bf16,
    /// 8-bit integers, with a scale for each row
    I8,
}

impl WeightsName {
    /// As it is given and reported.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::I8 => "i8",
        }
    }
}

/// The standard sets of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SetName {
    /// Inference servers' LSTM and GRU of DeepBench, batch 1 and 4
    Deepbench,
    /// DeepBench's small layers for devices
    Device,
    /// One timestep of small and large stacks
    Streaming,
    /// Blocks of 1, 64 and 256 samples of audio
    Audio,
    /// LSTM of 768 units, batch 16, 1024 timesteps
    Anchor,
    /// Large batches
    Offline,
    /// LSTM of four layers of 512 units, batch 64
    Stacked,
}

/// The cells of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CellName {
    Rnn,
    Lstm,
    Gru,
    /// GRU that resets before the recurrent product
    GruResetBefore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KerasBackendName {
    #[value(alias = "torch")]
    Tensorflow,
    #[value(alias = "numpy")]
    Jax,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}

/// Each answer is worked out by the reference, kept in memory and checked whenever the file is loaded.
fn answers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count > 1000 => Err("it must be at most 1000".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}

/// The first two numbers of `2.15.0`.
fn keras_version(text: &str) -> Result<(u32, u32), String> {
    let mut parts = text.split('.').map(str::parse);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => Err("it must be two numbers, such as 2.15".to_owned()),
    }
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value >= 0.0 && value.is_finite() => Ok(value),
        Ok(_) => Err("it must be finite and not negative".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Why there is nothing to run.
#[derive(Debug)]
pub(crate) enum NotParsed {
    /// `--help` or `--version`, or help for want of a command.
    Help(Box<clap::Error>),
    Failure(Failure),
}

/// Parses a command line, its first argument being the program.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, NotParsed> {
    let matches = Cli::command().try_get_matches_from(arguments).map_err(not_parsed)?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(not_parsed)?;
    if let Some((_, given)) = matches.subcommand() {
        settle(&mut cli.command, given).map_err(NotParsed::Failure)?;
    }
    Ok(cli)
}

fn not_parsed(error: clap::Error) -> NotParsed {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if matches!(error.kind(), DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand) {
        return NotParsed::Help(Box::new(error));
    }
    let text = error.render().to_string();
    let text = text.split("\n\nUsage:").next().unwrap_or_default();
    let text = text.split("\n\nFor more information").next().unwrap_or_default();
    let text = one_line(&text.strip_prefix("error: ").unwrap_or(text).replace("\n\n  tip: ", "; "));
    NotParsed::Failure(Failure::usage(format!("{text}; see --help")))
}

/// Decides between options that exclude each other. What was typed wins over the environment.
fn settle(command: &mut Command, given: &ArgMatches) -> Result<(), Failure> {
    let typed = |name: &str| given.value_source(name) == Some(ValueSource::CommandLine);
    match command {
        Command::Run(RunArgs { device, .. }) => settle_device(device, typed),
        Command::Verify(VerifyArgs { device, inputs, lengths, .. }) => {
            settle_inputs(inputs, typed)?;
            if lengths.path.is_some() && typed("batch") {
                return Err(Failure::usage("--batch is for inputs without --lengths, which has one length per row"));
            }
            settle_device(device, typed)
        }
        Command::Bench(BenchArgs { case, devices, adapter, .. }) => {
            settle_adapter(devices, "devices", adapter, typed)?;
            settle_inputs(&case.inputs, typed)
        }
        Command::Profile(ProfileArgs { case, adapter, .. }) => {
            drop_nameless(adapter);
            settle_inputs(&case.inputs, typed)
        }
        Command::Calibrate(CalibrateArgs { adapter, .. }) => {
            drop_nameless(adapter);
            Ok(())
        }
        Command::Summary(_) | Command::Inspect(_) | Command::Convert(_) | Command::Devices(_) | Command::Demo(_) => {
            Ok(())
        }
    }
}

/// A variable that is set to nothing names nothing.
fn drop_nameless(adapter: &mut Option<String>) {
    adapter.take_if(|name| name.is_empty());
}

/// Drops the adapter or the devices, where no device has one. `id` is that of the option for devices.
fn settle_adapter(
    devices: &mut Vec<DeviceName>,
    id: &str,
    adapter: &mut Option<String>,
    typed: impl Fn(&str) -> bool,
) -> Result<(), Failure> {
    drop_nameless(adapter);
    let has_adapter = |name: &DeviceName| matches!(name, DeviceName::Gpu | DeviceName::Auto);
    if adapter.is_some() && !devices.is_empty() && !devices.iter().any(has_adapter) {
        match (typed(id), typed("adapter")) {
            (_, false) => *adapter = None,
            (false, true) => devices.clear(),
            (true, true) => return Err(Failure::usage("--adapter needs --device gpu or auto")),
        }
    }
    Ok(())
}

fn settle_device(args: &mut DeviceArgs, typed: impl Fn(&str) -> bool) -> Result<(), Failure> {
    let mut devices: Vec<DeviceName> = args.device.into_iter().collect();
    settle_adapter(&mut devices, "device", &mut args.adapter, typed)?;
    args.device = devices.pop().or(args.adapter.as_ref().map(|_| DeviceName::Gpu));
    Ok(())
}

fn settle_inputs(inputs: &[String], typed: impl Fn(&str) -> bool) -> Result<(), Failure> {
    let unused = [("batch", "--batch"), ("seq_len", "--seq-len"), ("seed", "--seed")];
    match unused.into_iter().find(|(name, _)| !inputs.is_empty() && typed(name)) {
        Some((_, option)) => Err(Failure::usage(format!("{option} is for random inputs, without --input"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        let words = line.split(' ').map(OsString::from);
        parse(words).map(|cli| cli.command).map_err(|not| match not {
            NotParsed::Help(error) => error.kind().to_string(),
            NotParsed::Failure(failure) => failure.message(),
        })
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_adapter_means_gpu() {
        let Ok(Command::Verify(verify)) = parsed("wgpu-rnn verify m.keras --adapter llvm") else { panic!() };
        assert_eq!(verify.device.device, Some(DeviceName::Gpu));
        assert_eq!((verify.batch, verify.seq_len, verify.seed), (3, None, 0));
        let both = "wgpu-rnn run m.keras -i x.npy -o y.npy --device cpu --adapter llvm";
        assert_eq!(parsed(both).unwrap_err(), "--adapter needs --device gpu or auto");
        let auto = "wgpu-rnn run m.keras -i x.npy -o y.npy --device auto --adapter llvm";
        let Ok(Command::Run(run)) = parsed(auto) else { panic!() };
        assert_eq!((run.device.device, run.device.adapter.as_deref()), (Some(DeviceName::Auto), Some("llvm")));
    }

    #[test]
    fn devices_to_bench_are_a_list() {
        let Ok(Command::Bench(bench)) = parsed("wgpu-rnn bench m.keras --device cpu,gpu --threads 2") else { panic!() };
        assert_eq!(bench.devices, [DeviceName::Cpu, DeviceName::Gpu]);
        assert_eq!(bench.how.threads, Some(2));
    }
}
