//! What a model takes of the device's memory, as the benchmarks tell it.

use std::io::Write;

use kiln::engine::SessionMemory;
use kiln::gpu::{Bytes, Gpu};
use serde::Serialize;

use super::super::error::CliError;
use super::super::output::Output;

/// Bytes on the device.
#[derive(Clone, Copy, Serialize)]
pub(super) struct MemoryReport {
    /// Weights as the kernels read them.
    weights: u64,
    /// Variables: parameters in training, the optimizer's state, caches.
    variables: u64,
    /// What inputs, intermediates and outputs share.
    pooled: u64,
    /// All of these.
    total: u64,
    /// The least that it could be: weights, variables, and the largest set of intermediates that are needed at once.
    bound: u64,
    /// Total over bound.
    ratio: f64,
    /// The most that it was, loading included.
    peak: u64,
    /// What wgpu has in buffers, rounding and staging included; absent, as the next, where the backend does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    allocated: Option<u64>,
    /// The most that this was.
    #[serde(skip_serializing_if = "Option::is_none")]
    allocated_peak: Option<u64>,
}

impl MemoryReport {
    pub(super) fn new(gpu: &Gpu, memory: SessionMemory) -> MemoryReport {
        let counted = gpu.memory();
        let (total, bound) = (memory.total(), memory.bound());
        MemoryReport {
            weights: memory.weights,
            variables: memory.variables,
            pooled: memory.pooled,
            total,
            bound,
            ratio: total as f64 / bound.max(1) as f64,
            peak: memory.peak,
            allocated: (counted.buffers > 0).then_some(counted.buffers),
            allocated_peak: (counted.peak > 0).then_some(counted.peak),
        }
    }

    /// Two lines, or three.
    pub(super) fn write(&self, out: &mut Output) -> Result<(), CliError> {
        let [weights, variables, pooled] = [self.weights, self.variables, self.pooled].map(Bytes);
        let (total, peak) = (Bytes(self.total), Bytes(self.peak));
        writeln!(
            out,
            "{total} on the device: weights {weights}, variables {variables}, intermediates {pooled}; {:.2} of the least \
             possible",
            self.ratio
        )?;
        write!(out, "{peak} at most while loading")?;
        if let (Some(now), Some(most)) = (self.allocated, self.allocated_peak) {
            write!(out, "; the driver gave {} and at most {}", Bytes(now), Bytes(most))?;
        }
        Ok(writeln!(out)?)
    }
}
