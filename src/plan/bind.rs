//! [`Bound`]: a plan with the sizes of one run filled in.

use super::{Buffer, BufferId, InputPort, Plan, Relation};
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
        plan.derive(&mut symbols)?;
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
        self.bind_given(&shapes.iter().map(|shape| Some(shape.as_slice())).collect::<Vec<_>>())
    }

    /// [`bind`](Self::bind) where inputs that are optional may be missing.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_given(&self, shapes: &[Option<&[usize]>]) -> Result<Bound> {
        let mut symbols: Vec<Option<usize>> = vec![None; self.symbols.len()];
        for (port, shape) in self.inputs.iter().zip(shapes) {
            if let Some(shape) = shape {
                self.bind_input(port, shape, &mut symbols)?;
            }
        }
        let mut symbols: Vec<usize> = symbols.into_iter().map(|s| s.unwrap_or(1)).collect();
        self.derive(&mut symbols)?;
        for condition in &self.conditions {
            let size = |dim: &Dim| dim.signed(&symbols).ok_or_else(|| too_long(&condition.subject));
            let (left, right) = (size(&condition.left)?, size(&condition.right)?);
            let (holds, expected) = match condition.relation {
                Relation::Equal => (left == right, "inputs whose sizes agree"),
                Relation::AtLeast => (left >= right, "inputs that are long enough"),
            };
            if !holds {
                return Err(Error::mismatch(&condition.subject, expected, format!("{left} and {right}")));
            }
        }
        Ok(Bound { shapes: self.shapes(&symbols)?, symbols })
    }

    /// Fills in the symbols that others give.
    fn derive(&self, symbols: &mut [usize]) -> Result<()> {
        for (symbol, derived) in &self.derived {
            let value = derived.evaluate(symbols);
            let value = value
                .ok_or_else(|| Error::mismatch("inputs", "sequences as long as the layers need", "shorter ones"))?;
            if let Some(slot) = symbols.get_mut(symbol.0) {
                *slot = value;
            }
        }
        Ok(())
    }

    /// Takes the values of symbols from the shape of an input, batch first.
    fn bind_input(&self, port: &InputPort, shape: &[usize], symbols: &mut [Option<usize>]) -> Result<()> {
        let Some(buffer) = self.buffers.get(port.buffer.0) else {
            return Err(Error::internal("an input without a buffer"));
        };
        let mismatch = |why: String| {
            let expected = port.layout.file_shape(&buffer.shape, &Dim::from(1), |a, b| a * b);
            let found = port.layout.file_shape(shape, &1, |a, b| a.saturating_mul(*b));
            Error::mismatch(
                format!("input {}", quoted(&port.name)),
                format!("shape {}{why}", crate::dim::shape_text(&expected)),
                format!("{found:?}"),
            )
        };
        if shape.len() != buffer.shape.len() {
            return Err(mismatch(String::new()));
        }
        for (axis, (dim, &size)) in buffer.shape.iter().zip(shape).enumerate() {
            let place = port.layout.groups().iter().position(|group| group.contains(&axis)).unwrap_or(axis);
            if let Some(symbol) = dim.as_symbol() {
                match symbols.get_mut(symbol.0) {
                    Some(Some(known)) if *known != size => {
                        let name = self.symbols.get(symbol.0).cloned().unwrap_or_default();
                        return Err(mismatch(format!(
                            " with {known} at axis {place} ({name}, as in the inputs before it)"
                        )));
                    }
                    Some(slot) => *slot = Some(size),
                    None => return Err(Error::internal("symbol without a slot")),
                }
            } else if dim.fixed() != Some(size) {
                return Err(mismatch(format!(" (axis {place})")));
            }
        }
        Ok(())
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
    dim.evaluate(symbols).ok_or_else(|| too_long(what))
}

fn too_long(what: &str) -> Error {
    Error::Limit {
        what: what.to_owned(),
        need: "an axis longer than can be counted".to_owned(),
        limit: "the address space".to_owned(),
        hint: "use a smaller batch or shorter sequences".to_owned(),
    }
}
