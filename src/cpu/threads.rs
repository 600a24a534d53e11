//! The room where threads are started: those of a program, kept from run to run.

use std::{
    hint,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, TryLockError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::error::{Error, Result};

/// How long someone looks out for work or a result before letting the system wake it, which takes as long: so short
/// steps that follow each other are handed over without the system.
const PATIENCE: Duration = Duration::from_micros(50);

type Job = Box<dyn FnOnce() + Send>;

/// Threads of a program's own, as many as its runs asked for. They end with it.
#[derive(Debug, Default)]
pub(super) struct Threads {
    started: Mutex<Vec<Thread>>,
}

#[derive(Debug)]
struct Thread {
    /// Until the thread is told to end.
    jobs: Option<mpsc::Sender<Job>>,
    handle: Option<JoinHandle<()>>,
}

impl Threads {
    /// `work` of each item, the first one here and each other on a thread of its own, in the order of the items. Where
    /// the threads have another run's work, all of it is done here. A panic of `work` is an error.
    pub(super) fn map<T, R>(
        &self,
        items: Vec<T>,
        work: impl Fn(T) -> Result<R> + Clone + Send + 'static,
    ) -> Result<Vec<R>>
    where
        T: Send + 'static,
        R: Send + 'static,
    {
        let mut started = match self.started.try_lock() {
            Ok(started) => started,
            // What a thread of a panicked run does has an owner of its own, which nobody waits for any more.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return items.into_iter().map(work).collect(),
        };
        let count = items.len();
        while started.len() + 1 < count {
            started.push(Thread::start()?);
        }
        let mut items = items.into_iter();
        let first = items.next();
        let (done, results) = mpsc::channel();
        for ((index, item), thread) in (1..).zip(items).zip(started.iter()) {
            let (work, done) = (work.clone(), done.clone());
            // Nobody to hear the result is nobody who waits for it.
            thread.run(Box::new(move || drop(done.send((index, caught(|| work(item)))))))?;
        }
        drop(done);
        let mut all: Vec<Option<Result<R>>> = std::iter::repeat_with(|| None).take(count).collect();
        if let (Some(item), Some(place)) = (first, all.first_mut()) {
            *place = Some(caught(|| work(item)));
        }
        while let Some((index, result)) = next(&results) {
            if let Some(place) = all.get_mut::<usize>(index) {
                *place = Some(result);
            }
        }
        all.into_iter().map(|result| result.unwrap_or_else(|| Err(Error::internal("a thread ended")))).collect()
    }
}

impl Thread {
    fn start() -> Result<Self> {
        let (jobs, given) = mpsc::channel::<Job>();
        let thread = thread::Builder::new().name("wgpu-rnn-cpu".to_owned());
        let handle = thread.spawn(move || {
            while let Some(job) = next(&given) {
                job();
            }
        });
        let handle = handle.map_err(|cause| Error::Limit {
            what: "a run".to_owned(),
            need: "another thread".to_owned(),
            limit: format!("what the system grants ({cause})"),
            hint: "use fewer threads".to_owned(),
        })?;
        Ok(Self { jobs: Some(jobs), handle: Some(handle) })
    }

    fn run(&self, job: Job) -> Result<()> {
        let sent = self.jobs.as_ref().map(|jobs| jobs.send(job));
        sent.and_then(|sent| sent.ok()).ok_or_else(|| Error::internal("a thread ended"))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(handle) = self.handle.take() {
            // Its jobs catch their panics.
            drop(handle.join());
        }
    }
}

/// What comes next; nothing once nobody sends any more.
fn next<T>(receiver: &mpsc::Receiver<T>) -> Option<T> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        for _ in 0..32 {
            match receiver.try_recv() {
                Ok(value) => return Some(value),
                Err(mpsc::TryRecvError::Disconnected) => return None,
                Err(mpsc::TryRecvError::Empty) => hint::spin_loop(),
            }
        }
    }
    receiver.recv().ok()
}

fn caught<R>(work: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Error::internal("a thread panicked")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::sync::{Arc, Barrier};

    use super::*;

    #[test]
    fn keeps_order_and_turns_panics_into_errors() {
        let threads = Threads::default();
        for count in [0, 1, 3, 2, 5] {
            let items: Vec<i32> = (0..count).collect();
            let expected: Vec<i32> = items.iter().map(|n| n * 10).collect();
            assert_eq!(threads.map(items, |n| Ok(n * 10)).unwrap(), expected);
        }
        assert_eq!(threads.started.lock().unwrap().len(), 4);
        for wrong in [1, 2] {
            let failed = threads.map(vec![1, 2], move |n| if n == wrong { panic!("on purpose") } else { Ok(n) });
            assert!(matches!(failed, Err(Error::Internal { .. })), "{failed:?}");
        }
        assert_eq!(threads.map(vec![1, 2, 3], Ok).unwrap(), [1, 2, 3]);
    }

    #[test]
    fn runs_at_the_same_time_do_not_wait_for_each_other() {
        let threads = Arc::new(Threads::default());
        // Both halves of the first run wait for the second one to be done.
        let barrier = Arc::new(Barrier::new(3));
        let (first, waits) = (Arc::clone(&threads), Arc::clone(&barrier));
        let first = thread::spawn(move || {
            first.map(vec![1, 2], move |n| {
                waits.wait();
                waits.wait();
                Ok(n)
            })
        });
        barrier.wait();
        assert_eq!(threads.map(vec![3, 4], Ok).unwrap(), [3, 4]);
        barrier.wait();
        assert_eq!(first.join().unwrap().unwrap(), [1, 2]);
    }
}
