//! Keeps threads that help off the processor of the one they help.
//!
//! A system that wakes a thread looks for an idle processor first. In a virtual machine an idle one may look taken, and
//! then helpers are woken on the very processor of who waits for them, where they take turns: after a pause of 20 ms, two
//! threads made runs of a GRU of 64 units and 16 rows as slowly as one, ten times in a row.

#[cfg(target_os = "linux")]
pub(super) use linux::{Id, Processors, id};
#[cfg(not(target_os = "linux"))]
pub(super) use other::{Id, Processors, id};

#[cfg(target_os = "linux")]
mod linux {
    use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};

    /// A thread, as the system calls it.
    pub(crate) type Id = Pid;

    /// The thread that asks.
    pub(crate) fn id() -> Id {
        gettid()
    }

    /// The processors that helpers may use.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub(crate) struct Processors(CpuSet);

    impl Processors {
        /// Those that this thread may use, without the one that it runs on if there are enough for `helpers` then. None
        /// where the system does not tell.
        pub(crate) fn of_helpers(helpers: usize) -> Option<Self> {
            let mut allowed = sched_getaffinity(None).ok()?;
            let here = sched_getcpu();
            let left = usize::try_from(allowed.count()).unwrap_or_default().saturating_sub(1);
            if helpers <= left && here < CpuSet::MAX_CPU {
                allowed.unset(here);
            }
            Some(Self(allowed))
        }

        /// Has `thread` use them only. It stays where it is if the system refuses.
        pub(crate) fn keep(&self, thread: Id) {
            let _ = sched_setaffinity(Some(thread), &self.0);
        }
    }

    #[cfg(test)]
    #[allow(clippy::unwrap_used)]
    mod tests {
        use std::{sync::mpsc, thread};

        use super::*;

        #[test]
        fn helpers_may_use_all_processors_but_that_of_the_one_they_help_if_there_are_enough() {
            let all = sched_getaffinity(None).unwrap();
            let count = all.count() as usize;
            for helpers in 0..=count {
                let Processors(of) = Processors::of_helpers(helpers).unwrap();
                let off = (0..CpuSet::MAX_CPU).filter(|&cpu| all.is_set(cpu) && !of.is_set(cpu)).count();
                assert_eq!(off, usize::from(helpers < count), "{helpers} helpers of {count} processors");
                assert!((0..CpuSet::MAX_CPU).all(|cpu| all.is_set(cpu) || !of.is_set(cpu)));
            }
        }

        #[test]
        fn a_helper_is_kept_where_it_may_be() {
            let ((started, starts), (end, ends)) = (mpsc::channel(), mpsc::channel::<()>());
            let thread = thread::spawn(move || {
                started.send(id()).unwrap();
                // Until the sender is gone.
                ends.recv().unwrap_err();
            });
            let (helper, processors) = (starts.recv().unwrap(), Processors::of_helpers(1).unwrap());
            processors.keep(helper);
            assert_eq!(Processors(sched_getaffinity(Some(helper)).unwrap()), processors);
            drop(end);
            thread.join().unwrap();
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    /// A thread, which stays where the system puts it.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Id;

    pub(crate) fn id() -> Id {
        Id
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    pub(crate) struct Processors;

    impl Processors {
        pub(crate) fn of_helpers(_: usize) -> Option<Self> {
            None
        }

        pub(crate) fn keep(&self, _: Id) {}
    }
}
