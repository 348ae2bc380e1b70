//! Gives slots to storages: those whose lives do not overlap share one.

use std::ops::Range;

use kiln_kernels::Access;

use super::{Binding, Constants, Dispatch, LoadSource, Slot, SlotId, SlotKind, Step};
use crate::graph::{Graph, Origin, Value};
use crate::lower::{Bound, Draft, Storage};
use crate::tensor::DType;

/// What a storage holds.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) value: Value,
    pub(super) rows: Range<usize>,
    pub(super) elements: usize,
}

impl Stored {
    fn bytes(&self) -> u64 {
        (self.elements * DType::BYTES) as u64
    }

    /// The elements of the whole tensor that it holds.
    fn range(&self) -> Range<usize> {
        let row = self.elements / self.rows.len().max(1);
        self.rows.start * row..self.rows.end * row
    }
}

/// A step whose operands are storages.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Dispatch(Draft),
    Copy { from: Bound, to: Bound },
}

impl Event {
    fn touched(&self) -> Vec<Storage> {
        match self {
            Event::Dispatch(draft) => draft.bindings.iter().map(|bound| bound.storage).collect(),
            Event::Copy { from, to } => vec![from.storage, to.storage],
        }
    }
}

/// Where a storage's slot comes from.
enum Home {
    /// Shares a pooled slot while it lives. Whether a load fills it at its first use.
    Pooled { load: bool },
    /// Has a slot of its own.
    Own { kind: SlotKind, load: bool },
}

/// Decides the slots of one plan.
pub(super) struct Lifetimes<'a> {
    graph: &'a Graph,
    stored: &'a [Stored],
    ends: &'a [Storage],
    constants: Constants,
    slots: Vec<Slot>,
    slot_of: Vec<Option<SlotId>>,
    free: Vec<SlotId>,
}

impl<'a> Lifetimes<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        stored: &'a [Stored],
        ends: &'a [Storage],
        constants: Constants,
    ) -> Self {
        Self {
            graph,
            stored,
            ends,
            constants,
            slots: vec![],
            slot_of: vec![None; stored.len()],
            free: vec![],
        }
    }

    fn home(&self, storage: Storage) -> Home {
        let Stored { value, rows, .. } = &self.stored[storage.0 as usize];
        let (rows, end) = (rows.clone(), self.ends.contains(&storage));
        match (&self.graph.values()[value.index()].origin, self.constants) {
            (Origin::Constant(name), Constants::Resident) => {
                Home::Own { kind: SlotKind::Constant { name: name.clone(), rows }, load: false }
            }
            (Origin::Literal(bits), Constants::Resident) => {
                let bits = bits[self.stored[storage.0 as usize].range()].to_vec();
                Home::Own { kind: SlotKind::Literal(bits), load: false }
            }
            (Origin::Variable(name), _) => {
                Home::Own { kind: SlotKind::Variable { name: name.clone(), rows }, load: false }
            }
            (origin, Constants::Streamed) => {
                let load = *origin != Origin::Node;
                if end { Home::Own { kind: SlotKind::Kept, load } } else { Home::Pooled { load } }
            }
            _ => Home::Pooled { load: false },
        }
    }

    /// Slots, steps, and the slot of each storage.
    pub(super) fn assign(mut self, events: Vec<Event>) -> (Vec<Slot>, Vec<Step>, impl Fn(Storage) -> SlotId) {
        let mut last_use = vec![None; self.stored.len()];
        for (index, event) in events.iter().enumerate() {
            for storage in event.touched() {
                last_use[storage.0 as usize] = Some(index);
            }
        }
        for end in self.ends {
            last_use[end.0 as usize] = Some(usize::MAX);
        }
        let mut steps = vec![];
        // Inputs are written before the first step; results that no step makes must exist as well.
        for index in 0..self.stored.len() {
            let storage = Storage(index as u32);
            let origin = &self.graph.values()[self.stored[index].value.index()].origin;
            if matches!(origin, Origin::Input(_)) || (*origin != Origin::Node && self.ends.contains(&storage))
            {
                self.open(storage, &mut steps);
            }
        }
        for (index, event) in events.into_iter().enumerate() {
            let touched = event.touched();
            for &storage in &touched {
                self.open(storage, &mut steps);
            }
            steps.push(self.step(event));
            for storage in touched {
                self.close(storage, last_use[storage.0 as usize] == Some(index));
            }
        }
        let slot_of: Vec<SlotId> = self.slot_of.iter().map(|slot| slot.unwrap_or(SlotId(u32::MAX))).collect();
        (self.slots, steps, move |storage: Storage| slot_of[storage.0 as usize])
    }

    /// Gives a storage its slot, if it has none yet.
    fn open(&mut self, storage: Storage, steps: &mut Vec<Step>) {
        let index = storage.0 as usize;
        if self.slot_of[index].is_some() {
            return;
        }
        let bytes = self.stored[index].bytes();
        let (slot, load) = match self.home(storage) {
            Home::Own { kind, load } => (self.add(Slot { bytes, kind }), load),
            Home::Pooled { load } => (self.take(bytes), load),
        };
        self.slot_of[index] = Some(slot);
        if load {
            let (value, elements) = (self.stored[index].value, self.stored[index].range());
            let source = match &self.graph.values()[value.index()].origin {
                Origin::Literal(bits) => LoadSource::Literal(bits[elements.clone()].to_vec()),
                Origin::Constant(name) => LoadSource::Weight(name.clone()),
                _ => return,
            };
            steps.push(Step::Load { value, slot, source, elements });
        }
    }

    /// The free slot that wastes least, or the largest one, grown, or a new one.
    fn take(&mut self, bytes: u64) -> SlotId {
        let fitting = self.free.iter().copied().filter(|slot| self.slots[slot.index()].bytes >= bytes);
        let best = fitting.min_by_key(|slot| self.slots[slot.index()].bytes);
        let chosen =
            best.or_else(|| self.free.iter().copied().max_by_key(|slot| self.slots[slot.index()].bytes));
        match chosen {
            Some(slot) => {
                self.free.retain(|&other| other != slot);
                let held = &mut self.slots[slot.index()].bytes;
                *held = bytes.max(*held);
                slot
            }
            None => self.add(Slot { bytes, kind: SlotKind::Pooled }),
        }
    }

    fn add(&mut self, slot: Slot) -> SlotId {
        self.slots.push(slot);
        SlotId(self.slots.len() as u32 - 1)
    }

    /// Frees a pooled slot after its storage's last use.
    fn close(&mut self, storage: Storage, over: bool) {
        let Some(slot) = self.slot_of[storage.0 as usize] else { return };
        if over && self.slots[slot.index()].kind == SlotKind::Pooled && !self.free.contains(&slot) {
            self.free.push(slot);
        }
    }

    fn step(&self, event: Event) -> Step {
        let binding = |bound: &Bound, access| Binding {
            slot: self.slot_of[bound.storage.0 as usize].unwrap_or(SlotId(u32::MAX)),
            offset: bound.offset,
            bytes: bound.bytes,
            access,
            value: self.stored[bound.storage.0 as usize].value,
        };
        match event {
            Event::Copy { from, to } => {
                Step::Copy { from: binding(&from, Access::Read), to: binding(&to, Access::ReadWrite) }
            }
            Event::Dispatch(draft) => {
                let access = draft.kernel.bindings.iter().map(|binding| binding.access);
                let bindings = draft.bindings.iter().zip(access);
                Step::Dispatch(Dispatch {
                    bindings: bindings.map(|(bound, access)| binding(bound, access)).collect(),
                    path: draft.path,
                    kernel: draft.kernel,
                    overrides: draft.overrides,
                    params: draft.params,
                    workgroups: draft.workgroups,
                })
            }
        }
    }
}
