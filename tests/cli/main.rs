//! The command line, run as scripts run it: what it prints, writes, refuses, and how it exits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod arrays;
#[cfg(feature = "gpu")]
mod cache;
mod convert;
mod devices;
mod files;
mod formats;
mod inspect;
#[path = "../common/keras_files.rs"]
mod keras_files;
#[path = "../common/npz.rs"]
mod npz;
mod run;
mod state;
mod usage;
mod verify;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::Value;

/// The path of a golden model.
fn golden(name: &str) -> String {
    golden_of("keras", name)
}

/// The path of a golden file of a framework.
fn golden_of(framework: &str, name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(framework);
    folder.join(name).to_str().unwrap().to_owned()
}

/// A folder of its own for each test, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("wgpu-rnn-cli-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file and gives its path.
    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// What a run of the program left.
#[derive(Debug)]
struct Done {
    code: i32,
    out: String,
    err: String,
}

impl Done {
    /// Standard output of a run that must have succeeded.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    #[track_caller]
    fn json(self) -> Value {
        let out = self.ok();
        assert_eq!(out.lines().count(), 1, "{out}");
        let value: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(value["schema"], 1);
        value
    }

    /// The error of a run that must have failed with `code`, printing nothing else.
    #[track_caller]
    fn error(self, code: i32) -> String {
        assert_eq!((self.code, self.out.as_str()), (code, ""), "{self:?}");
        self.last_error()
    }

    fn last_error(&self) -> String {
        let line = self.err.lines().last().unwrap_or_default();
        line.strip_prefix("error: ").unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wgpu-rnn"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WGPU_RNN_") {
            command.env_remove(name);
        }
    }
    // Nothing is kept, unless a test says where.
    command.env("WGPU_RNN_CACHE", "");
    // As in a container. Drivers must not complain.
    command.env_remove("XDG_RUNTIME_DIR");
    command
}

fn wgpu_rnn(arguments: &[&str]) -> Done {
    finish(command(arguments))
}

fn finish(mut command: Command) -> Done {
    let output = command.output().unwrap();
    Done {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The keys of a JSON object, sorted.
fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}
