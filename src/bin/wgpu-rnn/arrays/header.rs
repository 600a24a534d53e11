//! The header of an `.npy` file: magic, version, and a Python dict with three known keys. Parsed by
//! hand, since files may be hostile: no recursion, no arithmetic that can overflow, a length limit.

use std::io::{self, Read};

use super::{Bad, Refused};
use crate::failure::shown;

/// Longest header text. NumPy writes a few hundred bytes and reads 10,000.
const MAX_HEADER: usize = 1 << 16;
/// NumPy's own limit.
const MAX_DIMS: usize = 64;

/// What the header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) dtype: DType,
    pub(super) big_endian: bool,
    pub(super) fortran_order: bool,
    pub(super) shape: Vec<usize>,
}

/// The element types that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DType {
    Bool,
    F16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
}

impl DType {
    pub(super) fn size(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::F16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::F16 => "float16",
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::U8 => "uint8",
            Self::U16 => "uint16",
            Self::U32 => "uint32",
            Self::U64 => "uint64",
        }
    }
}

/// Reads the header; `reader` is then at the first value. Also gives the number of bytes read.
pub(super) fn read(reader: &mut impl Read) -> Result<(Header, usize), Bad> {
    let mut start = [0; 8];
    fill(reader, &mut start, "magic bytes")?;
    let [0x93, b'N', b'U', b'M', b'P', b'Y', major, minor] = start else {
        return Err(malformed("magic bytes", "\\x93NUMPY", "something else"));
    };
    let (length_bytes, length) = match (major, minor) {
        (1, 0) => {
            let mut length = [0; 2];
            fill(reader, &mut length, "header length")?;
            (2, usize::from(u16::from_le_bytes(length)))
        }
        (2 | 3, 0) => {
            let mut length = [0; 4];
            fill(reader, &mut length, "header length")?;
            (4, usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX))
        }
        _ => return Err(malformed("version", "1.0, 2.0 or 3.0", format!("{major}.{minor}"))),
    };
    if length > MAX_HEADER {
        return Err(malformed("header length", format!("at most {MAX_HEADER} bytes"), format!("{length} bytes")));
    }
    let mut text = vec![0; length];
    fill(reader, &mut text, "header")?;
    let text = std::str::from_utf8(&text).map_err(|_| malformed("header", "text", "bytes that are no UTF-8"))?;
    Ok((parse(text)?, start.len() + length_bytes + length))
}

fn fill(reader: &mut impl Read, bytes: &mut [u8], at: &str) -> Result<(), Bad> {
    let expected = bytes.len();
    reader.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => malformed(at, format!("{expected} bytes"), "the end of the file"),
        _ => Bad::Io(error),
    })
}

fn malformed(at: &str, expected: impl Into<String>, found: impl Into<String>) -> Bad {
    Bad::Malformed { at: at.to_owned(), expected: expected.into(), found: found.into() }
}

fn parse(text: &str) -> Result<Header, Bad> {
    let mut rest = Rest(text);
    let (mut descr, mut order, mut shape) = (None, None, None);
    rest.expect('{')?;
    while !rest.take('}') {
        let key = rest.string()?;
        rest.expect(':')?;
        let again = match key {
            "descr" => descr.replace(rest.dtype()?).is_some(),
            "fortran_order" => order.replace(rest.boolean()?).is_some(),
            "shape" => shape.replace(rest.shape()?).is_some(),
            _ => return Err(rest.bad("the keys 'descr', 'fortran_order' and 'shape'")),
        };
        if again {
            return Err(rest.bad("each key once"));
        }
        if !rest.take(',') {
            rest.expect('}')?;
            break;
        }
    }
    if !rest.0.trim().is_empty() {
        return Err(rest.bad("nothing after the dict"));
    }
    let ((Some((dtype, big_endian)), Some(fortran_order)), Some(shape)) = ((descr, order), shape) else {
        return Err(malformed("header", "the keys 'descr', 'fortran_order' and 'shape'", "fewer"));
    };
    Ok(Header { dtype, big_endian, fortran_order, shape })
}

/// What is left of the header.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn bad(&self, expected: &str) -> Bad {
        let found = shown(self.0.trim_start(), 24);
        malformed("header", expected, if found.is_empty() { "its end".to_owned() } else { format!("`{found}`") })
    }

    fn take(&mut self, token: char) -> bool {
        let stripped = self.0.trim_start().strip_prefix(token);
        self.0 = stripped.unwrap_or(self.0);
        stripped.is_some()
    }

    fn expect(&mut self, token: char) -> Result<(), Bad> {
        if self.take(token) { Ok(()) } else { Err(self.bad(&format!("`{token}`"))) }
    }

    fn string(&mut self) -> Result<&'a str, Bad> {
        let quote = if self.take('"') { '"' } else { '\'' };
        if quote == '\'' {
            self.expect('\'')?;
        }
        let (string, rest) = self.0.split_once(quote).ok_or_else(|| self.bad("a string that ends"))?;
        self.0 = rest;
        Ok(string)
    }

    fn boolean(&mut self) -> Result<bool, Bad> {
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.0.trim_start().strip_prefix(word) {
                self.0 = rest;
                return Ok(value);
            }
        }
        Err(self.bad("True or False"))
    }

    fn shape(&mut self) -> Result<Vec<usize>, Bad> {
        let mut shape = Vec::new();
        self.expect('(')?;
        while !self.take(')') {
            let digits = self.0.trim_start();
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            let (number, rest) = digits.split_at(end);
            shape.push(number.parse().map_err(|_| self.bad("a dimension"))?);
            // Python 2 wrote an L after some.
            self.0 = rest.strip_prefix('L').unwrap_or(rest);
            if shape.len() > MAX_DIMS {
                return Err(malformed("shape", format!("at most {MAX_DIMS} dimensions"), "more"));
            }
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(shape)
    }

    /// The element type and whether its bytes are big-endian.
    fn dtype(&mut self) -> Result<(DType, bool), Bad> {
        if self.0.trim_start().starts_with('[') {
            return Err(Bad::Refused(Refused::Structured));
        }
        let descr = self.string()?;
        let (order, kind) = match descr.chars().next() {
            Some(order @ ('<' | '>' | '|' | '=')) => (order, descr.get(1..).unwrap_or_default()),
            _ => ('=', descr),
        };
        let dtype = match kind {
            "f2" => DType::F16,
            "f4" => DType::F32,
            "f8" => DType::F64,
            "i1" => DType::I8,
            "i2" => DType::I16,
            "i4" => DType::I32,
            "i8" => DType::I64,
            "b1" | "?" => DType::Bool,
            "u1" => DType::U8,
            "u2" => DType::U16,
            "u4" => DType::U32,
            "u8" => DType::U64,
            kind if kind.starts_with('O') => return Err(Bad::Refused(Refused::Objects)),
            _ => {
                return Err(Bad::Refused(Refused::DType(shown(descr, 24))));
            }
        };
        Ok((dtype, order == '>' || (order == '=' && cfg!(target_endian = "big"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(text: &str) -> Header {
        parse(text).unwrap_or_else(|bad| panic!("{text}: {}", bad.into_error("x")))
    }

    #[test]
    fn headers_that_numpy_writes() {
        let header = ok("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }   \n");
        let expected = Header { dtype: DType::F32, big_endian: false, fortran_order: false, shape: vec![3, 4] };
        assert_eq!(header, expected);
        assert_eq!(ok("{'descr':'>i8','fortran_order':True,'shape':()}").shape, Vec::<usize>::new());
        assert!(ok("{'descr':'>i8','fortran_order':True,'shape':()}").big_endian);
        assert_eq!(ok("{\"shape\": (7L,), 'fortran_order': False, 'descr': '|b1'}").dtype, DType::Bool);
        assert_eq!(ok("{'shape': (7,), 'fortran_order': False, 'descr': 'f8'}").dtype, DType::F64);
    }

    #[test]
    fn headers_that_are_wrong() {
        let rest = "'fortran_order': False, 'shape': (3,)";
        for (text, expected) in [
            (
                format!("{{'descr': '|O', {rest}}}"),
                "x: object arrays hold Python pickles, which can run code; save with dtype float32",
            ),
            (
                format!("{{'descr': [('a', '<f4')], {rest}}}"),
                "x: structured dtype is not supported; save one plain array per file",
            ),
            (
                format!("{{'descr': '<c8', {rest}}}"),
                "x: dtype '<c8' is not supported; save with dtype float32, or int32 for token ids",
            ),
            (format!("{{'descr': '<f4', {rest}"), "x: header: expected `}`, found its end"),
            (
                format!("{{'descr': '<f4', 'descr': '<f4', {rest}}}"),
                "x: header: expected each key once, found `, 'fortran_order': False`",
            ),
            (format!("{{{rest}}}"), "x: header: expected the keys 'descr', 'fortran_order' and 'shape', found fewer"),
            (
                "{'descr': '<f4', 'fortran_order': 1, 'shape': (3,)}".to_owned(),
                "x: header: expected True or False, found `1, 'shape': (3,)}`",
            ),
            ("{'shape': (-3,)}".to_owned(), "x: header: expected a dimension, found `-3,)}`"),
            (
                "{'shape': (99999999999999999999999,)}".to_owned(),
                "x: header: expected a dimension, found `99999999999999999999999,`",
            ),
            ("{'shape': ((((((((((3,)}".to_owned(), "x: header: expected a dimension, found `(((((((((3,)}`"),
            (
                "{'other': 1}".to_owned(),
                "x: header: expected the keys 'descr', 'fortran_order' and 'shape', found `1}`",
            ),
            (
                format!("{{'descr': '<f4', {rest}}} import os"),
                "x: header: expected nothing after the dict, found `import os`",
            ),
        ] {
            assert_eq!(parse(&text).map_err(|bad| bad.into_error("x").to_string()), Err(expected.to_owned()));
        }
    }
}
