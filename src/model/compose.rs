//! What [`Builder`] has for layers of Keras that are composed of several, and for models inside models.

use super::{Builder, LayerKind, Port, Value};
use crate::error::{Error, Result};

impl Builder {
    /// Opens a block again, to add to it.
    ///
    /// # Errors
    /// [`Error::Internal`] if there is no such block.
    pub(crate) fn enter_block(&mut self, block: usize) -> Result<()> {
        if block >= self.model.blocks.len() {
            return Err(Error::internal("a block that was not begun"));
        }
        self.open_blocks.push(block);
        Ok(())
    }

    /// Adds a part of the block that is open, without parameters, and calls it once. Its name comes from the
    /// block's.
    pub(crate) fn part(&mut self, name: &str, kind: LayerKind, inputs: &[Value]) -> Result<Value> {
        let full = self.name_in_block(name);
        let count = self.parts.entry(full.clone()).or_insert(0);
        let mut unique = full.clone();
        while *count > 0 || self.names.contains(&unique) {
            unique = format!("{full}_{count}");
            *count += 1;
            if !self.names.contains(&unique) {
                break;
            }
        }
        *count = (*count).max(1);
        let value = self.add(&unique, kind, inputs)?;
        self.no_parameters();
        Ok(value)
    }

    /// Says that the weights of the layer that was added last are no parameters.
    pub(crate) fn no_parameters(&mut self) {
        self.model.layers.last_mut().into_iter().for_each(|layer| layer.is_stated = true);
    }

    /// The name of a part of the block that is open.
    pub(crate) fn name_in_block(&self, name: &str) -> String {
        let block = self.open_blocks.last().and_then(|&block| self.model.blocks.get(block));
        block.map_or_else(|| name.to_owned(), |block| format!("{}/{name}", block.name))
    }

    /// How many calls there are so far.
    pub(crate) fn calls(&self) -> usize {
        self.model.nodes.len()
    }

    /// The batch size stated so far.
    pub(crate) fn stated_batch_size(&self) -> Option<usize> {
        self.model.batch_size
    }

    /// Puts the inputs into the order in which they are bound.
    pub(crate) fn order_inputs(&mut self, inputs: &[Value]) {
        let place = |port: &Port| inputs.iter().position(|value| *value == port.value);
        self.model.inputs.retain(|port| place(port).is_some());
        self.model.inputs.sort_by_key(place);
    }
}
