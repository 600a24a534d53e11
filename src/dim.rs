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
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(try_from = "Written", into = "Written"))]
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
        usize::try_from(self.signed(symbols)?).ok()
    }

    /// The value under `symbols`; `None` if it overflows.
    pub(crate) fn signed(&self, symbols: &[usize]) -> Option<i64> {
        let mut sum = 0i64;
        for (term, &coefficient) in &self.terms {
            let mut product = coefficient;
            for symbol in term {
                let value = i64::try_from(*symbols.get(symbol.0)?).ok()?;
                product = product.checked_mul(value)?;
            }
            sum = sum.checked_add(product)?;
        }
        Some(sum)
    }

    /// A number, which may be negative.
    #[must_use]
    pub fn integer(value: i64) -> Self {
        let mut dim = Self { terms: BTreeMap::new() };
        dim.add_term(Vec::new(), value);
        dim
    }

    /// The value, negative ones too, if it does not depend on the run.
    #[must_use]
    pub fn constant(&self) -> Option<i64> {
        match self.terms.len() {
            0 => Some(0),
            1 => self.terms.get(&Vec::new()).copied(),
            _ => None,
        }
    }

    /// Whether no term is subtracted, so that the value is never negative.
    pub(crate) fn is_sum_of_sizes(&self) -> bool {
        self.terms.values().all(|&coefficient| coefficient >= 0)
    }

    /// The symbols that the value depends on.
    pub(crate) fn symbols(&self) -> impl Iterator<Item = Symbol> {
        self.terms.keys().flatten().copied()
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

    /// How many terms it has, and how many symbols the longest of them.
    #[cfg(feature = "onnx")]
    pub(crate) fn extent(&self) -> (usize, usize) {
        (self.terms.len(), self.terms.keys().map(Vec::len).max().unwrap_or(0))
    }

    /// The value where `symbol` is `value`.
    #[cfg(feature = "onnx")]
    pub(crate) fn with(&self, symbol: Symbol, value: &Self) -> Self {
        let mut sum = Self::from(0);
        for (term, &coefficient) in &self.terms {
            let mut product = Self { terms: BTreeMap::from([(Vec::new(), coefficient)]) };
            for &factor in term {
                product = if factor == symbol { &product * value } else { &product * &Self::from(factor) };
            }
            sum = &sum + &product;
        }
        sum
    }

    /// The quotient by a divisor of one term, if it is a polynomial.
    #[cfg(feature = "onnx")]
    pub(crate) fn over(&self, divisor: &Self) -> Option<Self> {
        let (factors, &coefficient) = divisor.terms.first_key_value().filter(|_| divisor.terms.len() == 1)?;
        let mut terms = BTreeMap::new();
        for (term, &dividend) in &self.terms {
            let mut rest = term.clone();
            for factor in factors {
                rest.remove(rest.iter().position(|symbol| symbol == factor)?);
            }
            (dividend % coefficient == 0).then(|| terms.insert(rest, dividend / coefficient))?;
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

impl ops::Sub for &Dim {
    type Output = Dim;
    fn sub(self, other: &Dim) -> Dim {
        let mut difference = self.clone();
        for (term, &coefficient) in &other.terms {
            difference.add_term(term.clone(), coefficient.saturating_neg());
        }
        difference
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

/// A dimension in a file: a number, or terms, each a coefficient and the symbols that it multiplies.
#[cfg(feature = "native")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(untagged, expecting = "expected a size: a whole number, or terms [coefficient, [symbols]]")]
enum Written {
    Number(i64),
    Terms(Vec<(i64, Vec<usize>)>),
}

#[cfg(feature = "native")]
impl From<Dim> for Written {
    fn from(dim: Dim) -> Self {
        let term = |(symbols, &coefficient): (&Vec<Symbol>, &i64)| (coefficient, symbols.iter().map(|s| s.0).collect());
        dim.constant().map_or_else(|| Self::Terms(dim.terms.iter().map(term).collect()), Self::Number)
    }
}

#[cfg(feature = "native")]
impl TryFrom<Written> for Dim {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        /// More than any model has, few enough that products of several stay small.
        const MOST: usize = 16;
        let terms = match written {
            Written::Number(value) => return Ok(Self::integer(value)),
            Written::Terms(terms) => terms,
        };
        if terms.len() > MOST || terms.iter().any(|(_, symbols)| symbols.len() > MOST) {
            return Err(format!("a size of more than {MOST} terms or factors"));
        }
        let mut dim = Self { terms: BTreeMap::new() };
        for (coefficient, symbols) in terms {
            let mut symbols: Vec<Symbol> = symbols.into_iter().map(Symbol).collect();
            symbols.sort_unstable();
            dim.add_term(symbols, coefficient);
        }
        Ok(dim)
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

/// What a symbol is that no input binds, but other dimensions give.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
pub enum Derived {
    /// `floor(dim / divisor)`; the divisor is at least 1.
    Quotient {
        /// What is divided.
        dim: Dim,
        /// By what.
        divisor: usize,
    },
    /// `max(dim, 0)`
    Positive(Dim),
}

impl Derived {
    /// The value under `symbols`; `None` if it overflows or, of a quotient, is negative.
    #[must_use]
    pub fn evaluate(&self, symbols: &[usize]) -> Option<usize> {
        match self {
            Self::Quotient { dim, divisor } => dim.evaluate(symbols)?.checked_div(*divisor),
            Self::Positive(dim) => usize::try_from(dim.signed(symbols)?.max(0)).ok(),
        }
    }
}

/// The symbol that stands for `what`, which may be a new one.
fn derived_symbol(symbols: &mut Vec<String>, derived: &mut Vec<(Symbol, Derived)>, what: Derived, name: &str) -> Dim {
    let known = derived.iter().find(|(_, known)| *known == what).map(|(symbol, _)| *symbol);
    Dim::from(known.unwrap_or_else(|| {
        let symbol = Symbol(symbols.len());
        symbols.push(name.to_owned());
        derived.push((symbol, what));
        symbol
    }))
}

/// `floor(dim / divisor)`, with a symbol where it is no polynomial.
pub(crate) fn quotient(
    symbols: &mut Vec<String>,
    derived: &mut Vec<(Symbol, Derived)>,
    dim: &Dim,
    divisor: usize,
) -> Dim {
    let divisor = divisor.max(1);
    if let Some(exact) = dim.divided(divisor) {
        return exact;
    }
    match dim.fixed() {
        Some(size) => Dim::from(size / divisor),
        None => {
            derived_symbol(symbols, derived, Derived::Quotient { dim: dim.clone(), divisor }, "a quotient of sizes")
        }
    }
}

/// `max(dim, 0)`, with a symbol where it is no polynomial.
pub(crate) fn positive(symbols: &mut Vec<String>, derived: &mut Vec<(Symbol, Derived)>, dim: &Dim) -> Dim {
    match dim.constant() {
        Some(size) => Dim::integer(size.max(0)),
        None if dim.is_sum_of_sizes() => dim.clone(),
        None => derived_symbol(symbols, derived, Derived::Positive(dim.clone()), "a difference of sizes"),
    }
}

/// What must hold of two dimensions in every run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
pub struct Condition {
    /// What needs it: `layer 'add'`.
    pub subject: String,
    /// One dimension.
    pub left: Dim,
    /// How they stand to each other.
    pub relation: Relation,
    /// The other.
    pub right: Dim,
}

/// How the dimensions of a [`Condition`] stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "native", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "native", serde(rename_all = "snake_case", deny_unknown_fields))]
pub enum Relation {
    /// They are equal.
    Equal,
    /// The first is not less than the second.
    AtLeast,
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
        assert_eq!(&sum - &t, &t + &Dim::from(2));
        assert_eq!((&t - &Dim::from(9)).evaluate(&[7, 5]), None);
        assert_eq!((&t - &t).constant(), Some(0));
        assert_eq!(shape_text(&[t, Dim::from(3)]), "(None, 3)");
    }

    #[test]
    fn derived_symbols_round_down_and_stop_at_zero() {
        let t = Dim::from(Symbol(0));
        let half = Derived::Quotient { dim: &t - &Dim::from(3), divisor: 2 };
        assert_eq!((half.evaluate(&[8]), half.evaluate(&[3]), half.evaluate(&[2])), (Some(2), Some(0), None));
        let rest = Derived::Positive(&t - &Dim::from(3));
        assert_eq!((rest.evaluate(&[8]), rest.evaluate(&[2])), (Some(5), Some(0)));
    }
}
