//! [`KnownAnswer`]: what a model gives for an input, kept with it.

use super::Model;
use crate::{
    error::{Error, Result, listed, quoted},
    tensor::Tensor,
};

/// Inputs and the outputs that a model gives for them, from zero states.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownAnswer {
    /// Tensors of inputs, by name.
    pub inputs: Vec<(String, Tensor)>,
    /// Tensors of all outputs, by name.
    pub outputs: Vec<(String, Tensor)>,
}

impl Model {
    /// What a session [checks](crate::SessionOptions::skip_known_answers) its device with.
    #[must_use]
    pub fn known_answers(&self) -> &[KnownAnswer] {
        &self.known_answers
    }

    /// The model with known answers, in place of those that it has.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if a name is not one of the model's.
    pub fn with_known_answers(mut self, answers: Vec<KnownAnswer>) -> Result<Self> {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        let inputs: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        let outputs: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
        for (index, answer) in answers.iter().enumerate() {
            let names = |of: &[(String, Tensor)]| of.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
            let given = names(&answer.inputs);
            let subject = format!("known answer {index}");
            if let Some(name) = given.iter().find(|name| !inputs.contains(&name.as_str())) {
                return Err(Error::mismatch(subject, format!("the inputs {}", listed(&inputs)), quoted(name)));
            }
            let found = names(&answer.outputs);
            if found != outputs {
                return Err(Error::mismatch(subject, format!("the outputs {}", listed(&outputs)), listed(&found)));
            }
        }
        self.known_answers = answers;
        Ok(self)
    }
}
