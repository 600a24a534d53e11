//! `config.json` of a state dict: what modules there are, in PyTorch's own argument names. Keys that
//! nothing reads are refused by name.

use std::cell::RefCell;

use serde_json::{Map, Value};

use crate::{
    error::{Error, Result, quoted},
    formats::{
        json::shown,
        limits::{Limits, within},
    },
};

pub(super) const CONFIG: &str = "config.json";

pub(super) fn malformed(expected: impl Into<String>, found: impl Into<String>) -> Error {
    let (at, expected, found) = (CONFIG.to_owned(), expected.into(), found.into());
    Error::Malformed { file: String::new(), at, expected, found }
}

/// A module: its place in messages, and its options.
pub(super) type Entry<'a> = (String, &'a Map<String, Value>);

/// The modules in order, each with its place in messages, and whether there is only one, which has no place
/// and may leave out its prefix.
pub(super) fn entries<'a>(config: &'a Value, limits: &Limits) -> Result<(Vec<Entry<'a>>, bool)> {
    let top = config.as_object().ok_or_else(|| malformed("an object", shown(Some(config))))?;
    if top.contains_key("kind") {
        return Ok((vec![(String::new(), top)], true));
    }
    let Some(layers) = top.get("layers") else {
        return Err(malformed("\"kind\" of one module, or \"layers\", a list of modules", keys(top)));
    };
    if let Some(key) = top.keys().find(|key| *key != "layers") {
        let what = format!("the option {} = {} beside \"layers\"", quoted(key), shown(top.get(key)));
        return Err(Error::unsupported(CONFIG, what, "leave it out, or put it into the module that it belongs to"));
    }
    let layers = layers.as_array().ok_or_else(|| malformed("a list of modules in \"layers\"", shown(Some(layers))))?;
    within(|| CONFIG.to_owned(), layers.len() as u64, limits.layers, "layers")?;
    let one = layers.len() == 1;
    let entry = |(index, value): (usize, &'a Value)| {
        let place = format!("layers[{index}]");
        match value.as_object() {
            Some(entry) => Ok((if one { String::new() } else { place }, entry)),
            None => Err(malformed(format!("an object at {place}"), shown(Some(value)))),
        }
    };
    let entries: Vec<_> = layers.iter().enumerate().map(entry).collect::<Result<_>>()?;
    if entries.is_empty() {
        return Err(malformed("at least one module in \"layers\"", "none"));
    }
    Ok((entries, one))
}

fn keys(map: &Map<String, Value>) -> String {
    format!("the keys {}", crate::error::listed(map.keys()))
}

/// The options of a module, read key by key.
pub(super) struct Options<'a> {
    /// `config.json: LSTM 'lstm'`
    pub(super) subject: String,
    pub(super) kind: &'a str,
    map: &'a Map<String, Value>,
    read: RefCell<Vec<&'static str>>,
}

impl<'a> Options<'a> {
    /// `place` is what messages call an entry without a prefix; `origin`, where it comes from.
    pub(super) fn new(map: &'a Map<String, Value>, origin: &str, place: &str) -> Result<Self> {
        let kind = map.get("kind").and_then(Value::as_str);
        let kind = kind.ok_or_else(|| {
            let of = if place.is_empty() { "the module" } else { place };
            malformed(format!("a text in \"kind\" of {of}"), shown(map.get("kind")))
        })?;
        // A name may come as "nn.LSTM".
        let kind = kind.rsplit('.').next().unwrap_or(kind);
        let options = Self { subject: String::new(), kind, map, read: RefCell::new(vec!["kind"]) };
        let of = match options.prefix()? {
            Some(prefix) if !prefix.is_empty() => format!(" {}", quoted(prefix)),
            _ if place.is_empty() => String::new(),
            _ => format!(" at {place}"),
        };
        Ok(Self { subject: format!("{origin}: {}{of}", quoted(kind).trim_matches('\'')), ..options })
    }

    /// The module's name in the state dict, without a final dot.
    pub(super) fn prefix(&self) -> Result<Option<&'a str>> {
        match self.value("prefix") {
            None => Ok(None),
            Some(Value::String(prefix)) => Ok(Some(prefix.strip_suffix('.').unwrap_or(prefix))),
            found => Err(malformed("a text in \"prefix\"", shown(found))),
        }
    }

    /// The value of `key`, which counts as read.
    pub(super) fn value(&self, key: &'static str) -> Option<&'a Value> {
        self.read.borrow_mut().push(key);
        self.map.get(key)
    }

    pub(super) fn wrong(&self, key: &str, expected: &str) -> Error {
        Error::mismatch(format!("{}: {key}", self.subject), expected, shown(self.map.get(key)))
    }

    pub(super) fn stated_flag(&self, key: &'static str) -> Result<Option<bool>> {
        self.value(key).map(|value| value.as_bool().ok_or_else(|| self.wrong(key, "true or false"))).transpose()
    }

    pub(super) fn flag(&self, key: &'static str, default: bool) -> Result<bool> {
        Ok(self.stated_flag(key)?.unwrap_or(default))
    }

    /// A count, where it is stated.
    pub(super) fn stated_count(&self, key: &'static str) -> Result<Option<usize>> {
        let count = |value: &Value| value.as_u64().and_then(|count| usize::try_from(count).ok());
        self.value(key).map(|value| count(value).ok_or_else(|| self.wrong(key, "a whole number"))).transpose()
    }

    /// Checks a stated count against what the tensors say.
    pub(super) fn agree(&self, key: &'static str, tensors: usize) -> Result<()> {
        match self.stated_count(key)? {
            Some(stated) if stated != tensors => Err(self.wrong(key, &format!("{tensors} (as the tensors have it)"))),
            _ => Ok(()),
        }
    }

    /// Checks a stated flag against what the tensors say.
    pub(super) fn agree_flag(&self, key: &'static str, tensors: bool) -> Result<()> {
        match self.stated_flag(key)? {
            Some(stated) if stated != tensors => Err(self.wrong(key, &format!("{tensors} (as the tensors have it)"))),
            _ => Ok(()),
        }
    }

    #[allow(clippy::cast_possible_truncation)] // rounding is the meaning
    pub(super) fn number(&self, key: &'static str, default: f32) -> Result<f32> {
        let finite = |value: &Value| value.as_f64().map(|value| value as f32).filter(|value| value.is_finite());
        self.value(key).map_or(Ok(default), |value| finite(value).ok_or_else(|| self.wrong(key, "a number")))
    }

    pub(super) fn text(&self, key: &'static str, default: &'static str) -> Result<&'a str> {
        self.value(key).map_or(Ok(default), |value| value.as_str().ok_or_else(|| self.wrong(key, "a text")))
    }

    /// A number of the one axis of a window: itself, or a list of it.
    pub(super) fn window(&self, key: &'static str, default: usize, limit: usize) -> Result<usize> {
        let value = match self.value(key) {
            None => return Ok(default),
            Some(Value::Array(values)) if values.len() == 1 => values.first(),
            value => value,
        };
        let found = value.and_then(Value::as_u64).and_then(|found| usize::try_from(found).ok());
        found
            .filter(|&found| found <= limit)
            .ok_or_else(|| self.wrong(key, &format!("a whole number of at most {limit}")))
    }

    /// Refuses `key` unless its value is what it is by default.
    pub(super) fn only(&self, key: &'static str, default: &Value, instead: &str) -> Result<()> {
        match self.value(key) {
            None => Ok(()),
            Some(value) if value == default => Ok(()),
            value => Err(Error::unsupported(&self.subject, format!("{key} = {}", shown(value)), instead)),
        }
    }

    /// Keys that have no bearing on what the module computes once it is trained.
    pub(super) fn ignore(&self, keys: &[&'static str]) {
        self.read.borrow_mut().extend(keys);
    }

    /// Refuses keys that nothing has read.
    pub(super) fn finish(&self) -> Result<()> {
        let read = self.read.borrow();
        self.map.keys().find(|key| !read.contains(&key.as_str())).map_or(Ok(()), |key| {
            let what = format!("the option {} = {}", quoted(key), shown(self.map.get(key)));
            Err(Error::unsupported(&self.subject, what, "leave it out if PyTorch's own default is meant"))
        })
    }
}
