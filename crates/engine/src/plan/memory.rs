//! What a plan takes of the device's memory, and the least that any plan with the same steps could.

use super::{Plan, SlotKind};

/// Bytes of a plan's slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanMemory {
    /// Constants and literals; in a prepare plan, what it makes for the main plan.
    pub weights: u64,
    /// Variables.
    pub variables: u64,
    /// Slots that inputs, intermediates and outputs share.
    pub pooled: u64,
    /// The largest live set: what those of them that are needed at one moment take together, at the worst moment.
    /// [`pooled`](Self::pooled) can't be less.
    pub live: u64,
}

impl PlanMemory {
    /// Everything at once.
    pub fn total(&self) -> u64 {
        self.weights + self.variables + self.pooled
    }

    /// The least that a plan with these steps in this order could take.
    pub fn bound(&self) -> u64 {
        self.weights + self.variables + self.live
    }
}

impl Plan {
    /// What the plan's slots take, and the bound of it.
    pub fn memory(&self) -> PlanMemory {
        let mut memory = PlanMemory { live: self.live, ..PlanMemory::default() };
        for slot in &self.slots {
            *match slot.kind {
                SlotKind::Constant { .. } | SlotKind::Literal(_) | SlotKind::Kept => &mut memory.weights,
                SlotKind::Variable { .. } => &mut memory.variables,
                SlotKind::Pooled => &mut memory.pooled,
            } += slot.bytes;
        }
        memory
    }
}
