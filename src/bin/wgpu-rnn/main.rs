//! `wgpu-rnn`: the command line. Results go to standard output, everything else to standard error.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing))]

mod args;
mod arrays;
mod bench;
mod binding;
mod cache;
mod calibrate;
mod case;
mod convert;
mod demo;
mod devices;
mod environment;
mod failure;
mod files;
mod inspect;
mod language;
mod lengths;
mod peaks;
mod profile;
mod progress;
mod run;
mod setup;
mod summary;
mod table;
mod timing;
mod verify;
mod workload;

use std::{
    any::Any,
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    sync::Mutex,
};

use args::{Cli, Command, NotParsed};
use failure::{Failure, Outcome};

fn main() -> ExitCode {
    environment::quiet_drivers();
    quiet_panics();
    let done = guarded(|| match args::parse(std::env::args_os()) {
        Ok(cli) => dispatch(cli).map(|()| ExitCode::SUCCESS),
        Err(NotParsed::Failure(failure)) => Err(failure),
        Err(NotParsed::Help(help)) => {
            // Nobody may be listening.
            drop(help.print());
            Ok(ExitCode::from(u8::try_from(help.exit_code()).unwrap_or(2)))
        }
    });
    let code = done.unwrap_or_else(|failure| {
        files::note(&format!("error: {}", failure.message()));
        failure.exit_code()
    });
    wait_for_drivers();
    code
}

/// A driver that is being taken down while the process ends may crash it, and the exit code with it.
fn wait_for_drivers() {
    #[cfg(feature = "gpu")]
    let _ = wgpu_rnn::gpu::wait_until_closed(std::time::Duration::from_secs(5));
}

fn dispatch(cli: Cli) -> Outcome<()> {
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Summary(args) => summary::summary(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Convert(args) => convert::convert(&args),
        Command::Devices(args) => devices::devices(&args),
        Command::Demo(args) => demo::demo(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Profile(args) => profile::profile(&args),
        Command::Calibrate(args) => calibrate::calibrate(&args),
    }
}

/// Where the last panic was.
static PANIC_AT: Mutex<String> = Mutex::new(String::new());

/// Keeps panics from printing: [`guarded`] says it in one line. The library catches those of drivers.
fn quiet_panics() {
    panic::set_hook(Box::new(|info| {
        if let (Some(at), Ok(mut last)) = (info.location(), PANIC_AT.lock()) {
            *last = at.to_string();
        }
    }));
}

/// The result of `work`, with a panic as a failure.
fn guarded<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let at = PANIC_AT.lock().map(|at| at.clone()).unwrap_or_default();
        Err(Failure::internal(&format!("{} ({at})", panic_text(&*panic))))
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_one_line_and_exit_code_70() {
        let failure = guarded::<()>(|| panic!("lost\nthe way")).unwrap_err();
        assert_eq!(failure.code(), 70);
        let message = failure.message();
        assert!(message.starts_with("internal error: lost the way ("), "{message}");
        assert!(message.ends_with("); please report it"), "{message}");
    }
}
