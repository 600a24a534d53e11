//! Any text as the configuration of a small state dict.
#![no_main]

const STATE_DICT: &[u8] = include_bytes!("../../tests/goldens/torch/recurrent_13_gru.safetensors");

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        wgpu_rnn_fuzz::load(STATE_DICT, Some(text.to_owned()));
    }
});
