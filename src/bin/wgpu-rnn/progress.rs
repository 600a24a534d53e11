//! A sign of life on a terminal, for work that takes longer than a moment.

use std::{
    io::{IsTerminal, stderr},
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::Duration,
};

use indicatif::ProgressBar;

/// Work that is faster shows nothing.
const PATIENCE: Duration = Duration::from_millis(300);

/// Shows that work goes on until it is dropped.
pub(crate) struct Busy {
    shown: Option<(Sender<()>, JoinHandle<()>)>,
}

/// Says `text` beside a spinner if the work takes longer than a moment. Off a terminal nothing is said.
pub(crate) fn busy(text: impl Into<String>) -> Busy {
    if !stderr().is_terminal() {
        return Busy { shown: None };
    }
    let text = text.into();
    let (sender, done) = channel();
    let spin = move || {
        if done.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let spinner = ProgressBar::new_spinner().with_message(text);
        spinner.enable_steady_tick(Duration::from_millis(100));
        let _ = done.recv();
        spinner.finish_and_clear();
    };
    // Without a thread there is no spinner, and no harm.
    let thread = std::thread::Builder::new().spawn(spin).ok();
    Busy { shown: thread.map(|thread| (sender, thread)) }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.shown.take() {
            drop(sender);
            drop(thread.join());
        }
    }
}
