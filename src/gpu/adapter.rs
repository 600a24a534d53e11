//! Which adapters there are and which one is taken.

use crate::error::{Error, Result, listed, quoted};

/// What an adapter is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AdapterKind {
    /// A GPU with its own memory.
    Discrete,
    /// A GPU that shares the memory of the CPU.
    Integrated,
    /// A GPU seen through a virtual machine.
    Virtual,
    /// A driver that computes on the CPU (lavapipe, SwiftShader, WARP): right, but slow.
    Software,
    /// The driver does not say.
    Other,
}

impl AdapterKind {
    /// One word, for tables and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Discrete => "discrete",
            Self::Integrated => "integrated",
            Self::Virtual => "virtual",
            Self::Software => "software",
            Self::Other => "other",
        }
    }

    /// Place in the order of preference: the fastest first.
    fn rank(self) -> u8 {
        match self {
            Self::Discrete => 0,
            Self::Integrated => 1,
            Self::Virtual => 2,
            Self::Other => 3,
            Self::Software => 4,
        }
    }
}

/// An adapter, as listed to users.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdapterInfo {
    /// The name that the driver gives.
    pub name: String,
    /// What it is made of.
    pub kind: AdapterKind,
    /// The graphics interface: vulkan, metal, dx12.
    pub backend: String,
    /// Name and version of the driver.
    pub driver: String,
    /// Where it is plugged in (`domain:bus:device.function`); empty if unknown. Tells twins apart.
    pub bus: String,
    /// Largest buffer, bytes.
    pub max_buffer_bytes: u64,
    /// Largest part of a buffer that a kernel sees at once, bytes.
    pub max_binding_bytes: u64,
    /// Memory that the invocations of a workgroup share, bytes.
    pub max_workgroup_bytes: u32,
    /// Invocations of a workgroup.
    pub max_invocations: u32,
    /// Whether this is the adapter taken when none is named.
    pub is_default: bool,
}

impl std::fmt::Display for AdapterInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {}", self.name, self.kind.name(), self.backend)?;
        if !self.driver.is_empty() {
            write!(f, ", {}", self.driver)?;
        }
        write!(f, ")")
    }
}

impl AdapterInfo {
    fn new(adapter: &wgpu::Adapter) -> Self {
        let (info, limits) = (adapter.get_info(), adapter.limits());
        let driver = [info.driver.trim(), info.driver_info.trim()];
        Self {
            name: info.name,
            kind: match info.device_type {
                wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
                wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
                wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
                wgpu::DeviceType::Cpu => AdapterKind::Software,
                wgpu::DeviceType::Other => AdapterKind::Other,
            },
            backend: info.backend.to_str().to_owned(),
            bus: info.device_pci_bus_id,
            driver: driver.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "),
            max_buffer_bytes: limits.max_buffer_size,
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
            max_invocations: limits.max_compute_invocations_per_workgroup,
            is_default: false,
        }
    }
}

/// The adapters of this machine, in order of preference, each once.
///
/// # Errors
/// [`Error::NoAdapter`] if there is none, with what each backend said.
pub fn adapters() -> Result<Vec<AdapterInfo>> {
    Ok(all()?.into_iter().map(|(info, _)| info).collect())
}

/// The adapters with their handles. Handles keep their instance alive.
fn all() -> Result<Vec<(AdapterInfo, wgpu::Adapter)>> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let mut found: Vec<(AdapterInfo, wgpu::Adapter)> = Vec::new();
    let mut identities: Vec<wgpu::AdapterInfo> = Vec::new();
    for adapter in pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all())) {
        let identity = adapter.get_info();
        if !identities.iter().any(|known| same_device(known, &identity)) {
            identities.push(identity);
            found.push((AdapterInfo::new(&adapter), adapter));
        }
    }
    if found.is_empty() {
        // The enumeration is silent; a request says what is missing per backend.
        let request = instance.request_adapter(&wgpu::RequestAdapterOptions::default());
        let reason = match pollster::block_on(request) {
            Err(error) => error.to_string(),
            Ok(_) => "the list of adapters is empty".to_owned(),
        };
        return Err(no_adapter(reason));
    }
    found.sort_by_key(|(info, _)| info.kind.rank());
    if let Some((first, _)) = found.first_mut() {
        first.is_default = true;
    }
    Ok(found)
}

fn no_adapter(reason: String) -> Error {
    let hint =
        "install the GPU vendor's driver, or a software one (Debian, Ubuntu: `apt-get install mesa-vulkan-drivers`)";
    Error::NoAdapter { reason, hint: hint.to_owned() }
}

/// Whether two entries are one device, seen through two backends or listed twice by its bus address.
fn same_device(a: &wgpu::AdapterInfo, b: &wgpu::AdapterInfo) -> bool {
    let (bus_a, bus_b) = (&a.device_pci_bus_id, &b.device_pci_bus_id);
    let same_model = a.vendor == b.vendor && a.device == b.device && a.name.eq_ignore_ascii_case(&b.name);
    let same_place = if a.backend == b.backend {
        !bus_a.is_empty() && bus_a == bus_b
    } else {
        bus_a.is_empty() || bus_b.is_empty() || bus_a == bus_b
    };
    same_model && same_place
}

/// The adapter that a device of these options would be opened on ([`GpuOptions::adapter`](super::GpuOptions),
/// [`allow_software`](super::GpuOptions)).
///
/// # Errors
/// [`Error::NoAdapter`] if there is none of a permitted kind, [`Error::Unknown`] if no name matches.
pub fn find_adapter(name: Option<&str>, allow_software: bool) -> Result<AdapterInfo> {
    choose(name, allow_software).map(|(info, _)| info)
}

/// The adapter whose name is or else contains `name` (any case), or the default one; the first if
/// several match.
///
/// # Errors
/// [`Error::NoAdapter`] if there is none of a permitted kind, [`Error::Unknown`] if no name matches.
pub(super) fn choose(name: Option<&str>, software_allowed: bool) -> Result<(AdapterInfo, wgpu::Adapter)> {
    let all = all()?;
    let index = pick(all.iter().map(|(info, _)| info), name, software_allowed)?;
    all.into_iter().nth(index).ok_or_else(|| Error::internal("adapter index"))
}

/// The adapter that `info` describes.
///
/// # Errors
/// [`Error::NoAdapter`] if there is none at all, [`Error::Unknown`] if it has gone.
pub(super) fn choose_again(info: &AdapterInfo) -> Result<(AdapterInfo, wgpu::Adapter)> {
    let all = all()?;
    let known = listed(all.iter().map(|(info, _)| &info.name));
    let same = |other: &AdapterInfo| other.name == info.name && other.backend == info.backend && other.bus == info.bus;
    all.into_iter().find(|(other, _)| same(other)).ok_or_else(|| Error::Unknown {
        kind: "adapter",
        name: quoted(&info.name),
        known,
    })
}

fn pick<'a>(
    adapters: impl Iterator<Item = &'a AdapterInfo> + Clone,
    name: Option<&str>,
    software_allowed: bool,
) -> Result<usize> {
    let permitted = |info: &AdapterInfo| software_allowed || info.kind != AdapterKind::Software;
    if !adapters.clone().any(permitted) {
        let names = listed(adapters.map(|info| &info.name));
        return Err(Error::NoAdapter {
            reason: format!("there is no hardware GPU, only {names}; a software adapter runs only when asked for"),
            hint: "allow software adapters, or install the GPU vendor's driver".to_owned(),
        });
    }
    let wanted = name.map(str::to_lowercase);
    let contains = |info: &AdapterInfo| wanted.as_ref().is_none_or(|w| info.name.to_lowercase().contains(w));
    // A whole name before one that only contains it.
    let equals = |info: &AdapterInfo| wanted.as_ref().is_some_and(|w| info.name.to_lowercase() == *w);
    let position =
        |matches: &dyn Fn(&AdapterInfo) -> bool| adapters.clone().position(|info| permitted(info) && matches(info));
    position(&equals).or_else(|| position(&contains)).ok_or_else(|| Error::Unknown {
        kind: "adapter",
        name: quoted(name.unwrap_or_default()),
        known: listed(adapters.filter(|info| permitted(info)).map(|info| &info.name)),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn info(name: &str, kind: AdapterKind) -> AdapterInfo {
        AdapterInfo {
            name: name.to_owned(),
            kind,
            backend: String::new(),
            driver: String::new(),
            bus: String::new(),
            max_buffer_bytes: 0,
            max_binding_bytes: 0,
            max_workgroup_bytes: 0,
            max_invocations: 0,
            is_default: false,
        }
    }

    #[test]
    fn hardware_comes_first_and_names_match_in_any_case() {
        let list = [info("Big GPU", AdapterKind::Discrete), info("llvmpipe", AdapterKind::Software)];
        let pick = |name, software| pick(list.iter(), name, software);
        assert_eq!(pick(None, true).ok(), Some(0));
        assert_eq!(pick(Some("LLVM"), true).ok(), Some(1));
        assert!(matches!(pick(Some("llvm"), false), Err(Error::Unknown { known, .. }) if known == "'Big GPU'"));
        assert!(matches!(pick(Some("other"), true), Err(Error::Unknown { kind: "adapter", .. })));
        let software = [info("llvmpipe", AdapterKind::Software)];
        assert!(matches!(super::pick(software.iter(), None, false), Err(Error::NoAdapter { .. })));
    }
}
