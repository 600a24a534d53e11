//! An allocator that knows how much each thread holds.
#![allow(unreachable_pub, dead_code)] // each binary uses a part of it
#![allow(unsafe_code)] // an allocator is unsafe to implement; each call is handed on as it came

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

pub struct Counting;

fn count(change: isize) {
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
    // Not to be had while a thread ends: nothing is measured then.
    let held = HELD.try_with(|held| {
        held.set(held.get() + change);
        held.get()
    });
    let Ok(held) = held else { return };
    let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held)));
}

// SAFETY: every call is handed to `System` with the arguments that the caller vouches for, and what
// it returns is returned unchanged. Counting touches thread-locals without destructors, which
// allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller vouches.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller vouches.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as the caller vouches.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // The old and the new block may both be there for a moment.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: as the caller vouches.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What `run` gives, and the most that this thread held meanwhile beyond what it held before.
pub fn peak_of<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let result = run();
    (result, usize::try_from(PEAK.get() - before).unwrap_or(0))
}

/// What `run` gives, and how often this thread took memory or gave some back meanwhile.
pub fn calls_of<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = CALLS.get();
    let result = run();
    (result, CALLS.get() - before)
}
