//! `--input`: which array is which input of the model.

use wgpu_rnn::{Error, Model, Tensor};

use crate::{
    arrays::{self, Arrays},
    failure::shown,
    progress::busy,
};

/// Reads the arrays of `specs` (`FILE.npy`, `NAME=FILE.npy`, `FILE.npz`). Those without a name get the
/// inputs that no other names, in the model's order.
pub(crate) fn read(model: &Model, specs: &[String]) -> Result<Vec<(String, Tensor)>, Error> {
    let _busy = busy("reading inputs");
    let names: Vec<String> = model.inputs().into_iter().map(|input| input.name).collect();
    let mut bound: Vec<(String, Tensor)> = Vec::new();
    let mut unnamed: Vec<(&str, Tensor)> = Vec::new();
    for spec in specs {
        let (name, path) = split(spec, &names);
        match (name, arrays::read(path)?) {
            (Some(name), array) => bound.push((name.to_owned(), only(array, path)?)),
            (None, Arrays::One(tensor)) => unnamed.push((path, tensor)),
            (None, Arrays::Named(members)) => {
                if let Some((stranger, _)) = members.iter().find(|(name, _)| !names.contains(name)) {
                    let expected = format!("names of inputs ({})", listed(&names));
                    return Err(malformed(path, "members", expected, format!("'{}'", shown(stranger, 128))));
                }
                bound.extend(members);
            }
        }
    }
    for (path, tensor) in unnamed {
        let free = names.iter().find(|name| bound.iter().all(|(taken, _)| taken != *name));
        let free = free.ok_or_else(|| Error::Mismatch {
            subject: "inputs".to_owned(),
            expected: format!("{} ({})", names.len(), listed(&names)),
            found: format!("one more, {path}"),
        })?;
        bound.push((free.clone(), tensor));
    }
    Ok(bound)
}

/// `NAME=FILE` as name and file where an input has that name; else all of it is a file.
fn split<'a>(spec: &'a str, names: &[String]) -> (Option<&'a str>, &'a str) {
    let mut cuts = spec.match_indices('=');
    let cut = cuts.find_map(|(at, _)| {
        Some((spec.get(..at)?, spec.get(at + 1..)?)).filter(|(n, _)| names.iter().any(|name| name == n))
    });
    cut.map_or((None, spec), |(name, path)| (Some(name), path))
}

/// The array that a file with a name before it holds.
fn only(arrays: Arrays, path: &str) -> Result<Tensor, Error> {
    match arrays {
        Arrays::One(tensor) => Ok(tensor),
        Arrays::Named(members) => {
            let count = members.len();
            let mut members = members.into_iter();
            match (members.next(), count) {
                (Some((_, tensor)), 1) => Ok(tensor),
                _ => Err(malformed(path, "members", "one, for the input named".to_owned(), count.to_string())),
            }
        }
    }
}

fn malformed(path: &str, at: &str, expected: String, found: String) -> Error {
    Error::Malformed { file: path.to_owned(), at: at.to_owned(), expected, found }
}

pub(crate) fn listed(names: &[String]) -> String {
    names.iter().map(|name| format!("'{}'", shown(name, 128))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_only_if_an_input_has_it() {
        let names = ["x".to_owned(), "a=b".to_owned()];
        assert_eq!(split("x=f.npy", &names), (Some("x"), "f.npy"));
        assert_eq!(split("a=b=f=g.npy", &names), (Some("a=b"), "f=g.npy"));
        assert_eq!(split("y=f.npy", &names), (None, "y=f.npy"));
        assert_eq!(split("f.npy", &names), (None, "f.npy"));
    }
}
