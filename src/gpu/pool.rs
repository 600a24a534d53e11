//! [`Pool`]: the buffers of a program's runs, kept from run to run and grown where one needs more.

use super::{
    executor::Known,
    memory::{Need, VERDICT_BYTES},
    owner::Owner,
    recorder::View,
};
use crate::error::{Error, Result};

/// The buffers of a program's runs.
#[derive(Default)]
pub(super) struct Pool {
    slots: Vec<wgpu::Buffer>,
    gates_x: Option<wgpu::Buffer>,
    state: Option<wgpu::Buffer>,
    sequence: Option<wgpu::Buffer>,
    staging: Option<wgpu::Buffer>,
    /// What the last run took that ran whole.
    pub(super) known: Option<Known>,
}

const STORAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);
const STAGING: wgpu::BufferUsages = wgpu::BufferUsages::MAP_READ.union(wgpu::BufferUsages::COPY_DST);

impl Pool {
    /// Makes room for a run. If memory runs out, everything goes and is tried once more.
    pub(super) fn prepare(&mut self, owner: &mut Owner, need: &Need) -> Result<()> {
        match self.grow(owner, need) {
            Err(Error::OutOfDeviceMemory { .. }) => {
                self.clear(owner);
                self.grow(owner, need).inspect_err(|_| self.clear(owner))
            }
            done => done,
        }
    }

    /// Lets go of all buffers.
    pub(super) fn clear(&mut self, owner: &mut Owner) {
        *self = Self::default();
        owner.forget_buffers();
    }

    fn grow(&mut self, owner: &mut Owner, need: &Need) -> Result<()> {
        let mut replaced = false;
        let slots = std::mem::take(&mut self.slots).into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        for (mut slot, &bytes) in slots.zip(&need.layout.slots) {
            replaced |= ensure(owner, &mut slot, "activations", bytes, STORAGE)?;
            self.slots.extend(slot);
        }
        replaced |= ensure(owner, &mut self.gates_x, "input projection", need.scratch.gates_x_bytes(), STORAGE)?;
        replaced |= ensure(owner, &mut self.state, "recurrent state", need.scratch.state_bytes(), STORAGE)?;
        let bytes = need.scratch.sequence_bytes();
        replaced |= ensure(owner, &mut self.sequence, "outputs of layers that run together", bytes, STORAGE)?;
        ensure(owner, &mut self.staging, "results", need.staging.saturating_add(VERDICT_BYTES), STAGING)?;
        if replaced {
            owner.forget_buffers();
        }
        Ok(())
    }

    pub(super) fn slot(&self, index: usize) -> Result<&wgpu::Buffer> {
        self.slots.get(index).ok_or_else(|| Error::internal("a value without a buffer"))
    }

    pub(super) fn staging(&self) -> Result<&wgpu::Buffer> {
        self.staging.as_ref().ok_or_else(|| Error::internal("no staging buffer"))
    }

    /// Scratch of recurrences: for the projection and for the states.
    pub(super) fn scratch(&self, need: &Need) -> Result<[View<'_>; 2]> {
        match (&self.gates_x, &self.state) {
            (Some(gates_x), Some(state)) => Ok([
                View { buffer: gates_x, start: 0, len: need.scratch.gates_x },
                View { buffer: state, start: 0, len: need.scratch.state },
            ]),
            _ => Err(Error::internal("no scratch buffer")),
        }
    }

    /// Where recurrences that run together put their outputs, of so many values.
    pub(super) fn sequence(&self, len: usize) -> Result<View<'_>> {
        let buffer = self.sequence.as_ref().ok_or_else(|| Error::internal("no scratch buffer"))?;
        Ok(View { buffer, start: 0, len })
    }
}

/// Replaces `slot` if it is smaller than `bytes`; whether it did.
fn ensure(
    owner: &mut Owner,
    slot: &mut Option<wgpu::Buffer>,
    label: &str,
    bytes: u64,
    usage: wgpu::BufferUsages,
) -> Result<bool> {
    if bytes == 0 || slot.as_ref().is_some_and(|buffer| buffer.size() >= bytes) {
        return Ok(false);
    }
    // The old one goes first, so that both need not fit.
    *slot = None;
    *slot = Some(owner.create_buffer(label, bytes, usage)?);
    Ok(true)
}
