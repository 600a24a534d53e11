//! The one place that asks which instructions the processor has.

/// Work whose inner loops the compiler vectorises for the instructions at hand.
pub(crate) trait Task {
    /// What it gives.
    type Output;

    /// Does it. `FUSED` says that a fused multiply-add is one instruction. Implementations and all
    /// that they call are `#[inline(always)]`, so that they are compiled for the caller's instructions. (A closure
    /// or a function that is passed on may stay on its own, and then is compiled for any processor.)
    fn run<const FUSED: bool>(self) -> Self::Output;
}

/// Does `task` with the widest instructions that this processor has. Which ones depends on nothing
/// but the processor, so a program gives the same bits on every run.
pub(crate) fn dispatch<T: Task>(task: T) -> T::Output {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the function's only precondition is that the processor has AVX2 and FMA, which
        // was just detected.
        #[allow(unsafe_code)]
        return unsafe { with_avx2(task) };
    }
    // NEON has fused multiply-add; elsewhere it may be a slow library call.
    if cfg!(target_arch = "aarch64") { task.run::<true>() } else { task.run::<false>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2<T: Task>(task: T) -> T::Output {
    task.run::<true>()
}
