//! One array: `.npy` files and the members of an `.npz`.

use std::io::{self, Read, Write};

use half::f16;
use wgpu_rnn::{Data, Tensor};

use super::{
    Bad,
    header::{self, DType, Header},
};

/// Reads an array that must end where `reader` does. `size` is the length of the file where it is known.
pub(super) fn read(reader: &mut impl Read, size: Option<u64>) -> Result<Tensor, Bad> {
    let (header, header_bytes) = header::read(reader)?;
    let described = || format!("{} {:?}", header.dtype.name(), header.shape);
    let count = header.shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    let needed = count.and_then(|count| count.checked_mul(header.dtype.size()));
    let wrong = |found: String| Bad::Malformed {
        at: "data".to_owned(),
        expected: match needed {
            Some(needed) => format!("{needed} bytes for {}", described()),
            None => format!("a size that fits memory, for {}", described()),
        },
        found,
    };
    let Some(needed) = needed else {
        return Err(wrong("more".to_owned()));
    };
    if let Some(size) = size {
        let found = size.saturating_sub(header_bytes as u64);
        if found != needed as u64 {
            return Err(wrong(format!("{found} bytes")));
        }
    }
    let mut bytes = Vec::new();
    if size.is_some() {
        bytes.try_reserve_exact(needed).map_err(|cause| no_memory(needed, &cause))?;
    }
    // One byte more, to notice that there is more.
    reader.take(needed as u64 + 1).read_to_end(&mut bytes).map_err(Bad::Io)?;
    if bytes.len() != needed {
        let more = bytes.len() > needed;
        return Err(wrong(if more { "more".to_owned() } else { format!("{} bytes", bytes.len()) }));
    }
    let data = decode(&header, &bytes)?;
    drop(bytes);
    let data = if header.fortran_order { reordered(data, &header.shape)? } else { data };
    Tensor::new(header.shape, data).map_err(|error| Bad::Io(io::Error::other(error)))
}

fn no_memory(needed: usize, cause: &impl ToString) -> Bad {
    Bad::Limit { need: format!("{needed} bytes"), cause: cause.to_string() }
}

fn decode(header: &Header, bytes: &[u8]) -> Result<Data, Bad> {
    macro_rules! values {
        ($type:ty, $into:ty, $convert:expr) => {{
            const SIZE: usize = size_of::<$type>();
            let mut values: Vec<$into> = Vec::new();
            values
                .try_reserve_exact(bytes.len() / SIZE)
                .map_err(|cause| no_memory(bytes.len() / SIZE * size_of::<$into>(), &cause))?;
            for (index, chunk) in bytes.chunks_exact(SIZE).enumerate() {
                let mut array = [0; SIZE];
                array.copy_from_slice(chunk);
                let value =
                    if header.big_endian { <$type>::from_be_bytes(array) } else { <$type>::from_le_bytes(array) };
                let convert: fn($type, usize) -> Result<$into, Bad> = $convert;
                values.push(convert(value, index)?);
            }
            Data::from(values)
        }};
    }
    Ok(match header.dtype {
        // No ids and no lengths, but what a mask is made of.
        DType::Bool => values!(u8, f32, |x, _| Ok(f32::from(u8::from(x != 0)))),
        DType::F16 => values!(f16, f32, |x, _| Ok(x.to_f32())),
        DType::F32 => values!(f32, f32, |x, _| Ok(x)),
        DType::F64 => values!(f64, f64, |x, _| Ok(x)),
        DType::I8 => values!(i8, i64, |x, _| Ok(x.into())),
        DType::I16 => values!(i16, i64, |x, _| Ok(x.into())),
        DType::I32 => values!(i32, i64, |x, _| Ok(x.into())),
        DType::I64 => values!(i64, i64, |x, _| Ok(x)),
        DType::U8 => values!(u8, i64, |x, _| Ok(x.into())),
        DType::U16 => values!(u16, i64, |x, _| Ok(x.into())),
        DType::U32 => values!(u32, i64, |x, _| Ok(x.into())),
        DType::U64 => values!(u64, i64, |x, index| i64::try_from(x).map_err(|_| Bad::Malformed {
            at: format!("value {index}"),
            expected: "values that fit int64".to_owned(),
            found: x.to_string(),
        })),
    })
}

/// Values in Fortran's order (first axis fastest) put in C's (last axis fastest).
fn reordered(data: Data, shape: &[usize]) -> Result<Data, Bad> {
    Ok(match data {
        Data::F32(values) => Data::F32(transposed(&values, shape)?),
        Data::F64(values) => Data::F64(transposed(&values, shape)?),
        Data::I64(values) => Data::I64(transposed(&values, shape)?),
        _ => data,
    })
}

fn transposed<T: Copy>(values: &[T], shape: &[usize]) -> Result<Vec<T>, Bad> {
    let mut out = Vec::new();
    out.try_reserve_exact(values.len()).map_err(|cause| no_memory(size_of_val(values), &cause))?;
    // `index` counts in C's order; `at` is the same element's place in Fortran's.
    let (mut index, mut at) = (vec![0; shape.len()], 0);
    for _ in 0..values.len() {
        out.extend(values.get(at).copied());
        let mut stride = values.len();
        for (position, &dim) in index.iter_mut().zip(shape).rev() {
            stride /= dim;
            *position += 1;
            at += stride;
            if *position < dim {
                break;
            }
            *position = 0;
            at -= stride * dim;
        }
    }
    Ok(out)
}

/// Writes an array of float32, version 1.0, in C's order.
pub(crate) fn write(out: &mut impl Write, tensor: &Tensor) -> io::Result<()> {
    write_header(out, "<f4", tensor.shape())?;
    for value in tensor.to_f32().iter() {
        out.write_all(&value.to_le_bytes())?;
    }
    Ok(())
}

/// Writes bytes as an array of one axis.
pub(super) fn write_bytes(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    write_header(out, "|u1", &[bytes.len()])?;
    out.write_all(bytes)
}

fn write_header(out: &mut impl Write, descr: &str, shape: &[usize]) -> io::Result<()> {
    let dims: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let comma = if dims.len() == 1 { "," } else { "" };
    let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}", dims.join(", "));
    // Values start at a multiple of 64.
    let length = (10 + dict.len() + 1).next_multiple_of(64) - 10;
    let short = u16::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&short.to_le_bytes())?;
    writeln!(out, "{dict:<width$}", width = length - 1)
}

/// The number of bytes that [`write`] writes, about.
pub(super) fn written_size(tensor: &Tensor) -> u64 {
    tensor.len() as u64 * 4 + (1 << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(descr: &str, order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let dict = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(u16::try_from(dict.len()).unwrap().to_le_bytes());
        bytes.extend(dict.bytes());
        bytes.extend(data);
        bytes
    }

    fn read_all(bytes: &[u8]) -> Result<Tensor, String> {
        let read = |size| read(&mut &*bytes, size).map_err(|bad| bad.into_error("x").to_string());
        let known = read(Some(bytes.len() as u64));
        assert_eq!(known.is_ok(), read(None).is_ok());
        known
    }

    #[test]
    fn every_dtype_in_both_byte_orders() {
        let check = |descr: &str, little: &[u8], expected: Data| {
            let big: Vec<u8> = little.iter().rev().copied().collect();
            for (order, bytes) in [("<", little), (">", &big)] {
                let bytes = file(&format!("{order}{descr}"), "False", "(1,)", bytes);
                assert_eq!(read_all(&bytes).unwrap(), Tensor::new([1], expected.clone()).unwrap(), "{order}{descr}");
            }
        };
        check("f2", &f16::from_f32(1.5).to_le_bytes(), vec![1.5f32].into());
        check("f4", &1.5f32.to_le_bytes(), vec![1.5f32].into());
        check("f8", &1.5f64.to_le_bytes(), vec![1.5f64].into());
        check("i1", &(-2i8).to_le_bytes(), vec![-2i64].into());
        check("i2", &(-2i16).to_le_bytes(), vec![-2i64].into());
        check("i4", &(-2i32).to_le_bytes(), vec![-2i64].into());
        check("i8", &(-2i64).to_le_bytes(), vec![-2i64].into());
        check("u1", &[200], vec![200i64].into());
        check("u2", &50_000u16.to_le_bytes(), vec![50_000i64].into());
        check("u4", &3_000_000_000u32.to_le_bytes(), vec![3_000_000_000i64].into());
        check("u8", &7u64.to_le_bytes(), vec![7i64].into());
        assert_eq!(read_all(&file("|b1", "False", "(2,)", &[0, 1])).unwrap().to_f32(), [0.0, 1.0].as_slice());
        let huge = file("<u8", "False", "(1,)", &u64::MAX.to_le_bytes());
        assert_eq!(
            read_all(&huge).unwrap_err(),
            "x: value 0: expected values that fit int64, found 18446744073709551615"
        );
    }

    #[test]
    fn fortran_order_is_put_right() {
        let tensor = read_all(&file("|u1", "True", "(2, 3)", &[0, 10, 1, 11, 2, 12])).unwrap();
        assert_eq!(*tensor.data(), vec![0i64, 1, 2, 10, 11, 12].into());
        // [2, 3, 2] with values 100 i + 10 j + k.
        let fortran: Vec<u8> =
            (0..2u8).flat_map(|k| (0..3).flat_map(move |j| (0..2).map(move |i| 100 * i + 10 * j + k))).collect();
        let c: Vec<u8> =
            (0..2u8).flat_map(|i| (0..3).flat_map(move |j| (0..2).map(move |k| 100 * i + 10 * j + k))).collect();
        assert_eq!(*read_all(&file("|u1", "True", "(2, 3, 2)", &fortran)).unwrap().data(), c.into());
        assert_eq!(read_all(&file("|u1", "True", "()", &[5])).unwrap().len(), 1);
        assert!(read_all(&file("|u1", "True", "(0, 3)", &[])).unwrap().is_empty());
    }

    #[test]
    fn lengths_must_be_exact_and_are_checked_before_memory_is_taken() {
        let text = |shape: &str, data: &[u8]| read_all(&file("<f4", "False", shape, data)).unwrap_err();
        assert_eq!(text("(2,)", &[0; 7]), "x: data: expected 8 bytes for float32 [2], found 7 bytes");
        assert_eq!(text("(2,)", &[0; 9]), "x: data: expected 8 bytes for float32 [2], found 9 bytes");
        let shape = "(1000000, 1000000)";
        assert_eq!(
            text(shape, &[]),
            "x: data: expected 4000000000000 bytes for float32 [1000000, 1000000], found 0 bytes"
        );
        let shape = "(4294967296, 4294967296)";
        assert_eq!(
            text(shape, &[]),
            "x: data: expected a size that fits memory, for float32 [4294967296, 4294967296], found more"
        );
    }

    #[test]
    fn what_is_written_is_read() {
        for shape in [vec![], vec![3], vec![2, 3], vec![0, 4]] {
            let count = shape.iter().product::<usize>();
            let tensor = Tensor::new(shape, (0..count).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
            let mut bytes = Vec::new();
            write(&mut bytes, &tensor).unwrap();
            assert_eq!((bytes.len() - 4 * count) % 64, 0);
            assert_eq!(read_all(&bytes).unwrap(), tensor);
        }
    }

    #[test]
    fn cut_anywhere_is_refused() {
        let whole = file("<f4", "False", "(2,)", &[0; 8]);
        for length in 0..whole.len() {
            assert!(read_all(&whole[..length]).is_err(), "{length}");
        }
        let mut long = b"\x93NUMPY\x02\x00".to_vec();
        long.extend(u32::MAX.to_le_bytes());
        assert_eq!(
            read_all(&long).unwrap_err(),
            "x: header length: expected at most 65536 bytes, found 4294967295 bytes"
        );
    }
}
