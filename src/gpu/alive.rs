//! How many devices are open, so that a program can wait for the last one to close before it ends.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

static OPEN: Mutex<usize> = Mutex::new(0);
static CLOSED: Condvar = Condvar::new();

fn open() -> MutexGuard<'static, usize> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts as one open device until it is dropped.
pub(super) struct Alive(());

impl Alive {
    pub(super) fn new() -> Self {
        *open() += 1;
        Self(())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        *open() -= 1;
        CLOSED.notify_all();
    }
}

/// Waits until every device of this process is closed, and says whether that happened in time. A
/// device closes on a thread of its own soon after its last handle has gone; a program that ends
/// meanwhile may crash inside the driver. So: drop all sessions, wait, then end.
#[must_use]
pub fn wait_until_closed(timeout: Duration) -> bool {
    let waited = CLOSED.wait_timeout_while(open(), timeout, |open| *open > 0);
    waited.is_ok_and(|(_, result)| !result.timed_out())
}
