//! The calls of a graph's layers: `inbound_nodes`.

use serde_json::Value as Json;

use super::{
    archive::{CONFIG, malformed},
    config::{list, object, shown},
};
use crate::error::{Error, Result, quoted};

/// An output of a call of a layer.
#[derive(Clone, Debug)]
pub(super) struct Reference<'a> {
    pub(super) layer: &'a str,
    pub(super) call: usize,
    pub(super) output: usize,
    /// Whether the calls of a model are counted with the one that made it.
    pub(super) counts_making: bool,
}

/// What a layer or function is called with.
#[derive(Debug)]
pub(super) enum Argument<'a> {
    Tensor(Reference<'a>),
    List(Vec<Argument<'a>>),
    Constant(&'a Json),
}

/// One call.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) positional: Vec<Argument<'a>>,
    /// By name, in order of names.
    pub(super) named: Vec<(&'a str, Argument<'a>)>,
}

/// The arguments that a layer may have.
#[derive(Debug, Default)]
pub(super) struct Arguments<'a> {
    pub(super) inputs: Vec<Reference<'a>>,
    /// Whether the inputs were given as a list.
    pub(super) is_list: bool,
    pub(super) initial_state: Vec<Reference<'a>>,
    pub(super) mask: Option<Mask<'a>>,
    /// What only some layers take: by name, in order of names.
    pub(super) others: Vec<(&'a str, &'a Argument<'a>)>,
}

/// The mask that a call names.
#[derive(Debug)]
pub(super) enum Mask<'a> {
    One(Reference<'a>),
    /// One per input.
    Each(Vec<Option<Reference<'a>>>),
}

impl<'a> Reference<'a> {
    /// From `[layer, call, output]`.
    pub(super) fn new(value: &'a Json, counts_making: bool, place: &str) -> Result<Self> {
        let number = |value: &Json| value.as_u64().and_then(|number| usize::try_from(number).ok());
        match list(Some(value), place)? {
            [Json::String(layer), call, output] => {
                number(call).zip(number(output)).map(|(call, output)| Self { layer, call, output, counts_making })
            }
            _ => None,
        }
        .ok_or_else(|| malformed(CONFIG, format!("[layer, call, output] at {place}"), shown(Some(value))))
    }
}

impl<'a> Argument<'a> {
    fn new(value: &'a Json, place: &str) -> Result<Self> {
        Ok(match value {
            Json::Object(map) if map.get("class_name").is_some_and(|class| class == "__keras_tensor__") => {
                let config = object(map.get("config"), place)?;
                let history = config.get("keras_history").unwrap_or(&Json::Null);
                Self::Tensor(Reference::new(history, false, place)?)
            }
            Json::Array(all) => Self::List(all.iter().map(|one| Self::new(one, place)).collect::<Result<_>>()?),
            value => Self::Constant(value),
        })
    }

    /// As Keras 2 writes the arguments of a call: a tensor is `[layer, call, output]`.
    fn keras2(value: &'a Json, place: &str) -> Result<Self> {
        Ok(match value {
            Json::Array(parts) => match parts.as_slice() {
                [Json::String(_), Json::Number(_), Json::Number(_)] => {
                    Self::Tensor(Reference::new(value, true, place)?)
                }
                parts => Self::List(parts.iter().map(|one| Self::keras2(one, place)).collect::<Result<_>>()?),
            },
            value => Self::Constant(value),
        })
    }

    fn collect(&self, into: &mut Vec<Reference<'a>>) {
        match self {
            Self::Tensor(reference) => into.push(reference.clone()),
            Self::List(all) => all.iter().for_each(|one| one.collect(into)),
            Self::Constant(_) => {}
        }
    }

    pub(super) fn shown(&self) -> String {
        match self {
            Self::Tensor(reference) => format!("the tensor of {}", quoted(reference.layer)),
            Self::List(_) => "a list".to_owned(),
            Self::Constant(value) => shown(Some(value)),
        }
    }

    /// One tensor, or a list of them.
    pub(super) fn tensors(&self) -> Option<Vec<Reference<'a>>> {
        match self {
            Self::Tensor(reference) => Some(vec![reference.clone()]),
            Self::List(all) => all
                .iter()
                .map(|one| match one {
                    Self::Tensor(reference) => Some(reference.clone()),
                    _ => None,
                })
                .collect(),
            Self::Constant(_) => None,
        }
    }
}

impl<'a> Call<'a> {
    /// From an element of `inbound_nodes`.
    pub(super) fn new(node: &'a Json, place: &str) -> Result<Self> {
        if let Json::Array(tensors) = node {
            return Self::keras2(node, tensors, place);
        }
        let node = object(Some(node), place)?;
        let positional = list(node.get("args"), &format!("{place}.args"))?;
        let positional = positional.iter().map(|value| Argument::new(value, place)).collect::<Result<_>>()?;
        let mut named: Vec<(&str, Argument<'_>)> = Vec::new();
        let kwargs = match node.get("kwargs") {
            None => None,
            value => Some(object(value, &format!("{place}.kwargs"))?),
        };
        for (name, value) in kwargs.into_iter().flatten() {
            named.push((name, Argument::new(value, place)?));
        }
        named.sort_unstable_by_key(|(name, _)| *name);
        Ok(Self { positional, named })
    }

    /// From a list of `[layer, call, output, arguments by name]`, or from one of them.
    fn keras2(node: &'a Json, tensors: &'a [Json], place: &str) -> Result<Self> {
        const CONSTANT: &str = "_CONSTANT_VALUE";
        let mut named: Vec<(&str, Argument<'_>)> = Vec::new();
        let alone = tensors.first().is_some_and(Json::is_string);
        let tensors = if alone { std::slice::from_ref(node) } else { tensors };
        let mut inputs = Vec::new();
        for (index, tensor) in tensors.iter().enumerate() {
            let parts = list(Some(tensor), place)?;
            let wrong = || malformed(CONFIG, format!("[layer, call, output] at {place}"), shown(Some(tensor)));
            let (head, arguments) = parts.split_at_checked(3).ok_or_else(wrong)?;
            let [layer @ Json::String(name), call, output] = head else { return Err(wrong()) };
            let number = |value: &Json| value.as_u64().and_then(|number| usize::try_from(number).ok());
            inputs.push(match (name.as_str(), number(call).zip(number(output))) {
                (CONSTANT, _) => Argument::Constant(output),
                (_, Some((call, output))) => {
                    let layer = layer.as_str().unwrap_or_default();
                    Argument::Tensor(Reference { layer, call, output, counts_making: true })
                }
                _ => return Err(wrong()),
            });
            match arguments {
                [] => {}
                // Written again for each tensor.
                [all] if index == 0 => {
                    for (name, value) in object(Some(all), place)? {
                        named.push((name, Argument::keras2(value, place)?));
                    }
                }
                [all] if parts.get(3) == tensors.first().and_then(|first| first.get(3)) => {
                    object(Some(all), place)?;
                }
                _ => return Err(wrong()),
            }
        }
        named.sort_unstable_by_key(|(name, _)| *name);
        let positional = if inputs.len() == 1 { inputs } else { vec![Argument::List(inputs)] };
        Ok(Self { positional, named })
    }

    /// A call with nothing but tensors, as a list if there are several.
    pub(super) fn of_tensors(tensors: Vec<Reference<'a>>) -> Self {
        Self {
            positional: vec![Argument::List(tensors.into_iter().map(Argument::Tensor).collect())],
            named: Vec::new(),
        }
    }

    /// All tensors, in order.
    pub(super) fn references(&self) -> Vec<Reference<'a>> {
        let mut all = Vec::new();
        self.positional.iter().for_each(|argument| argument.collect(&mut all));
        self.named.iter().for_each(|(_, argument)| argument.collect(&mut all));
        all
    }

    /// The arguments of a layer that messages call `subject`.
    pub(super) fn arguments(&self, subject: &str) -> Result<Arguments<'_>> {
        let unsupported = |what: String| {
            Error::unsupported(subject, what, "call the layer with its input, a mask or an initial state only")
        };
        let mut arguments = Arguments::default();
        match self.positional.as_slice() {
            [inputs, states @ ..] if states.len() <= 1 => {
                let tensors = inputs.tensors();
                arguments.inputs = tensors.ok_or_else(|| unsupported(format!("{} as an input", inputs.shown())))?;
                arguments.is_list = matches!(inputs, Argument::List(_));
                if let Some(states) = states.first() {
                    arguments.initial_state(states).map_err(unsupported)?;
                }
            }
            other => {
                return Err(unsupported(format!("a call with {} positional arguments", other.len())));
            }
        }
        for (name, argument) in &self.named {
            match (*name, argument) {
                (_, Argument::Constant(Json::Null)) => {}
                ("training", Argument::Constant(Json::Bool(false))) => {}
                ("mask", Argument::Tensor(mask)) => arguments.mask = Some(Mask::One(mask.clone())),
                ("mask", Argument::List(masks)) => {
                    let each = masks.iter().map(|mask| match mask {
                        Argument::Tensor(mask) => Some(Some(mask.clone())),
                        Argument::Constant(Json::Null) => Some(None),
                        _ => None,
                    });
                    let each: Option<Vec<_>> = each.collect();
                    let each =
                        each.ok_or_else(|| unsupported(format!("the argument 'mask' = {}", argument.shown())))?;
                    arguments.mask = Some(Mask::Each(each)).filter(|_| !masks.is_empty());
                }
                ("initial_state", states) => arguments.initial_state(states).map_err(unsupported)?,
                (name, argument) => arguments.others.push((name, argument)),
            }
        }
        Ok(arguments)
    }
}

impl<'a> Arguments<'a> {
    fn initial_state(&mut self, states: &Argument<'a>) -> std::result::Result<(), String> {
        if matches!(states, Argument::Constant(Json::Null)) {
            return Ok(());
        }
        let tensors = states.tensors().filter(|_| self.initial_state.is_empty());
        self.initial_state = tensors.ok_or_else(|| format!("initial_state = {}", states.shown()))?;
        Ok(())
    }

    /// Whether the call says `name` = true.
    pub(super) fn flag(&self, name: &str) -> bool {
        let is_true = |argument: &Argument<'_>| matches!(argument, Argument::Constant(Json::Bool(true)));
        self.others.iter().any(|(other, argument)| *other == name && is_true(argument))
    }

    /// Refuses arguments but those `known`, which must be true or false.
    pub(super) fn only(&self, subject: &str, known: &[&str]) -> Result<()> {
        let fits = |name: &str, argument: &Argument<'_>| match argument {
            Argument::Constant(Json::Bool(_)) => known.contains(&name),
            _ => false,
        };
        match self.others.iter().find(|(name, argument)| !fits(name, argument)) {
            None => Ok(()),
            Some((name, argument)) => Err(Error::unsupported(
                subject,
                format!("the argument {} = {}", quoted(name), argument.shown()),
                "call the layer with its input, a mask or an initial state only",
            )),
        }
    }
}
