//! `cpu-bench`: fixed work on the CPU. `list` names it, `steps NAME COUNT` makes so many steps of one (which
//! `scripts/instructions` counts under callgrind), `time` times all, and `limits` says what the processor could do at most,
//! and how much of that a stream and a batch make use of.

mod limits;
mod work;

use std::{env, process::ExitCode};

use work::ALL;

const USAGE: &str = "usage: wgpu-rnn-cpu-bench list | steps NAME COUNT | time | limits";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["list"] => {
            ALL.iter().for_each(|work| println!("{}", work.name));
            Ok(())
        }
        ["steps", name, count] => steps(name, count),
        ["time"] => ALL.iter().try_for_each(|work| {
            println!("{:24} {:8.3} us for a timestep", work.name, work.stream(500, 100)? * 1e6);
            Ok(())
        }),
        ["limits"] => limits::print(),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn steps(name: &str, count: &str) -> Result {
    let work = ALL.iter().find(|work| work.name == name).ok_or_else(|| format!("no work {name:?}: see `list`"))?;
    let count = count.parse().map_err(|_| format!("{count:?} is not a number of steps"))?;
    work.stream(count, 1).map(drop)
}
