//! Arrays that are broken, that lie, or that are not what they should be.

use std::io::Write;

use crate::{
    Folder,
    files::{npy, npy_of, npy_with},
    golden, wgpu_rnn,
};

/// The refusal of an input file, without its path.
fn refusal(folder: &Folder, bytes: &[u8]) -> String {
    let input = folder.write("x.npy", bytes);
    let output = folder.path("y.npy");
    let error = wgpu_rnn(&["run", &golden("lstm.keras"), "-i", &input, "-o", &output, "--device", "cpu"]).error(3);
    error.strip_prefix(&format!("{input}: ")).unwrap_or_else(|| panic!("{error}")).to_owned()
}

#[test]
fn hostile_arrays_are_refused() {
    let folder = Folder::new();
    let shape = "'fortran_order': False, 'shape': (1, 5, 4)";
    let zeros = [0; 80];
    let mut long = b"\x93NUMPY\x02\x00".to_vec();
    long.extend(u32::MAX.to_le_bytes());
    for (bytes, expected) in [
        (
            npy_with(&format!("{{'descr': '|O', {shape}}}"), b"\x80\x04cos\nsystem\n"),
            "object arrays hold Python pickles, which can run code; save with dtype float32",
        ),
        (
            npy_with(&format!("{{'descr': [('a', '<f4')], {shape}}}"), &zeros),
            "structured dtype is not supported; save one plain array per file",
        ),
        (
            npy_of("<c8", "False", &[1, 5, 4], &[0; 160]),
            "dtype '<c8' is not supported; save with dtype float32, or int32 for token ids",
        ),
        (
            npy_of("<U3", "False", &[1, 5, 4], &zeros),
            "dtype '<U3' is not supported; save with dtype float32, or int32 for token ids",
        ),
        (b"".to_vec(), "magic bytes: expected 8 bytes, found the end of the file"),
        (b"hello, hello".to_vec(), "magic bytes: expected \\x93NUMPY, found something else"),
        (b"\x93NUMPY\x09\x00aaaa".to_vec(), "version: expected 1.0, 2.0 or 3.0, found 9.0"),
        (long, "header length: expected at most 65536 bytes, found 4294967295 bytes"),
        (
            npy_of("<f4", "False", &[1, 5, 4], &zeros[1..]),
            "data: expected 80 bytes for float32 [1, 5, 4], found 79 bytes",
        ),
        (
            [npy_of("<f4", "False", &[1, 5, 4], &zeros), vec![0]].concat(),
            "data: expected 80 bytes for float32 [1, 5, 4], found 81 bytes",
        ),
        (
            npy_of("<f4", "False", &[100_000, 100_000, 4], &zeros),
            "data: expected 160000000000 bytes for float32 [100000, 100000, 4], found 80 bytes",
        ),
        (
            npy_of("<f4", "False", &[usize::MAX, 2, 4], &zeros),
            "data: expected a size that fits memory, for float32 [18446744073709551615, 2, 4], found more",
        ),
        (
            npy_with("{'descr': '<f4', 'fortran_order': False, 'shape': (((((((((((((((((", &zeros),
            "header: expected a dimension, found `((((((((((((((((\\n`",
        ),
        (
            npy_with("{'descr': '<f4', 'fortran_order': False, 'shape': __import__('os')}", &zeros),
            "header: expected `(`, found `__import__('os')}\\n`",
        ),
    ] {
        assert_eq!(refusal(&folder, &bytes), expected);
    }
    assert_eq!(folder.files(), ["x.npy"]);
}

#[test]
fn damaged_arrays_never_break_the_program() {
    let folder = Folder::new();
    let whole = npy(&[1, 5, 4], &[0.5; 20]);
    for length in (0..whole.len()).step_by(13) {
        refusal(&folder, &whole[..length]);
    }
    let (input, output) = (folder.path("x.npy"), folder.path("y.npy"));
    for at in (0..whole.len() - 80).step_by(7) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x15;
        folder.write("x.npy", &flipped);
        let done = wgpu_rnn(&["run", &golden("lstm.keras"), "-i", &input, "-o", &output, "--device", "cpu"]);
        assert!(done.code == 0 || done.code == 3, "{at}: {done:?}");
    }
}

/// A ZIP archive with one member, which says that it has `claimed` bytes.
fn zip(name: &str, data: &[u8], claimed: u32) -> Vec<u8> {
    let mut crc = !0u32;
    for &byte in data {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (!(crc & 1)).wrapping_add(1));
        }
    }
    let length = u32::try_from(data.len()).unwrap();
    let name_length = u16::try_from(name.len()).unwrap();
    let mut fields = Vec::new();
    fields.extend(20u16.to_le_bytes()); // version needed
    fields.extend([0; 8]); // flags, stored, time, date
    fields.extend((!crc).to_le_bytes());
    fields.extend(length.to_le_bytes());
    fields.extend(claimed.to_le_bytes());
    fields.extend(name_length.to_le_bytes());
    fields.extend([0; 2]); // extra length
    let mut bytes = b"PK\x03\x04".to_vec();
    bytes.extend(&fields);
    bytes.extend(name.bytes());
    bytes.extend(data);
    let directory = u32::try_from(bytes.len()).unwrap();
    bytes.extend(b"PK\x01\x02\x14\x00");
    bytes.extend(&fields);
    bytes.extend([0; 14]); // comment, disk, attributes, offset
    bytes.extend(name.bytes());
    let size = u32::try_from(bytes.len()).unwrap() - directory;
    bytes.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    bytes.extend(size.to_le_bytes());
    bytes.extend(directory.to_le_bytes());
    bytes.extend([0; 2]);
    bytes
}

#[test]
fn hostile_archives_are_refused() {
    let folder = Folder::new();
    let array = npy(&[1, 5, 4], &[0.5; 20]);
    let length = u32::try_from(array.len()).unwrap();
    let (input, output) = (folder.write("x.npz", &zip("input_layer.npy", &array, length)), folder.path("y.npy"));
    wgpu_rnn(&["run", &golden("lstm.keras"), "-i", &input, "-o", &output, "--device", "cpu"]).ok();
    let objects = npy_of("|O", "False", &[1], b"\x80\x04N.");
    let long = u32::try_from(objects.len()).unwrap();
    for (bytes, expected) in [
        (
            zip("input_layer.txt", &array, length),
            "member 'input_layer.txt': expected a name that ends in .npy, found another",
        ),
        (
            zip("input_layer.npy", &objects, long),
            "member 'input_layer.npy': object arrays hold Python pickles, which can run code; save with dtype float32",
        ),
    ] {
        assert_eq!(refusal(&folder, &bytes), expected);
    }
    let bomb = refusal(&folder, &zip("input_layer.npy", &array, u32::MAX - 1));
    assert!(
        bomb.starts_with("member 'input_layer.npy': expected a possible size, found 4294967294 bytes from "),
        "{bomb}"
    );
    let liar = refusal(&folder, &zip("input_layer.npy", &array, length + 4));
    assert!(liar.contains("member 'input_layer.npy'"), "{liar}");
    let mut damaged = zip("input_layer.npy", &array, length);
    let at = damaged.len() / 3;
    damaged[at] ^= 1;
    refusal(&folder, &damaged);
    refusal(&folder, b"PK\x03\x04 and then nothing");
}

#[cfg(target_os = "linux")]
#[test]
fn a_pipe_that_never_ends_is_refused() {
    let output = Folder::new();
    let done =
        wgpu_rnn(&["run", &golden("lstm.keras"), "-i", "/dev/zero", "-o", &output.path("y.npy"), "--device", "cpu"]);
    assert_eq!(done.error(3), "/dev/zero: magic bytes: expected \\x93NUMPY, found something else");
    let mut child = crate::command(&["run", &golden("lstm.keras"), "-i", "/dev/stdin", "-o", &output.path("y.npy")])
        .args(["--device", "cpu"])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let bytes = [npy(&[1, 5, 4], &[0.5; 20]), vec![0; 1 << 16]].concat();
    // The program may be gone before all is written.
    let _ = pipe.write_all(&bytes);
    drop(pipe);
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(3));
    let expected = "error: /dev/stdin: data: expected 80 bytes for float32 [1, 5, 4], found more\n";
    assert_eq!(String::from_utf8(done.stderr).unwrap(), expected);
}
