//! JSON with limits on depth and number of values, kept while parsing, and without duplicate keys.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::{
    error::{Error, Result, quoted},
    formats::limits::{Limits, exceeded, within},
};

/// Parses the member `name`.
pub(super) fn parse(name: &str, text: &[u8], limits: &Limits) -> Result<Value> {
    within(|| format!("the JSON of {name}"), text.len() as u64, limits.json_bytes, "json_bytes")?;
    let budget = Budget { values: Cell::new(limits.json_values), over: Cell::new(false), deep: Cell::new(false) };
    let mut parser = serde_json::Deserializer::from_slice(text);
    let seed = Seed { budget: &budget, depth: limits.json_depth };
    let value = seed.deserialize(&mut parser).and_then(|value| parser.end().map(|()| value));
    let more = |limit: usize, unit: &str| format!("more than {limit} {unit}");
    value.map_err(|cause| {
        if budget.deep.get() {
            let need = more(limits.json_depth, "levels");
            return exceeded(format!("the nesting of {name}"), need, limits.json_depth, "json_depth");
        }
        if budget.over.get() {
            let need = more(limits.json_values, "values");
            return exceeded(format!("the JSON of {name}"), need, limits.json_values, "json_values");
        }
        Error::Malformed {
            file: String::new(),
            at: name.to_owned(),
            expected: "JSON (which has no NaN and no Infinity)".to_owned(),
            found: format!("a mistake: {cause}"),
        }
    })
}

/// What JSON calls the value, in short.
#[cfg_attr(not(any(feature = "keras", feature = "torch")), allow(dead_code))] // our own files name types
pub(super) fn shown(value: Option<&Value>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(Value::String(text)) => quoted(text),
        Some(Value::Array(list)) if list.len() <= 4 && !list.iter().any(|v| v.is_array() || v.is_object()) => {
            let parts: Vec<String> = list.iter().map(|value| shown(Some(value))).collect();
            format!("[{}]", parts.join(", "))
        }
        Some(Value::Array(_)) => "a list".to_owned(),
        Some(Value::Object(map)) => match map.get("class_name").and_then(Value::as_str) {
            Some(class) => format!("an object of class {}", quoted(class)),
            None => "an object".to_owned(),
        },
        Some(value) => value.to_string(),
    }
}

/// What is left of the number of values, and which limit was met.
struct Budget {
    values: Cell<usize>,
    over: Cell<bool>,
    deep: Cell<bool>,
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    budget: &'a Budget,
    depth: usize,
}

/// What an object with keys takes beside its values, in values: room for several keys at once.
const OBJECT: usize = 5;

impl Seed<'_> {
    fn spend<E: serde::de::Error>(self, values: usize) -> std::result::Result<(), E> {
        match self.budget.values.get().checked_sub(values) {
            Some(left) => {
                self.budget.values.set(left);
                Ok(())
            }
            None => {
                self.budget.over.set(true);
                Err(E::custom("too many values"))
            }
        }
    }

    fn inner<E: serde::de::Error>(self) -> std::result::Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth, ..self }),
            None => {
                self.budget.deep.set(true);
                Err(E::custom("too deep"))
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> std::result::Result<Value, D::Error> {
        self.spend(1)?;
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> std::result::Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number that is not finite"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> std::result::Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> std::result::Result<Value, A::Error> {
        let seed = self.inner()?;
        let mut values = Vec::new();
        while let Some(value) = from.next_element_seed(seed)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> std::result::Result<Value, A::Error> {
        let seed = self.inner()?;
        let mut map = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            if map.is_empty() {
                self.spend(OBJECT)?;
            }
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {} twice", quoted(&key))));
            }
            let value = from.next_value_seed(seed)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// What a JSON text is made of, counted before anything is made of it.
#[cfg(any(feature = "torch", feature = "native"))]
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) objects: usize,
    pub(super) texts: usize,
    pub(super) commas: usize,
}

#[cfg(any(feature = "torch", feature = "native"))]
impl Counted {
    pub(super) fn of(json: &[u8]) -> Self {
        let mut counted = Self::default();
        let (mut in_text, mut escaped) = (false, false);
        for &byte in json {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_text => escaped = true,
                b'"' => {
                    counted.texts += usize::from(in_text);
                    in_text = !in_text;
                }
                _ if in_text => {}
                b'{' => counted.objects += 1,
                b',' => counted.commas += 1,
                _ => {}
            }
        }
        counted
    }
}

#[cfg(all(test, any(feature = "torch", feature = "native")))]
mod tests {
    use super::*;

    #[test]
    fn texts_are_counted_once() {
        let counted = Counted::of(br#"{"a{,\"":{"b":[1,2,"c"]},"\\":{}}"#);
        assert_eq!(counted, Counted { objects: 3, texts: 4, commas: 3 });
    }
}
