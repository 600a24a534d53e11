//! What a value is as a function of each element of another one. Keras, for one, writes token ids as
//! `select(id < 0, id + vocabulary, id)`: that leaves each valid id what it is, which is found out by
//! trying them all.

use std::{collections::HashMap, rc::Rc};

use crate::{activation::Activation, model::Value};

/// A function of one number.
#[derive(Debug)]
enum Expression {
    Input,
    Number(f64),
    Unary(Activation, Rc<Expression>),
    NotZero(Rc<Expression>),
    Binary(fn(f64, f64) -> f64, Rc<Expression>, Rc<Expression>),
}

/// The most parts of an expression that is kept.
const PARTS: usize = 24;

/// An operand of a function of two numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operand {
    Value(Value),
    Number(f64),
}

/// The values that are functions of each element of another value.
#[derive(Debug, Default)]
pub(super) struct Expressions {
    known: HashMap<Value, (Value, Rc<Expression>, usize)>,
}

impl Expression {
    fn at(&self, x: f64) -> f64 {
        match self {
            Self::Input => x,
            Self::Number(number) => *number,
            Self::Unary(function, of) => function.apply_f64(of.at(x)),
            Self::NotZero(of) => f64::from(u8::from(of.at(x) != 0.0)),
            Self::Binary(function, left, right) => function(left.at(x), right.at(x)),
        }
    }
}

impl Expressions {
    fn of(&self, value: Value) -> (Value, Rc<Expression>, usize) {
        self.known.get(&value).cloned().unwrap_or_else(|| (value, Rc::new(Expression::Input), 1))
    }

    fn insert(&mut self, value: Value, source: Value, expression: Expression, parts: usize) {
        if parts <= PARTS {
            self.known.insert(value, (source, Rc::new(expression), parts));
        }
    }

    /// Records that `value` is `function` of each element of `of`.
    pub(super) fn unary(&mut self, value: Value, function: Activation, of: Value) {
        let (source, inner, parts) = self.of(of);
        self.insert(value, source, Expression::Unary(function, inner), parts + 1);
    }

    /// Records that `value` is 1 where `of` is not 0.
    pub(super) fn not_zero(&mut self, value: Value, of: Value) {
        let (source, inner, parts) = self.of(of);
        self.insert(value, source, Expression::NotZero(inner), parts + 1);
    }

    /// Records that `value` is `function` of the elements of two operands, if they come of one value.
    pub(super) fn binary(&mut self, value: Value, function: fn(f64, f64) -> f64, operands: [Operand; 2]) {
        let side = |operand: Operand| match operand {
            Operand::Value(value) => {
                let (source, inner, parts) = self.of(value);
                (Some(source), inner, parts)
            }
            Operand::Number(number) => (None, Rc::new(Expression::Number(number)), 1),
        };
        let [(a, left, left_parts), (b, right, right_parts)] = operands.map(side);
        let source = match (a, b) {
            (Some(a), Some(b)) if a == b => a,
            (Some(one), None) | (None, Some(one)) => one,
            _ => return,
        };
        self.insert(value, source, Expression::Binary(function, left, right), left_parts + right_parts + 1);
    }

    /// The value whose whole numbers below `count` are the same in `value`.
    pub(super) fn same_ids(&self, value: Value, count: usize) -> Value {
        let Some((source, expression, _)) = self.known.get(&value) else { return value };
        #[allow(clippy::cast_precision_loss)] // ids are exact in f32
        let same = (0..count).all(|id| expression.at(id as f64) == id as f64);
        if same { *source } else { value }
    }
}
