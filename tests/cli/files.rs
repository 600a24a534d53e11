//! NumPy files made by hand and read by a crate that the program does not use.

use std::{
    fs::File,
    io::{BufReader, Write},
};

use npyz::NpyFile;
use zip::{ZipWriter, write::SimpleFileOptions};

use crate::npz;

/// An `.npy` file: version 1.0, float32, C order.
pub(crate) fn npy(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    npy_of("<f4", "False", shape, &data)
}

/// An `.npy` file of any type.
pub(crate) fn npy_of(descr: &str, fortran_order: &str, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let dims: String = shape.iter().map(|dim| format!("{dim}, ")).collect();
    npy_with(&format!("{{'descr': '{descr}', 'fortran_order': {fortran_order}, 'shape': ({dims}), }}"), data)
}

/// An `.npy` file with any header.
pub(crate) fn npy_with(dict: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{dict}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(data);
    bytes
}

/// Writes an `.npz` file of float32 arrays.
pub(crate) fn write_npz(path: &str, arrays: &[(&str, &[usize], Vec<f32>)]) {
    let mut zip = ZipWriter::new(File::create(path).unwrap());
    for (name, shape, values) in arrays {
        zip.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
        zip.write_all(&npy(shape, values)).unwrap();
    }
    zip.finish().unwrap();
}

/// Shape and values of an `.npy` file, which must be float32.
pub(crate) fn read_npy(path: &str) -> (Vec<u64>, Vec<f32>) {
    let file = NpyFile::new(BufReader::new(File::open(path).unwrap())).unwrap();
    (file.shape().to_vec(), file.into_vec().unwrap())
}

/// One array of an `.npz` file. Integers are converted.
pub(crate) fn read_npz(path: &str, name: &str) -> (Vec<u64>, Vec<f32>) {
    let tensor = npz::tensor(path, name);
    (tensor.shape().iter().map(|&dim| dim as u64).collect(), tensor.to_f32().into_owned())
}

/// An array of a golden file as `.npy` bytes.
pub(crate) fn golden_array(path: &str, name: &str) -> Vec<u8> {
    let (shape, values) = read_npz(path, name);
    npy(&shape.iter().map(|&dim| usize::try_from(dim).unwrap()).collect::<Vec<_>>(), &values)
}

/// Asserts that values are those of Keras.
#[track_caller]
pub(crate) fn assert_close(actual: &(Vec<u64>, Vec<f32>), expected: &(Vec<u64>, Vec<f32>)) {
    assert_eq!(actual.0, expected.0);
    for (index, (actual, expected)) in actual.1.iter().zip(&expected.1).enumerate() {
        assert!((actual - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{index}: {actual} for {expected}");
    }
}
