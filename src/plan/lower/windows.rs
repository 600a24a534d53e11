//! Convolutions and poolings over time: windows, then a product or a reduction.

use std::sync::Arc;

use super::{Call, Lowered, Lowering};
use crate::{
    activation::Activation,
    dim::Dim,
    error::{Error, Result},
    model::{Conv1d, HeadActivation, Padding, Pool1d, Reduction, Windows},
    plan::{BufferId, CombineOp, Op, ReduceOp},
    tensor::Tensor,
};

impl Lowering<'_> {
    pub(super) fn conv(&mut self, call: &Call<'_>, c: &Conv1d) -> Result<Vec<Lowered>> {
        call.refuse_ragged("a convolution sees beyond the end of a sequence")?;
        let shape = call.output_shape()?;
        let [rows, count, out] = shape.as_slice() else {
            return Err(Error::internal("a convolution of another rank"));
        };
        let pointwise = match c.activation {
            HeadActivation::Pointwise(activation) => activation,
            HeadActivation::Softmax | HeadActivation::LogSoftmax => Activation::Linear,
        };
        let input = call.input()?.buffer;
        let windows = self.windows(call, input, Windows::from(c), count, 0.0)?;
        let channels = self.channels(input)?;
        let columns = c.width * channels;
        let mut output = if c.groups == 1 {
            let flat = self.view(windows, vec![rows.clone(), count.clone(), Dim::from(columns)]);
            let weight = self.weight(&call.name, "weight", &c.weight);
            let bias = self.optional_weight(&call.name, "bias", c.bias.as_ref());
            let output = self.buffer(&call.name, shape.clone());
            self.step(&call.name, Op::Linear { input: flat, weight, bias, activation: pointwise, output });
            output
        } else if c.groups == channels {
            let sums = self.depthwise(call, c, windows, &shape, channels)?;
            self.biased(call, c, sums, pointwise, out)?
        } else {
            self.grouped(call, c, windows, &shape, channels, pointwise)?
        };
        if !matches!(c.activation, HeadActivation::Pointwise(_)) {
            output = self.head(call, output, c.activation)?;
        }
        Ok(vec![self.windowed(call, output)?])
    }

    pub(super) fn pool_windows(&mut self, call: &Call<'_>, p: &Pool1d) -> Result<Vec<Lowered>> {
        call.refuse_ragged("a pooling sees beyond the end of a sequence")?;
        let shape = call.output_shape()?;
        let count = shape.get(1).cloned().unwrap_or_else(|| Dim::from(0));
        let input = call.input()?.buffer;
        let name = call.name.as_str();
        let fill = if p.op == Reduction::Max { f32::NEG_INFINITY } else { 0.0 };
        let windows = self.windows(call, input, Windows::from(p), &count, fill)?;
        let whole = p.op == Reduction::Max || p.count_padding || p.padding == Padding::Valid;
        let op = if whole { ReduceOp::from(p.op) } else { ReduceOp::Sum };
        let output = self.buffer(name, shape.clone());
        self.step(name, Op::Reduce { op, input: windows, axis: 2, mask: None, output });
        if whole {
            return Ok(vec![self.windowed(call, output)?]);
        }
        // The divisor: how many positions of each window are there.
        let len = self.shape(input).get(1).cloned().unwrap_or_else(|| Dim::from(0));
        let ones = self.ramp(name, 1.0, 0.0, 0, vec![Dim::from(1), len, Dim::from(1)]);
        let present = self.windows(call, ones, Windows::from(p), &count, 0.0)?;
        let divisor = self.buffer(name, vec![Dim::from(1), count, Dim::from(1)]);
        self.step(name, Op::Reduce { op: ReduceOp::Sum, input: present, axis: 2, mask: None, output: divisor });
        let mean = self.combined(name, CombineOp::Divide, output, divisor, shape);
        Ok(vec![self.windowed(call, mean)?])
    }

    /// What comes out of windows: as long as the input or not, it carries no mask (Keras).
    fn windowed(&self, call: &Call<'_>, buffer: BufferId) -> Result<Lowered> {
        call.input()?;
        Ok(Lowered { buffer, mask: None, ragged: None, origins: Vec::new() })
    }

    /// `[rows, count, width, channels]`
    fn windows(
        &mut self,
        call: &Call<'_>,
        input: BufferId,
        options: Windows,
        count: &Dim,
        fill: f32,
    ) -> Result<BufferId> {
        let shape = self.shape(input);
        let [rows, len, channels] = shape.as_slice() else {
            return Err(Error::internal("windows of another rank"));
        };
        let whole = vec![rows.clone(), count.clone(), Dim::from(options.width), channels.clone()];
        if options.width == 1 && options.stride == 1 && len == count {
            return Ok(self.view(input, whole));
        }
        let before = options.before(len, count, |missing| {
            let missing = self.positive(missing);
            self.quotient(&missing, 2)
        });
        let output = self.buffer(&call.name, whole);
        let (stride, dilation) = (options.stride, options.dilation);
        self.step(&call.name, Op::Window { input, stride, dilation, before, fill, output });
        Ok(output)
    }

    fn channels(&self, input: BufferId) -> Result<usize> {
        let channels = self.shape(input).get(2).and_then(Dim::fixed);
        channels.ok_or_else(|| Error::internal("a convolution of an open number of channels"))
    }

    /// Each channel with weights of its own: `sum_k windows[.., k, c] * weight[c * multiplier + m, k]`.
    fn depthwise(
        &mut self,
        call: &Call<'_>,
        c: &Conv1d,
        windows: BufferId,
        shape: &[Dim],
        channels: usize,
    ) -> Result<BufferId> {
        let name = call.name.as_str();
        let out = c.weight.shape().first().copied().unwrap_or(0);
        let multiplier = out / channels.max(1);
        let values = c.weight.to_f32();
        let at = |k: usize, output: usize| values.get(output * c.width + k).copied().unwrap_or(0.0);
        let turned: Vec<f32> =
            (0..c.width).flat_map(|k| (0..out).map(move |o| (k, o))).map(|(k, o)| at(k, o)).collect();
        let weight = Arc::new(Tensor::new([1, 1, c.width, channels, multiplier], turned)?);
        let weight = self.fresh_weight(name, "weight", weight);
        let sizes = |dims: [usize; 3]| dims.map(Dim::from);
        let factors = self
            .buffer(name, [vec![Dim::from(1), Dim::from(1)], sizes([c.width, channels, multiplier]).to_vec()].concat());
        self.step(name, Op::Constant { weight, output: factors });
        let [rows, count, _] = shape else { return Err(Error::internal("a convolution of another rank")) };
        let lead = vec![rows.clone(), count.clone()];
        let wide = self.view(windows, [lead.clone(), sizes([c.width, channels, 1]).to_vec()].concat());
        let full = [lead.clone(), sizes([c.width, channels, multiplier]).to_vec()].concat();
        let products = self.combined(name, CombineOp::Multiply, wide, factors, full);
        let sums = self.buffer(name, [lead, vec![Dim::from(channels), Dim::from(multiplier)]].concat());
        self.step(name, Op::Reduce { op: ReduceOp::Sum, input: products, axis: 2, mask: None, output: sums });
        Ok(self.view(sums, shape.to_vec()))
    }

    fn biased(
        &mut self,
        call: &Call<'_>,
        c: &Conv1d,
        sums: BufferId,
        activation: Activation,
        out: &Dim,
    ) -> Result<BufferId> {
        let (name, shape) = (call.name.as_str(), self.shape(sums));
        let sums = match &c.bias {
            None => sums,
            Some(bias) => {
                let weight = self.weight(name, "bias", bias);
                let flat = self.buffer(name, vec![out.clone()]);
                self.step(name, Op::Constant { weight, output: flat });
                let bias = self.view(flat, vec![Dim::from(1), Dim::from(1), out.clone()]);
                self.combined(name, CombineOp::Add, sums, bias, shape)
            }
        };
        Ok(if activation == Activation::Linear { sums } else { self.mapped(name, sums, activation) })
    }

    /// A product for each group of channels, side by side.
    fn grouped(
        &mut self,
        call: &Call<'_>,
        c: &Conv1d,
        windows: BufferId,
        shape: &[Dim],
        channels: usize,
        activation: Activation,
    ) -> Result<BufferId> {
        let name = call.name.as_str();
        let &[out, columns] = c.weight.shape() else { return Err(Error::internal("a weight of another rank")) };
        let (group_in, group_out) = (channels / c.groups, out / c.groups);
        let [rows, count, _] = shape else { return Err(Error::internal("a convolution of another rank")) };
        let lead = [rows.clone(), count.clone()];
        let values = c.weight.to_f32();
        let biases = c.bias.as_ref().map(|bias| bias.to_f32());
        let mut parts = Vec::new();
        for group in 0..c.groups {
            let part = [lead.to_vec(), vec![Dim::from(c.width), Dim::from(group_in)]].concat();
            let part = self.buffer(name, part);
            let (input_start, output_start) = (Dim::from(group * group_in), Dim::from(0));
            let extent = Dim::from(group_in);
            let op =
                Op::Copy { input: windows, input_start, input_step: 1, output: part, output_start, axis: 3, extent };
            self.step(name, op);
            let flat = self.view(part, [lead.to_vec(), vec![Dim::from(columns)]].concat());
            let rows_of = group * group_out..(group + 1) * group_out;
            let own = values.get(rows_of.start * columns..rows_of.end * columns).unwrap_or_default().to_vec();
            let weight = self.fresh_weight(name, "weight", Arc::new(Tensor::new([group_out, columns], own)?));
            let bias = match &biases {
                None => None,
                Some(all) => {
                    let own = all.get(rows_of).unwrap_or_default().to_vec();
                    Some(self.fresh_weight(name, "bias", Arc::new(Tensor::new([group_out], own)?)))
                }
            };
            let output = self.buffer(name, [lead.to_vec(), vec![Dim::from(group_out)]].concat());
            self.step(name, Op::Linear { input: flat, weight, bias, activation, output });
            parts.push(output);
        }
        Ok(self.joined(name, &parts, 2, shape.to_vec()))
    }

    /// A weight that only this call has.
    fn fresh_weight(&mut self, name: &str, role: &str, tensor: Arc<Tensor>) -> crate::plan::WeightId {
        self.plan.add_weight(format!("{name} {role}"), tensor)
    }
}
