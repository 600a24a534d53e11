//! Which buffers a step reads and writes.

use super::{BufferId, Op, Recurrence};

impl Op {
    /// The buffers that it reads.
    #[must_use]
    pub fn inputs(&self) -> Vec<BufferId> {
        match self {
            Self::Gather { ids: input, .. }
            | Self::Linear { input, .. }
            | Self::Map { input, .. }
            | Self::Copy { input, .. }
            | Self::Softmax { input, .. }
            | Self::LayerNorm { input, .. }
            | Self::BatchNorm { input, .. }
            | Self::NotEqual { input, .. } => vec![*input],
            Self::Combine { left, right, .. } => vec![*left, *right],
            Self::Reduce { input, mask, .. } => std::iter::once(*input).chain(*mask).collect(),
            Self::Recurrence(Recurrence {
                input,
                mask,
                directions,
                ..
            }) => {
                let initial = directions.iter().flat_map(|direction| &direction.initial);
                std::iter::once(*input)
                    .chain(*mask)
                    .chain(initial.copied().flatten())
                    .collect()
            }
        }
    }

    /// The buffers that it writes. [`Op::Copy`] writes a part, every other step all of them.
    #[must_use]
    pub fn outputs(&self) -> Vec<BufferId> {
        match self {
            Self::Gather { output, .. }
            | Self::Linear { output, .. }
            | Self::Map { output, .. }
            | Self::Copy { output, .. }
            | Self::Softmax { output, .. }
            | Self::LayerNorm { output, .. }
            | Self::BatchNorm { output, .. }
            | Self::NotEqual { output, .. }
            | Self::Combine { output, .. }
            | Self::Reduce { output, .. } => vec![*output],
            Self::Recurrence(Recurrence {
                sequence,
                last,
                directions,
                ..
            }) => {
                let finals = directions.iter().flat_map(|direction| &direction.finals);
                sequence
                    .iter()
                    .chain(last)
                    .copied()
                    .chain(finals.copied().flatten())
                    .collect()
            }
        }
    }
}
