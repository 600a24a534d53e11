//! How long model files take to load, and how much memory that takes, beside reading the bytes alone:
//! `cargo bench --bench load -- FILE...`. Memory is read from Linux' `/proc`; elsewhere it is not shown.

use std::{env, fs, hint::black_box, time::Instant};

use wgpu_rnn::{Device, Model, Session, SessionOptions};

const MIB: f64 = (1u64 << 20) as f64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if files.is_empty() {
        println!("nothing to load: cargo bench --bench load -- FILE...");
        return Ok(());
    }
    println!(
        "| file | MiB | read s | load s | peak MiB | device | upload s | (load + upload) / (read + upload) | held MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for file in &files {
        // The file comes from the system's cache in both.
        let bytes = fs::read(file)?;
        let size = bytes.len() as f64 / MIB;
        drop(black_box(bytes));
        let read = best_of_three(|| fs::read(file).map(|bytes| drop(black_box(bytes))))?;
        for device in [Device::Cpu, Device::Gpu(None)] {
            println!("{}", row(file, size, read, device)?);
        }
    }
    Ok(())
}

fn row(file: &str, size: f64, read: f64, device: Device) -> wgpu_rnn::Result<String> {
    let load = best_of_three(|| Model::load(file).map(|model| drop(black_box(model))))?;
    let before = resident();
    reset_peak();
    let model = Model::load(file)?;
    let peak = difference(peak(), before);
    let mut options = SessionOptions::on(device);
    options.release_weights = true;
    let started = Instant::now();
    let session = Session::new(&model, options)?;
    let upload = started.elapsed().as_secs_f64();
    drop(model);
    let (held, kind) = (difference(resident(), before), session.device().kind);
    let ratio = (load + upload) / (read + upload);
    Ok(format!("| {file} | {size:.0} | {read:.3} | {load:.3} | {peak} | {kind} | {upload:.3} | {ratio:.2} | {held} |"))
}

fn best_of_three<E>(mut run: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let started = Instant::now();
        run()?;
        best = best.min(started.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// A figure of `/proc/self/status`, MiB.
fn status(key: &str) -> Option<f64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: f64 = line.trim_start_matches(':').split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

fn resident() -> Option<f64> {
    status("VmRSS")
}

fn peak() -> Option<f64> {
    status("VmHWM")
}

fn reset_peak() {
    // Where that fails the peak is that of everything before, which only makes the figure worse.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn difference(now: Option<f64>, before: Option<f64>) -> String {
    now.zip(before).map_or_else(|| "-".to_owned(), |(now, before)| format!("{:.0}", now - before))
}
