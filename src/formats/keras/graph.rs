//! Functional models: a graph of layers, each called any number of times.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value as Json};

use super::{
    Reader,
    archive::{CONFIG, malformed},
    calls::{Call, Reference},
    config::{list, shown},
    functions,
    layers::{Described, Origin},
    names::Names,
};
use crate::{
    error::{Error, Result, listed, quoted},
    formats::limits::within,
    model::{self, Builder, CallMask, Model, Value},
};

/// A layer or function of the graph.
struct Entry<'a> {
    described: Described<'a>,
    /// Its place in the model; inputs are never called.
    layer: Option<usize>,
    calls: Vec<Call<'a>>,
}

impl Entry<'_> {
    fn is_input(&self) -> bool {
        self.described.origin == Origin::Layer && self.described.class == "InputLayer"
    }
}

/// A graph while it is read.
struct Graph<'a> {
    entries: Vec<Entry<'a>>,
    numbers: HashMap<&'a str, usize>,
    /// What calls give, by entry and call.
    values: HashMap<(usize, usize), Vec<Value>>,
}

pub(super) fn read<'a>(reader: &'a Reader<'a>, config: &'a Map<String, Json>) -> Result<Builder> {
    let mut builder = Model::builder(reader.model_name(config)?);
    let layers = list(config.get("layers"), "config.layers")?;
    within(|| "the model".to_owned(), layers.len() as u64, reader.limits.layers, "layers")?;
    let mut graph = Graph { entries: Vec::new(), numbers: HashMap::new(), values: HashMap::new() };
    let mut names = Names::default();
    for (index, value) in layers.iter().enumerate() {
        graph.entry(reader, &mut builder, &mut names, value, index)?;
    }
    for (number, call) in graph.order(reader)? {
        graph.call(&mut builder, number, call)?;
    }
    let inputs = graph.ends(config, "input_layers")?;
    graph.inputs(&mut builder, &inputs)?;
    for reference in graph.ends(config, "output_layers")? {
        let value = graph.value(&reference, "output_layers")?;
        builder.output(reference.layer, value)?;
    }
    Ok(builder)
}

impl<'a> Graph<'a> {
    fn entry(
        &mut self,
        reader: &'a Reader<'a>,
        builder: &mut Builder,
        names: &mut Names,
        value: &'a Json,
        index: usize,
    ) -> Result<()> {
        let described = Described::new(value, &format!("config.layers[{index}]"))?;
        let (subject, name, class) = (described.subject(), described.name, described.class);
        if self.numbers.insert(name, self.entries.len()).is_some() {
            return Err(Error::mismatch(subject, "a name of its own", "another layer of that name"));
        }
        let nodes = list(value.get("inbound_nodes"), &format!("{subject}: inbound_nodes"))?;
        let mut entry = Entry { described, layer: None, calls: Vec::new() };
        if entry.is_input() != nodes.is_empty() {
            let expected = if entry.is_input() { "no inbound_nodes" } else { "inbound_nodes" };
            return Err(malformed(CONFIG, format!("{subject} to have {expected}"), format!("{}", nodes.len())));
        }
        for (call, node) in nodes.iter().enumerate() {
            entry.calls.push(Call::new(node, &format!("{subject}: inbound_nodes[{call}]"))?);
        }
        if entry.is_input() {
            names.next(class);
            let input = reader.input(builder, &entry.described.options(reader.limits))?;
            self.values.insert((self.entries.len(), 0), vec![input]);
        } else if let (Origin::Function, [call]) = (entry.described.origin, entry.calls.as_slice()) {
            let (kind, inputs) = functions::read(&entry.described.options(reader.limits), call)?;
            entry.layer = Some(builder.layer_as(name, class, kind, true)?);
            // Numbers have their place in the kind: what is left are the tensors.
            entry.calls = vec![Call::of_tensors(inputs)];
        } else {
            let scope = reader.weights.scope(format!("layers/{}", names.next(class)), &subject);
            let (kind, trainable) = entry.described.read(scope, &reader.rules, reader.limits)?;
            entry.layer = Some(builder.layer_as(name, class, kind, trainable)?);
        }
        self.entries.push(entry);
        Ok(())
    }

    /// All calls, each after the calls that it takes from.
    fn order(&self, reader: &Reader<'_>) -> Result<Vec<(usize, usize)>> {
        let total: usize = self.entries.iter().map(|entry| entry.calls.len()).sum();
        within(|| "the model".to_owned(), total as u64, reader.limits.calls, "calls")?;
        let mut waiting: HashMap<(usize, usize), usize> = HashMap::new();
        let mut followers: HashMap<(usize, usize), Vec<(usize, usize)>> = HashMap::new();
        let mut ready = BTreeSet::new();
        for (number, entry) in self.entries.iter().enumerate() {
            for (index, call) in entry.calls.iter().enumerate() {
                let mut sources = BTreeSet::new();
                for reference in call.references() {
                    let source = self.source(&reference, &entry.described.subject())?;
                    if !self.values.contains_key(&source) {
                        sources.insert(source);
                    }
                }
                for &source in &sources {
                    followers.entry(source).or_default().push((number, index));
                }
                if sources.is_empty() {
                    ready.insert((number, index));
                } else {
                    waiting.insert((number, index), sources.len());
                }
            }
        }
        let mut order = Vec::with_capacity(total);
        while let Some(next) = ready.pop_first() {
            order.push(next);
            for follower in followers.remove(&next).unwrap_or_default() {
                if let Some(count) = waiting.get_mut(&follower) {
                    *count -= 1;
                    if *count == 0 {
                        waiting.remove(&follower);
                        ready.insert(follower);
                    }
                }
            }
        }
        if waiting.is_empty() {
            return Ok(order);
        }
        let stuck: BTreeSet<usize> = waiting.keys().map(|(number, _)| *number).collect();
        let names = stuck.iter().filter_map(|&number| self.entries.get(number)).map(|entry| entry.described.name);
        Err(malformed(CONFIG, "a graph without loops", format!("layers that wait for each other: {}", listed(names))))
    }

    /// The entry and call that a reference names.
    fn source(&self, reference: &Reference<'a>, of: &str) -> Result<(usize, usize)> {
        let found = self.numbers.get(reference.layer).copied();
        let wrong = |expected: &str| {
            let found = format!("{}, call {}", quoted(reference.layer), reference.call);
            malformed(CONFIG, format!("{of} to take from {expected}"), found)
        };
        let number = found.ok_or_else(|| wrong("a layer of the model"))?;
        let calls = self.entries.get(number).map_or(0, |entry| if entry.is_input() { 1 } else { entry.calls.len() });
        if reference.call >= calls {
            return Err(wrong("a call of the layer"));
        }
        Ok((number, reference.call))
    }

    fn value(&self, reference: &Reference<'a>, of: &str) -> Result<Value> {
        let source = self.source(reference, of)?;
        self.values.get(&source).and_then(|values| values.get(reference.output)).copied().ok_or_else(|| {
            let found = format!("{}, output {}", quoted(reference.layer), reference.output);
            malformed(CONFIG, format!("{of} to take from an output of the layer"), found)
        })
    }

    fn call(&mut self, builder: &mut Builder, number: usize, index: usize) -> Result<()> {
        let found = self.entries.get(number).and_then(|entry| Some((entry, entry.calls.get(index)?, entry.layer?)));
        let (entry, call, layer) = found.ok_or_else(|| Error::internal("a call that is not there"))?;
        let subject = entry.described.subject();
        let arguments = call.arguments(&subject)?;
        let values = |references: &[Reference<'a>]| -> Result<Vec<Value>> {
            references.iter().map(|reference| self.value(reference, &subject)).collect()
        };
        let (mut inputs, mut states) = (values(&arguments.inputs)?, values(&arguments.initial_state)?);
        // A list [x, h, c] is another way of giving states.
        if entry.described.is_recurrent() && arguments.is_list && inputs.len() > 1 && states.is_empty() {
            states = inputs.split_off(1);
        }
        let mask = match &arguments.mask {
            Some(mask) => CallMask::Given(self.value(mask, &subject)?),
            // Given several tensors, Keras hands no mask to the layer.
            None if !states.is_empty() => CallMask::None,
            None => CallMask::Carried,
        };
        let outputs = builder.call(layer, model::Call { inputs: &inputs, initial_state: &states, mask })?;
        self.values.insert((number, index), outputs);
        Ok(())
    }

    /// The references at `key`: one, a list, or an object, nested as deep as the model's own.
    fn ends(&self, config: &'a Map<String, Json>, key: &str) -> Result<Vec<Reference<'a>>> {
        fn flatten<'a>(value: &'a Json, key: &str, into: &mut Vec<Reference<'a>>) -> Result<()> {
            match value {
                Json::Array(parts) if parts.first().is_some_and(Json::is_string) => {
                    into.push(Reference::new(value, key)?);
                    Ok(())
                }
                Json::Array(parts) => parts.iter().try_for_each(|part| flatten(part, key, into)),
                Json::Object(parts) => {
                    // Keras flattens an object in the order of its keys.
                    let mut parts: Vec<_> = parts.iter().collect();
                    parts.sort_unstable_by_key(|(key, _)| *key);
                    parts.into_iter().try_for_each(|(_, part)| flatten(part, key, into))
                }
                other => Err(malformed(CONFIG, format!("[layer, call, output] in config.{key}"), shown(Some(other)))),
            }
        }
        let mut ends = Vec::new();
        let value = config.get(key);
        flatten(value.unwrap_or(&Json::Null), key, &mut ends)?;
        if ends.is_empty() {
            return Err(malformed(CONFIG, format!("at least one layer in config.{key}"), "none"));
        }
        Ok(ends)
    }

    /// Puts the inputs into the model's order.
    fn inputs(&self, builder: &mut Builder, references: &[Reference<'a>]) -> Result<()> {
        let mut inputs = Vec::new();
        for reference in references {
            let (number, _) = self.source(reference, "input_layers")?;
            if !self.entries.get(number).is_some_and(Entry::is_input) {
                let found = quoted(reference.layer);
                return Err(malformed(CONFIG, "input_layers to name layers of class InputLayer", found));
            }
            let input = self.value(reference, "input_layers")?;
            if inputs.contains(&input) {
                return Err(malformed(CONFIG, "input_layers to name each input once", quoted(reference.layer)));
            }
            inputs.push(input);
        }
        let all = self.entries.iter().filter(|entry| entry.is_input());
        let left = all.map(|entry| entry.described.name).find(|name| references.iter().all(|r| r.layer != *name));
        if let Some(left) = left {
            return Err(malformed(CONFIG, "input_layers to name all inputs", format!("{} left out", quoted(left))));
        }
        builder.order_inputs(&inputs);
        Ok(())
    }
}
