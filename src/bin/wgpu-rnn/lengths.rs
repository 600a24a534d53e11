//! `--lengths`: how many timesteps of each row count.

use std::path::Path;

use wgpu_rnn::{Data, Error, Tensor};

use crate::{
    args::LengthsArgs,
    arrays::{self, Arrays},
};

/// Reads the lengths, if there is a file of them.
pub(crate) fn read(args: &LengthsArgs) -> Result<Option<Vec<usize>>, Error> {
    let Some(path) = &args.path else { return Ok(None) };
    let wrong = |found: String| Error::Mismatch {
        subject: format!("--lengths {}", path.display()),
        expected: "an array [batch] of whole numbers".to_owned(),
        found,
    };
    let tensor = match arrays::read(&shown(path))? {
        Arrays::One(tensor) => tensor,
        Arrays::Named(arrays) => return Err(wrong(format!("an archive of {} arrays", arrays.len()))),
    };
    if tensor.shape().len() != 1 {
        return Err(wrong(format!("the shape {:?}", tensor.shape())));
    }
    whole(&tensor).map(Some).map_err(wrong)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The values of a tensor of integers; else what is there in place of one.
fn whole(tensor: &Tensor) -> Result<Vec<usize>, String> {
    match tensor.data() {
        Data::I64(values) => {
            values.iter().map(|&value| usize::try_from(value).map_err(|_| value.to_string())).collect()
        }
        Data::F64(_) => Err("dtype float64".to_owned()),
        _ => Err("dtype float32, float16 or bool".to_owned()),
    }
}
