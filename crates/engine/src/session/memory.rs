//! What a session takes of the device's memory.

use super::Session;
use crate::plan::SlotKind;

/// Bytes that a session holds on its device, and the least that its plans could do with. Parameters of kernels, a few
/// kilobytes a plan, and what is on the way between host and device are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionMemory {
    /// Weights as the kernels read them, and literals.
    pub weights: u64,
    /// Variables.
    pub variables: u64,
    /// What all plans share for inputs, intermediates and outputs.
    pub pooled: u64,
    /// The largest of the plans' largest live sets: see [`PlanMemory::live`](crate::plan::PlanMemory::live).
    pub live: u64,
    /// The most that there was at any moment, loading included: while weights are prepared, parts of them lie there as they
    /// were read beside what is made of them.
    pub peak: u64,
}

impl SessionMemory {
    /// Everything that there is while plans run.
    pub fn total(&self) -> u64 {
        self.weights + self.variables + self.pooled
    }

    /// The least that these plans could run in: weights, variables and the largest live set.
    pub fn bound(&self) -> u64 {
        self.weights + self.variables + self.live
    }
}

impl Session {
    /// What the session takes of the device's memory.
    pub fn memory(&self) -> SessionMemory {
        let literals = |slot: &crate::plan::Slot| match slot.kind {
            SlotKind::Literal(_) => slot.bytes,
            _ => 0,
        };
        let literals: u64 = self.plans.iter().flat_map(|loaded| &loaded.plan.slots).map(literals).sum();
        let live = self.plans.iter().map(|loaded| loaded.plan.memory().live).max();
        SessionMemory {
            weights: self.resident.constant_bytes() + literals,
            variables: self.resident.variable_bytes(),
            pooled: self.pool.bytes(),
            live: live.unwrap_or(0),
            peak: self.peak,
        }
    }

    /// Takes note of a moment at which there is so much besides what the session holds for good.
    pub(super) fn note_peak(&mut self, besides: u64) {
        self.peak = self.peak.max(self.memory().total() + besides);
    }
}
