//! `gather.wgsl`: rows of an embedding table.

use super::workgroups;
use crate::{
    error::Result,
    gpu::{
        kernel::{Binding, Kernel, Part, PipelineKey},
        pack::Matrix,
        recorder::{Recorder, View, Work, word},
    },
};

pub(crate) static GATHER: Kernel = Kernel {
    name: "gather",
    parts: &[Part::Rows, Part::Common, Part::Weights],
    source: include_str!("../../../shaders/gather.wgsl"),
    bindings: &[
        Binding::read("weights", "[ids, width], rows on end, padded to a multiple of four values, scales [ids]"),
        Binding::read("ids", "[rows]"),
        Binding::read_write("output", "[rows, width]"),
    ],
    params_words: 4,
    workgroup_bytes: 0,
    invocations: 256,
};

/// `output[row, ..] = table[ids[row], ..]`, one dispatch per window of the table.
pub(crate) fn encode(
    recorder: &mut Recorder<'_>,
    ids: View<'_>,
    table: &Matrix<'_>,
    width: usize,
    output: View<'_>,
) -> Result<()> {
    let count = ids.len * width;
    if count == 0 {
        return Ok(());
    }
    let key = PipelineKey::new(&GATHER).precision(table.precision);
    for window in &table.windows {
        let bound = recorder.bind(&key, &[Some(window.view), Some(ids), Some(output)])?;
        let params = [word(count)?, word(width)?, word(window.first)?, word(window.count)?];
        recorder.dispatch(&bound, &params, workgroups(count), Work::values(count as f64, ids.len + 2 * count))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        gpu::{
            pack::pack_table,
            testing::{Random, gpu},
        },
        plan::Precision,
    };

    #[test]
    fn rows_are_found_in_every_window() {
        let mut gpu = gpu();
        let (ids, width) = (11, 5);
        let values = Random::new(1).values(ids * width, 4.0);
        let tokens: Vec<f32> = (0..40u16).map(|i| f32::from(i * 7 % 11)).collect();
        for precision in Precision::ALL {
            let table = precision.rounded(values.as_slice().into(), width);
            for limit in [1 << 20, 64] {
                let packed = gpu.upload_packed(pack_table(&table, ids, width, precision, limit).unwrap(), precision);
                let (input, output) = (gpu.upload(&tokens), gpu.empty(40 * width));
                gpu.run(|recorder| encode(recorder, input.view(), &packed.matrix(), width, output.view()));
                let expected: Vec<f32> =
                    tokens.iter().flat_map(|&id| table[id as usize * width..][..width].to_vec()).collect();
                assert_eq!(gpu.read(&output), expected, "{precision:?} {limit}");
            }
        }
    }
}
