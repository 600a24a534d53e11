//! Where and when this ran, and with what.

use std::{num::NonZero, time::SystemTime};

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// The processor and the operating system.
pub(crate) fn text() -> String {
    format!("{}, {} cores, {}", processor(), cores(), std::env::consts::OS)
}

fn processor() -> String {
    let of_linux = || {
        let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        line.split_once(':').map(|(_, name)| name.trim().to_owned())
    };
    let of_macos = || {
        let asked = std::process::Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]).output().ok()?;
        String::from_utf8(asked.stdout).ok().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
    };
    let of_windows = || std::env::var("PROCESSOR_IDENTIFIER").ok();
    let found = of_linux().or_else(of_macos).or_else(of_windows);
    found.unwrap_or_else(|| format!("a processor ({})", std::env::consts::ARCH))
}

/// The version of a package that this program is built from.
pub(crate) fn locked(package: &str) -> String {
    version(include_str!("../Cargo.lock"), package).unwrap_or("of unknown version").to_owned()
}

fn version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let mut lines = lock.lines().skip_while(|line| *line != format!("name = \"{package}\""));
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

/// `2026-11-25`, in UTC.
pub(crate) fn today() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    date(now.as_secs() / 86_400)
}

/// The date that is `days` after 1970-01-01.
fn date(mut days: u64) -> String {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

/// The options of this run, as a command.
pub(crate) fn command() -> String {
    // Where the Python is says nothing to others.
    let mut words = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(word) = arguments.next() {
        match word.as_str() {
            "--python" | "--markdown" => drop(arguments.next()),
            word if word.starts_with("--python=") || word.starts_with("--markdown=") => {}
            _ => words.push(word),
        }
    }
    format!("cargo run --release -- {}", words.join(" ")).trim_end_matches(" -- ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(20_782), "2026-11-25");
        assert_eq!(date(20_818), "2026-12-31");
    }

    #[test]
    fn versions_stand_in_the_lock_file() {
        let lock = "[[package]]\nname = \"burn-nn\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"burn\"\nversion = \"2.0.0\"\n";
        assert_eq!(version(lock, "burn"), Some("2.0.0"));
        assert_eq!(version(lock, "bur"), None);
        assert!(locked("wgpu-rnn").starts_with(|c: char| c.is_ascii_digit()));
    }
}
