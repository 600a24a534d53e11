//! The weights of a plan on a device: uploaded once, in the order in which kernels read them, in
//! windows where one binding is too small.

use std::{
    collections::{HashMap, HashSet},
    rc::{Rc, Weak},
};

use super::{
    owner::Owner,
    pack::{self, Matrix, Packed, Window},
    recorder::View,
    schedule::Schedule,
};
use crate::{
    error::{Error, Result},
    plan::{Direction, Op, Plan, Precision, Recurrence, Weight, WeightId},
    tensor::TensorId,
};

/// A weight in one of the layouts that kernels read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Layout {
    /// A matrix of a linear step or an input projection.
    Linear(WeightId),
    /// An embedding table.
    Table(WeightId),
    /// A matrix `[gates * units, inputs]` per direction, which a recurrence multiplies its states with.
    Recurrent { ids: Vec<WeightId>, gates: usize },
    /// A vector per direction.
    PerDirection(Vec<Option<WeightId>>),
    /// As it is.
    Plain(WeightId),
}

/// One weight on the device.
pub(super) struct Stored {
    bytes: u64,
    precision: Precision,
    /// First element and number of elements, buffer, its 32-bit words.
    windows: Vec<(usize, usize, wgpu::Buffer, usize)>,
}

/// What a stored weight is of.
type Identity = (Layout, Precision, Vec<TensorId>);

/// The weights that some program of a device has, so that programs of one model share them.
pub(super) type Shared = HashMap<Identity, Weak<Stored>>;

/// The weights of a plan on a device.
#[derive(Default)]
pub(super) struct Weights {
    stored: HashMap<Layout, Rc<Stored>>,
    pub(super) bytes: u64,
}

impl Weights {
    /// Uploads the weights that the steps of `plan` read.
    pub(super) fn upload(owner: &mut Owner, plan: &Plan, schedule: &Schedule) -> Result<Rc<Self>> {
        let mut weights = Self::default();
        for layout in all_layouts(plan, schedule) {
            if !weights.stored.contains_key(&layout) {
                weights.add(owner, plan, layout)?;
            }
        }
        Ok(Rc::new(weights))
    }

    /// What [`upload`](Self::upload) takes where nothing is shared yet, bytes.
    pub(super) fn need(plan: &Plan, schedule: &Schedule) -> Result<u64> {
        let mut seen = HashSet::new();
        let mut bytes = 0u64;
        for layout in all_layouts(plan, schedule) {
            if seen.insert(identity(plan, &layout)?) {
                bytes = bytes.saturating_add(stored_bytes(plan, &layout)?);
            }
        }
        Ok(bytes)
    }

    fn add(&mut self, owner: &mut Owner, plan: &Plan, layout: Layout) -> Result<()> {
        let identity = identity(plan, &layout)?;
        owner.weights.retain(|_, weight| weight.strong_count() > 0);
        let stored = match owner.weights.get(&identity).and_then(Weak::upgrade) {
            Some(stored) => stored,
            None => {
                let stored = Rc::new(store(owner, plan, &layout)?);
                owner.weights.insert(identity, Rc::downgrade(&stored));
                stored
            }
        };
        self.bytes = self.bytes.saturating_add(stored.bytes);
        self.stored.insert(layout, stored);
        Ok(())
    }

    fn stored(&self, layout: &Layout) -> Result<&Stored> {
        self.stored
            .get(layout)
            .map(Rc::as_ref)
            .ok_or_else(|| Error::internal(format!("weight {layout:?} was not uploaded")))
    }

    /// A weight that may lie in several windows.
    pub(super) fn matrix(&self, layout: &Layout) -> Result<Matrix<'_>> {
        let stored = self.stored(layout)?;
        let windows = stored.windows.iter().map(|(first, count, buffer, len)| Window {
            first: *first,
            count: *count,
            view: View { buffer, start: 0, len: *len },
        });
        Ok(Matrix { precision: stored.precision, windows: windows.collect() })
    }

    /// A weight that kernels read as it is.
    pub(super) fn plain(&self, id: WeightId) -> Result<View<'_>> {
        self.single(&Layout::Plain(id))
    }

    /// A weight of a single window.
    pub(super) fn single(&self, layout: &Layout) -> Result<View<'_>> {
        match self.stored(layout)?.windows.as_slice() {
            [(_, _, buffer, len)] => Ok(View { buffer, start: 0, len: *len }),
            _ => Err(Error::internal(format!("weight {layout:?} in several windows"))),
        }
    }
}

/// The tensors that `layout` is made of.
fn tensors<'p>(plan: &'p Plan, layout: &Layout) -> Result<Vec<&'p Weight>> {
    let ids: Vec<WeightId> = match layout {
        Layout::Linear(id) | Layout::Table(id) | Layout::Plain(id) => vec![*id],
        Layout::Recurrent { ids, .. } => ids.clone(),
        Layout::PerDirection(ids) => ids.iter().copied().flatten().collect(),
    };
    ids.into_iter().map(|id| weight(plan, id)).collect()
}

/// Bytes of a weight as it is packed: vectors of four, the last one padded.
pub(super) fn stored_bytes(plan: &Plan, layout: &Layout) -> Result<u64> {
    let bytes = |weight: &Weight| match (layout, weight.tensor.shape()) {
        (Layout::Linear(_) | Layout::Recurrent { .. }, &[rows, columns]) => {
            pack::matrix_bytes([rows, columns], weight.precision)
        }
        (Layout::Table(_), &[ids, width]) => pack::table_bytes([ids, width], weight.precision),
        _ => weight.tensor.len().saturating_mul(4),
    };
    let all = tensors(plan, layout)?.into_iter().fold(0usize, |sum, weight| sum.saturating_add(bytes(weight)));
    // A direction without a bias has zeros in its place.
    let padded = match layout {
        Layout::PerDirection(ids) => {
            let given = ids.iter().flatten().count().max(1);
            (all / given).saturating_mul(ids.len())
        }
        _ => all,
    };
    // A buffer is a whole number of vectors.
    Ok(u64::try_from(padded.div_ceil(16).saturating_mul(16)).unwrap_or(u64::MAX))
}

/// The layout with its numbers, which mean something in one plan only, replaced by the order of the tensors.
fn identity(plan: &Plan, layout: &Layout) -> Result<Identity> {
    let mut next = (0..).map(WeightId::new);
    let mut number = |_: &WeightId| next.next().unwrap_or(WeightId::new(0));
    let of = tensors(plan, layout)?;
    let precision = of.first().map_or(Precision::F32, |weight| weight.precision);
    let layout = match layout {
        Layout::Linear(id) => Layout::Linear(number(id)),
        Layout::Table(id) => Layout::Table(number(id)),
        Layout::Plain(id) => Layout::Plain(number(id)),
        Layout::Recurrent { ids, gates } => Layout::Recurrent { ids: ids.iter().map(number).collect(), gates: *gates },
        Layout::PerDirection(ids) => Layout::PerDirection(ids.iter().map(|id| id.as_ref().map(&mut number)).collect()),
    };
    Ok((layout, precision, of.into_iter().map(|weight| weight.tensor.id()).collect()))
}

fn store(owner: &mut Owner, plan: &Plan, layout: &Layout) -> Result<Stored> {
    let limit = owner.limits.max_storage_buffer_binding_size.min(owner.limits.max_buffer_size);
    let (name, precision, packed) = pack(plan, layout, limit)?;
    let (mut windows, mut total) = (Vec::with_capacity(packed.len()), 0u64);
    for Packed { range, bytes } in packed {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let buffer = owner.create_buffer(name, size, usage)?;
        owner.upload(name, &buffer, 0, &bytes)?;
        total = total.saturating_add(buffer.size());
        windows.push((range.start, range.len(), buffer, bytes.len() / 4));
    }
    Ok(Stored { bytes: total, precision, windows })
}

/// The weights that the steps of `plan` read, as their kernels read them.
fn all_layouts(plan: &Plan, schedule: &Schedule) -> impl Iterator<Item = Layout> {
    schedule.units.iter().flat_map(|unit| match unit.stored(plan) {
        Some((r, _)) => of_recurrence(r),
        None => plan.steps.get(unit.steps.clone()).unwrap_or_default().iter().flat_map(|s| layouts(&s.op)).collect(),
    })
}

/// The weights that `op` reads, but for a recurrence.
fn layouts(op: &Op) -> Vec<Layout> {
    match op {
        Op::Linear { weight, bias, .. } => {
            [Layout::Linear(*weight)].into_iter().chain(bias.map(Layout::Plain)).collect()
        }
        Op::Gather { table, .. } => vec![Layout::Table(*table)],
        Op::Constant { weight, .. } => vec![Layout::Plain(*weight)],
        Op::LayerNorm { gamma, beta, .. } => gamma.iter().chain(beta).copied().map(Layout::Plain).collect(),
        Op::BatchNorm { mean, variance, gamma, beta, .. } => {
            [mean, variance].into_iter().chain(gamma).chain(beta).copied().map(Layout::Plain).collect()
        }
        _ => Vec::new(),
    }
}

fn of_recurrence(r: &Recurrence) -> Vec<Layout> {
    let matrices = r.directions.iter().map(|d| Layout::Linear(d.weight_ih));
    let biases = r.directions.iter().filter_map(|d| d.bias_ih.map(Layout::Plain));
    let [bias, peephole] = [recurrent_bias(r), peephole(r)];
    matrices.chain(biases).chain([recurrent(r)]).chain(projection(r)).chain(bias).chain(peephole).collect()
}

/// The recurrent matrices of a recurrence.
pub(super) fn recurrent(r: &Recurrence) -> Layout {
    Layout::Recurrent { ids: r.directions.iter().map(|d| d.weight_hh).collect(), gates: r.cell.spec().gates.len() }
}

/// The projections of a recurrence, if it has them.
pub(super) fn projection(r: &Recurrence) -> Option<Layout> {
    let ids: Vec<_> = r.directions.iter().filter_map(|d| d.projection).collect();
    (!ids.is_empty()).then_some(Layout::Recurrent { ids, gates: 1 })
}

/// The recurrent biases of a recurrence, if it has any.
pub(super) fn recurrent_bias(r: &Recurrence) -> Option<Layout> {
    per_direction(r, |d| d.bias_hh)
}

/// The peephole weights of a recurrence, if it has any.
pub(super) fn peephole(r: &Recurrence) -> Option<Layout> {
    per_direction(r, |d| d.peephole)
}

fn per_direction(r: &Recurrence, vector: impl Fn(&Direction) -> Option<WeightId>) -> Option<Layout> {
    let ids: Vec<_> = r.directions.iter().map(vector).collect();
    ids.iter().any(Option::is_some).then_some(Layout::PerDirection(ids))
}

fn weight(plan: &Plan, id: WeightId) -> Result<&Weight> {
    plan.weights.get(id.index()).ok_or_else(|| Error::internal("no such weight"))
}

/// Name, precision and bytes of a weight.
fn pack<'p>(plan: &'p Plan, layout: &Layout, limit: u64) -> Result<(&'p str, Precision, Vec<Packed>)> {
    let matrix = |id: WeightId| {
        let weight = weight(plan, id)?;
        match *weight.tensor.shape() {
            [rows, columns] => Ok((weight, rows, columns)),
            _ => Err(Error::internal(format!("weight {} is no matrix", weight.name))),
        }
    };
    let plain = |name: &'p str, values: &[f32]| {
        let bytes = bytemuck::cast_slice(values).to_vec();
        (name, Precision::F32, vec![Packed { range: 0..values.len(), bytes }])
    };
    let named = |weight: &Weight, packed: Result<Vec<Packed>>| {
        packed.map_err(|error| match error {
            Error::Limit { need, limit, hint, .. } => Error::Limit { what: weight.name.clone(), need, limit, hint },
            other => other,
        })
    };
    match layout {
        Layout::Linear(id) => {
            let (weight, rows, columns) = matrix(*id)?;
            let packed = pack::pack_linear(&weight.tensor.to_f32(), rows, columns, weight.precision, limit);
            Ok((&weight.name, weight.precision, named(weight, packed)?))
        }
        Layout::Table(id) => {
            let (weight, rows, columns) = matrix(*id)?;
            let packed = pack::pack_table(&weight.tensor.to_f32(), rows, columns, weight.precision, limit);
            Ok((&weight.name, weight.precision, named(weight, packed)?))
        }
        Layout::Recurrent { ids, gates } => {
            let all = ids.iter().map(|&id| matrix(id)).collect::<Result<Vec<_>>>()?;
            let &(first, rows, inputs) = all.first().ok_or_else(|| Error::internal("no direction"))?;
            let values: Vec<_> = all.iter().map(|(weight, ..)| weight.tensor.to_f32()).collect();
            let slices: Vec<&[f32]> = values.iter().map(AsRef::as_ref).collect();
            let units = rows.checked_div(*gates).ok_or_else(|| Error::internal("no gates"))?;
            let packed = pack::pack_recurrent(&slices, [*gates, units, inputs], first.precision, limit);
            Ok((&first.name, first.precision, named(first, packed)?))
        }
        Layout::PerDirection(ids) => {
            let all = ids.iter().map(|id| id.map(|id| weight(plan, id)).transpose()).collect::<Result<Vec<_>>>()?;
            let first = all.iter().flatten().next().ok_or_else(|| Error::internal("no vector"))?;
            let values: Vec<_> = all.iter().map(|weight| weight.map(|weight| weight.tensor.to_f32())).collect();
            let slices: Vec<Option<&[f32]>> = values.iter().map(|values| values.as_ref().map(AsRef::as_ref)).collect();
            let packed = pack::pack_vectors(&slices, first.tensor.len()).unwrap_or_default();
            Ok(plain(&first.name, &packed))
        }
        Layout::Plain(id) => {
            let weight = weight(plan, *id)?;
            Ok(plain(&weight.name, &weight.tensor.to_f32()))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        activation::Activation,
        cell::Cell,
        gpu::{Gpu, GpuOptions, GpuProgram, ProgramOptions},
        model::{Dense, Embedding, HeadActivation, LayerKind, Model, Recurrent},
        plan::PlanOptions,
        reference,
        tensor::Tensor,
    };

    fn tensor(shape: &[usize]) -> Arc<Tensor> {
        let values: Vec<f32> =
            (0..shape.iter().product::<usize>()).map(|i| ((i * 7) % 17) as f32 * 0.0625 - 0.5).collect();
        Arc::new(Tensor::new(shape, values).unwrap())
    }

    fn model() -> Model {
        let (hidden, projected) = (10, 9);
        let mut model = Model::builder("windows");
        let ids = model.input("ids", &[None]).unwrap();
        let embedding = Embedding { table: tensor(&[40, 4]), mask_zero: false };
        let x = model.add("embedding", LayerKind::Embedding(embedding), &[ids]).unwrap();
        let recurrent = Recurrent {
            weight_hr: Some(tensor(&[projected, hidden])),
            peephole: Some(tensor(&[3 * hidden])),
            bias_ih: Some(tensor(&[4 * hidden])),
            bias_hh: Some(tensor(&[4 * hidden])),
            ..Recurrent::new(Cell::Lstm, tensor(&[4 * hidden, 4]), tensor(&[4 * hidden, projected]))
        };
        let h = model.add("lstm", LayerKind::Recurrent(recurrent), &[x]).unwrap();
        let activation = HeadActivation::Pointwise(Activation::Tanh);
        let dense = Dense { weight: tensor(&[9, projected]), bias: Some(tensor(&[9])), activation };
        let y = model.add("dense", LayerKind::Dense(dense), &[h]).unwrap();
        model.output("y", y).unwrap();
        model.build().unwrap()
    }

    fn open() -> Option<Gpu> {
        match pollster::block_on(Gpu::open(GpuOptions::default())) {
            Ok(gpu) => Some(gpu),
            Err(error) => {
                assert!(std::env::var_os("WGPU_RNN_SKIP_GPU").is_some(), "{error}");
                eprintln!("SKIPPED: {error}");
                None
            }
        }
    }

    fn check(gpu: &Gpu, plan: &Arc<Plan>, known_answer_tests: bool) {
        let options = ProgramOptions { known_answer_tests, ..ProgramOptions::default() };
        let program = pollster::block_on(GpuProgram::new(gpu, Arc::clone(plan), options)).unwrap();
        let bound = plan.bind(&[vec![3, 2]]).unwrap();
        let (input, output) = (plan.inputs[0].buffer, plan.outputs[0].buffer);
        let ids = vec![0.0f32, 39.0, 17.0, 3.0, 31.0, 8.0];
        let wide = ids.iter().map(|&id| f64::from(id)).collect();
        let expected = reference::run(plan, &bound, &[(input, wide)], &[output]).unwrap();
        let found = pollster::block_on(program.run(bound, vec![(input, ids)], vec![output])).unwrap();
        for (found, expected) in found[0].iter().zip(&expected[0]) {
            assert!((f64::from(*found) - expected).abs() <= 1e-5, "{found} instead of {expected}");
        }
    }

    #[test]
    fn weights_beyond_a_binding_lie_in_windows() {
        let Some(gpu) = open() else { return };
        for precision in Precision::ALL {
            let options = PlanOptions { precision, ..PlanOptions::default() };
            let plan = Arc::new(Plan::new(&model(), &options).unwrap());
            check(&gpu, &plan, true);
            let small = pollster::block_on(gpu.reopen()).unwrap();
            let for_owner = Arc::clone(&plan);
            let windows = small.call(move |owner| {
                owner.limits.max_storage_buffer_binding_size = 256;
                let weights = Weights::upload(owner, &for_owner, &Schedule::new(&for_owner, u64::MAX))?;
                let counts = weights.stored.iter().map(|(layout, stored)| (layout.clone(), stored.windows.len()));
                Ok(counts.collect::<Vec<_>>())
            });
            let windows = pollster::block_on(windows).unwrap();
            for (layout, count) in &windows {
                let plain = matches!(layout, Layout::Plain(_) | Layout::PerDirection(_));
                assert!(plain == (*count == 1) || precision != Precision::F32, "{layout:?}: {count}");
            }
            assert!(windows.iter().any(|(_, count)| *count > 1));
            // The examples of the known-answer tests do not fit such small bindings.
            check(&small, &plan, false);
        }
    }

    #[test]
    fn a_weight_of_which_no_row_fits_is_refused_by_name() {
        let Some(gpu) = open() else { return };
        let plan = Plan::new(&model(), &PlanOptions::default()).unwrap();
        let upload = gpu.call(move |owner| {
            owner.limits.max_storage_buffer_binding_size = 15;
            Weights::upload(owner, &plan, &Schedule::new(&plan, u64::MAX)).map(|_| ())
        });
        let error = pollster::block_on(upload).unwrap_err();
        assert!(matches!(&error, Error::Limit { what, .. } if what.contains("embedding")), "{error}");
    }

    #[test]
    fn plans_of_one_model_share_weights_while_one_lives() {
        let Some(gpu) = open() else { return };
        let model = model();
        let program = || {
            let plan = Arc::new(Plan::new(&model, &PlanOptions::default()).unwrap());
            pollster::block_on(GpuProgram::new(&gpu, plan, ProgramOptions::default())).unwrap()
        };
        let stored = || {
            let count = gpu.call(|owner| Ok(owner.weights.values().filter(|w| w.strong_count() > 0).count()));
            pollster::block_on(count).unwrap()
        };
        let first = program();
        let count = stored();
        assert!(count > 4);
        let second = program();
        assert_eq!(stored(), count);
        drop(first);
        assert_eq!(stored(), count);
        drop(second);
        assert_eq!(stored(), 0);
    }
}
