//! What a driver compiled, handed from one process to the next. This is the one place in this room with
//! `unsafe`: a driver may believe what it is given.

use std::future::Future;

use super::{owner::Owner, room::Gpu};
use crate::{error::Result, hash::Fnv};

/// How such data begins.
const MAGIC: &[u8; 16] = b"wgpu-rnn cache 1";
/// Bytes of the checksum.
const CHECKSUM: usize = 8;
/// Bytes of the key's length.
const KEY_LENGTH: usize = 4;
/// Bytes of the data's length.
const DATA_LENGTH: usize = 8;

/// A device's cache of pipelines.
#[derive(Debug)]
pub(super) struct PipelineCache {
    pub(super) cache: wgpu::PipelineCache,
    /// What the data is of.
    key: String,
    /// Whether it began with data of an earlier process.
    pub(super) used: bool,
}

impl PipelineCache {
    /// `None` where the device has none. Data that is damaged, or of another adapter, driver or version, is left
    /// aside.
    pub(super) fn new(device: &wgpu::Device, adapter: &wgpu::AdapterInfo, given: Option<&[u8]>) -> Option<Self> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let kind = wgpu::util::pipeline_cache_key(adapter)?;
        let key = [&kind, &adapter.driver, &adapter.driver_info, env!("CARGO_PKG_VERSION")].join("\n");
        let data = given.and_then(|given| unsealed(&key, given));
        let used = data.is_some();
        let label = Some("wgpu-rnn");
        let descriptor = wgpu::PipelineCacheDescriptor { label, data, fallback: true };
        // SAFETY: the data must come from `PipelineCache::get_data` of a device of this kind. `data` below asks it
        // and puts its answer behind a checksum, its length and a key of adapter, driver and version; `unsealed`
        // gives back only what has all of them right, so that a file that was cut off, damaged or made elsewhere
        // gets no further. Within it wgpu has a header of its own (adapter, driver's identity, length), and Vulkan
        // obliges drivers to check theirs. A checksum keeps nobody out who may write to the file: the caller
        // answers for where it is kept, which the documentation of `GpuOptions::pipeline_cache` says.
        #[allow(unsafe_code)]
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(Self { cache, key, used })
    }

    /// What the driver has compiled so far.
    fn data(&self) -> Option<Vec<u8>> {
        self.cache.get_data().map(|data| sealed(&self.key, &data))
    }
}

impl Gpu {
    /// What the driver has compiled so far, for [`GpuOptions::pipeline_cache`](super::GpuOptions) of a later
    /// process; `None` where the adapter has no such cache (only Vulkan has).
    ///
    /// # Errors
    /// A device's failure.
    pub fn pipeline_cache(&self) -> impl Future<Output = Result<Option<Vec<u8>>>> + Send + use<> {
        self.call(|owner: &mut Owner| {
            let Some(cache) = owner.pipeline_cache.take() else { return Ok(None) };
            let data = owner.scoped("reading the pipeline cache", 0, |_, _| cache.data());
            owner.pipeline_cache = Some(cache);
            data
        })
    }
}

/// `data` so that [`unsealed`] can tell whether it is whole.
fn sealed(key: &str, data: &[u8]) -> Vec<u8> {
    let mut inside = Vec::with_capacity(KEY_LENGTH + DATA_LENGTH + key.len() + data.len());
    // A key that long is met by none.
    inside.extend_from_slice(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes());
    inside.extend_from_slice(&(data.len() as u64).to_le_bytes());
    inside.extend_from_slice(key.as_bytes());
    inside.extend_from_slice(data);
    [MAGIC.as_slice(), &checksum(&inside), &inside].concat()
}

/// The data of `key` in what [`sealed`] gave; `None` if anything about it is not right.
fn unsealed<'a>(key: &str, sealed: &'a [u8]) -> Option<&'a [u8]> {
    let rest = sealed.strip_prefix(MAGIC.as_slice())?;
    let (expected, inside) = rest.split_first_chunk::<CHECKSUM>()?;
    if *expected != checksum(inside) {
        return None;
    }
    let (key_length, rest) = inside.split_first_chunk::<KEY_LENGTH>()?;
    let (data_length, rest) = rest.split_first_chunk::<DATA_LENGTH>()?;
    let (found, data) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*key_length)).ok()?)?;
    let whole = u64::from_le_bytes(*data_length) == u64::try_from(data.len()).ok()?;
    (whole && found == key.as_bytes()).then_some(data)
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let mut hash = Fnv::new();
    hash.eat(bytes);
    hash.value().to_le_bytes()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_whole_and_of_the_same_key_is_given_back() {
        for data in [b"".as_slice(), b"compiled", &[0; 300]] {
            let whole = sealed("adapter\ndriver", data);
            assert_eq!(unsealed("adapter\ndriver", &whole), Some(data));
            assert_eq!(unsealed("adapter\nother", &whole), None);
            assert_eq!(unsealed("", &whole), None);
            for end in 0..whole.len() {
                assert_eq!(unsealed("adapter\ndriver", &whole[..end]), None, "cut at {end}");
                let mut damaged = whole.clone();
                damaged[end] ^= 1;
                assert_eq!(unsealed("adapter\ndriver", &damaged), None, "a bit of byte {end}");
            }
            assert_eq!(unsealed("adapter\ndriver", &[whole.as_slice(), b"x"].concat()), None);
        }
        // Lengths that are not those of what follows, with a checksum that is right.
        for (key_length, data_length) in [(u32::MAX, 1u64), (1, u64::MAX), (2, 0), (0, 1)] {
            let inside = [&key_length.to_le_bytes()[..], &data_length.to_le_bytes(), b"kd"].concat();
            let forged = [MAGIC.as_slice(), &checksum(&inside), &inside].concat();
            assert_eq!(unsealed("k", &forged), None, "{key_length} {data_length}");
        }
    }
}
