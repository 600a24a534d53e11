//! `gather.wgsl`: rows of an embedding table.

use super::workgroups;
use crate::{
    error::Result,
    gpu::{
        kernel::{Binding, Kernel, Part, PipelineKey},
        pack::Matrix,
        recorder::{Recorder, View, word},
    },
};

pub(crate) static GATHER: Kernel = Kernel {
    name: "gather",
    parts: &[Part::Common, Part::Weights],
    source: include_str!("../../../shaders/gather.wgsl"),
    bindings: &[
        Binding::read("weights", "[ids, width], rows on end, padded to a multiple of four values"),
        Binding::read("ids", "[rows]"),
        Binding::read_write("output", "[rows, width]"),
    ],
    params_words: 4,
    workgroup_bytes: 0,
    invocations: 256,
};

/// `output[row, ..] = table[ids[row], ..]`, one dispatch per window of the table.
pub(crate) fn encode(recorder: &mut Recorder<'_>, ids: View<'_>, table: &Matrix<'_>, width: usize, output: View<'_>) -> Result<()> {
    let count = ids.len * width;
    if count == 0 {
        return Ok(());
    }
    let key = PipelineKey::new(&GATHER).precision(table.precision);
    for window in &table.windows {
        let bound = recorder.bind(&key, &[Some(window.view), Some(ids), Some(output)])?;
        let params = [word(count)?, word(width)?, word(window.first)?, word(window.count)?];
        recorder.dispatch(&bound, &params, workgroups(count), count as f64)?;
    }
    Ok(())
}
