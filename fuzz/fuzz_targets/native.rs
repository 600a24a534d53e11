//! Any bytes, with files of one format to start from.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wgpu_rnn_fuzz::load(data, None));
