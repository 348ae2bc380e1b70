//! Runs prepare plans: weights are read, used and let go one after the other.

use kiln_gpu::Buffer;

use super::Session;
use super::record::{create, record};
use super::resident::upload;
use crate::error::Result;
use crate::graph::Graph;
use crate::passes::independent;
use crate::plan::{Constants, LoadSource, Plan, PortPiece, SlotKind, Step};
use crate::weights::WeightSource;

/// Once so many bytes have been let go, the device is waited for: only then they are free.
const LET_GO: u64 = 4 << 20;

impl Session {
    /// Computes the constants of a prepare graph that the session does not hold yet.
    pub(super) fn prepare(&mut self, graph: &Graph, weights: &dyn WeightSource) -> Result<()> {
        let mut missing = graph.clone();
        missing.outputs.retain(|(name, _)| !self.resident.holds(name));
        // Each weight has a plan of its own. They run once: the table's kernels will do.
        let build = |part: &Graph| Plan::build(part, &self.profile, Constants::Streamed);
        let mut plans: Vec<Plan> = independent(&missing)?.iter().map(build).collect::<Result<_>>()?;
        // What needs most room besides what it makes comes first, while there is little else.
        plans.sort_by_key(|plan| std::cmp::Reverse(plan.memory().pooled));
        let mut let_go = 0;
        for plan in plans {
            let memory = plan.memory();
            self.note_peak(let_go + memory.total());
            self.prepare_one(&plan, weights)?;
            let_go += memory.pooled;
            if let_go >= LET_GO {
                self.gpu.wait()?;
                let_go = 0;
            }
        }
        Ok(self.gpu.wait()?)
    }

    fn prepare_one(&mut self, plan: &Plan, weights: &dyn WeightSource) -> Result<()> {
        let buffers: Vec<Buffer> =
            plan.slots.iter().map(|slot| create(&self.gpu, slot)).collect::<Result<_>>()?;
        let mut steps = plan.steps.as_slice();
        while let Some(first) = steps.first() {
            // Loads go straight to their buffers; the kernels up to the next load make one recording.
            if let Step::Load { slot, offset, source, elements, .. } = first {
                let buffer = &buffers[slot.index()];
                match source {
                    LoadSource::Weight(name) => {
                        upload(&self.gpu, buffer, *offset, weights, name, elements.clone())?;
                    }
                    LoadSource::Literal(bits) => {
                        self.gpu.write(buffer, *offset, bytemuck::cast_slice(bits))?;
                    }
                }
                steps = &steps[1..];
                continue;
            }
            let kernels = steps.iter().take_while(|step| !matches!(step, Step::Load { .. })).count();
            let recording = record(&self.gpu, &plan.name, steps[..kernels].iter(), &buffers)?;
            self.gpu.submit(&recording)?;
            steps = &steps[kernels..];
        }
        for port in &plan.outputs {
            // What is kept has slots of its own.
            for PortPiece { slot, rows, .. } in &port.pieces {
                let bytes = port.piece_bytes(rows).len() as u64;
                debug_assert_eq!(plan.slots[slot.index()].kind, SlotKind::Kept);
                self.resident.keep(&port.name, rows.clone(), bytes, buffers[slot.index()].clone());
            }
        }
        Ok(())
    }
}
