//! The windows of a convolution or a pooling: how many, and what lies beyond the ends.

use super::Unify;
use crate::{
    dim::Dim,
    error::{Error, Result},
    model::{Conv1d, Padding, Pool1d},
};

/// The options that windows depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    pub(crate) width: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    pub(crate) padding: Padding,
}

impl From<&Conv1d> for Windows {
    fn from(c: &Conv1d) -> Self {
        Self { width: c.width, stride: c.stride, dilation: c.dilation, padding: c.padding }
    }
}

impl From<&Pool1d> for Windows {
    fn from(p: &Pool1d) -> Self {
        Self { width: p.width, stride: p.stride, dilation: p.dilation, padding: p.padding }
    }
}

impl Windows {
    /// Positions from the first to the last that one output looks at; 0 if that overflows.
    fn span(&self) -> usize {
        let reach = self.width.saturating_sub(1).checked_mul(self.dilation);
        reach.and_then(|reach| reach.checked_add(1)).filter(|&span| u32::try_from(span).is_ok()).unwrap_or(0)
    }

    pub(in crate::model) fn check(&self, subject: &str) -> Result<()> {
        if self.width == 0 || self.stride == 0 || self.dilation == 0 || self.span() == 0 {
            let found = format!("width {}, stride {}, dilation {}", self.width, self.stride, self.dilation);
            return Err(Error::mismatch(subject, "a width, a stride and a dilation of at least 1", found));
        }
        Ok(())
    }

    /// How many windows a sequence of `len` positions has.
    pub(super) fn count(&self, subject: &str, len: &Dim, unify: &mut Unify<'_>) -> Result<Dim> {
        let one = Dim::from(1);
        let room = match self.padding {
            Padding::Same => return Ok(unify.quotient(&(&(len + &Dim::from(self.stride)) - &one), self.stride)),
            Padding::Causal => len - &one,
            Padding::Valid => len - &Dim::from(self.span()),
            Padding::Explicit { before, after } => {
                &(&(len + &Dim::from(before)) + &Dim::from(after)) - &Dim::from(self.span())
            }
        };
        if room.constant().is_some_and(|room| room < 0) {
            return Err(Error::mismatch(
                subject,
                format!("at least {} timesteps", self.span()),
                format!("{len} before padding"),
            ));
        }
        Ok(&unify.quotient(&room, self.stride) + &one)
    }

    /// How many positions before the first one the first window sees; in [`Padding::Same`] they are
    /// half of what is missing, which `half_of_positive` gives of a difference.
    pub(crate) fn before(&self, len: &Dim, count: &Dim, half_of_positive: impl FnOnce(&Dim) -> Dim) -> Dim {
        match self.padding {
            Padding::Valid => Dim::from(0),
            Padding::Causal => Dim::from(self.span() - 1),
            Padding::Explicit { before, .. } => Dim::from(before),
            Padding::Same => {
                let last = &(count - &Dim::from(1)) * &Dim::from(self.stride);
                half_of_positive(&(&(&last + &Dim::from(self.span())) - len))
            }
        }
    }
}
