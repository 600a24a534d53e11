//! What the fuzz targets share. A target fails if loading panics, hangs, or takes more memory than
//! libFuzzer's limit; whether a file loads does not matter, but what loads must be listed, too.

use std::io::{Cursor, Write};

use wgpu_rnn::{Model, formats::LoadOptions};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// A small Keras model whose configuration is replaced.
const KERAS: &[u8] = include_bytes!("../../tests/goldens/keras/lstm.keras");

/// Loads `data`, with `config` as the configuration of a state dict.
pub fn load(data: &[u8], config: Option<String>) {
    let mut options = LoadOptions::default();
    options.limits.total_bytes = 64 << 20;
    options.config_text = config;
    if let Ok(model) = Model::from_bytes_with(data, &options) {
        std::hint::black_box(model.summary());
    }
}

/// Loads a whole `.keras` file with `config` as its configuration.
pub fn load_keras_config(config: &[u8]) {
    if let Some(file) = with_config(config) {
        load(&file, None);
    }
}

fn with_config(config: &[u8]) -> Option<Vec<u8>> {
    let mut original = zip::ZipArchive::new(Cursor::new(KERAS)).ok()?;
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..original.len() {
        let mut member = original.by_index(index).ok()?;
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        let name = member.name().ok()?.into_owned();
        writer.start_file(name.as_str(), options).ok()?;
        if name == "config.json" {
            writer.write_all(config).ok()?;
        } else {
            std::io::copy(&mut member, &mut writer).ok()?;
        }
    }
    Some(writer.finish().ok()?.into_inner())
}
