//! The texts in attributes of HDF5 objects. Each may refer to a text that lies elsewhere in the file,
//! any number of them to the same one: what they make together is bounded by the size of the file.

use std::collections::BTreeMap;

use hdf5_reader::{Dataset, Datatype, RawAttribute, StringSize, VarLenKind, group::Group};

use super::archive::malformed;
use crate::error::{Result, bytes};

/// Bytes of a reference to a text: length, address, index.
const LENGTH: usize = 4;
const INDEX: usize = 4;
/// Bytes of the header of a collection of texts: signature, version, reserved, size.
const SIZE_AT: usize = 8;

/// The texts of an attribute of `group` of a file of `length` bytes; `place` is what messages call the group.
pub(super) fn texts(group: &Group, attribute: &RawAttribute, place: &str, length: u64) -> Result<Vec<String>> {
    let message = attribute.message();
    let wrong = |found: String| malformed(format!("{place}: {}", attribute.name()), "texts", found);
    let count = message.dataspace.num_elements().map_err(|cause| wrong(cause.to_string()))?;
    let data = message.raw_data.as_slice();
    let utf8 = |text: Vec<u8>| String::from_utf8(text).map_err(|_| wrong("bytes that are not UTF-8".to_owned()));
    let elements = |width: usize| -> Result<std::slice::ChunksExact<'_, u8>> {
        let needed = usize::try_from(count).ok().and_then(|count| count.checked_mul(width));
        let found = needed.filter(|_| width > 0).and_then(|needed| data.get(..needed));
        let found = found.ok_or_else(|| wrong(format!("{count} elements in {}", bytes(data.len() as u64))))?;
        Ok(found.chunks_exact(width))
    };
    match &message.datatype {
        // What an empty list is written as.
        _ if count == 0 => Ok(Vec::new()),
        Datatype::String { size: StringSize::Fixed(width), .. } => {
            let width = usize::try_from(*width).map_err(|_| wrong(format!("texts of {width} bytes")))?;
            let until_zero = |text: &[u8]| text.iter().copied().take_while(|&byte| byte != 0).collect();
            elements(width)?.map(|text| utf8(until_zero(text))).collect()
        }
        Datatype::String { size: StringSize::Variable, .. } | Datatype::VarLen { kind: VarLenKind::String, .. } => {
            let width = LENGTH + usize::from(group.offset_size()) + INDEX;
            within_file(group, elements(width)?, length).map_err(wrong)?;
            elements(width)?
                .map(|reference| {
                    let text = group.resolve_vlen_reference_bytes(reference, 1);
                    utf8(text.map_err(|cause| wrong(cause.to_string()))?)
                })
                .collect()
        }
        _ => Err(wrong("values of another type".to_owned())),
    }
}

/// Checks that the texts, and the collections that they lie in, can all be there side by side.
fn within_file<'a>(
    group: &Group,
    references: impl Iterator<Item = &'a [u8]>,
    length: u64,
) -> std::result::Result<(), String> {
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |number, &byte| (number << 8) | u64::from(byte));
    let (mut texts, mut collections) = (0u64, BTreeMap::new());
    for reference in references {
        let (count, rest) = reference.split_at_checked(LENGTH).unwrap_or_default();
        let address = rest.split_at_checked(usize::from(group.offset_size())).map_or(0, |(address, _)| number(address));
        texts = texts.saturating_add(number(count));
        let sized = usize::from(group.length_size());
        collections.entry(address).or_insert_with(|| {
            let header = group.storage().read_range(address, SIZE_AT + sized).ok();
            header.as_ref().and_then(|header| header.as_ref().get(SIZE_AT..).map(number)).unwrap_or(0)
        });
    }
    let collections = collections.values().fold(0u64, |sum, &size| sum.saturating_add(size));
    if texts.max(collections) > length {
        return Err(format!("{} of them in a file of {}", bytes(texts.max(collections)), bytes(length)));
    }
    Ok(())
}

/// Whether Keras marked the values as bfloat16: with one attribute of one text.
pub(super) fn is_bfloat16(dataset: &Dataset) -> bool {
    let one = |attribute: &RawAttribute| matches!(attribute.message().dataspace.num_elements(), Ok(1));
    let alone = dataset.raw_attributes().is_ok_and(|all| matches!(all.as_slice(), [only] if one(only)));
    let text = || dataset.attribute("dtype").and_then(|attribute| attribute.read_string());
    alone && text().is_ok_and(|text| text == "bfloat16")
}
