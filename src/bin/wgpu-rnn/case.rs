//! What is timed: a model or layers, with the inputs of a run.

use std::{cell::OnceCell, path::Path, time::Instant};

use wgpu_rnn::{Model, Outputs, Tensor};

use crate::{
    args::CaseArgs,
    failure::Outcome,
    setup, timing, verify,
    workload::{self, Workload},
};

/// The length of random inputs where nothing says one.
const SEQ_LEN: usize = 100;

/// A model and the inputs of a run.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) model: Model,
    pub(crate) inputs: Vec<(String, Tensor)>,
    /// The layers, where they are not those of a file.
    pub(crate) workload: Option<Workload>,
    pub(crate) batch: usize,
    pub(crate) seq_len: usize,
    pub(crate) load_ms: Option<f64>,
    /// What the reference says of as much as is verified: the same for every device.
    pub(crate) expected: OnceCell<Outputs>,
}

/// Calls `run` with everything that was asked for, one after the other: a model at every batch size and length,
/// or every set and sweep of layers.
pub(crate) fn each(args: &CaseArgs, mut run: impl FnMut(&Case) -> Outcome<()>) -> Outcome<()> {
    if let Some(path) = &args.path {
        return of_model(path, args, &mut run);
    }
    let sets = args.set.iter().flat_map(|&set| workload::set(set));
    for workload in sets.chain(workload::sweep(&args.sweep, &args.batch, &args.seq_len)) {
        run(&of_layers(&workload, args.seed)?)?;
    }
    Ok(())
}

fn of_model(path: &Path, args: &CaseArgs, run: &mut impl FnMut(&Case) -> Outcome<()>) -> Outcome<()> {
    let started = Instant::now();
    let model = setup::model_at(path, &args.load)?;
    let load_ms = Some(started.elapsed().as_secs_f64() * 1e3);
    let batches = if args.batch.is_empty() { vec![1] } else { args.batch.clone() };
    let lengths = if args.seq_len.is_empty() { vec![None] } else { args.seq_len.iter().copied().map(Some).collect() };
    for &batch in &batches {
        for &seq_len in &lengths {
            let inputs = verify::inputs(&model, &args.inputs, batch, (seq_len, SEQ_LEN), args.seed)?;
            run(&Case::new(model.name().to_owned(), model.clone(), inputs, None, load_ms))?;
        }
    }
    Ok(())
}

fn of_layers(workload: &Workload, seed: u64) -> Outcome<Case> {
    let model: Model = workload.layers.model(seed)?;
    let inputs: Vec<(String, Tensor)> =
        wgpu_rnn::verify::random_inputs(&model, workload.batch, workload.seq_len, seed)?;
    Ok(Case::new(workload.layers.name(), model, inputs, Some(*workload), None))
}

impl Case {
    fn new(
        name: String,
        model: Model,
        inputs: Vec<(String, Tensor)>,
        workload: Option<Workload>,
        load_ms: Option<f64>,
    ) -> Self {
        let shapes = timing::shapes(&model, &inputs);
        let (batch, seq_len) = match workload {
            Some(workload) => (workload.batch, workload.seq_len),
            None => (shapes.first().and_then(|s| s.first()).copied().unwrap_or(0), seq_len(&model, &shapes)),
        };
        Self { name, model, inputs, workload, batch, seq_len, load_ms, expected: OnceCell::new() }
    }
}

/// The length of the first input that is a sequence: one whose length the run decides, or with features.
fn seq_len(model: &Model, shapes: &[Vec<usize>]) -> usize {
    let open = |shape: &[Option<usize>]| shape.get(1).is_some_and(Option::is_none);
    let inputs = model.inputs();
    let sequence = inputs.iter().zip(shapes).find(|(input, shape)| shape.len() > 2 || open(&input.shape));
    sequence.and_then(|(_, shape)| shape.get(1)).copied().unwrap_or(1)
}
