//! Loading of `.keras` files: every golden file, and every way of refusing one.
#![cfg(feature = "keras")]
use serde_json::Value;
use std::path::{Path, PathBuf};
use wgpu_rnn::Model;
fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/keras")
}
#[test]
fn all() {
    let cases: Value = serde_json::from_slice(&std::fs::read(goldens().join("cases.json")).unwrap()).unwrap();
    let mut bad = 0;
    for case in cases["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let mut path = goldens().join(format!("{name}.keras"));
        if !path.exists() {
            path = goldens().join(name);
        }
        match Model::load(&path) {
            Err(e) => println!("ERR {e}"),
            Ok(model) => {
                let want = std::fs::read_to_string(goldens().join(format!("{name}.summary.txt"))).unwrap();
                let got = model.summary();
                if want != got {
                    bad += 1;
                    if bad < 6 {
                        println!("SUMMARY {name}\n{want}\n{got}");
                    } else {
                        println!("SUMMARY {name}");
                    }
                }
                let names = |k: &str| -> Vec<String> {
                    case[k].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
                };
                let got: Vec<String> = model.inputs().into_iter().map(|s| s.name).collect();
                if got != names("inputs") {
                    println!("INPUTS {name} {got:?} {:?}", names("inputs"));
                }
                let got: Vec<String> = model.outputs().into_iter().map(|s| s.name).collect();
                if got != names("outputs") {
                    println!("OUTPUTS {name} {got:?} {:?}", names("outputs"));
                }
            }
        }
    }
}
