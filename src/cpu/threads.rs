//! The room where threads are started: those of a program, kept from run to run.

use std::{
    hint,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::apart::{self, Processors};
use crate::error::{Error, Result};

/// How long someone looks out for work or a result before letting the system wake it, which takes as long: so short
/// steps that follow each other are handed over without the system.
const PATIENCE: Duration = Duration::from_micros(50);

type Job = Box<dyn FnOnce() + Send>;

/// Threads of a program's own, as many as its runs asked for. They end with it.
#[derive(Debug, Default)]
pub(super) struct Threads {
    started: Vec<Thread>,
    /// What they may use, all of them.
    processors: Option<Box<Processors>>,
}

#[derive(Debug)]
struct Thread {
    /// Until the thread is told to end.
    jobs: Option<mpsc::Sender<Job>>,
    id: apart::Id,
    handle: Option<JoinHandle<()>>,
}

impl Threads {
    /// `work` of each item, of the first one here and of each other on a thread of its own, in their order. A panic of
    /// `work` is an error.
    pub(super) fn map<I: Send + 'static, R: Send + 'static>(
        &mut self,
        items: Vec<I>,
        work: impl Fn(I) -> Result<R> + Clone + Send + 'static,
    ) -> Result<Vec<Result<R>>> {
        let mut all: Vec<Option<Result<R>>> = items.iter().map(|_| None).collect();
        let helpers = items.len().saturating_sub(1);
        while self.started.len() < helpers {
            self.started.push(Thread::start()?);
            self.processors = None;
        }
        if let Some(processors) = Processors::of_helpers(helpers)
            && self.processors.as_deref() != Some(&processors)
        {
            self.started.iter().for_each(|thread| processors.keep(thread.id));
            self.processors = Some(Box::new(processors));
        }
        let (done, results) = mpsc::channel();
        let mut items = items.into_iter();
        let here = items.next();
        for ((index, item), thread) in (1..).zip(items).zip(&self.started) {
            let (work, done) = (work.clone(), done.clone());
            // Nobody to hear the result is nobody who waits for it.
            thread.run(Box::new(move || drop(done.send((index, caught(|| work(item)))))))?;
        }
        drop(done);
        if let (Some(first), Some(item)) = (all.first_mut(), here) {
            *first = Some(caught(|| work(item)));
        }
        while let Some((index, result)) = next(&results) {
            if let Some(place) = all.get_mut::<usize>(index) {
                *place = Some(result);
            }
        }
        let all = all.into_iter().map(|result| result.unwrap_or_else(|| Err(Error::internal("a thread ended"))));
        Ok(all.collect())
    }
}

impl Thread {
    fn start() -> Result<Self> {
        let (jobs, given) = mpsc::channel::<Job>();
        let thread = thread::Builder::new().name("wgpu-rnn-cpu".to_owned());
        let (ids, id) = mpsc::channel();
        let handle = thread.spawn(move || {
            // Whoever starts it waits for that.
            let _ = ids.send(apart::id());
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
        let id = id.recv().map_err(|_| Error::internal("a thread ended"))?;
        Ok(Self { jobs: Some(jobs), id, handle: Some(handle) })
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
    use super::*;

    fn tens(threads: &mut Threads, count: usize) -> Vec<usize> {
        threads.map((0..count).collect(), |n| Ok(n * 10)).unwrap().into_iter().map(Result::unwrap).collect()
    }

    #[test]
    fn keeps_order_and_turns_panics_into_errors() {
        let mut threads = Threads::default();
        for count in [0, 1, 3, 2, 5] {
            assert_eq!(tens(&mut threads, count), (0..count).map(|n| n * 10).collect::<Vec<_>>());
        }
        assert_eq!(threads.started.len(), 4);
        for wrong in [0, 1] {
            let work = move |n| if n == wrong { panic!("on purpose") } else { Ok(n) };
            let failed = threads.map(vec![0, 1], work).unwrap();
            assert!(matches!(failed[wrong], Err(Error::Internal { .. })) && failed[1 - wrong].is_ok(), "{failed:?}");
        }
        assert_eq!(tens(&mut threads, 3), [0, 10, 20]);
    }
}
