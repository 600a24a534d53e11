//! [`Bound`]: a plan with the sizes of one run filled in.

use super::{Buffer, BufferId, Plan};
use crate::{
    dim::Dim,
    error::{Error, Result, quoted},
    tensor::element_count,
};

/// The concrete shapes of a plan's buffers for one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Value of each symbol.
    pub symbols: Vec<usize>,
    /// Shape of each buffer.
    pub shapes: Vec<Vec<usize>>,
}

impl Bound {
    /// The shape of `buffer`.
    #[must_use]
    pub fn shape(&self, buffer: BufferId) -> &[usize] {
        self.shapes.get(buffer.0).map_or(&[], Vec::as_slice)
    }

    /// The number of values in `buffer`. Checked not to overflow when the plan was bound.
    #[must_use]
    pub fn len(&self, buffer: BufferId) -> usize {
        self.shape(buffer).iter().product()
    }

    /// The number of rows that run together.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.symbols.first().copied().unwrap_or(0)
    }

    /// The same run with `batch` rows.
    ///
    /// # Errors
    /// [`Error::Limit`] if a size overflows.
    pub fn with_batch(&self, plan: &Plan, batch: usize) -> Result<Self> {
        let mut symbols = self.symbols.clone();
        if let Some(first) = symbols.first_mut() {
            *first = batch;
        }
        Ok(Self { shapes: plan.shapes(&symbols)?, symbols })
    }

    /// The value of `dim` in this run.
    ///
    /// # Errors
    /// [`Error::Limit`] if it overflows or is negative.
    pub fn size(&self, dim: &Dim) -> Result<usize> {
        evaluate(dim, &self.symbols, "a step's extent")
    }
}

impl Plan {
    /// The sizes of a run whose inputs have `shapes`, one per [`Plan::inputs`].
    ///
    /// # Errors
    /// [`Error::Mismatch`] naming the input and the dimension, or the layer whose operands differ;
    /// [`Error::Limit`] if a size overflows.
    pub fn bind(&self, shapes: &[Vec<usize>]) -> Result<Bound> {
        let mut symbols: Vec<Option<usize>> = vec![None; self.symbols.len()];
        for (port, shape) in self.inputs.iter().zip(shapes) {
            let Some(buffer) = self.buffers.get(port.buffer.0) else {
                continue;
            };
            let mismatch = |why: String| {
                let expected = crate::dim::shape_text(&buffer.shape);
                Error::mismatch(
                    format!("input {}", quoted(&port.name)),
                    format!("shape {expected}{why}"),
                    format!("{shape:?}"),
                )
            };
            if shape.len() != buffer.shape.len() {
                return Err(mismatch(String::new()));
            }
            for (axis, (dim, &size)) in buffer.shape.iter().zip(shape).enumerate() {
                if let Some(symbol) = dim.as_symbol() {
                    match symbols.get_mut(symbol.0) {
                        Some(Some(known)) if *known != size => {
                            let name = self.symbols.get(symbol.0).cloned().unwrap_or_default();
                            return Err(mismatch(format!(
                                " with {known} at axis {axis} ({name}, as in the inputs before it)"
                            )));
                        }
                        Some(slot) => *slot = Some(size),
                        None => return Err(Error::internal("symbol without a slot")),
                    }
                } else if dim.fixed() != Some(size) {
                    return Err(mismatch(format!(" (axis {axis})")));
                }
            }
        }
        let symbols: Vec<usize> = symbols.into_iter().map(|s| s.unwrap_or(1)).collect();
        for equality in &self.equalities {
            let left = evaluate(&equality.left, &symbols, &equality.layer)?;
            let right = evaluate(&equality.right, &symbols, &equality.layer)?;
            if left != right {
                return Err(Error::mismatch(
                    format!("layer {}", quoted(&equality.layer)),
                    "inputs whose sizes agree".to_owned(),
                    format!("{left} and {right}"),
                ));
            }
        }
        Ok(Bound { shapes: self.shapes(&symbols)?, symbols })
    }

    /// The shape of each buffer under `symbols`.
    fn shapes(&self, symbols: &[usize]) -> Result<Vec<Vec<usize>>> {
        let mut shapes = Vec::with_capacity(self.buffers.len());
        for buffer in &self.buffers {
            let shape =
                buffer.shape.iter().map(|dim| evaluate(dim, symbols, &buffer.name)).collect::<Result<Vec<_>>>()?;
            // Headroom for bytes and for index arithmetic.
            if element_count(&shape).and_then(|n| n.checked_mul(16)).is_none() {
                return Err(Error::Limit {
                    what: buffer.name.clone(),
                    need: format!("{shape:?} values"),
                    limit: "the address space".to_owned(),
                    hint: "use a smaller batch or shorter sequences".to_owned(),
                });
            }
            shapes.push(shape);
        }
        Ok(shapes)
    }

    /// The buffer that holds the values of `buffer`: itself, or what it is a view of.
    ///
    /// # Errors
    /// [`Error::Internal`] if there is no such buffer or its views form a cycle.
    pub fn storage(&self, buffer: BufferId) -> Result<BufferId> {
        let mut id = buffer;
        for _ in 0..=self.buffers.len() {
            match self.buffers.get(id.0) {
                Some(Buffer { view_of: Some(of), .. }) => id = *of,
                Some(_) => return Ok(id),
                None => break,
            }
        }
        Err(Error::internal(format!("buffer {} has no storage", buffer.0)))
    }
}

/// The size that `dim` of `what` has under `symbols`.
fn evaluate(dim: &Dim, symbols: &[usize], what: &str) -> Result<usize> {
    dim.evaluate(symbols).ok_or_else(|| Error::Limit {
        what: what.to_owned(),
        need: "an axis longer than can be counted".to_owned(),
        limit: "the address space".to_owned(),
        hint: "use a smaller batch or shorter sequences".to_owned(),
    })
}
