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
    /// `work` of each index below `count`, the first one here and each other on a thread of its own, in their order. Where
    /// the threads have another run's work, nothing is done and nothing is given. A panic of `work` is an error.
    pub(super) fn map<R: Send + 'static>(
        &self,
        count: usize,
        work: impl Fn(usize) -> Result<R> + Clone + Send + 'static,
    ) -> Result<Option<Vec<Result<R>>>> {
        let mut started = match self.started.try_lock() {
            Ok(started) => started,
            // What a thread of a panicked run does has an owner of its own, which nobody waits for any more.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(None),
        };
        while started.len() + 1 < count {
            started.push(Thread::start()?);
        }
        let (done, results) = mpsc::channel();
        for (index, thread) in (1..count).zip(started.iter()) {
            let (work, done) = (work.clone(), done.clone());
            // Nobody to hear the result is nobody who waits for it.
            thread.run(Box::new(move || drop(done.send((index, caught(|| work(index)))))))?;
        }
        drop(done);
        let mut all: Vec<Option<Result<R>>> = std::iter::repeat_with(|| None).take(count).collect();
        if let Some(first) = all.first_mut() {
            *first = Some(caught(|| work(0)));
        }
        while let Some((index, result)) = next(&results) {
            if let Some(place) = all.get_mut::<usize>(index) {
                *place = Some(result);
            }
        }
        let all = all.into_iter().map(|result| result.unwrap_or_else(|| Err(Error::internal("a thread ended"))));
        Ok(Some(all.collect()))
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

    fn tens(threads: &Threads, count: usize) -> Vec<usize> {
        threads.map(count, |n| Ok(n * 10)).unwrap().unwrap().into_iter().map(Result::unwrap).collect()
    }

    #[test]
    fn keeps_order_and_turns_panics_into_errors() {
        let threads = Threads::default();
        for count in [0, 1, 3, 2, 5] {
            assert_eq!(tens(&threads, count), (0..count).map(|n| n * 10).collect::<Vec<_>>());
        }
        assert_eq!(threads.started.lock().unwrap().len(), 4);
        for wrong in [0, 1] {
            let work = move |n| if n == wrong { panic!("on purpose") } else { Ok(n) };
            let failed = threads.map(2, work).unwrap().unwrap();
            assert!(matches!(failed[wrong], Err(Error::Internal { .. })) && failed[1 - wrong].is_ok(), "{failed:?}");
        }
        assert_eq!(tens(&threads, 3), [0, 10, 20]);
    }

    #[test]
    fn runs_at_the_same_time_do_not_wait_for_each_other() {
        let threads = Arc::new(Threads::default());
        // Both halves of the first run wait for the second one to be refused.
        let barrier = Arc::new(Barrier::new(3));
        let (first, waits) = (Arc::clone(&threads), Arc::clone(&barrier));
        let first = thread::spawn(move || {
            let work = move |n| {
                waits.wait();
                waits.wait();
                Ok(n)
            };
            first.map(2, work).unwrap().unwrap().len()
        });
        barrier.wait();
        assert!(threads.map(2, Ok).unwrap().is_none());
        barrier.wait();
        assert_eq!(first.join().unwrap(), 2);
        assert_eq!(tens(&threads, 2), [0, 10]);
    }
}
