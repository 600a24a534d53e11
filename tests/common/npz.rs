//! Arrays of NumPy's `.npz` files, read by crates that know nothing of this one.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)] // each binary uses a part of it

use std::{
    fs::File,
    io::{Cursor, Read},
    path::Path,
};

use npyz::NpyFile;
use wgpu_rnn::Tensor;
use zip::ZipArchive;

fn open(path: &Path) -> ZipArchive<File> {
    ZipArchive::new(File::open(path).unwrap()).unwrap()
}

/// The names of the arrays, in the order of the file.
pub fn names(path: impl AsRef<Path>) -> Vec<String> {
    let archive = open(path.as_ref());
    (0..archive.len())
        .map(|i| archive.name_for_index(i).unwrap().unwrap().strip_suffix(".npy").unwrap().to_owned())
        .collect()
}

/// One array.
pub fn array(path: impl AsRef<Path>, name: &str) -> NpyFile<Cursor<Vec<u8>>> {
    let path = path.as_ref();
    let mut archive = open(path);
    let member = archive.by_name(&format!("{name}.npy"));
    let mut bytes = Vec::new();
    member.unwrap_or_else(|_| panic!("{} has no {name}", path.display())).read_to_end(&mut bytes).unwrap();
    NpyFile::new(Cursor::new(bytes)).unwrap()
}

/// One array as a tensor of the same type of numbers; truth values become 0 and 1.
pub fn tensor(path: impl AsRef<Path>, name: &str) -> Tensor {
    let array = array(path, name);
    let shape: Vec<usize> = array.shape().iter().map(|&dim| dim as usize).collect();
    match array.dtype().descr().trim_matches('\'') {
        "<i4" => Tensor::new(shape, array.into_vec::<i32>().unwrap()),
        "<i8" => Tensor::new(shape, array.into_vec::<i64>().unwrap()),
        "|b1" => {
            let values = array.into_vec::<bool>().unwrap().into_iter().map(i64::from);
            Tensor::new(shape, values.collect::<Vec<_>>())
        }
        "<f8" => Tensor::new(shape, array.into_vec::<f64>().unwrap()),
        _ => Tensor::new(shape, array.into_vec::<f32>().unwrap()),
    }
    .unwrap()
}
