//! Proves that a plan keeps its own rules, step by step.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use kiln_gpu::Limits;
use kiln_kernels::Access;

use super::{Binding, Dispatch, Plan, SlotId, SlotKind, Step};
use crate::error::{EngineError, Result};
use crate::graph::Value;

impl Plan {
    /// Checks that nothing is read before it is written, that no slot is given away while its value is still read,
    /// that no step binds a slot both for reading and for writing, that nothing reads a variable after it has been
    /// replaced, and that every size is within the device's limits.
    ///
    /// # Errors
    /// [`EngineError::Plan`] naming the first step that breaks a rule.
    pub fn check(&self, limits: &Limits) -> Result<()> {
        let mut holds = Contents::default();
        for port in &self.inputs {
            for piece in &port.pieces {
                let bytes = port.bytes(piece);
                if let Some(other) = holds.any(piece.slot, &bytes) {
                    return self.broken(0, "", format!("input {} shares its place with {other}", port.name));
                }
                holds.put(piece.slot, bytes, port.value);
            }
        }
        let mut replaced: HashSet<SlotId> = HashSet::new();
        for (index, step) in self.steps.iter().enumerate() {
            let problem = match step {
                Step::Dispatch(dispatch) => self
                    .dispatch_problem(dispatch, limits)
                    .or_else(|| self.value_problem(dispatch, &mut holds, &mut replaced)),
                Step::Load { value, slot, offset, elements, .. } => {
                    let end = offset + (elements.len() * crate::DType::BYTES) as u64;
                    holds.put(*slot, *offset..end, *value);
                    (end > self.slots[slot.index()].bytes).then(|| "loads beyond its slot".to_owned())
                }
                Step::Copy { from, to } => {
                    let stale = replaced.contains(&from.slot);
                    replaced.insert(to.slot);
                    let fits = |binding: &Binding| {
                        binding.offset + binding.bytes <= self.slots[binding.slot.index()].bytes
                    };
                    if stale {
                        Some("copies a variable that has been replaced".to_owned())
                    } else if !self.keeps_value(from.slot) && !holds.has(from.slot, &bytes(from), from.value)
                    {
                        Some(format!("copies {} from a place that holds another value", from.value))
                    } else if from.bytes != to.bytes || !fits(from) || !fits(to) {
                        Some("copies beyond a slot".to_owned())
                    } else {
                        None
                    }
                }
            };
            if let Some(problem) = problem {
                let path = match step {
                    Step::Dispatch(dispatch) => dispatch.path.as_str(),
                    _ => "",
                };
                return self.broken(index, path, problem);
            }
        }
        for port in &self.outputs {
            for piece in &port.pieces {
                if replaced.contains(&piece.slot) {
                    let problem = format!("output {} is a variable that has been replaced", port.name);
                    return self.broken(self.steps.len(), "", problem);
                }
                if !self.keeps_value(piece.slot) && !holds.has(piece.slot, &port.bytes(piece), port.value) {
                    let problem = format!("output {} is not in its slot at the end", port.name);
                    return self.broken(self.steps.len(), "", problem);
                }
            }
        }
        for (index, slot) in self.slots.iter().enumerate() {
            if slot.bytes > limits.max_buffer {
                let problem =
                    format!("slot {index} has {} bytes, a buffer at most {}", slot.bytes, limits.max_buffer);
                return self.broken(0, "", problem);
            }
        }
        Ok(())
    }

    /// Whether a slot holds one value from start to end.
    fn keeps_value(&self, slot: SlotId) -> bool {
        !matches!(self.slots[slot.index()].kind, SlotKind::Pooled | SlotKind::Kept)
    }

    /// Whether a binding is of a variable itself: an update's. Whatever is seen first in the slot is the variable.
    fn of_variable(&self, binding: &Binding, holds: &mut Contents) -> bool {
        matches!(self.slots[binding.slot.index()].kind, SlotKind::Variable { .. })
            && *holds.variables.entry(binding.slot).or_insert(binding.value) == binding.value
    }

    fn dispatch_problem(&self, dispatch: &Dispatch, limits: &Limits) -> Option<String> {
        let kernel = dispatch.kernel;
        if dispatch.bindings.len() != kernel.bindings.len() {
            return Some(format!(
                "{kernel} takes {} bindings, not {}",
                kernel.bindings.len(),
                dispatch.bindings.len()
            ));
        }
        if dispatch.bindings.len() as u32 > limits.max_storage_buffers {
            return Some(format!("{kernel} binds more than {} buffers", limits.max_storage_buffers));
        }
        if dispatch.params.len() as u32 != kernel.params_size {
            return Some(format!(
                "{kernel} takes {} bytes of params, not {}",
                kernel.params_size,
                dispatch.params.len()
            ));
        }
        if kernel.threads() > limits.max_threads || kernel.workgroup_memory > limits.workgroup_memory {
            return Some(format!("{kernel} exceeds the device's threads or workgroup memory"));
        }
        if dispatch.workgroups.iter().any(|&count| count == 0 || count > limits.max_workgroups) {
            return Some(format!("workgroups {:?} exceed {}", dispatch.workgroups, limits.max_workgroups));
        }
        for binding in &dispatch.bindings {
            let slot = self.slots[binding.slot.index()].bytes;
            if binding.offset + binding.bytes > slot {
                return Some(format!("binds {}+{} bytes of a slot of {slot}", binding.offset, binding.bytes));
            }
            if binding.bytes > limits.max_binding {
                return Some(format!(
                    "binds {} bytes, at most {} are allowed",
                    binding.bytes, limits.max_binding
                ));
            }
            if !binding.offset.is_multiple_of(u64::from(limits.storage_alignment)) {
                return Some(format!(
                    "binds at {}, not a multiple of {}",
                    binding.offset, limits.storage_alignment
                ));
            }
        }
        let written: Vec<SlotId> = slots(dispatch, Access::ReadWrite).collect();
        let twice = (1..written.len()).any(|index| written[..index].contains(&written[index]));
        if twice || slots(dispatch, Access::Read).any(|slot| written.contains(&slot)) {
            return Some("binds one slot for reading and for writing".to_owned());
        }
        None
    }

    fn value_problem(
        &self,
        dispatch: &Dispatch,
        holds: &mut Contents,
        replaced: &mut HashSet<SlotId>,
    ) -> Option<String> {
        // An update reads its variables as well, but none that has been replaced before.
        let before = replaced.clone();
        for binding in &dispatch.bindings {
            match binding.access {
                Access::Read if before.contains(&binding.slot) => {
                    return Some("reads a variable after it has been replaced".to_owned());
                }
                Access::Read
                    if !self.keeps_value(binding.slot)
                        && !holds.has(binding.slot, &bytes(binding), binding.value) =>
                {
                    return Some(format!("reads {} from a slot that does not hold it", binding.value));
                }
                Access::ReadWrite if self.of_variable(binding, holds) => {
                    replaced.insert(binding.slot);
                }
                Access::ReadWrite if self.keeps_value(binding.slot) => {
                    return Some(format!("writes {} over a constant or a variable", binding.value));
                }
                Access::ReadWrite => {
                    holds.put(binding.slot, bytes(binding), binding.value);
                }
                Access::Read => {}
            }
        }
        None
    }

    fn broken(&self, step: usize, path: &str, problem: String) -> Result<()> {
        Err(EngineError::Plan { plan: self.name.clone(), step, path: path.to_owned(), problem })
    }
}

/// Which value lies where at some point of a plan.
#[derive(Default)]
struct Contents {
    /// Of each slot the bytes that hold something; none overlap.
    values: HashMap<SlotId, Vec<(Range<u64>, Value)>>,
    /// The value that stands for the variable in its slot.
    variables: HashMap<SlotId, Value>,
}

impl Contents {
    /// Any value that has some of these bytes.
    fn any(&self, slot: SlotId, bytes: &Range<u64>) -> Option<Value> {
        let held = self.values.get(&slot)?;
        held.iter().find(|(range, _)| overlap(range, bytes)).map(|(_, value)| *value)
    }

    /// Whether all of these bytes hold the value.
    fn has(&self, slot: SlotId, bytes: &Range<u64>, value: Value) -> bool {
        let held = self.values.get(&slot).map_or(&[][..], Vec::as_slice);
        let mine = held.iter().filter(|(range, other)| *other == value && overlap(range, bytes));
        let covered: u64 =
            mine.map(|(range, _)| range.end.min(bytes.end) - range.start.max(bytes.start)).sum();
        covered == bytes.end - bytes.start
    }

    /// Writes a value over whatever was there.
    fn put(&mut self, slot: SlotId, bytes: Range<u64>, value: Value) {
        let held = self.values.entry(slot).or_default();
        let before = std::mem::take(held);
        for (range, other) in before {
            for rest in [range.start..range.end.min(bytes.start), range.start.max(bytes.end)..range.end] {
                if !rest.is_empty() {
                    held.push((rest, other));
                }
            }
        }
        held.push((bytes, value));
    }
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

fn bytes(binding: &Binding) -> Range<u64> {
    binding.offset..binding.offset + binding.bytes
}

fn slots(dispatch: &Dispatch, access: Access) -> impl Iterator<Item = SlotId> {
    dispatch.bindings.iter().filter(move |binding| binding.access == access).map(|binding| binding.slot)
}
