//! The room where threads are started.

use std::thread;

use crate::error::{Error, Result};

/// `work` of each item, each on a thread of its own, in the order of the items. A panic there is an
/// error here.
pub(super) fn map<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let work = &work;
    thread::scope(|scope| {
        let mut running = Vec::new();
        for item in items {
            let thread = thread::Builder::new().name("wgpu-rnn-cpu".to_owned());
            running.push(thread.spawn_scoped(scope, move || work(item)).map_err(|cause| Error::Limit {
                what: "a run".to_owned(),
                need: "another thread".to_owned(),
                limit: format!("what the system grants ({cause})"),
                hint: "use fewer threads".to_owned(),
            })?);
        }
        // All are joined before the first error is returned: none may panic unseen.
        let joined: Vec<_> = running.into_iter().map(thread::ScopedJoinHandle::join).collect();
        joined.into_iter().map(|done| done.unwrap_or_else(|_| Err(Error::internal("a thread panicked")))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::panic)]
    fn keeps_order_and_turns_panics_into_errors() {
        assert_eq!(map(vec![1, 2, 3], |n| Ok(n * 10)).unwrap_or_default(), [10, 20, 30]);
        let failed = map(vec![1, 2], |n| if n == 2 { panic!("on purpose") } else { Ok(n) });
        assert!(matches!(failed, Err(Error::Internal { .. })), "{failed:?}");
    }
}
