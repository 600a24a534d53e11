//! [`random_inputs`]: inputs that fit a model and reach its masks, the same for the same seed.

use crate::{
    error::{Error, Result, quoted},
    model::{LayerKind, Model, Value},
    plan::{Plan, PlanOptions},
    tensor::{Tensor, element_count, zeros},
};

/// Name and tensor of each input of `model`, in the order of its file, with `batch` rows and `seq_len`
/// wherever the run decides a length. Numbers are within -1 and 1, token ids within the vocabulary,
/// lengths within the sequence. Where the model has masks, the rows have dead timesteps on the left, on
/// the right, inside, nowhere, everywhere, in turn.
///
/// # Errors
/// [`Error::Limit`] if the inputs do not fit memory, and as planning the model.
pub fn random_inputs(model: &Model, batch: usize, seq_len: usize, seed: u64) -> Result<Vec<(String, Tensor)>> {
    let mut random = Random(seed);
    if model.late.is_some() {
        return late_inputs(model, batch, seq_len, seed, &mut random);
    }
    let plan = Plan::new(model, &PlanOptions::default())?;
    let symbols: Vec<usize> = (0..plan.symbols.len()).map(|symbol| if symbol == 0 { batch } else { seq_len }).collect();
    let mut inputs = Vec::new();
    for (port, input) in plan.inputs.iter().zip(&model.inputs) {
        let dims = model.shape(input.value)?;
        let shape: Option<Vec<usize>> = dims.iter().map(|dim| dim.evaluate(&symbols)).collect();
        let shape = shape.ok_or_else(|| too_large(&port.name, &[batch, seq_len]))?;
        let count = element_count(&shape).ok_or_else(|| too_large(&port.name, &shape))?;
        let dead = mask_value(model, input.value, port.ids.as_ref().map(|(_, layer)| layer.as_str()));
        let longest = port.lengths.as_ref().and_then(|(longest, _)| longest.evaluate(&symbols));
        let tensor = match (&port.ids, longest) {
            (Some((vocabulary, _)), _) => {
                // From 1 where 0 is dead.
                let first = usize::from(dead.is_some() && *vocabulary > 1);
                let mut ids: Vec<i64> = zeros(count)?;
                ids.iter_mut().for_each(|id| *id = random.below(first, *vocabulary));
                kill(&mut ids, &shape, dead.map(|_| 0), &mut random);
                Tensor::new(shape, ids)
            }
            (None, Some(longest)) => {
                let mut lengths: Vec<i64> = zeros(count)?;
                lengths.iter_mut().for_each(|length| *length = random.below(longest.min(1), longest + 1));
                Tensor::new(shape, lengths)
            }
            (None, None) => {
                let mut values: Vec<f32> = zeros(count)?;
                values.iter_mut().for_each(|x| *x = random.uniform() * 2.0 - 1.0);
                kill(&mut values, &shape, dead, &mut random);
                Tensor::new(shape, values)
            }
        }?;
        inputs.push((port.name.clone(), port.layout.file(tensor)?));
    }
    Ok(inputs)
}

/// Inputs of a model that leaves its weights to the caller: random weights too.
fn late_inputs(
    model: &Model,
    batch: usize,
    seq_len: usize,
    seed: u64,
    random: &mut Random,
) -> Result<Vec<(String, Tensor)>> {
    let mut weights = Vec::new();
    for weight in model.needs_weights() {
        let shape: Vec<usize> = weight.shape.iter().map(|size| size.unwrap_or(1)).collect();
        let count = element_count(&shape).ok_or_else(|| too_large(&weight.name, &shape))?;
        let mut values: Vec<f32> = zeros(count)?;
        values.iter_mut().for_each(|x| *x = random.uniform() - 0.5);
        weights.push((weight.name, Tensor::new(shape, values)?));
    }
    let tensors: Vec<Tensor> = weights.iter().map(|(_, tensor)| tensor.clone()).collect();
    let others = random_inputs(&model.with_weights(&tensors)?, batch, seq_len, seed)?;
    let all: Vec<(String, Tensor)> = weights.into_iter().chain(others).collect();
    let of = |name: &str| all.iter().find(|(known, _)| known == name).cloned();
    Ok(model.inputs().iter().filter_map(|input| of(&input.name)).collect())
}

fn too_large(input: &str, shape: &[usize]) -> Error {
    Error::Limit {
        what: format!("input {}", quoted(input)),
        need: format!("shape {shape:?}"),
        limit: "the memory of this machine".to_owned(),
        hint: "use a smaller batch or shorter sequences".to_owned(),
    }
}

/// What marks dead timesteps of an input: 0 if `embedding` or another one says so, the value of a
/// masking layer that reads the input as it is.
fn mask_value(model: &Model, input: Value, embedding: Option<&str>) -> Option<f32> {
    // The input, and what leaves it as it is.
    let mut same = vec![input];
    for (index, node) in model.nodes.iter().enumerate() {
        let Some(layer) = model.layers.get(node.layer) else { continue };
        let reads = node.inputs.iter().any(|value| same.contains(value));
        match &layer.kind {
            LayerKind::Embedding(e) if e.mask_zero && (reads || embedding == Some(&layer.name)) => return Some(0.0),
            LayerKind::Masking { mask_value } if reads => return Some(*mask_value),
            LayerKind::Identity if reads => same.push(Value { node: index, output: 0 }),
            _ => {}
        }
    }
    None
}

/// Fills dead timesteps of values of `shape`, `[batch, seq_len, ..]`, with `dead`.
fn kill<T: Copy>(values: &mut [T], shape: &[usize], dead: Option<T>, random: &mut Random) {
    let (Some(dead), Some(&seq_len)) = (dead, shape.get(1)) else { return };
    let width = shape.iter().skip(2).product::<usize>().max(1);
    for (row, values) in values.chunks_mut((seq_len * width).max(1)).enumerate() {
        // At least one timestep of each row is dead, and one is alive, but where the turn says else.
        let cut = 1 + random.index(seq_len.saturating_sub(1).max(1));
        let end = cut + 1 + random.index(seq_len.saturating_sub(cut + 1).max(1));
        for (timestep, values) in values.chunks_mut(width).enumerate() {
            let is_dead = match row % 5 {
                0 => timestep < cut,
                1 => timestep >= cut,
                2 => (cut..end).contains(&timestep) || (timestep > 0 && random.index(4) == 0),
                3 => false,
                _ => true,
            };
            if is_dead && seq_len > 1 {
                values.fill(dead);
            }
        }
    }
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// At least 0, below 1.
    #[allow(clippy::cast_precision_loss)] // 24 bits are exact
    fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / 16_777_216.0
    }

    /// Below `count`, which is not 0.
    fn index(&mut self, count: usize) -> usize {
        let count = u64::try_from(count).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % count).unwrap_or(0)
    }

    /// At least `first`, below `end`.
    fn below(&mut self, first: usize, end: usize) -> i64 {
        i64::try_from(first + self.index(end.saturating_sub(first))).unwrap_or(0)
    }
}
