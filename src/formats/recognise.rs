//! What kind of file it is, by its first bytes.

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A zip archive: Keras' `.keras`.
    Zip,
    /// safetensors: a PyTorch state dict, or this crate's own.
    Safetensors,
    /// A protocol buffer: ONNX.
    Onnx,
    /// A pickle, or a zip archive of one: what `torch.save` writes.
    Pickle,
    /// HDF5: Keras' `.h5`.
    Hdf5,
    /// JSON: the configuration of a model in a folder, or the map of its weights.
    Json,
    /// Something else.
    Unknown,
}

/// How many bytes [`recognise`] looks at.
pub(super) const HEAD: usize = 256;

/// Tells the kind of a file of `length` bytes that begins with `head`.
pub(super) fn recognise(head: &[u8], length: u64) -> Kind {
    match head {
        [b'P', b'K', 3, 4, ..] if first_member(head).is_some_and(is_of_torch) => Kind::Pickle,
        [b'P', b'K', ..] => Kind::Zip,
        [b'\x89', b'H', b'D', b'F', b'\r', b'\n', 0x1a, b'\n', ..] => Kind::Hdf5,
        // The protocol that a pickle begins with; no length of a header of safetensors looks so.
        [0x80, 2..=5, rest @ ..] if rest.get(6) != Some(&b'{') => Kind::Pickle,
        _ if is_safetensors(head, length) => Kind::Safetensors,
        // Its first field is the version of the format, a small number.
        [0x08, 1..=0x7f, ..] => Kind::Onnx,
        _ if head.trim_ascii_start().starts_with(b"{") => Kind::Json,
        _ => Kind::Unknown,
    }
}

fn is_safetensors(head: &[u8], length: u64) -> bool {
    let size = head.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    head.get(8) == Some(&b'{') && size.is_some_and(|size| size <= length)
}

/// The name of the first member of a zip archive.
fn first_member(head: &[u8]) -> Option<&[u8]> {
    let length = head.get(26..28)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))?;
    head.get(30..30 + usize::from(length))
}

/// `torch.save` puts all members into one folder, the pickle first.
fn is_of_torch(name: &[u8]) -> bool {
    const MEMBERS: [&[u8]; 5] = [b"/data.pkl", b"/constants.pkl", b"/version", b"/byteorder", b"/.format_version"];
    MEMBERS.iter().any(|member| name.ends_with(member))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart() {
        let zip = |name: &str| {
            let mut head = b"PK\x03\x04".to_vec();
            head.resize(26, 0);
            head.extend([name.len() as u8, 0, 0, 0]);
            head.extend(name.as_bytes());
            head
        };
        assert_eq!(recognise(&zip("metadata.json"), 999), Kind::Zip);
        assert_eq!(recognise(&zip("archive/data.pkl"), 999), Kind::Pickle);
        assert_eq!(recognise(b"\x80\x02\x8a\nl\xfc\x9cF\xf9", 999), Kind::Pickle);
        assert_eq!(recognise(b"\x02\0\0\0\0\0\0\0{}", 10), Kind::Safetensors);
        assert_eq!(recognise(b"\x80\x02\0\0\0\0\0\0{\"a\"", 700), Kind::Safetensors);
        assert_eq!(recognise(b"\xff\0\0\0\0\0\0\0{}", 10), Kind::Unknown);
        assert_eq!(recognise(b"\x08\x07\x12\x07pytorch", 99), Kind::Onnx);
        assert_eq!(recognise(b"\x08\x01\0\0\0\0\0\0{\"a\"", 999), Kind::Safetensors);
        assert_eq!(recognise(b"\x89HDF\r\n\x1a\n\0", 999), Kind::Hdf5);
        assert_eq!(recognise(b"\n { \"module\": 1}", 16), Kind::Json);
        assert_eq!(recognise(b"", 0), Kind::Unknown);
    }
}
