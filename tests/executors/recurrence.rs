//! Recurrent layers of random shapes and options; and relations that hold bit for bit.

use wgpu_rnn::{
    cell::Cell,
    cpu::CpuProgram,
    plan::{DeadTimesteps, rows},
};

use crate::common::{
    Rng,
    layers::{Layer, Mask},
    plans::assert_same_bits,
};

const CASES: u64 = 150;

fn seeds(cell: Cell) -> impl Iterator<Item = u64> {
    let name: u64 = cell.spec().name.bytes().map(u64::from).sum();
    (0..CASES).map(move |case| name * 1_000_000 + case)
}

fn matches_reference(cell: Cell) {
    let (mut worst, mut ill_conditioned): (f64, _) = (0.0, 0);
    for seed in seeds(cell) {
        let layer = Layer::random(seed, cell);
        let result = layer.case().check_cpu(&layer);
        worst = worst.max(result.worst_ratio);
        ill_conditioned += usize::from(result.ill_conditioned);
    }
    println!("{}: worst error / tolerance {worst:.3}; {ill_conditioned} ill-conditioned", cell.spec().name);
    assert!(ill_conditioned * 20 <= CASES as usize, "{ill_conditioned} nets were given more than the tolerance");
}

#[test]
fn rnn_matches_reference() {
    matches_reference(Cell::Rnn);
}

#[test]
fn lstm_matches_reference() {
    matches_reference(Cell::Lstm);
}

#[test]
fn gru_matches_reference() {
    matches_reference(Cell::Gru);
}

#[test]
fn gru_reset_before_matches_reference() {
    matches_reference(Cell::GruResetBefore);
}

/// What a program keeps of a run is of no use to one of other sizes, nor to two at once, nor after an error.
#[test]
fn runs_of_a_program_leave_no_trace() {
    let case = Layer { batch: 24, seq_len: 3, hidden_size: 40, ..Layer::random(5, Cell::Lstm) }.case();
    let parts = [0..24, 3..4, 7..8, 2..22, 5..8].into_iter();
    let parts = rows::split(&case.plan, &case.bound, parts, &case.inputs).unwrap();
    let run = |program: &CpuProgram, part: &rows::Part<f32>, threads| {
        program.run(&part.bound, &part.inputs, &case.outputs, threads)
    };
    let program = || CpuProgram::new(case.plan.clone()).unwrap();
    let alone: Vec<_> = parts.iter().map(|part| run(&program(), part, 1).unwrap()).collect();
    let program = program();
    for threads in [1, 2, 3] {
        for (part, alone) in parts.iter().zip(&alone).chain(parts.iter().zip(&alone).rev()) {
            assert_same_bits(alone, &run(&program, part, threads).unwrap(), &threads);
            let mut wrong = part.clone();
            wrong.inputs[0].1.pop();
            assert!(run(&program, &wrong, threads).is_err());
        }
    }
    std::thread::scope(|scope| {
        for (part, alone) in parts.iter().zip(&alone) {
            scope.spawn(|| (0..20).for_each(|_| assert_same_bits(alone, &run(&program, part, 2).unwrap(), &"at once")));
        }
    });
}

/// More rows than a tile and more gates than a slice holds.
#[test]
fn tiles_and_slices_match_reference() {
    for (seed, cell) in [(1, Cell::Lstm), (2, Cell::GruResetBefore)] {
        let mut layer =
            Layer { batch: 70, seq_len: 9, hidden_size: 129, mask: Mask::Anywhere, ..Layer::random(seed, cell) };
        layer.projection = (cell == Cell::Lstm).then_some(77);
        layer.directions = vec![(false, false), (true, true)];
        layer.case().check_cpu(&layer);
        // 2^20 values of gates_x: 8 timesteps of 64 rows.
        let layer = Layer { batch: 65, seq_len: 19, hidden_size: 512, input_size: 3, ..layer };
        let whole = layer.case().cpu(1);
        assert_same_bits(&whole, &layer.case().cpu(5), &layer);
        assert_row_by_row(&layer, &whole, 64);
    }
}

/// Few rows of many units: threads share the units of every timestep.
#[test]
fn threads_that_share_units_match_reference() {
    for cell in Cell::ALL {
        for seed in 0..6 {
            let random = Layer::random(seed ^ 0xf0, cell);
            let (batch, hidden_size) = (1 + seed as usize % 3, 205 + 11 * seed as usize);
            let projection = random.projection.map(|_| hidden_size / 2);
            let layer = Layer { batch, hidden_size, projection, seq_len: random.seq_len.min(6), ..random };
            layer.case().check_cpu(&layer);
            let whole = layer.case().cpu(1);
            for threads in [2, 4, 40] {
                assert_same_bits(&whole, &layer.case().cpu(threads), &(threads, &layer));
            }
        }
    }
}

/// Row `row` run alone has the bits that it has in the batch.
fn assert_row_by_row(layer: &Layer, whole: &[Vec<f32>], row: usize) {
    let case = layer.case();
    let alone = case.bound.with_batch(&case.plan, 1).unwrap();
    let range = row..row + 1;
    let mut parts = rows::split(&case.plan, &case.bound, std::iter::once(range.clone()), &case.inputs).unwrap();
    let program = CpuProgram::new(case.plan.clone()).unwrap();
    let actual = program.run(&alone, &parts.remove(0).inputs, &case.outputs, 1).unwrap();
    let expected: Vec<Vec<f32>> = (whole.iter().zip(&case.outputs))
        .map(|(values, &id)| rows::take(values, id, &case.bound, &alone, range.clone()).unwrap().to_vec())
        .collect();
    assert_same_bits(&expected, &actual, &("row", row, layer));
}

#[test]
fn a_row_does_not_depend_on_its_companions() {
    for cell in Cell::ALL {
        for seed in seeds(cell).take(50) {
            let layer = Layer::random(seed ^ 0xb0, cell);
            let whole = layer.case().cpu(1);
            for row in [0, layer.batch / 2, layer.batch - 1] {
                assert_row_by_row(&layer, &whole, row);
            }
        }
    }
}

/// Timesteps `range` of `[batch, seq_len, width]`.
fn timesteps(x: &[f32], layer: &Layer, width: usize, range: std::ops::Range<usize>) -> Vec<f32> {
    let rows = x.chunks(layer.seq_len * width);
    rows.flat_map(|row| &row[range.start * width..range.end * width]).copied().collect()
}

#[test]
fn a_sequence_may_be_cut_anywhere() {
    for cell in Cell::ALL {
        for seed in seeds(cell).take(60) {
            let random = Layer::random(seed ^ 0xc0, cell);
            let seq_len = random.seq_len + 1;
            let mask = if random.mask == Mask::None { Mask::None } else { Mask::AllLive };
            let layer = Layer { seq_len, mask, directions: vec![(false, false)], initial: true, ..random };
            let (x, mut states) = (layer.input(), layer.initial());
            let whole = layer.case().cpu(1);
            let rng = &mut Rng::new(seed);
            let mut start = 0;
            while start < seq_len {
                let end = (start + 1 + rng.below(seq_len)).min(seq_len);
                let part = Layer { seq_len: end - start, ..layer.clone() };
                let part_x = timesteps(&x, &layer, layer.input_size, start..end);
                let outputs = part.case_with(part_x, &states).cpu(1 + rng.below(3));
                let expected = timesteps(&whole[0], &layer, layer.output_size(), start..end);
                assert_same_bits(&[expected], &outputs[..1], &(start, end, &layer));
                states = vec![outputs[2..].to_vec()];
                start = end;
            }
            assert_same_bits(&whole[2..], &states[0], &layer);
        }
    }
}

#[test]
fn padding_does_not_change_a_row() {
    for cell in Cell::ALL {
        for seed in seeds(cell).take(40) {
            let base = Layer { initial: true, specials: false, ..Layer::random(seed ^ 0xd0, cell) };
            for (mask, reverse) in [(Mask::Right, false), (Mask::Left, false), (Mask::Right, true), (Mask::Left, true)]
            {
                // One row, so that its length is the layer's.
                let padded = Layer { batch: 1, mask, directions: vec![(reverse, reverse)], ..base.clone() };
                let case = padded.case();
                let live: Vec<bool> = case.inputs[1].1.iter().map(|&live| live != 0.0).collect();
                let first = live.iter().position(|&live| live).unwrap_or(0);
                let seq_len = live.iter().filter(|&&live| live).count();
                let short = Layer { seq_len, mask: Mask::None, ..padded.clone() };
                let x = if padded.seq_len == 0 {
                    Vec::new()
                } else {
                    timesteps(&padded.input(), &padded, padded.input_size, first..first + seq_len)
                };
                let expected = short.case_with(x, &padded.initial()).cpu(1);
                let actual = case.cpu(1);
                assert_same_bits(&expected[2..], &actual[2..], &padded);
                // Padding that is processed last clears the output under this rule.
                if padded.dead != DeadTimesteps::Zero {
                    assert_same_bits(&expected[1..2], &actual[1..2], &padded);
                }
            }
        }
    }
}

#[test]
fn reverse_is_reversed_input_and_two_directions_are_two_passes() {
    for cell in Cell::ALL {
        for seed in seeds(cell).take(40) {
            let base = Layer { mask: Mask::None, initial: false, ..Layer::random(seed ^ 0xe0, cell) };
            let forward = Layer { directions: vec![(false, false)], ..base.clone() };
            let step = base.input_size;
            let width = (base.seq_len * step).max(1);
            let flip = |x: &[f32], step: usize, width: usize| -> Vec<f32> {
                x.chunks(width).flat_map(|row| row.chunks(step).rev().flatten()).copied().collect()
            };
            let flipped = flip(&base.input(), step, width);
            let expected = forward.case_with(flipped, &forward.initial()).cpu(1);
            // In processing order the outputs are those of the flipped input as they are.
            let backward = Layer { directions: vec![(true, false)], ..base.clone() };
            assert_same_bits(&expected, &backward.case().cpu(1), &backward);
            let backward = Layer { directions: vec![(true, true)], ..base.clone() };
            let mut in_time_order = backward.case().cpu(1);
            let units = base.output_size();
            in_time_order[0] = flip(&in_time_order[0], units, (base.seq_len * units).max(1));
            assert_same_bits(&expected, &in_time_order, &backward);

            // The first of two directions has the weights of the one alone.
            let both = Layer { directions: vec![(false, false), (true, true)], ..base.clone() };
            let first_half = |values: &[f32]| -> Vec<f32> {
                values.chunks(2 * units).flat_map(|both| &both[..units]).copied().collect()
            };
            let outputs = both.case().cpu(1);
            let halves: Vec<Vec<f32>> = outputs[..2].iter().map(|values| first_half(values)).collect();
            assert_same_bits(&forward.case().cpu(1)[..2], &halves, &both);
        }
    }
}

#[test]
#[ignore = "prints speed"]
fn speed() {
    for cell in Cell::ALL {
        for (batch, hidden) in [(1, 64), (1, 256), (16, 64), (16, 256), (64, 256), (16, 512)] {
            let base = Layer::random(1, cell);
            let layer = Layer {
                params: Default::default(),
                batch,
                hidden_size: hidden,
                input_size: hidden,
                seq_len: 50,
                directions: vec![(false, false)],
                mask: Mask::None,
                specials: false,
                peepholes: false,
                projection: None,
                ..base
            };
            let case = layer.case();
            let program = CpuProgram::new(case.plan.clone()).unwrap();
            let best = (0..10)
                .map(|_| {
                    let start = std::time::Instant::now();
                    program.run(&case.bound, &case.inputs, &case.outputs, 1).unwrap();
                    start.elapsed().as_secs_f64()
                })
                .fold(f64::MAX, f64::min);
            let gflop = (batch * 50 * cell.spec().gates.len() * hidden * 2 * hidden * 2) as f64 / 1e9;
            println!(
                "{} batch {batch}, hidden {hidden}: {:.1} GFLOP/s, {:.2} ms",
                cell.spec().name,
                gflop / best,
                best * 1e3
            );
        }
    }
}
