//! [`Dim`]: a dimension that may depend on the batch size and the sequence lengths of a run.

use std::{collections::BTreeMap, fmt, ops};

/// An unknown of a [`Dim`], bound by the shapes of the inputs of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(pub(crate) usize);

impl Symbol {
    /// The number of rows that run together.
    pub const BATCH: Self = Self(0);
}

/// A polynomial with integer coefficients over [`Symbol`]s, in normal form: two dimensions are
/// equal for every run exactly if they compare equal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dim {
    /// Sorted symbols of a term (empty: the constant) -> its coefficient, never zero.
    terms: BTreeMap<Vec<Symbol>, i64>,
}

impl Dim {
    /// The value, if it does not depend on the run.
    #[must_use]
    pub fn fixed(&self) -> Option<usize> {
        match self.terms.len() {
            0 => Some(0),
            1 => self.terms.get(&Vec::new()).and_then(|&c| usize::try_from(c).ok()),
            _ => None,
        }
    }

    /// The symbol, if that is all there is.
    #[must_use]
    pub fn as_symbol(&self) -> Option<Symbol> {
        match self.terms.first_key_value() {
            Some((term, 1)) if self.terms.len() == 1 && term.len() == 1 => term.first().copied(),
            _ => None,
        }
    }

    /// The value under `symbols` (indexed by symbol); `None` if it overflows or is negative.
    #[must_use]
    pub fn evaluate(&self, symbols: &[usize]) -> Option<usize> {
        let mut sum = 0i64;
        for (term, &coefficient) in &self.terms {
            let mut product = coefficient;
            for symbol in term {
                let value = i64::try_from(*symbols.get(symbol.0)?).ok()?;
                product = product.checked_mul(value)?;
            }
            sum = sum.checked_add(product)?;
        }
        usize::try_from(sum).ok()
    }

    /// The quotient, if `divisor` divides every coefficient. `None` also for a zero divisor.
    #[must_use]
    pub fn divided(&self, divisor: usize) -> Option<Self> {
        let divisor = i64::try_from(divisor).ok().filter(|&d| d != 0)?;
        let mut terms = BTreeMap::new();
        for (term, &coefficient) in &self.terms {
            if coefficient % divisor != 0 {
                return None;
            }
            terms.insert(term.clone(), coefficient / divisor);
        }
        Some(Self { terms })
    }

    fn add_term(&mut self, term: Vec<Symbol>, coefficient: i64) {
        let slot = self.terms.entry(term.clone()).or_insert(0);
        *slot = slot.saturating_add(coefficient);
        if *slot == 0 {
            self.terms.remove(&term);
        }
    }
}

impl From<usize> for Dim {
    fn from(value: usize) -> Self {
        let mut dim = Self { terms: BTreeMap::new() };
        dim.add_term(Vec::new(), i64::try_from(value).unwrap_or(i64::MAX));
        dim
    }
}

impl From<Symbol> for Dim {
    fn from(symbol: Symbol) -> Self {
        Self { terms: BTreeMap::from([(vec![symbol], 1)]) }
    }
}

impl ops::Add for &Dim {
    type Output = Dim;
    fn add(self, other: &Dim) -> Dim {
        let mut sum = self.clone();
        for (term, &coefficient) in &other.terms {
            sum.add_term(term.clone(), coefficient);
        }
        sum
    }
}

impl ops::Mul for &Dim {
    type Output = Dim;
    fn mul(self, other: &Dim) -> Dim {
        let mut product = Dim { terms: BTreeMap::new() };
        for (left, &a) in &self.terms {
            for (right, &b) in &other.terms {
                let mut term = [left.as_slice(), right.as_slice()].concat();
                term.sort_unstable();
                product.add_term(term, a.saturating_mul(b));
            }
        }
        product
    }
}

/// The product of `dims`.
pub(crate) fn product<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Dim {
    dims.into_iter().fold(Dim::from(1), |product, dim| &product * dim)
}

/// A number, or `None` where the value depends on the run, as Keras prints shapes.
impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fixed() {
            Some(value) => write!(f, "{value}"),
            None => write!(f, "None"),
        }
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.terms.is_empty() {
            return write!(f, "0");
        }
        for (i, (term, coefficient)) in self.terms.iter().enumerate() {
            let plus = if i > 0 { " + " } else { "" };
            write!(f, "{plus}{coefficient}")?;
            for symbol in term {
                write!(f, "*s{}", symbol.0)?;
            }
        }
        Ok(())
    }
}

/// A shape as Keras prints it: `(None, 10, 3)`, `(None,)`.
pub(crate) fn shape_text(shape: &[Dim]) -> String {
    let dims: Vec<String> = shape.iter().map(ToString::to_string).collect();
    match dims.as_slice() {
        [one] => format!("({one},)"),
        many => format!("({})", many.join(", ")),
    }
}

/// Two dimensions that must be equal in every run.
#[derive(Clone, Debug)]
pub struct Equality {
    /// The layer that needs it.
    pub layer: String,
    /// One dimension.
    pub left: Dim,
    /// The other.
    pub right: Dim,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_in_normal_form() {
        let t = Dim::from(Symbol(1));
        let sum = &(&t + &Dim::from(2)) + &t;
        assert_eq!(sum, &(&Dim::from(2) * &t) + &Dim::from(2));
        assert_eq!(sum.evaluate(&[7, 5]), Some(12));
        assert_eq!(sum.divided(2), Some(&t + &Dim::from(1)));
        assert_eq!(sum.divided(4), None);
        assert_eq!(Dim::from(0), &Dim::from(3) * &Dim::from(0));
        assert_eq!(product([&t, &Dim::from(3), &Dim::from(Symbol::BATCH)]).evaluate(&[7, 5]), Some(105));
        assert_eq!(t.evaluate(&[usize::MAX, usize::MAX]), None);
        assert_eq!(shape_text(&[t, Dim::from(3)]), "(None, 3)");
    }
}
