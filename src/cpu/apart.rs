//! Keeps threads that help off the processor of the one they help.
//!
//! A system that wakes a thread looks for an idle processor first. In a virtual machine an idle one may look taken, and
//! then helpers are woken on the very processor of who waits for them, where they take turns: after a pause of 20 ms, two
//! threads made runs of a GRU of 64 units and 16 rows as slowly as one, ten times in a row.

#[cfg(target_os = "linux")]
pub(super) use linux::Helper;
#[cfg(not(target_os = "linux"))]
pub(super) use other::Helper;

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::{Arc, OnceLock};

    use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};

    /// A thread that helps.
    #[derive(Debug, Default)]
    pub(crate) struct Helper {
        /// Once it runs.
        thread: Arc<OnceLock<Pid>>,
        /// The processor that it keeps off.
        off: Option<usize>,
    }

    impl Helper {
        /// What the thread does first.
        pub(crate) fn begins(&self) -> impl FnOnce() + Send + use<> {
            let thread = Arc::clone(&self.thread);
            move || {
                let _ = thread.set(gettid());
            }
        }

        /// Keeps it off the processor that this thread runs on, which it may use any other of. Where that cannot be, it
        /// stays where the system puts it.
        pub(crate) fn keep_off(&mut self) {
            let (here, Some(&thread)) = (sched_getcpu(), self.thread.get()) else { return };
            if self.off == Some(here) {
                return;
            }
            self.off = Some(here);
            if let Ok(mut allowed) = sched_getaffinity(None)
                && here < CpuSet::MAX_CPU
            {
                allowed.unset(here);
                if allowed.count() > 0 {
                    let _ = sched_setaffinity(Some(thread), &allowed);
                }
            }
        }
    }

    #[cfg(test)]
    #[allow(clippy::unwrap_used)]
    mod tests {
        use std::{sync::mpsc, thread};

        use super::*;

        #[test]
        fn a_helper_may_use_all_processors_but_that_of_the_one_it_helps() {
            let all = sched_getaffinity(None).unwrap();
            let mut helper = Helper::default();
            // Before the thread is there, nothing can be done.
            helper.keep_off();
            let begins = helper.begins();
            let ((started, starts), (end, ends)) = (mpsc::channel(), mpsc::channel::<()>());
            let thread = thread::spawn(move || {
                begins();
                started.send(()).unwrap();
                // Until the sender is gone.
                ends.recv().unwrap_err();
            });
            starts.recv().unwrap();
            helper.keep_off();
            let allowed = sched_getaffinity(helper.thread.get().copied()).unwrap();
            let off = helper.off.unwrap();
            for processor in 0..CpuSet::MAX_CPU {
                let expected = all.is_set(processor) && (processor != off || all.count() == 1);
                assert_eq!(allowed.is_set(processor), expected, "{processor}, off {off}");
            }
            drop(end);
            thread.join().unwrap();
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    /// A thread that helps.
    #[derive(Debug, Default)]
    pub(crate) struct Helper;

    impl Helper {
        pub(crate) fn begins(&self) -> impl FnOnce() + Send + use<> {
            || {}
        }

        pub(crate) fn keep_off(&mut self) {}
    }
}
