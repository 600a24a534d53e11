//! The layers that are not recurrent.

use super::{Call, Lowered, Lowering};
use crate::{
    activation::Activation,
    dim::Dim,
    error::{Error, Result, quoted},
    model::{
        BatchNormalization, Dense, Embedding, HeadActivation, LayerKind, LayerNormalization, MaskOp, layer_norm_axes,
        resolve_axis,
    },
    plan::{BufferId, CombineOp, Op, ReduceOp},
};

impl Lowering<'_> {
    /// Lowers one call; one value per output of the layer.
    pub(super) fn layer(&mut self, call: &Call<'_>, kind: &LayerKind) -> Result<Vec<Lowered>> {
        match kind {
            LayerKind::Input => Err(Error::internal("an input that is called")),
            LayerKind::Recurrent(r) => self.recurrent(call, r),
            LayerKind::Bidirectional(b) => self.bidirectional(call, b),
            LayerKind::Embedding(e) => self.embedding(call, e),
            LayerKind::Masking { mask_value } => self.masking(call, *mask_value),
            LayerKind::Concatenate { axis } => self.concatenate(call, *axis),
            LayerKind::Merge(op) => self.merge(call, *op),
            LayerKind::Identity => Ok(vec![call.input()?.clone()]),
            LayerKind::TimeDistributed(inner) => self.layer(call, inner),
            LayerKind::Dense(d) => self.dense(call, d),
            LayerKind::Activation(activation) => {
                let input = call.input()?.buffer;
                let output = self.head(call, input, *activation)?;
                self.same_masks(call, output)
            }
            LayerKind::Softmax { axis } => self.softmax_layer(call, *axis),
            LayerKind::Flatten => {
                // Rank 2 stays as it is: nothing is mixed.
                if self.shape(call.input()?.buffer).len() > 2 {
                    call.refuse_ragged("it lays timesteps side by side")?;
                }
                self.reshaped(call)
            }
            LayerKind::Reshape { .. } => {
                call.refuse_ragged("it moves timesteps")?;
                self.reshaped(call)
            }
            LayerKind::RepeatVector { .. } => self.repeat_vector(call),
            LayerKind::GlobalAveragePooling { .. } => {
                let mask = self.effective_mask(call);
                self.pool(call, ReduceOp::Mean, mask)
            }
            LayerKind::GlobalMaxPooling { .. } => {
                call.refuse_ragged("it takes no notice of masks")?;
                self.pool(call, ReduceOp::Max, None)
            }
            LayerKind::MaskOp(op) => self.mask_op(call, *op),
            LayerKind::Stacked(all) => self.stacked(call, all),
            LayerKind::Conv1d(c) => self.conv(call, c),
            LayerKind::Pool1d(p) => self.pool_windows(call, p),
            LayerKind::BatchNormalization(n) => self.batch_norm(call, n),
            LayerKind::LayerNormalization(n) => self.layer_norm(call, n),
            // Those that arrange values.
            kind => self.arranged(call, kind),
        }
    }

    /// The one output of a layer that hands its input's masks on.
    fn same_masks(&self, call: &Call<'_>, buffer: BufferId) -> Result<Vec<Lowered>> {
        let input = call.input()?;
        Ok(vec![Lowered { buffer, mask: input.mask, ragged: input.ragged, origins: Vec::new() }])
    }

    fn embedding(&mut self, call: &Call<'_>, e: &Embedding) -> Result<Vec<Lowered>> {
        let ids = call.input()?.clone();
        let vocabulary = e.table.shape().first().copied().unwrap_or(0);
        if ids.origins.is_empty() {
            return Err(Error::unsupported(
                format!("layer {}", quoted(&call.name)),
                "token ids that the model computes",
                "give the ids as an input of the model",
            ));
        }
        for &port in &ids.origins {
            let Some(port) = self.plan.inputs.get_mut(port) else {
                continue;
            };
            if port.ids.as_ref().is_none_or(|(known, _)| vocabulary < *known) {
                port.ids = Some((vocabulary, call.name.clone()));
            }
        }
        let table = self.weight(&call.name, "table", &e.table);
        let output = self.buffer(&call.name, call.output_shape()?);
        self.step(&call.name, Op::Gather { ids: ids.buffer, table, output });
        let mask = e.mask_zero.then(|| {
            let mask = self.buffer(&format!("{} mask", call.name), self.shape(ids.buffer));
            self.step(&call.name, Op::NotEqual { input: ids.buffer, value: 0.0, output: mask, width: 1 });
            mask
        });
        Ok(vec![Lowered { buffer: output, mask, ragged: ids.ragged, origins: Vec::new() }])
    }

    fn masking(&mut self, call: &Call<'_>, value: f32) -> Result<Vec<Lowered>> {
        let input = call.input()?.clone();
        let shape = self.shape(input.buffer);
        let [batch, seq_len, features] = shape.as_slice() else {
            return Err(Error::internal("a masked value that is not a sequence"));
        };
        let Some(width) = features.fixed() else {
            return Err(Error::unsupported(
                format!("layer {}", quoted(&call.name)),
                "an open number of features",
                "state the number of features of the input",
            ));
        };
        let mask = self.buffer(&format!("{} mask", call.name), vec![batch.clone(), seq_len.clone()]);
        self.step(&call.name, Op::NotEqual { input: input.buffer, value, output: mask, width });
        let wide = self.view(mask, vec![batch.clone(), seq_len.clone(), Dim::from(1)]);
        let output = self.buffer(&call.name, shape.clone());
        self.step(&call.name, Op::Combine { op: CombineOp::Mask, left: input.buffer, right: wide, output });
        Ok(vec![Lowered { buffer: output, mask: Some(mask), ragged: input.ragged, origins: Vec::new() }])
    }

    fn dense(&mut self, call: &Call<'_>, d: &Dense) -> Result<Vec<Lowered>> {
        let weight = self.weight(&call.name, "weight", &d.weight);
        let bias = self.optional_weight(&call.name, "bias", d.bias.as_ref());
        let output = self.buffer(&call.name, call.output_shape()?);
        let activation = match d.activation {
            HeadActivation::Pointwise(activation) => activation,
            HeadActivation::Softmax | HeadActivation::LogSoftmax => Activation::Linear,
        };
        let input = call.input()?.buffer;
        self.step(&call.name, Op::Linear { input, weight, bias, activation, output });
        let output = match d.activation {
            HeadActivation::Pointwise(_) => output,
            vectorwise => self.head(call, output, vectorwise)?,
        };
        self.same_masks(call, output)
    }

    /// Applies a function of each element or of the last axis.
    pub(super) fn head(&mut self, call: &Call<'_>, input: BufferId, activation: HeadActivation) -> Result<BufferId> {
        let shape = self.shape(input);
        let last = shape.len().saturating_sub(1);
        if last == 1 && !matches!(activation, HeadActivation::Pointwise(_)) {
            call.refuse_ragged("softmax runs over timesteps")?;
        }
        let output = self.buffer(&call.name, shape);
        let op = match activation {
            HeadActivation::Pointwise(activation) => Op::Map { input, activation, output },
            HeadActivation::Softmax => Op::Softmax { input, axis: last, log: false, output },
            HeadActivation::LogSoftmax => Op::Softmax { input, axis: last, log: true, output },
        };
        self.step(&call.name, op);
        Ok(output)
    }

    fn softmax_layer(&mut self, call: &Call<'_>, axis: i64) -> Result<Vec<Lowered>> {
        let subject = format!("layer {}", quoted(&call.name));
        let input = call.input()?.clone();
        if call.mask.is_some() {
            return Err(Error::unsupported(
                subject,
                "a Softmax layer on a masked value (Keras applies the mask to the last axis)",
                "use Activation('softmax') or a Dense layer's activation, which take no notice of masks",
            ));
        }
        let shape = self.shape(input.buffer);
        let axis = resolve_axis(&subject, axis, shape.len())?;
        if axis == 1 {
            call.refuse_ragged("softmax runs over timesteps")?;
        }
        let output = self.buffer(&call.name, shape);
        self.step(&call.name, Op::Softmax { input: input.buffer, axis, log: false, output });
        self.same_masks(call, output)
    }

    fn reshaped(&mut self, call: &Call<'_>) -> Result<Vec<Lowered>> {
        let input = call.input()?.clone();
        let buffer = self.view(input.buffer, call.output_shape()?);
        Ok(vec![Lowered { buffer, mask: None, ragged: input.ragged, origins: input.origins }])
    }

    fn repeat_vector(&mut self, call: &Call<'_>) -> Result<Vec<Lowered>> {
        let input = call.input()?.clone();
        let shape = call.output_shape()?;
        let [batch, _, features] = shape.as_slice() else {
            return Err(Error::internal("a repeated vector that is not a sequence"));
        };
        let row = self.view(input.buffer, vec![batch.clone(), Dim::from(1), features.clone()]);
        let output = self.buffer(&call.name, shape.clone());
        self.step(
            &call.name,
            // The axis of the block is the features; axis 1 of the input, of extent 1, is repeated.
            Op::Copy {
                input: row,
                input_start: Dim::from(0),
                input_step: 1,
                output,
                output_start: Dim::from(0),
                axis: 2,
                extent: features.clone(),
            },
        );
        Ok(vec![Lowered { buffer: output, mask: None, ragged: None, origins: input.origins }])
    }

    fn pool(&mut self, call: &Call<'_>, op: ReduceOp, mask: Option<BufferId>) -> Result<Vec<Lowered>> {
        let output = self.buffer(&call.name, call.output_shape()?);
        let input = call.input()?.buffer;
        self.step(&call.name, Op::Reduce { op, input, axis: 1, mask, output });
        Ok(vec![Lowered { buffer: output, mask: None, ragged: None, origins: Vec::new() }])
    }

    /// Masks are values as all others: 1 and 0.
    fn mask_op(&mut self, call: &Call<'_>, op: MaskOp) -> Result<Vec<Lowered>> {
        let input = call.input()?.clone();
        let shape = call.output_shape()?;
        let name = &call.name;
        let buffer = match op {
            MaskOp::ExpandDims => self.view(input.buffer, shape),
            MaskOp::NotEqual { value } => self.not_equal(name, input.buffer, value, 1, shape),
            MaskOp::Any { .. } => {
                let last = self.shape(input.buffer).pop().and_then(|dim| dim.fixed());
                let width = last.ok_or_else(|| Error::internal("an open axis of a mask"))?;
                self.not_equal(name, input.buffer, 0.0, width, shape)
            }
            // Everything, a NaN too, differs from a NaN.
            MaskOp::OnesLike => self.not_equal(name, input.buffer, f32::NAN, 1, shape),
            MaskOp::ZerosLike => {
                let ones = self.not_equal(name, input.buffer, f32::NAN, 1, shape);
                self.mapped(name, ones, Activation::Affine { alpha: 0.0, beta: 0.0 })
            }
            MaskOp::LogicalOr => {
                let right = call.inputs.get(1).ok_or_else(|| Error::internal("an or of one mask"))?.buffer;
                self.combined(name, CombineOp::Maximum, input.buffer, right, shape)
            }
        };
        Ok(vec![Lowered { buffer, mask: None, ragged: self.common_ragged(call)?, origins: Vec::new() }])
    }

    pub(super) fn not_equal(
        &mut self,
        name: &str,
        input: BufferId,
        value: f32,
        width: usize,
        shape: Vec<Dim>,
    ) -> BufferId {
        let output = self.buffer(name, shape);
        self.step(name, Op::NotEqual { input, value, output, width });
        output
    }

    fn batch_norm(&mut self, call: &Call<'_>, n: &BatchNormalization) -> Result<Vec<Lowered>> {
        let input = call.input()?.buffer;
        let shape = self.shape(input);
        let axis = resolve_axis(&format!("layer {}", quoted(&call.name)), n.axis, shape.len())?;
        let mean = self.weight(&call.name, "moving_mean", &n.moving_mean);
        let variance = self.weight(&call.name, "moving_variance", &n.moving_variance);
        let gamma = self.optional_weight(&call.name, "gamma", n.gamma.as_ref());
        let beta = self.optional_weight(&call.name, "beta", n.beta.as_ref());
        let output = self.buffer(&call.name, shape);
        let op = Op::BatchNorm { input, axis, mean, variance, gamma, beta, epsilon: n.epsilon, output };
        self.step(&call.name, op);
        self.same_masks(call, output)
    }

    fn layer_norm(&mut self, call: &Call<'_>, n: &LayerNormalization) -> Result<Vec<Lowered>> {
        let input = call.input()?.buffer;
        let shape = self.shape(input);
        let (first_axis, axes) = layer_norm_axes(&format!("layer {}", quoted(&call.name)), n, shape.len())?;
        if first_axis == 1 {
            call.refuse_ragged("it normalises over timesteps")?;
        }
        let output = self.buffer(&call.name, shape);
        let gamma = self.optional_weight(&call.name, "gamma", n.gamma.as_ref());
        let beta = self.optional_weight(&call.name, "beta", n.beta.as_ref());
        let op = Op::LayerNorm { input, first_axis, axes, gamma, beta, epsilon: n.epsilon, output };
        self.step(&call.name, op);
        self.same_masks(call, output)
    }
}
