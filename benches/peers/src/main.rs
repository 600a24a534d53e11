//! `peers`: the same work by this crate and by others, in turn. Results go to standard output, everything else to
//! standard error.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation))]

mod args;
mod case;
mod machine;
mod order;
mod peers;
mod report;
mod stats;
mod turns;
mod workload;

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::{
    args::Args,
    case::Case,
    report::{Measured, Report},
    turns::Outcome,
};

fn main() -> ExitCode {
    let done = run(&Args::parse());
    // A driver that is being taken down while the process ends may crash it, and the exit code with it.
    let _ = wgpu_rnn::gpu::wait_until_closed(Duration::from_secs(5));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let folder = Folder::new()?;
    let workloads = workload::asked_for(args);
    let streams_alone = workloads.iter().all(|workload| workload.stream);
    let mut field = peers::field(args, streams_alone, &folder.0)?;
    for missing in &field.missing {
        note(&format!("{} is missing: {}; {}", missing.name.text(), missing.why, missing.how));
    }
    if field.entrants.is_empty() {
        bail!("nobody is here to run anything");
    }
    if let Some(path) = &args.markdown {
        // Better now than after an hour.
        let opened = fs::OpenOptions::new().append(true).create(true).open(path);
        opened.with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let (mut results, mut failures) = (Vec::new(), 0);
    for workload in workloads {
        note(&format!("{}: batch {}, seq_len {}", workload.name(), workload.batch, workload.seq_len));
        match Case::new(workload, args.seed) {
            Ok(case) => {
                let rows = turns::time(&mut field.entrants, &case, args.rounds, args.resident);
                results.push(Measured::new(&case, rows));
            }
            // One that fails does not hide the others.
            Err(error) => {
                note(&format!("{}: {error:#}", workload.name()));
                failures += 1;
            }
        }
    }
    let mut versions = Vec::new();
    for version in field.entrants.iter().flat_map(|entrant| entrant.peer.versions()) {
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    let report = Report {
        machine: machine::text(),
        date: machine::today(),
        command: machine::command(),
        adapter: field.adapter,
        versions,
        missing: field.missing,
        results,
    };
    if let Some(path) = &args.markdown {
        fs::write(path, report::markdown(&report)).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let text = if args.json { report::json(&report) } else { report::text(&report) };
    writeln!(io::stdout(), "{text}").context("standard output cannot be written")?;
    let rows = report.results.iter().flat_map(|measured| &measured.rows);
    failures += rows.filter(|row| matches!(row.outcome, Outcome::Failed(_))).count();
    if failures > 0 {
        bail!("{failures} of the timings failed, or were of wrong outputs");
    }
    Ok(())
}

/// Says something on standard error. Nobody may be listening.
fn note(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// A folder for arrays that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("wgpu-rnn-peers-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("{} cannot be created", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
