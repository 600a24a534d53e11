//! Any text as the configuration of a Keras model.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wgpu_rnn_fuzz::load_keras_config(data));
