//! [`Options`]: the `config` of a layer, read key by key. What is left over and not known to be
//! harmless is an error: nothing in a file is silently ignored.

use std::cell::RefCell;

use serde_json::{Map, Value};

use super::archive::{CONFIG, malformed};
pub(super) use crate::formats::json::shown;
use crate::{
    error::{Error, Result, quoted},
    formats::limits::{Limits, within},
};

/// Keys of every layer that have no bearing on what a trained layer computes.
const HARMLESS: [&str; 2] = ["name", "activity_regularizer"];
/// Endings of keys that have no bearing either.
const HARMLESS_ENDINGS: [&str; 3] = ["_initializer", "_regularizer", "_constraint"];
/// Policies whose weights are floats. What they say of precision in training is not followed: everything
/// is computed in f32.
pub(super) const POLICIES: [&str; 6] = ["float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16"];
const FLOATS: &str = "build the model anew with a float dtype, not quantized, load_weights into it and save that";

/// The options of a layer.
pub(super) struct Options<'a> {
    /// `layer 'lstm' (LSTM)`
    pub(super) subject: String,
    pub(super) class: &'a str,
    map: &'a Map<String, Value>,
    read: RefCell<Vec<&'a str>>,
    pub(super) limits: &'a Limits,
}

/// The object at `place` of the configuration.
pub(super) fn object<'a>(value: Option<&'a Value>, place: &str) -> Result<&'a Map<String, Value>> {
    value.and_then(Value::as_object).ok_or_else(|| malformed(CONFIG, format!("an object at {place}"), shown(value)))
}

/// The list at `place` of the configuration.
pub(super) fn list<'a>(value: Option<&'a Value>, place: &str) -> Result<&'a [Value]> {
    value
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .ok_or_else(|| malformed(CONFIG, format!("a list at {place}"), shown(value)))
}

/// The text at `place` of the configuration.
pub(super) fn text<'a>(value: Option<&'a Value>, place: &str) -> Result<&'a str> {
    value.and_then(Value::as_str).ok_or_else(|| malformed(CONFIG, format!("a text at {place}"), shown(value)))
}

/// A number as f32, if it is one and finite.
#[allow(clippy::cast_possible_truncation)] // rounding is the meaning
fn finite(value: &Value) -> Option<f32> {
    value.as_f64().map(|value| value as f32).filter(|value| value.is_finite())
}

/// `None` for null, and a dimension otherwise.
pub(super) fn dimension(value: &Value) -> Option<Option<usize>> {
    match value {
        Value::Null => Some(None),
        value => value.as_u64().and_then(|dim| usize::try_from(dim).ok()).map(Some),
    }
}

impl<'a> Options<'a> {
    pub(super) fn new(subject: String, class: &'a str, map: &'a Map<String, Value>, limits: &'a Limits) -> Self {
        Self { subject, class, map, read: RefCell::new(Vec::new()), limits }
    }

    /// The value of `key`, which counts as read.
    pub(super) fn value(&self, key: &'static str) -> Option<&'a Value> {
        self.read.borrow_mut().push(key);
        self.map.get(key)
    }

    /// Whether there is a value of `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    pub(super) fn wrong(&self, key: &str, expected: &str) -> Error {
        Error::mismatch(format!("{}: {key}", self.subject), expected, shown(self.map.get(key)))
    }

    /// A number of a call, as f32.
    pub(super) fn finite(&self, value: &Value) -> Option<f32> {
        finite(value)
    }

    pub(super) fn flag(&self, key: &'static str, default: bool) -> Result<bool> {
        match self.value(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(key, "true or false")),
        }
    }

    /// A count of at least one.
    pub(super) fn count(&self, key: &'static str) -> Result<usize> {
        let count = self.value(key).and_then(Value::as_u64).filter(|&count| count > 0);
        count.and_then(|count| usize::try_from(count).ok()).ok_or_else(|| self.wrong(key, "a number of at least 1"))
    }

    pub(super) fn units(&self) -> Result<usize> {
        self.units_at("units")
    }

    /// A count of units that goes by the name `key`.
    pub(super) fn units_at(&self, key: &'static str) -> Result<usize> {
        let units = self.count(key)?;
        within(|| format!("{}: {key}", self.subject), units as u64, self.limits.units, "units")?;
        Ok(units)
    }

    /// `default` where the key is absent.
    pub(super) fn number(&self, key: &'static str, default: f32) -> Result<f32> {
        match self.value(key) {
            None => Ok(default),
            Some(value) => finite(value).ok_or_else(|| self.wrong(key, "a number")),
        }
    }

    /// A number, or null.
    pub(super) fn optional_number(&self, key: &'static str) -> Result<Option<f32>> {
        match self.value(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => finite(value).map(Some).ok_or_else(|| self.wrong(key, "a number or null")),
        }
    }

    pub(super) fn integer(&self, key: &'static str, default: i64) -> Result<i64> {
        match self.value(key) {
            None => Ok(default),
            Some(value) => value.as_i64().ok_or_else(|| self.wrong(key, "a whole number")),
        }
    }

    /// One whole number or a list of them.
    pub(super) fn integers(&self, key: &'static str) -> Result<Vec<i64>> {
        let found = match self.value(key) {
            Some(Value::Array(values)) => values.iter().map(Value::as_i64).collect(),
            value => value.and_then(Value::as_i64).map(|one| vec![one]),
        };
        found
            .filter(|all: &Vec<i64>| !all.is_empty() && all.len() <= self.limits.rank)
            .ok_or_else(|| self.wrong(key, "whole numbers, one per axis"))
    }

    /// A shape; dimensions that are `open` (null or negative) are `None`.
    pub(super) fn shape(&self, key: &'static str) -> Result<Vec<Option<usize>>> {
        let one = |value: &Value| match value.as_i64() {
            Some(-1) => Some(None),
            _ => dimension(value),
        };
        let values = self.value(key).and_then(Value::as_array).ok_or_else(|| self.wrong(key, "a shape"))?;
        within(|| format!("{}: {key}", self.subject), values.len() as u64, self.limits.rank, "rank")?;
        values.iter().map(one).collect::<Option<_>>().ok_or_else(|| self.wrong(key, "a shape of whole numbers"))
    }

    /// Refuses `key` unless its value is what it is by default.
    pub(super) fn only(&self, key: &'static str, default: &Value, instead: &str) -> Result<()> {
        match self.value(key) {
            None => Ok(()),
            Some(value) if value == default => Ok(()),
            value => Err(Error::unsupported(&self.subject, format!("{key} = {}", shown(value)), instead)),
        }
    }

    /// Keys that have no bearing on what this layer computes.
    pub(super) fn ignore(&self, keys: &[&'static str]) {
        self.read.borrow_mut().extend(keys);
    }

    /// Whether the layer's weights were trainable.
    pub(super) fn trainable(&self) -> Result<bool> {
        self.flag("trainable", true)
    }

    /// Refuses quantized layers and unknown precisions.
    pub(super) fn dtype(&self) -> Result<()> {
        let name = match self.value("dtype") {
            None | Some(Value::Null) => "float32",
            Some(Value::String(name)) => name,
            Some(Value::Object(policy)) => {
                let name = policy.get("config").and_then(|config| config.get("name")).and_then(Value::as_str);
                name.unwrap_or("of an unknown kind")
            }
            Some(_) => return Err(self.wrong("dtype", "a dtype policy")),
        };
        if !POLICIES.contains(&name) {
            return Err(Error::unsupported(&self.subject, format!("the dtype policy {}", quoted(name)), FLOATS));
        }
        self.only("quantization_config", &Value::Null, FLOATS)
    }

    /// Refuses keys that nothing has read and that are not known to be harmless.
    pub(super) fn finish(&self) -> Result<()> {
        let read = self.read.borrow();
        let harmless =
            |key: &str| HARMLESS.contains(&key) || HARMLESS_ENDINGS.iter().any(|ending| key.ends_with(ending));
        let unknown = self.map.keys().find(|key| !read.contains(&key.as_str()) && !harmless(key));
        unknown.map_or(Ok(()), |key| {
            let what = format!("the option {} = {}", quoted(key), shown(self.map.get(key)));
            Err(Error::unsupported(&self.subject, what, "save the model without it"))
        })
    }
}
