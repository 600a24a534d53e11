//! The recurrent layers.

use super::{Call, Carry, Lowered, Lowering};
use crate::{
    dim::{Dim, Symbol},
    error::{Error, Result, quoted},
    model::{Bidirectional, MergeMode, Recurrent},
    plan::{BufferId, CombineOp, DeadTimesteps, Direction, Op, Recurrence, StatePort},
};

/// A direction of a layer while it is lowered.
struct Pass<'a> {
    layer: &'a Recurrent,
    /// `layer`, or `layer/forward`.
    name: String,
    states: &'a [Lowered],
    flipped: bool,
}

/// What passes leave behind.
struct Passed {
    /// `[batch, (seq_len,) directions * output_size]`
    output: BufferId,
    /// Per direction and state, `[batch, units]`; only where someone asks for them.
    finals: Vec<Vec<Option<BufferId>>>,
}

impl Lowering<'_> {
    pub(super) fn recurrent(&mut self, call: &Call<'_>, r: &Recurrent) -> Result<Vec<Lowered>> {
        if r.go_backwards && r.return_sequences {
            call.refuse_ragged("go_backwards returns timesteps in reverse")?;
        }
        let input = call.input()?.clone();
        let mask = self.recurrent_mask(call, r)?;
        let pass = Pass { layer: r, name: call.name.clone(), states: &call.states, flipped: false };
        let passed = self.passes(call, &input, mask, &[pass])?;
        let output = self.sequence_value(call, passed.output, r)?;
        let mut outputs = vec![output];
        if r.return_state {
            outputs.extend(passed.finals.iter().flatten().flatten().map(|&state| plain(state)));
        }
        Ok(outputs)
    }

    pub(super) fn bidirectional(&mut self, call: &Call<'_>, b: &Bidirectional) -> Result<Vec<Lowered>> {
        if b.forward.go_backwards && b.forward.return_sequences {
            call.refuse_ragged("go_backwards returns timesteps in reverse")?;
        }
        let input = call.input()?.clone();
        let mask = self.recurrent_mask(call, &b.forward)?;
        let count = b.forward.cell.spec().states.len();
        let (forward_states, backward_states) = call.states.split_at_checked(count).unwrap_or((&[], &[]));
        let pass =
            |layer, side: &str, states, flipped| Pass { layer, name: format!("{}/{side}", call.name), states, flipped };
        let forward = pass(&b.forward, "forward", forward_states, false);
        let backward = pass(&b.backward, "backward", backward_states, true);
        let alike = b.forward.cell == b.backward.cell
            && b.forward.params == b.backward.params
            && b.forward.state_sizes() == b.backward.state_sizes()
            && b.forward.hidden_size() == b.backward.hidden_size()
            && b.forward.weight_hr.is_some() == b.backward.weight_hr.is_some()
            && b.forward.peephole.is_some() == b.backward.peephole.is_some()
            && b.forward.dead == b.backward.dead;
        let (buffers, finals) = if alike && self.options.rewrites.merge_directions {
            let both = self.passes(call, &input, mask, &[forward, backward])?;
            let buffers = self.joined_directions(call, b, both.output);
            (buffers?, both.finals)
        } else {
            let one = self.passes(call, &input, mask, &[forward])?;
            let other = self.passes(call, &input, mask, &[backward])?;
            let buffers = self.separate_directions(call, b, one.output, other.output)?;
            (buffers, [one.finals, other.finals].concat())
        };
        let mut outputs = buffers
            .into_iter()
            .map(|buffer| self.sequence_value(call, buffer, &b.forward))
            .collect::<Result<Vec<_>>>()?;
        if b.forward.return_state {
            outputs.extend(finals.iter().flatten().flatten().map(|&state| plain(state)));
        }
        Ok(outputs)
    }

    /// The cells of a layer, each over the sequence of the one before.
    pub(super) fn stacked(&mut self, call: &Call<'_>, all: &[Recurrent]) -> Result<Vec<Lowered>> {
        let (Some(first), Some(last)) = (all.first(), all.last()) else {
            return Err(Error::internal("a stack without a cell"));
        };
        if last.go_backwards && last.return_sequences {
            call.refuse_ragged("go_backwards returns timesteps in reverse")?;
        }
        let mut input = call.input()?.clone();
        let mask = self.recurrent_mask(call, last)?;
        let mut states = call.states.as_slice();
        let mut finals = Vec::new();
        for (index, layer) in all.iter().enumerate() {
            let count = layer.cell.spec().states.len().min(states.len());
            let (own, others) = states.split_at_checked(count).unwrap_or((states, &[]));
            states = others;
            // The first cell meets the timesteps in the order of the layer; those behind it, in that of its output.
            let pass = Pass { layer, name: format!("{}/{index}", call.name), states: own, flipped: false };
            let passed = self.passes(call, &input, mask, &[pass])?;
            finals.extend(passed.finals.into_iter().flatten().flatten());
            input = Lowered { buffer: passed.output, ..input };
        }
        let mut outputs = vec![self.sequence_value(call, input.buffer, last)?];
        if first.return_state {
            outputs.extend(finals.into_iter().map(plain));
        }
        Ok(outputs)
    }

    /// The output of a layer with the masks that it hands on.
    fn sequence_value(&self, call: &Call<'_>, buffer: BufferId, r: &Recurrent) -> Result<Lowered> {
        if !r.return_sequences {
            return Ok(plain(buffer));
        }
        let input = call.input()?;
        // A mask that is given takes the place of the input's; one that is not seen is handed on.
        let mask = if call.mask_is_given { call.mask } else { input.mask };
        Ok(Lowered { buffer, mask: mask.filter(|_| r.passes_mask), ragged: input.ragged, origins: Vec::new() })
    }

    fn recurrent_mask(&mut self, call: &Call<'_>, r: &Recurrent) -> Result<Option<BufferId>> {
        if r.dead == DeadTimesteps::Zero && !r.return_sequences {
            call.refuse_ragged("zero_output_for_mask makes the last output zero")?;
        }
        Ok(self.effective_mask(call))
    }

    /// One recurrence of one or two directions over `input`.
    fn passes(
        &mut self,
        call: &Call<'_>,
        input: &Lowered,
        mask: Option<BufferId>,
        passes: &[Pass<'_>],
    ) -> Result<Passed> {
        let Some(first) = passes.first() else {
            return Err(Error::internal("a recurrence without a direction"));
        };
        let layer = first.layer;
        let mut directions = Vec::new();
        for pass in passes {
            directions.push(self.direction(call, input, pass)?);
        }
        let mut shape = self.shape(input.buffer);
        shape.truncate(if layer.return_sequences { 2 } else { 1 });
        shape.push(Dim::from(layer.output_size() * passes.len()));
        let output = self.buffer(&first.name, shape);
        let finals = directions.iter().map(|direction| direction.finals.clone()).collect();
        let (sequence, last) = if layer.return_sequences { (Some(output), None) } else { (None, Some(output)) };
        self.step(
            &call.name,
            Op::Recurrence(Recurrence {
                cell: layer.cell,
                params: layer.params,
                hidden_size: layer.hidden_size(),
                output_size: layer.output_size(),
                input_size: layer.input_size(),
                input: input.buffer,
                mask,
                dead: layer.dead,
                directions,
                sequence,
                last,
            }),
        );
        Ok(Passed { output, finals })
    }

    fn direction(&mut self, call: &Call<'_>, input: &Lowered, pass: &Pass<'_>) -> Result<Direction> {
        let layer = pass.layer;
        let spec = layer.cell.spec();
        // Not always the batch of the run: a row may be a timestep of an outer sequence.
        let rows = self.shape(input.buffer).into_iter().next().unwrap_or_else(|| Dim::from(1));
        let carried = self.is_carried(call, &rows, layer)? && pass.states.is_empty();
        let mut initial: Vec<Option<BufferId>> = pass.states.iter().map(|state| Some(state.buffer)).collect();
        initial.resize(spec.states.len(), None);
        let mut finals = vec![None; spec.states.len()];
        for (index, (state, size)) in spec.states.iter().zip(layer.state_sizes()).enumerate() {
            let name = format!("{}/{state}", pass.name);
            let shape = vec![rows.clone(), Dim::from(size)];
            if carried || layer.return_state {
                finals[index] = Some(self.buffer(&name, shape.clone()));
            }
            if let (true, Some(last)) = (carried, finals[index]) {
                let from = self.buffer(&format!("{name} before"), shape.clone());
                initial[index] = Some(from);
                self.plan.states.push(StatePort { name, initial: from, last });
            }
        }
        Ok(Direction {
            reverse: layer.go_backwards,
            flipped: pass.flipped,
            weight_ih: self.weight(&pass.name, "weight_ih", &layer.weight_ih),
            weight_hh: self.weight(&pass.name, "weight_hh", &layer.weight_hh),
            bias_ih: self.optional_weight(&pass.name, "bias_ih", layer.bias_ih.as_ref()),
            bias_hh: self.optional_weight(&pass.name, "bias_hh", layer.bias_hh.as_ref()),
            peephole: self.optional_weight(&pass.name, "peephole", layer.peephole.as_ref()),
            projection: self.optional_weight(&pass.name, "weight_hr", layer.weight_hr.as_ref()),
            initial,
            finals,
        })
    }

    fn is_carried(&self, call: &Call<'_>, rows: &Dim, layer: &Recurrent) -> Result<bool> {
        let all = self.options.carry == Carry::All;
        if !layer.stateful && !all {
            return Ok(false);
        }
        let subject = || format!("layer {}", quoted(&call.name));
        if *rows != Dim::from(Symbol::BATCH) {
            let what = "carrying the states of rows that are not the batch's";
            return Err(Error::unsupported(subject(), what, "use a layer that is not stateful"));
        }
        if all && layer.go_backwards {
            return Err(Error::unsupported(subject(), "carrying states backwards", "give the whole sequence at once"));
        }
        if self.visits.get(call.layer_index).is_some_and(|&visits| visits > 1) {
            return Err(Error::unsupported(subject(), "a stateful layer that is called twice", "use a layer per call"));
        }
        Ok(true)
    }

    /// Splits and merges the output of a recurrence of two directions.
    fn joined_directions(&mut self, call: &Call<'_>, b: &Bidirectional, both: BufferId) -> Result<Vec<BufferId>> {
        if b.merge == MergeMode::Concat {
            return Ok(vec![both]);
        }
        let shape = self.shape(both);
        let axis = shape.len().saturating_sub(1);
        let extent = Dim::from(b.forward.output_size());
        let mut halves = Vec::new();
        for start in [0, b.forward.output_size()] {
            let mut half = shape.clone();
            half.truncate(axis);
            half.push(extent.clone());
            let output = self.buffer(&call.name, half);
            let (input_start, output_start) = (Dim::from(start), Dim::from(0));
            self.step(
                &call.name,
                Op::Copy {
                    input: both,
                    input_start,
                    input_step: 1,
                    output,
                    output_start,
                    axis,
                    extent: extent.clone(),
                },
            );
            halves.push(output);
        }
        match halves.as_slice() {
            [forward, backward] => self.separate_directions(call, b, *forward, *backward),
            _ => Err(Error::internal("directions that are not two")),
        }
    }

    fn separate_directions(
        &mut self,
        call: &Call<'_>,
        b: &Bidirectional,
        forward: BufferId,
        backward: BufferId,
    ) -> Result<Vec<BufferId>> {
        let parts = [forward, backward];
        let shape = call.output_shape()?;
        Ok(match b.merge {
            MergeMode::Separate => parts.to_vec(),
            MergeMode::Concat => vec![self.joined(&call.name, &parts, shape.len() - 1, shape)],
            MergeMode::Sum => vec![self.folded(&call.name, CombineOp::Add, &parts, &shape)?],
            MergeMode::Mul => vec![self.folded(&call.name, CombineOp::Multiply, &parts, &shape)?],
            MergeMode::Ave => {
                let sum = self.folded(&call.name, CombineOp::Add, &parts, &shape)?;
                vec![self.average(&call.name, sum, 2)?]
            }
        })
    }
}

/// A value without masks.
fn plain(buffer: BufferId) -> Lowered {
    Lowered { buffer, mask: None, ragged: None, origins: Vec::new() }
}
