//! Questions about a plan: who reads what, which weights are matrices, what is only a view.

use std::sync::Arc;

use super::{BufferId, Direction, Op, Plan, Precision, Recurrence, Weight, WeightId};
use crate::tensor::Tensor;

impl Plan {
    /// The buffer that holds the values of `buffer`: itself, unless it is a view.
    #[must_use]
    pub fn root(&self, buffer: BufferId) -> BufferId {
        self.storage(buffer).unwrap_or(buffer)
    }

    /// The number of times that steps read `buffer` or a view of it.
    pub(super) fn readers(&self, buffer: BufferId) -> usize {
        let root = self.root(buffer);
        let reads = self.steps.iter().flat_map(|step| step.op.inputs());
        reads.filter(|&input| self.root(input) == root).count()
    }

    /// Whether `buffer` is neither an input nor an output of the plan, views included.
    pub(super) fn is_hidden(&self, buffer: BufferId) -> bool {
        let root = self.root(buffer);
        let inputs = self.inputs.iter().map(|port| port.buffer);
        let outputs = self.outputs.iter().map(|port| port.buffer);
        let states = self.states.iter().flat_map(|port| [port.initial, port.last]);
        inputs.chain(outputs).chain(states).all(|port| self.root(port) != root)
    }

    pub(super) fn add_weight(&mut self, name: String, tensor: impl Into<Arc<Tensor>>) -> WeightId {
        self.weights.push(Weight { name, tensor: tensor.into(), precision: Precision::F32 });
        WeightId(self.weights.len() - 1)
    }

    /// The weights that are matrices or tables, each once.
    pub(super) fn matrices(&self) -> Vec<WeightId> {
        let mut ids: Vec<WeightId> = self
            .steps
            .iter()
            .flat_map(|step| match &step.op {
                Op::Linear { weight, .. } => vec![*weight],
                Op::Gather { table, .. } => vec![*table],
                Op::Recurrence(r) => {
                    let of = |d: &Direction| [Some(d.weight_ih), Some(d.weight_hh), d.projection];
                    r.directions.iter().flat_map(of).flatten().collect()
                }
                _ => Vec::new(),
            })
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The steps that are recurrences.
    pub(crate) fn recurrences(&self) -> impl Iterator<Item = &Recurrence> {
        self.steps.iter().filter_map(|step| match &step.op {
            Op::Recurrence(r) => Some(r),
            _ => None,
        })
    }

    /// The plan without the values of the weights `ids`, for an executor that has them.
    pub(crate) fn without_values(&self, ids: impl IntoIterator<Item = WeightId>) -> Self {
        let mut plan = self.clone();
        for id in ids {
            if let Some(weight) = plan.weights.get_mut(id.0) {
                weight.tensor = Arc::new(weight.tensor.hollow());
            }
        }
        plan
    }

    /// The plan without the values of any weight.
    #[cfg(feature = "gpu")]
    pub(crate) fn without_any_values(&self) -> Self {
        self.without_values((0..self.weights.len()).map(WeightId))
    }

    /// Empties the weights that no step reads any more; numbers stay.
    pub(super) fn drop_unused_weights(&mut self) {
        let mut used = vec![false; self.weights.len()];
        for id in self.steps.iter().flat_map(|step| step.op.weights()) {
            if let Some(slot) = used.get_mut(id.0) {
                *slot = true;
            }
        }
        for (weight, used) in self.weights.iter_mut().zip(used) {
            if let (false, Ok(empty)) = (used, Tensor::new([0], Vec::<f32>::new())) {
                weight.tensor = Arc::new(empty);
            }
        }
    }
}

impl Op {
    /// The buffers that the step reads.
    #[must_use]
    pub fn inputs(&self) -> Vec<BufferId> {
        match self {
            Self::Constant { .. } | Self::Ramp { .. } => Vec::new(),
            Self::Linear { input, .. }
            | Self::Map { input, .. }
            | Self::Permute { input, .. }
            | Self::Copy { input, .. }
            | Self::Window { input, .. }
            | Self::Softmax { input, .. }
            | Self::LayerNorm { input, .. }
            | Self::BatchNorm { input, .. }
            | Self::NotEqual { input, .. } => vec![*input],
            Self::Gather { ids, .. } => vec![*ids],
            Self::Combine { left, right, .. } | Self::MatMul { left, right, .. } => vec![*left, *right],
            Self::Take { input, index, .. } => vec![*input, *index],
            Self::Reduce { input, mask, .. } => [Some(*input), *mask].into_iter().flatten().collect(),
            Self::Recurrence(r) => {
                let initial = r.directions.iter().flat_map(|d| d.initial.iter().copied());
                [Some(r.input), r.mask].into_iter().chain(initial).flatten().collect()
            }
        }
    }

    /// The buffers that the step writes.
    #[must_use]
    pub fn outputs(&self) -> Vec<BufferId> {
        match self {
            Self::Linear { output, .. }
            | Self::Map { output, .. }
            | Self::Constant { output, .. }
            | Self::Ramp { output, .. }
            | Self::Permute { output, .. }
            | Self::Copy { output, .. }
            | Self::Window { output, .. }
            | Self::MatMul { output, .. }
            | Self::Take { output, .. }
            | Self::Softmax { output, .. }
            | Self::LayerNorm { output, .. }
            | Self::BatchNorm { output, .. }
            | Self::NotEqual { output, .. }
            | Self::Gather { output, .. }
            | Self::Combine { output, .. }
            | Self::Reduce { output, .. } => vec![*output],
            Self::Recurrence(r) => {
                let finals = r.directions.iter().flat_map(|d| d.finals.iter().copied());
                [r.sequence, r.last].into_iter().chain(finals).flatten().collect()
            }
        }
    }

    /// The weights that the step reads.
    #[must_use]
    pub fn weights(&self) -> Vec<WeightId> {
        match self {
            Self::Linear { weight, bias, .. } => [Some(*weight), *bias].into_iter().flatten().collect(),
            Self::Gather { table, .. } => vec![*table],
            Self::Constant { weight, .. } => vec![*weight],
            Self::LayerNorm { gamma, beta, .. } => [*gamma, *beta].into_iter().flatten().collect(),
            Self::BatchNorm { mean, variance, gamma, beta, .. } => {
                [Some(*mean), Some(*variance), *gamma, *beta].into_iter().flatten().collect()
            }
            Self::Recurrence(r) => r
                .directions
                .iter()
                .flat_map(|d| [Some(d.weight_ih), Some(d.weight_hh), d.bias_ih, d.bias_hh, d.peephole, d.projection])
                .flatten()
                .collect(),
            _ => Vec::new(),
        }
    }
}
