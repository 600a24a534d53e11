//! Placeholder until the CPU executor is merged.
use std::sync::Arc;

use crate::{
    error::Result,
    plan::{Bound, BufferId, Plan},
    reference,
};

/// A plan on the CPU.
#[derive(Debug)]
pub struct CpuProgram {
    plan: Arc<Plan>,
}

impl CpuProgram {
    /// Prepares `plan`.
    pub fn new(plan: Arc<Plan>, _threads: usize) -> Result<Self> {
        Ok(Self { plan })
    }

    /// Runs.
    pub fn run(&self, bound: &Bound, inputs: &[(BufferId, Vec<f32>)], outputs: &[BufferId]) -> Result<Vec<Vec<f32>>> {
        let inputs: Vec<_> =
            inputs.iter().map(|(id, v)| (*id, v.iter().map(|&x| f64::from(x)).collect())).collect();
        let values = reference::run(&self.plan, bound, &inputs, outputs)?;
        Ok(values.into_iter().map(|v| v.into_iter().map(|x| x as f32).collect()).collect())
    }
}
