//! The wire format of protocol buffers, read in place: every value is a slice of the file, so that
//! nothing is allocated for a size that the file merely claims. Nothing here recurses.

use crate::error::{Error, Result};

/// A message, or a run of packed values, inside a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<'a> {
    pub(super) bytes: &'a [u8],
    /// Where it starts in the file.
    pub(super) offset: usize,
}

/// The value of a field.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(Span<'a>),
}

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub(super) number: u64,
    pub(super) offset: usize,
    value: Value<'a>,
}

/// The fields of a message, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    span: Span<'a>,
    message: &'static str,
}

/// The error for a place in a file.
pub(super) fn malformed(offset: usize, what: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
    let at = format!("byte {offset} ({what})");
    Error::Malformed { file: String::new(), at, expected: expected.into(), found: found.into() }
}

impl<'a> Span<'a> {
    pub(super) fn whole(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// The fields of the message of that name that this is.
    pub(super) fn fields(self, message: &'static str) -> Fields<'a> {
        Fields { span: self, message }
    }

    /// This as a text.
    pub(super) fn text(self, what: &str) -> Result<&'a str> {
        std::str::from_utf8(self.bytes).map_err(|_| malformed(self.offset, what, "UTF-8", "other bytes"))
    }

    /// Takes `count` bytes off the front.
    fn take(&mut self, count: u64, what: &str) -> Result<Self> {
        let split = usize::try_from(count).ok().and_then(|count| self.bytes.split_at_checked(count));
        let Some((taken, rest)) = split else {
            let left = self.bytes.len();
            return Err(malformed(self.offset, what, format!("{count} bytes"), format!("{left} bytes before the end")));
        };
        let taken = Self { bytes: taken, offset: self.offset };
        *self = Self { bytes: rest, offset: self.offset + taken.bytes.len() };
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let taken = self.take(N as u64, what)?;
        taken.bytes.try_into().map_err(|_| Error::internal("a slice of another length"))
    }

    /// Takes a variable-length integer off the front.
    pub(super) fn varint(&mut self, what: &str) -> Result<u64> {
        let mut value = 0u64;
        for (index, &byte) in self.bytes.iter().take(10).enumerate() {
            // The tenth byte has room for one bit.
            if index == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.take(index as u64 + 1, what)?;
                return Ok(value);
            }
        }
        Err(malformed(self.offset, what, "an integer of at most 64 bits", "none"))
    }
}

impl<'a> Fields<'a> {
    /// The next field, if the message has not ended.
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>> {
        let Self { span, message } = self;
        if span.bytes.is_empty() {
            return Ok(None);
        }
        let offset = span.offset;
        let key = span.varint(message)?;
        let number = key >> 3;
        let value = match key & 7 {
            0 => Value::Varint(span.varint(message)?),
            1 => Value::Fixed64(u64::from_le_bytes(span.take_array(message)?)),
            2 => {
                let length = span.varint(message)?;
                Value::Bytes(span.take(length, message)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(span.take_array(message)?)),
            kind => return Err(malformed(offset, message, "a field of a known kind", format!("kind {kind}"))),
        };
        if number == 0 {
            return Err(malformed(offset, message, "a field number", "0"));
        }
        Ok(Some(Field { number, offset, value }))
    }
}

impl<'a> Field<'a> {
    fn wrong<T>(&self, expected: &str) -> Result<T> {
        let found = match self.value {
            Value::Varint(_) => "an integer",
            Value::Fixed64(_) => "8 bytes",
            Value::Fixed32(_) => "4 bytes",
            Value::Bytes(_) => "a string of bytes",
        };
        Err(malformed(self.offset, &format!("field {}", self.number), expected, found))
    }

    pub(super) fn span(&self) -> Result<Span<'a>> {
        match self.value {
            Value::Bytes(span) => Ok(span),
            _ => self.wrong("a string of bytes"),
        }
    }

    pub(super) fn text(&self, what: &str) -> Result<&'a str> {
        self.span()?.text(what)
    }

    #[allow(clippy::cast_possible_wrap)] // negative numbers are stored so
    pub(super) fn int(&self) -> Result<i64> {
        match self.value {
            Value::Varint(value) => Ok(value as i64),
            _ => self.wrong("an integer"),
        }
    }

    pub(super) fn float(&self) -> Result<f32> {
        match self.value {
            Value::Fixed32(bits) => Ok(f32::from_bits(bits)),
            _ => self.wrong("4 bytes"),
        }
    }

    /// Calls `each` with the integers of a repeated field, packed or not.
    #[allow(clippy::cast_possible_wrap)] // negative numbers are stored so
    pub(super) fn ints(&self, mut each: impl FnMut(i64) -> Result<()>) -> Result<()> {
        match self.value {
            Value::Varint(value) => each(value as i64),
            Value::Bytes(mut span) => {
                while !span.bytes.is_empty() {
                    each(span.varint("packed integers")? as i64)?;
                }
                Ok(())
            }
            _ => self.wrong("integers"),
        }
    }

    /// The 4-byte values of a repeated field, packed or not, as bytes in little-endian order.
    pub(super) fn fixed32(&self, each: impl FnMut([u8; 4]) -> Result<()>) -> Result<()> {
        match self.value {
            Value::Fixed32(bits) => std::iter::once(bits.to_le_bytes()).try_for_each(each),
            Value::Bytes(span) => whole(span, each),
            _ => self.wrong("values of 4 bytes"),
        }
    }

    /// The 8-byte values of a repeated field, packed or not, as bytes in little-endian order.
    pub(super) fn fixed64(&self, each: impl FnMut([u8; 8]) -> Result<()>) -> Result<()> {
        match self.value {
            Value::Fixed64(bits) => std::iter::once(bits.to_le_bytes()).try_for_each(each),
            Value::Bytes(span) => whole(span, each),
            _ => self.wrong("values of 8 bytes"),
        }
    }
}

fn whole<const N: usize>(span: Span<'_>, each: impl FnMut([u8; N]) -> Result<()>) -> Result<()> {
    let (values, rest) = span.bytes.as_chunks::<N>();
    if !rest.is_empty() {
        let found = format!("{} bytes", span.bytes.len());
        return Err(malformed(span.offset, "packed values", format!("a multiple of {N} bytes"), found));
    }
    values.iter().copied().try_for_each(each)
}
