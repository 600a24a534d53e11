//! What drivers find in the environment.

/// Keeps Mesa's device selection layer from asking Wayland for its favourite GPU where there can be no
/// Wayland (containers, services, bare root shells): it gets no answer, and says so on standard error,
/// once per look at the adapters. To be called first thing in `main`.
#[cfg(target_os = "linux")]
pub(crate) fn quiet_drivers() {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if ["XDG_RUNTIME_DIR", "NODEVICE_SELECT", "MESA_VK_DEVICE_SELECT", "DRI_PRIME"].into_iter().any(is_set) {
        return;
    }
    // SAFETY: no other thread exists yet that could read the environment meanwhile.
    #[allow(unsafe_code)]
    unsafe {
        std::env::set_var("NODEVICE_SELECT", "1");
    }
}

/// Nothing to do.
#[cfg(not(target_os = "linux"))]
pub(crate) fn quiet_drivers() {}
