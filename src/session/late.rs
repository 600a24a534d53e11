//! Models that leave weights to the caller: they run as the model with the weights given last.

use std::sync::Arc;

use super::{Inputs, Outputs, Session, SessionOptions};
use crate::{
    error::{Error, Result},
    model::Late,
    tensor::Tensor,
};

/// A model with its weights, on the device.
#[derive(Debug)]
pub(super) struct Completed {
    weights: Vec<Tensor>,
    session: Arc<Session>,
}

impl Session {
    /// A run whose inputs are weights, too. As long as the same weights come, they stay on the device.
    pub(super) async fn run_late(&self, late: &Late, inputs: Inputs) -> Result<Outputs> {
        let wanted: Vec<(&str, bool)> =
            late.inputs.iter().map(|(input, _)| (input.name.as_str(), input.optional)).collect();
        let (mut weights, mut others) = (Vec::new(), Inputs::new());
        for ((input, is_weight), tensor) in late.inputs.iter().zip(inputs.bind(&wanted)?) {
            match (is_weight, tensor) {
                (true, Some(tensor)) => weights.push(tensor),
                (true, None) => return Err(Error::internal("a weight that may be missing")),
                (false, Some(tensor)) => others = others.with(input.name.clone(), tensor),
                (false, None) => {}
            }
        }
        let session = self.completed(weights).await?;
        // A completed model has its weights, so this does not come back here.
        Box::pin(session.run_async(others)).await
    }

    async fn completed(&self, weights: Vec<Tensor>) -> Result<Arc<Self>> {
        let mut known = self.late.lock().await;
        if let Some(known) = known.as_ref().filter(|known| known.weights == weights) {
            return Ok(Arc::clone(&known.session));
        }
        let model = self.model.with_weights(&weights)?;
        let options = SessionOptions { device: self.options.device.clone(), ..self.options.clone() };
        let session = Self::with_device(&model, options, self.opened.clone(), self.device.clone());
        let session = Arc::new(Box::pin(session).await?);
        *known = Some(Completed { weights, session: Arc::clone(&session) });
        Ok(session)
    }
}
