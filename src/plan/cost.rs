//! What a run asks of whatever device makes it: figures of each step, from the sizes of the run alone.

use super::{Bound, BufferId, Op, Plan, Precision, Recurrence, WeightId};
use crate::activation::Activation;

/// What a step asks of a device in a run of some sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(not(feature = "gpu"), allow(dead_code))] // there is no other device to compare with
pub(crate) struct Cost {
    /// Multiply-adds that wait for nothing but the step's inputs: of a recurrence, the projection of its input.
    pub(crate) products: f64,
    /// Values that a function is computed of, such as the hyperbolic tangent.
    pub(crate) functions: f64,
    /// Bytes of the weights of these products, as they are stored.
    pub(crate) weights: f64,
    /// Bytes of the values that the step reads and writes.
    pub(crate) values: f64,
    /// What goes timestep by timestep.
    pub(crate) serial: Option<Serial>,
}

/// The part of a recurrence that goes timestep by timestep.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(not(feature = "gpu"), allow(dead_code))] // there is no other device to compare with
pub(crate) struct Serial {
    /// Timesteps, one after the other.
    pub(crate) timesteps: f64,
    /// Stages of a timestep, each of which needs all of the one before: a product with a reset hidden state and a
    /// projection come on top.
    pub(crate) stages: f64,
    /// Directions, which wait for nothing of each other.
    pub(crate) directions: f64,
    /// Multiply-adds of one timestep of one direction, all rows.
    pub(crate) products: f64,
    /// Functions of one timestep of one direction, all rows.
    pub(crate) functions: f64,
    /// Bytes of the recurrent weights of one direction, as they are stored.
    pub(crate) weights: f64,
}

impl Plan {
    /// The multiply-adds of all products of a run with the sizes `bound`.
    #[must_use]
    pub fn multiply_adds(&self, bound: &Bound) -> f64 {
        let of = |cost: Cost| {
            let serial = cost.serial.map_or(0.0, |serial| serial.timesteps * serial.directions * serial.products);
            cost.products + serial
        };
        self.steps.iter().map(|step| of(self.cost(&step.op, bound))).sum()
    }

    /// What the step `op` asks of a device in a run with the sizes `bound`.
    pub(crate) fn cost(&self, op: &Op, bound: &Bound) -> Cost {
        let size = |buffer: BufferId| bound.shape(buffer).iter().map(|&size| size as f64).product::<f64>();
        let last = |buffer: BufferId| bound.shape(buffer).last().map_or(0.0, |&size| size as f64);
        let touched = op.inputs().into_iter().chain(op.outputs());
        let plain = Cost { values: 4.0 * touched.map(size).sum::<f64>(), ..Cost::default() };
        let weights = || op.weights().into_iter().map(|id| self.stored_bytes(id)).sum::<f64>();
        match op {
            Op::Linear { input, output, activation, .. } => Cost {
                products: size(*output) * last(*input),
                functions: if *activation == Activation::Linear { 0.0 } else { size(*output) },
                weights: weights(),
                ..plain
            },
            Op::MatMul { left, output, .. } => Cost { products: size(*output) * last(*left), ..plain },
            Op::Map { output, .. } | Op::Softmax { output, .. } => Cost { functions: size(*output), ..plain },
            Op::Recurrence(r) => self.recurrence_cost(r, bound, plain),
            // What is looked up in a table is as much as comes out.
            _ => plain,
        }
    }

    fn recurrence_cost(&self, r: &Recurrence, bound: &Bound, plain: Cost) -> Cost {
        let mut shape = bound.shape(r.input).iter().map(|&size| size as f64);
        let (rows, timesteps) = (shape.next().unwrap_or(0.0), shape.next().unwrap_or(0.0));
        let [hidden, inputs, outputs] = [r.hidden_size, r.input_size, r.output_size].map(|size| size as f64);
        let (spec, directions) = (r.cell.spec(), r.directions.len() as f64);
        let gates = spec.gates.len() as f64;
        let projection = if r.is_projected() { outputs * hidden } else { 0.0 };
        let bytes = |ids: &dyn Fn(&super::Direction) -> [Option<WeightId>; 2]| {
            r.directions.iter().flat_map(ids).flatten().map(|id| self.stored_bytes(id)).sum::<f64>()
        };
        let serial = Serial {
            timesteps,
            stages: 1.0 + f64::from(u8::from(spec.reset.is_some())) + f64::from(u8::from(r.is_projected())),
            directions,
            products: rows * (gates * hidden * outputs + projection),
            // Of every gate, and of the state that the output is made from where there are several.
            functions: rows * hidden * (gates + (spec.states.len() as f64 - 1.0)),
            weights: bytes(&|d| [Some(d.weight_hh), d.projection]) / directions.max(1.0),
        };
        Cost {
            products: timesteps * rows * directions * gates * hidden * inputs,
            weights: bytes(&|d| [Some(d.weight_ih), None]),
            serial: Some(serial),
            ..plain
        }
    }

    /// Bytes of a weight as it is stored.
    fn stored_bytes(&self, id: WeightId) -> f64 {
        let Some(weight) = self.weights.get(id.index()) else { return 0.0 };
        let shape = weight.tensor.shape();
        let count: f64 = shape.iter().map(|&size| size as f64).product();
        match weight.precision {
            Precision::F32 => 4.0 * count,
            Precision::F16 | Precision::Bf16 => 2.0 * count,
            Precision::I8 => count + 4.0 * count / shape.last().map_or(1.0, |&size| size as f64).max(1.0),
        }
    }
}

/// What an [`Estimate`] is made of.
#[cfg(feature = "gpu")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A run as such, without a device to go to.
    Run,
    /// The way to a device and back.
    RoundTrip,
    /// Values on that way.
    Transfers,
    /// Dispatches as such.
    Dispatches,
    /// Timesteps as such.
    Timesteps,
    /// Threads that tell each other what they computed.
    HandOvers,
    /// Products and functions.
    Arithmetic,
    /// Reading weights and values.
    Reading,
}

#[cfg(feature = "gpu")]
impl Part {
    const ALL: [Self; 8] = [
        Self::Run,
        Self::RoundTrip,
        Self::Transfers,
        Self::Dispatches,
        Self::Timesteps,
        Self::HandOvers,
        Self::Arithmetic,
        Self::Reading,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Run => "beginning and ending",
            Self::RoundTrip => "the way there and back",
            Self::Transfers => "transfers",
            Self::Dispatches => "dispatches",
            Self::Timesteps => "one timestep after the other",
            Self::HandOvers => "threads waiting for each other",
            Self::Arithmetic => "arithmetic",
            Self::Reading => "reading weights and values",
        }
    }
}

/// How long a run takes on a device, about, and what with.
#[cfg(feature = "gpu")]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Estimate {
    seconds: [f64; Part::ALL.len()],
}

#[cfg(feature = "gpu")]
impl Estimate {
    /// Adds `seconds` of `part`.
    pub(crate) fn add(&mut self, part: Part, seconds: f64) {
        let at = Part::ALL.iter().position(|&known| known == part);
        if let Some(sum) = at.and_then(|at| self.seconds.get_mut(at)) {
            *sum += seconds;
        }
    }

    /// Adds the longer of two parts that go on side by side.
    pub(crate) fn add_longer(&mut self, arithmetic: f64, reading: f64) {
        if arithmetic >= reading { self.add(Part::Arithmetic, arithmetic) } else { self.add(Part::Reading, reading) }
    }

    /// All of it, seconds.
    pub(crate) fn total(&self) -> f64 {
        self.seconds.iter().sum()
    }

    /// What takes longest.
    pub(crate) fn mostly(&self) -> &'static str {
        let parts = Part::ALL.into_iter().zip(self.seconds);
        parts.max_by(|(_, a), (_, b)| a.total_cmp(b)).map_or("", |(part, _)| part.name())
    }
}

#[cfg(all(test, feature = "gpu"))]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_says_what_takes_longest() {
        let mut estimate = Estimate::default();
        estimate.add(Part::RoundTrip, 2.0);
        estimate.add_longer(1.0, 1.5);
        estimate.add_longer(1.0, 0.5);
        assert!((estimate.total() - 4.5).abs() < 1e-12);
        assert_eq!(estimate.mostly(), "the way there and back");
        estimate.add_longer(0.0, 1.0);
        assert_eq!(estimate.mostly(), "reading weights and values");
    }
}
