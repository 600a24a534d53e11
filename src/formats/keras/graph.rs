//! Functional models: a graph of layers, each called any number of times.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value as Json};

use super::{
    Reader,
    archive::{CONFIG, malformed},
    calls::{Call, Mask, Reference},
    config::{list, shown},
    functions::{self, Function},
    layers::{Described, Origin},
    masks::Masks,
    network::{Container, Outputs},
    part::{Given, Part},
    sequential::input_options,
};
use crate::{
    error::{Error, Result, listed, quoted},
    formats::limits::{Limits, within},
    model::{Builder, CallMask, Value},
};

/// A layer or function of the graph.
struct Entry<'a> {
    described: Described<'a>,
    /// What stands for it in the builder; inputs are never called.
    part: Option<Part<'a>>,
    calls: Vec<Call<'a>>,
    /// Whether references that count its making count from one.
    is_made_by_call: bool,
}

impl Entry<'_> {
    fn is_input(&self) -> bool {
        self.described.origin == Origin::Layer && self.described.class == "InputLayer"
    }
}

/// A functional model.
pub(super) struct Graph<'a> {
    entries: Vec<Entry<'a>>,
    numbers: HashMap<&'a str, usize>,
    /// Entries and calls, each after those that it takes from.
    order: Vec<(usize, usize)>,
    inputs: Vec<Reference<'a>>,
    outputs: Vec<Reference<'a>>,
    /// The inputs of the outermost model, by entry.
    added: HashMap<usize, Value>,
    keras2: bool,
    limits: &'a Limits,
    masks: &'a Masks,
}

/// What calls give, by entry and call.
type Values = HashMap<(usize, usize), Vec<Value>>;

impl<'a> Graph<'a> {
    pub(super) fn read(
        reader: &'a Reader<'a>,
        builder: &mut Builder,
        described: &Described<'a>,
        mut container: Container,
    ) -> Result<Self> {
        let config = described.config;
        let layers = list(config.get("layers"), "config.layers")?;
        within(|| "the model".to_owned(), layers.len() as u64, reader.limits.layers, "layers")?;
        let mut graph = Self {
            entries: Vec::new(),
            numbers: HashMap::new(),
            order: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            added: HashMap::new(),
            keras2: reader.rules.keras2,
            limits: reader.limits,
            masks: &reader.masks,
        };
        for (index, value) in layers.iter().enumerate() {
            graph.entry(reader, builder, &mut container, value, index)?;
        }
        graph.order = graph.ordered(reader)?;
        graph.inputs = ends(config, "input_layers")?;
        graph.outputs = ends(config, "output_layers")?;
        graph.check_inputs()?;
        Ok(graph)
    }

    fn entry(
        &mut self,
        reader: &'a Reader<'a>,
        builder: &mut Builder,
        container: &mut Container,
        value: &'a Json,
        index: usize,
    ) -> Result<()> {
        let described = Described::new(value, &format!("config.layers[{index}]"))?;
        let (subject, name) = (described.subject(), described.name);
        if self.numbers.insert(name, self.entries.len()).is_some() {
            return Err(Error::mismatch(subject, "a name of its own", "another layer of that name"));
        }
        let nodes = list(value.get("inbound_nodes"), &format!("{subject}: inbound_nodes"))?;
        let is_made_by_call = described.is_made_by_call(reader.rules.keras2);
        let mut entry = Entry { described, part: None, calls: Vec::new(), is_made_by_call };
        if entry.is_input() != nodes.is_empty() {
            let expected = if entry.is_input() { "no inbound_nodes" } else { "inbound_nodes" };
            return Err(malformed(CONFIG, format!("{subject} to have {expected}"), format!("{}", nodes.len())));
        }
        for (call, node) in nodes.iter().enumerate() {
            entry.calls.push(Call::new(node, &format!("{subject}: inbound_nodes[{call}]"))?);
        }
        if entry.is_input() {
            container.count(entry.described.class);
            let options = entry.described.options(reader.limits);
            if container.is_outermost() {
                self.added.insert(self.entries.len(), reader.input(builder, &options)?);
            } else {
                input_options(&options)?;
            }
        } else if let (Origin::Function, [call]) = (entry.described.origin, entry.calls.as_slice()) {
            let read = functions::read(&entry.described.options(reader.limits), call);
            let Some((function, inputs)) = reader.tolerate(read)? else {
                entry.part = Some(Part::Missing);
                self.entries.push(entry);
                return Ok(());
            };
            let name = container.name(name);
            let class = entry.described.class;
            entry.part = Some(match function {
                Function::Kind(kind) => Part::Layer(builder.layer_as(&name, class, *kind, true)?),
                Function::Composed(compose) => {
                    let block = builder.begin_block(&name, class)?;
                    builder.end_block();
                    Part::Composed { block, flags: &[], compose }
                }
            });
            // Numbers have their place in the kind: what is left are the tensors.
            entry.calls = vec![Call::of_tensors(inputs)];
        } else {
            entry.part = Some(Part::read(reader, builder, &entry.described, value, container)?);
        }
        self.entries.push(entry);
        Ok(())
    }

    /// All calls, each after the calls that it takes from.
    fn ordered(&self, reader: &Reader<'_>) -> Result<Vec<(usize, usize)>> {
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
                    if self.entries.get(source.0).is_some_and(|entry| !entry.is_input()) {
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
    fn source(&self, reference: &Reference<'_>, of: &str) -> Result<(usize, usize)> {
        let found = self.numbers.get(reference.layer).copied();
        let wrong = |expected: &str| {
            let found = format!("{}, call {}", quoted(reference.layer), reference.call);
            malformed(CONFIG, format!("{of} to take from {expected}"), found)
        };
        let number = found.ok_or_else(|| wrong("a layer of the model"))?;
        let entry = self.entries.get(number).ok_or_else(|| wrong("a layer of the model"))?;
        let calls = if entry.is_input() { 1 } else { entry.calls.len() };
        let first = usize::from(reference.counts_making && entry.is_made_by_call);
        match reference.call.checked_sub(first) {
            Some(call) if call < calls => Ok((number, call)),
            _ => Err(wrong("a call of the layer")),
        }
    }

    fn value(&self, values: &Values, reference: &Reference<'_>, of: &str) -> Result<Value> {
        let source = self.source(reference, of)?;
        values.get(&source).and_then(|values| values.get(reference.output)).copied().ok_or_else(|| {
            let found = format!("{}, output {}", quoted(reference.layer), reference.output);
            malformed(CONFIG, format!("{of} to take from an output of the layer"), found)
        })
    }

    /// Calls the outermost model.
    pub(super) fn outermost(&self, builder: &mut Builder) -> Result<Outputs> {
        let mut ordered = Vec::new();
        for reference in &self.inputs {
            let (number, _) = self.source(reference, "input_layers")?;
            ordered.extend(self.added.get(&number).copied());
        }
        builder.order_inputs(&ordered);
        let values = self.added.iter().map(|(&number, &value)| ((number, 0), vec![value])).collect();
        self.run(builder, values)
    }

    /// Calls a model that is a layer, which messages call `subject`.
    pub(super) fn call(&self, builder: &mut Builder, subject: &str, inputs: &[Value]) -> Result<Outputs> {
        if inputs.len() != self.inputs.len() {
            let expected = format!("{} inputs", self.inputs.len());
            return Err(Error::mismatch(subject, expected, inputs.len().to_string()));
        }
        let mut values = Values::new();
        for (reference, &input) in self.inputs.iter().zip(inputs) {
            values.insert(self.source(reference, "input_layers")?, vec![input]);
        }
        self.run(builder, values)
    }

    fn run(&self, builder: &mut Builder, mut values: Values) -> Result<Outputs> {
        for &(number, index) in &self.order {
            let outputs = self.step(builder, &values, number, index)?;
            within(|| "the model".to_owned(), builder.calls() as u64, self.limits.calls, "calls")?;
            values.insert((number, index), outputs);
        }
        let output = |reference: &Reference<'a>| {
            Ok((reference.layer.to_owned(), self.value(&values, reference, "output_layers")?))
        };
        self.outputs.iter().map(output).collect()
    }

    fn step(&self, builder: &mut Builder, done: &Values, number: usize, index: usize) -> Result<Vec<Value>> {
        let found =
            self.entries.get(number).and_then(|entry| Some((entry, entry.calls.get(index)?, entry.part.as_ref()?)));
        let (entry, call, part) = found.ok_or_else(|| Error::internal("a call that is not there"))?;
        let subject = entry.described.subject();
        let arguments = call.arguments(&subject)?;
        let values = |references: &[Reference<'_>]| -> Result<Vec<Value>> {
            references.iter().map(|reference| self.value(done, reference, &subject)).collect()
        };
        let (mut inputs, mut states) = (values(&arguments.inputs)?, values(&arguments.initial_state)?);
        // A list [x, h, c] is another way of giving states.
        if entry.described.is_recurrent() && arguments.is_list && inputs.len() > 1 && states.is_empty() {
            states = inputs.split_off(1);
        }
        let mask = match &arguments.mask {
            Some(Mask::One(mask)) => CallMask::Given(self.value(done, mask, &subject)?),
            // Given several tensors, Keras 3 hands no mask to the layer.
            None if !states.is_empty() && !self.keras2 => CallMask::None,
            None => CallMask::Carried,
            Some(Mask::Each(_)) => CallMask::Carried,
        };
        let masks = match &arguments.mask {
            Some(Mask::Each(all)) => {
                let each = |mask: &Option<Reference<'_>>| {
                    mask.as_ref().map(|mask| self.value(done, mask, &subject)).transpose()
                };
                Some(all.iter().map(each).collect::<Result<Vec<_>>>()?)
            }
            _ => None,
        };
        self.masks.check(&entry.described, &inputs, mask)?;
        let given = Given { inputs: inputs.clone(), states, mask, masks, arguments: &arguments };
        let outputs = part.call(builder, &subject, given)?;
        self.masks.note(&entry.described, &inputs, &outputs);
        Ok(outputs)
    }

    /// Checks that the model's inputs are its input layers, each once.
    fn check_inputs(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        for reference in &self.inputs {
            let (number, _) = self.source(reference, "input_layers")?;
            if !self.entries.get(number).is_some_and(Entry::is_input) {
                let found = quoted(reference.layer);
                return Err(malformed(CONFIG, "input_layers to name layers of class InputLayer", found));
            }
            if !seen.insert(number) {
                return Err(malformed(CONFIG, "input_layers to name each input once", quoted(reference.layer)));
            }
        }
        let all = self.entries.iter().filter(|entry| entry.is_input());
        let left = all.map(|entry| entry.described.name).find(|name| self.inputs.iter().all(|r| r.layer != *name));
        if let Some(left) = left {
            return Err(malformed(CONFIG, "input_layers to name all inputs", format!("{} left out", quoted(left))));
        }
        Ok(())
    }
}

/// The references at `key`: one, a list, or an object, nested as deep as the model's own.
fn ends<'a>(config: &'a Map<String, Json>, key: &str) -> Result<Vec<Reference<'a>>> {
    fn flatten<'a>(value: &'a Json, key: &str, into: &mut Vec<Reference<'a>>) -> Result<()> {
        match value {
            Json::Array(parts) if parts.first().is_some_and(Json::is_string) => {
                into.push(Reference::new(value, true, key)?);
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
