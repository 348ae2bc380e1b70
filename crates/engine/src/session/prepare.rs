//! Runs a prepare plan: weights are read, used and let go one after the other.

use kiln_gpu::Buffer;

use super::resident::upload;
use super::{Session, create, record};
use crate::error::Result;
use crate::graph::Graph;
use crate::passes::drop_dead;
use crate::plan::{Constants, LoadSource, Plan, Step};
use crate::weights::WeightSource;

impl Session {
    /// Computes the constants of a prepare graph that the session does not hold yet.
    pub(super) fn prepare(&mut self, graph: &Graph, weights: &dyn WeightSource) -> Result<()> {
        let mut missing = graph.clone();
        missing.outputs.retain(|(name, _)| !self.resident.holds(name));
        if missing.outputs.is_empty() {
            return Ok(());
        }
        let plan = Plan::build(&drop_dead(&missing)?, &self.profile, Constants::Streamed)?;
        let buffers: Vec<Buffer> =
            plan.slots.iter().map(|slot| create(&self.gpu, slot)).collect::<Result<_>>()?;
        let mut steps = plan.steps.as_slice();
        while let Some(first) = steps.first() {
            // Loads go straight to their buffers; the kernels up to the next load make one recording.
            if let Step::Load { slot, source, elements, .. } = first {
                let buffer = &buffers[slot.index()];
                match source {
                    LoadSource::Weight(name) => upload(&self.gpu, buffer, weights, name, elements.clone())?,
                    LoadSource::Literal(bits) => self.gpu.write(buffer, 0, bytemuck::cast_slice(bits))?,
                }
                steps = &steps[1..];
                continue;
            }
            let kernels = steps.iter().take_while(|step| !matches!(step, Step::Load { .. })).count();
            let recording = record(&self.gpu, &plan.name, steps[..kernels].iter(), &buffers)?;
            self.gpu.submit(&recording)?;
            steps = &steps[kernels..];
        }
        self.gpu.wait()?;
        for port in &plan.outputs {
            for (slot, rows) in &port.pieces {
                let bytes = port.piece_bytes(rows).len() as u64;
                self.resident.keep(&port.name, rows.clone(), bytes, buffers[slot.index()].clone());
            }
        }
        Ok(())
    }
}
