//! [`Unify`]: what shapes ask of the sizes of a run.

use crate::dim::{self, Condition, Derived, Dim, Relation, Symbol};

/// Makes dimensions equal, now if they are known, else when a run binds them.
pub(in crate::model) struct Unify<'a> {
    subject: String,
    conditions: &'a mut Vec<Condition>,
    symbols: &'a mut Vec<String>,
    derived: &'a mut Vec<(Symbol, Derived)>,
}

impl<'a> Unify<'a> {
    pub(in crate::model) fn new(subject: &str, model: &'a mut crate::model::Model) -> Self {
        let crate::model::Model { conditions, symbols, derived, .. } = model;
        Self { subject: subject.to_owned(), conditions, symbols, derived }
    }

    pub(super) fn quotient(&mut self, dim: &Dim, divisor: usize) -> Dim {
        dim::quotient(self.symbols, self.derived, dim, divisor)
    }

    pub(in crate::model) fn equal(&mut self, left: &Dim, right: &Dim) -> Option<Dim> {
        if left == right {
            return Some(left.clone());
        }
        if left.constant().is_some() && right.constant().is_some() {
            return None;
        }
        self.require(left, Relation::Equal, right);
        Some(if left.fixed().is_some() { left.clone() } else { right.clone() })
    }

    fn require(&mut self, left: &Dim, relation: Relation, right: &Dim) {
        let (left, right) = (left.clone(), right.clone());
        self.conditions.push(Condition { subject: self.subject.clone(), left, relation, right });
    }

    /// Requires that `left` is not less than `right`; `None` if it is in every run.
    pub(super) fn at_least(&mut self, left: &Dim, right: &Dim) -> Option<()> {
        let difference = left - right;
        match difference.constant() {
            Some(difference) => (difference >= 0).then_some(()),
            None if difference.is_sum_of_sizes() => Some(()),
            None => {
                self.require(left, Relation::AtLeast, right);
                Some(())
            }
        }
    }

    pub(super) fn broadcast(&mut self, left: &Dim, right: &Dim) -> Option<Dim> {
        match (left.fixed(), right.fixed()) {
            (Some(1), _) => Some(right.clone()),
            (_, Some(1)) => Some(left.clone()),
            _ => self.equal(left, right),
        }
    }
}
