//! The model of `examples/language`: which language a text is in, read character by character.

use serde_json::Value;
use wgpu_rnn::{
    Error, Model, Tensor,
    formats::LoadOptions,
    sequences::{Padding, Side, pad_sequences},
};

const MODEL: &[u8] = include_bytes!("../../../examples/language/language.keras");
const FACTS: &str = include_str!("../../../examples/language/language.json");
const SAMPLES: &str = include_str!("../../../examples/language/samples.json");

/// Id of a character outside of the vocabulary; 0 is padding.
const UNKNOWN: i32 = 1;

/// A language that the model knows.
#[derive(Clone, Debug)]
pub(crate) struct Language {
    pub(crate) code: String,
    pub(crate) name: String,
}

/// The model and what it needs to know about texts.
#[derive(Debug)]
pub(crate) struct Identifier {
    pub(crate) model: Model,
    vocabulary: Vec<char>,
    /// In the order of the model's outputs.
    pub(crate) languages: Vec<Language>,
    max_length: usize,
}

fn broken(what: &str) -> Error {
    Error::Internal { what: format!("the built-in example: {what}") }
}

fn string(value: &Value, key: &str) -> Result<String, Error> {
    value.get(key).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| broken(key))
}

fn list(text: &str) -> Result<Value, Error> {
    serde_json::from_str(text).map_err(|error| broken(&error.to_string()))
}

impl Identifier {
    pub(crate) fn load() -> Result<Self, Error> {
        let mut options = LoadOptions::default();
        options.file_name = Some("language.keras".to_owned());
        let facts = list(FACTS)?;
        let languages = facts.get("languages").and_then(Value::as_array).ok_or_else(|| broken("languages"))?;
        let language = |value| Ok(Language { code: string(value, "code")?, name: string(value, "name")? });
        let max_length = facts.get("max_length").and_then(Value::as_u64).ok_or_else(|| broken("max_length"))?;
        Ok(Self {
            model: Model::from_bytes_with(MODEL, &options)?,
            vocabulary: string(&facts, "vocabulary")?.chars().collect(),
            languages: languages.iter().map(language).collect::<Result<_, Error>>()?,
            max_length: usize::try_from(max_length).unwrap_or(usize::MAX),
        })
    }

    /// The ids of a text, as in `train.py`.
    pub(crate) fn encode(&self, text: &str) -> Vec<i32> {
        let id = |c| {
            let known = self.vocabulary.iter().position(|&known| known == c);
            known.and_then(|index| i32::try_from(index + 2).ok()).unwrap_or(UNKNOWN)
        };
        normalised(text).chars().take(self.max_length).map(id).collect()
    }
}

/// Texts in several languages.
pub(crate) fn samples() -> Result<Vec<String>, Error> {
    let samples = list(SAMPLES)?;
    samples.as_array().ok_or_else(|| broken("samples"))?.iter().map(|sample| string(sample, "text")).collect()
}

/// Texts as one batch, padded with zeros on the right.
pub(crate) fn batch(texts: &[Vec<i32>]) -> Result<Tensor, Error> {
    pad_sequences(texts, Padding { padding: Side::Post, ..Padding::default() })
}

/// Lower case, letters and apostrophes; everything else is a space, and spaces are single.
fn normalised(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        let c = match c {
            '\u{307}' => continue,
            '\'' | '\u{2019}' => '\'',
            c if c.is_alphabetic() => c,
            _ => ' ',
        };
        if c != ' ' || !(out.is_empty() || out.ends_with(' ')) {
            out.push(c);
        }
    }
    out.truncate(out.trim_end_matches(' ').len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_normalised() {
        assert_eq!(normalised("  Ça va?  It\u{2019}s 5 o'clock. "), "ça va it's o'clock");
        assert_eq!(normalised("İSTANBUL"), "istanbul");
        assert_eq!(normalised("123 !"), "");
    }

    #[test]
    fn ids_are_those_of_the_training_script() {
        let expected = list(include_str!("../../../examples/language/expected.json")).unwrap();
        let identifier = Identifier::load().unwrap();
        for case in expected.as_array().unwrap() {
            let ids: Vec<i64> = case["ids"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
            let text = case["text"].as_str().unwrap();
            assert_eq!(identifier.encode(text).into_iter().map(i64::from).collect::<Vec<_>>(), ids, "{text}");
        }
    }
}
