//! Damaged PyTorch state dicts and configurations. All cases come from seeds; a failure names its own.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "common/counting.rs"]
mod counting;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/npz.rs"]
mod npz;
#[path = "common/tensors_write.rs"]
mod tensors_write;
#[path = "common/torch_files.rs"]
mod torch_files;

use hostile::{MIB, Rng, damaged, rounds, survives_as};
use tensors_write::{File, raw};
use torch_files::{Case, cases, golden, options};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

fn survives(case: &Case, bytes: &[u8], what: &dyn Fn() -> String) -> bool {
    survives_as(bytes, &options(case.config.as_deref()), 0, what)
}

#[test]
fn golden_files_stay_within_the_bound() {
    for case in cases() {
        assert!(survives(&case, &case.bytes(), &|| case.name.clone()));
    }
}

#[test]
fn truncated_at_every_byte() {
    for name in ["lone_lstm_proj", "lone_gru", "chain_head", "chain_conv_last", "single_embedding", "lstmcell"] {
        let case = golden(name);
        let bytes = case.bytes();
        for cut in 0..bytes.len() {
            assert!(!survives(&case, &bytes[..cut], &|| format!("{name} cut at {cut}")));
        }
        let config = case.config.clone().unwrap_or_default();
        for cut in 0..config.len() {
            let cut = Case { config: Some(config[..cut].to_owned()), ..case.clone() };
            assert!(!survives(&cut, &bytes, &|| format!("{name}, configuration cut: {:?}", cut.config)));
        }
    }
}

#[test]
fn bit_flips() {
    let (mut rng, all) = (Rng(21), cases());
    let files: Vec<Vec<u8>> = all.iter().map(Case::bytes).collect();
    let mut loaded = 0;
    for case in 0..20_000 * rounds() {
        let which = rng.below(all.len());
        let mut bytes = files[which].clone();
        // Half of them where it hurts, in the header.
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let at = rng.below(if case % 2 == 0 { header } else { bytes.len() });
        bytes[at] ^= 1 << rng.below(8);
        loaded += usize::from(survives(&all[which], &bytes, &|| format!("{}, case {case}", all[which].name)));
    }
    assert!(loaded > 2000, "most damage must not be caught by one check alone: {loaded}");
}

#[test]
fn damaged_files() {
    let (mut rng, all) = (Rng(22), cases());
    for case in 0..5000 * rounds() {
        let which = &all[rng.below(all.len())];
        let bytes = damaged(&mut rng, &which.bytes(), 0);
        survives(which, &bytes, &|| format!("{}, case {case}", which.name));
    }
}

#[test]
fn damaged_configurations() {
    let mut rng = Rng(23);
    let all: Vec<Case> = cases().into_iter().filter(|case| case.config.is_some()).collect();
    let files: Vec<Vec<u8>> = all.iter().map(Case::bytes).collect();
    let mut loaded = 0;
    for case in 0..20_000 * rounds() {
        let which = rng.below(all.len());
        let mut config = all[which].config.clone().unwrap().into_bytes();
        if case % 2 == 0 {
            let at = rng.below(config.len());
            config[at] ^= 1 << rng.below(8);
        } else {
            // A word of one place in another.
            let texts = [
                "null",
                "true",
                "false",
                "-1",
                "0",
                "1e300",
                "18446744073709551615",
                "[]",
                "{}",
                "\"\"",
                "3",
                "\"last\"",
            ];
            let (at, text) = (rng.below(config.len()), texts[rng.below(texts.len())]);
            let end = (at + rng.below(8)).min(config.len());
            config.splice(at..end, text.bytes());
        }
        let Ok(text) = String::from_utf8(config) else { continue };
        let changed = Case { config: Some(text), ..all[which].clone() };
        loaded += usize::from(survives(&changed, &files[which], &|| format!("case {case}: {:?}", changed.config)));
    }
    // Few: an option has few values, and a name of one is no name of another.
    assert!(loaded > 50, "{loaded}");
}

/// A header of many small things makes more of itself in memory than it takes in a file.
#[test]
fn headers_made_of_small_things() {
    let entry = |index: usize| format!("\"{index}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}");
    let list = |count: usize, item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<Vec<_>>().join(",");
    let texts = [
        format!("{{{}}}", list(16_000, &entry)),
        format!("{{{}}}", list(200_000, &entry)),
        format!("{{\"__metadata__\":{{{}}}}}", list(170_000, &|index| format!("\"{index}\":\"\""))),
        format!("{{\"__metadata__\":{{{}}}}}", list(900_000, &|index| format!("\"{index}\":\"\""))),
        format!("{{\"a\":{{\"dtype\":\"F32\",\"shape\":[{}0],\"data_offsets\":[0,0]}}}}", "0,".repeat(500_000)),
        format!("{{\"a\":{{\"dtype\":\"F32\",\"shape\":[{}0],\"data_offsets\":[0,0]}}}}", "0,".repeat(7 * MIB)),
        format!("{{\"{}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}}}", "a".repeat(15 * MIB)),
        format!("{{\"{}\":0}}", "\\u0061".repeat(2 * MIB)),
        "{\"a\":".repeat(3 * MIB),
        format!("{{\"a\":{}", "[".repeat(15 * MIB)),
    ];
    for (case, text) in texts.iter().enumerate() {
        assert!(!survives_as(&raw(text, &[]), &options(None), 0, &|| format!("header {case}")), "header {case}");
    }
    let configs = [
        format!("[{}0]", list(500_000, &|_| "{\"a\":0}".to_owned()) + ","),
        format!("{{\"layers\":[{}]}}", list(4000, &|_| "{\"kind\":\"ReLU\"}".to_owned())),
        format!("{{\"layers\":[{}]}}", list(40_000, &|_| "{\"kind\":\"ReLU\"}".to_owned())),
    ];
    for (case, config) in configs.iter().enumerate() {
        let bytes = golden("lone_gru").bytes();
        let what = || format!("configuration {case}");
        assert!(!survives_as(&bytes, &options(Some(config)), config.len(), &what));
    }
}

#[test]
fn large_files_take_three_times_their_size() {
    let stack = |dtype: &str, hidden: usize| {
        let file = File::default().with("weight_ih_l0", dtype, &[4 * hidden, hidden]);
        file.with("weight_hh_l0", dtype, &[4 * hidden, hidden]).bytes()
    };
    for (dtype, hidden) in [("F32", 1500), ("F16", 2000), ("BF16", 2000), ("F64", 1000)] {
        let bytes = stack(dtype, hidden);
        assert!(bytes.len() > 60 * MIB, "{}", bytes.len());
        assert!(survives_as(&bytes, &options(None), 0, &|| dtype.to_owned()));
    }
}
