//! Threads that make one run together: each computes some units of every recurrence, and tells the others at every
//! timestep.

use std::{
    hint,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    error::{Error, Result},
    plan::rows,
    tensor::reserved,
};

/// How often somebody looks before the system may give its processor to somebody else.
const LOOKS: u32 = 20_000;

/// What the members of a team share.
#[derive(Debug)]
struct Team {
    size: usize,
    /// How often members came to a meeting, all of them added up.
    arrived: AtomicUsize,
    /// Whether a member left before the end: there is no use in waiting.
    left: AtomicBool,
    /// Two boards for values that all need, written in turn: when one is written again, everybody has met since it was
    /// read.
    boards: [Vec<AtomicU32>; 2],
}

/// One of the threads of a run.
#[derive(Debug)]
pub(super) struct Member {
    /// None for who works alone.
    team: Option<Arc<Team>>,
    index: usize,
    /// Meetings so far.
    met: usize,
}

impl Member {
    /// Who works alone.
    pub(super) fn alone() -> Self {
        Self { team: None, index: 0, met: 0 }
    }

    /// A team of `size` members who tell each other at most `values` values at once.
    ///
    /// # Errors
    /// [`Error::Limit`] if memory is short.
    pub(super) fn team(size: usize, values: usize) -> Result<Vec<Self>> {
        let board = || -> Result<Vec<AtomicU32>> {
            let mut board = reserved(values)?;
            board.resize_with(values, || AtomicU32::new(0));
            Ok(board)
        };
        let (arrived, left, boards) = (AtomicUsize::new(0), AtomicBool::new(false), [board()?, board()?]);
        let team = Arc::new(Team { size, arrived, left, boards });
        Ok((0..size).map(|index| Self { team: Some(Arc::clone(&team)), index, met: 0 }).collect())
    }

    /// The part of `count` that this member computes.
    pub(super) fn part(&self, count: usize) -> Range<usize> {
        let Some(team) = &self.team else { return 0..count };
        rows::ranges(count, team.size).nth(self.index).unwrap_or(count..count)
    }

    /// Completes `values`, rows of `width` values of which this member has computed the columns `own`, with what the
    /// others have.
    ///
    /// # Errors
    /// [`Error::Internal`] if another member failed.
    pub(super) fn exchange(&mut self, values: &mut [f32], width: usize, own: Range<usize>) -> Result<()> {
        let Some(team) = &self.team else { return Ok(()) };
        let board = &team.boards[self.met % 2];
        let board = board.get(..values.len()).ok_or_else(|| Error::internal("a board that is too small"))?;
        for (values, board) in values.chunks_exact(width).zip(board.chunks_exact(width)) {
            for (value, place) in values[own.clone()].iter().zip(&board[own.clone()]) {
                place.store(value.to_bits(), Ordering::Relaxed);
            }
        }
        self.met = self.met.wrapping_add(1);
        team.meet(self.met)?;
        for (values, board) in values.chunks_exact_mut(width).zip(board.chunks_exact(width)) {
            for others in [0..own.start, own.end..width] {
                for (value, place) in values[others.clone()].iter_mut().zip(&board[others]) {
                    *value = f32::from_bits(place.load(Ordering::Relaxed));
                }
            }
        }
        Ok(())
    }
}

impl Team {
    /// Waits until everybody came to the `meeting`-th meeting. What they wrote before is seen after it.
    fn meet(&self, meeting: usize) -> Result<()> {
        // Those of a long life may be more than can be counted.
        let all = meeting.wrapping_mul(self.size);
        let missing = || all.wrapping_sub(self.arrived.load(Ordering::Acquire)).cast_signed() > 0;
        self.arrived.fetch_add(1, Ordering::AcqRel);
        let mut looks = 0u32;
        while missing() {
            // Who left may have come to this meeting before, which is then seen.
            if self.left.load(Ordering::Acquire) && missing() {
                return Err(Error::internal(LEFT));
            }
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(LOOKS) { thread::yield_now() } else { hint::spin_loop() }
        }
        Ok(())
    }
}

/// What is said where another one's failure is the cause.
const LEFT: &str = "another thread of the run failed";

/// What all parts of a run give, or why one of them failed.
///
/// # Errors
/// The first one that is not about another member.
pub(super) fn all<R>(results: Vec<Result<R>>) -> Result<Vec<R>> {
    let mut given = Vec::with_capacity(results.len());
    let mut left = None;
    for result in results {
        match result {
            Ok(value) => given.push(value),
            Err(error) if is_left(&error) => left = Some(error),
            Err(error) => return Err(error),
        }
    }
    left.map_or(Ok(given), Err)
}

/// Whether an error only says that there is another one.
fn is_left(error: &Error) -> bool {
    matches!(error, Error::Internal { what } if what == LEFT)
}

impl Drop for Member {
    fn drop(&mut self) {
        // After the last meeting nobody waits for this one any more, so that it does no harm then.
        if let Some(team) = &self.team {
            team.left.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn members_know_what_the_others_computed_at_every_meeting() {
        for size in [1, 2, 3] {
            let members = Member::team(size, 20).unwrap();
            thread::scope(|scope| {
                for mut member in members {
                    scope.spawn(move || {
                        let own = member.part(10);
                        for meeting in 0..1000u16 {
                            let mut values = [0.0; 20];
                            let value = |at: usize| f32::from(meeting) + at as f32;
                            own.clone().for_each(|column| {
                                values[column] = value(column);
                                values[10 + column] = value(10 + column);
                            });
                            member.exchange(&mut values, 10, own.clone()).unwrap();
                            assert!((0..20).all(|at| values[at] == value(at)), "{values:?}");
                        }
                    });
                }
            });
        }
    }

    #[test]
    fn nobody_waits_for_who_left() {
        let mut members = Member::team(2, 4).unwrap();
        drop(members.pop());
        let error = members[0].exchange(&mut [0.0; 4], 4, 0..2).unwrap_err();
        assert!(is_left(&error), "{error}");
    }

    #[test]
    fn the_cause_of_a_failure_is_told_before_its_consequences() {
        let (left, cause) = (|| Err(Error::internal(LEFT)), || Err(Error::internal("cause")));
        assert_eq!(all(vec![Ok(1), Ok(2)]).unwrap(), [1, 2]);
        for results in [vec![left(), cause()], vec![cause(), left()], vec![Ok(1), cause()]] {
            assert!(all::<i32>(results).unwrap_err().to_string().contains("cause"));
        }
        assert!(is_left(&all::<i32>(vec![Ok(1), left()]).unwrap_err()));
    }

    #[test]
    fn who_works_alone_computes_everything() {
        let mut alone = Member::alone();
        assert_eq!(alone.part(7), 0..7);
        let mut values = [1.0, 2.0];
        alone.exchange(&mut values, 2, 0..2).unwrap();
        assert_eq!(values, [1.0, 2.0]);
    }
}
