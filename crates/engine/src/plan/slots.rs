//! Gives slots to storages: those whose lives do not overlap share one.

use std::ops::Range;

use kiln_gpu::Limits;
use kiln_kernels::Access;

use super::fit::{LiveRange, Rules, fit, largest_live_set};
use super::{Binding, Constants, Dispatch, LoadSource, Slot, SlotId, SlotKind, Step};
use crate::graph::{Graph, Origin, Value};
use crate::lower::{Bound, Draft, Storage};
use crate::tensor::DType;

/// The moment at which inputs are written, and that at which outputs are read.
const BEFORE: usize = 0;
const AFTER: usize = usize::MAX;

/// Where values begin in a slot: whole cache lines, whatever the widest load of a kernel is.
pub(super) const ALIGNMENT: u64 = 256;

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

    /// Pairs that one buffer can't hold: what is written, with everything else that is bound beside it.
    fn apart(&self) -> Vec<(Storage, Storage)> {
        match self {
            Event::Copy { from, to } => vec![(from.storage, to.storage)],
            Event::Dispatch(draft) => {
                let bound = || draft.bindings.iter().zip(draft.kernel.bindings);
                let written = bound().filter(|(_, shape)| shape.access == Access::ReadWrite);
                let pairs = written
                    .flat_map(|(written, _)| bound().map(|(other, _)| (written.storage, other.storage)));
                pairs.filter(|(written, other)| written != other).collect()
            }
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

/// A place in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) slot: SlotId,
    /// First byte.
    pub(super) offset: u64,
}

/// What nothing touches is nowhere.
const NOWHERE: Spot = Spot { slot: SlotId(u32::MAX), offset: 0 };

/// What comes out.
pub(super) struct Assigned {
    pub(super) slots: Vec<Slot>,
    pub(super) steps: Vec<Step>,
    /// Where each storage lies.
    pub(super) spots: Vec<Spot>,
    /// The largest live set of pooled storages.
    pub(super) live: u64,
}

/// Decides the slots of one plan.
pub(super) struct Lifetimes<'a> {
    graph: &'a Graph,
    stored: &'a [Stored],
    ends: &'a [Storage],
    constants: Constants,
    limits: &'a Limits,
    slots: Vec<Slot>,
    spots: Vec<Spot>,
}

impl<'a> Lifetimes<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        stored: &'a [Stored],
        ends: &'a [Storage],
        constants: Constants,
        limits: &'a Limits,
    ) -> Self {
        let spots = vec![NOWHERE; stored.len()];
        Self { graph, stored, ends, constants, limits, slots: vec![], spots }
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

    pub(super) fn assign(mut self, events: Vec<Event>) -> Assigned {
        let ranges = self.ranges(&events);
        let live = self.share(&ranges, &events);
        let mut opened = vec![false; self.stored.len()];
        let mut steps = vec![];
        // Results that no step makes must exist as well.
        for (index, range) in ranges.iter().enumerate() {
            if range.is_some_and(|range| range.from == BEFORE) {
                self.open(Storage(index as u32), &mut opened, &mut steps);
            }
        }
        for event in events {
            for storage in event.touched() {
                self.open(storage, &mut opened, &mut steps);
            }
            steps.push(self.step(event));
        }
        Assigned { slots: self.slots, steps, spots: self.spots, live }
    }

    /// From when to when each storage is needed; none for one that nothing touches. The step of event `i` is moment `i + 1`.
    fn ranges(&self, events: &[Event]) -> Vec<Option<LiveRange>> {
        let mut ranges: Vec<Option<LiveRange>> = vec![None; self.stored.len()];
        let mut touch = |index: usize, moment: usize| {
            let bytes = self.stored[index].bytes();
            let range = ranges[index].get_or_insert(LiveRange { bytes, from: moment, to: moment });
            range.to = moment;
        };
        // Inputs are written before the first step; so is what comes out as it came in.
        for (index, stored) in self.stored.iter().enumerate() {
            let origin = &self.graph.values()[stored.value.index()].origin;
            let ends = self.ends.contains(&Storage(index as u32));
            if matches!(origin, Origin::Input(_)) || (*origin != Origin::Node && ends) {
                touch(index, BEFORE);
            }
        }
        for (index, event) in events.iter().enumerate() {
            event.touched().into_iter().for_each(|storage| touch(storage.0 as usize, index + 1));
        }
        self.ends.iter().for_each(|end| touch(end.0 as usize, AFTER));
        ranges
    }

    /// Gives each storage that is needed its place, and tells the largest live set of those that share slots.
    fn share(&mut self, ranges: &[Option<LiveRange>], events: &[Event]) -> u64 {
        let needed = || ranges.iter().enumerate().filter_map(|(index, range)| Some((index, (*range)?)));
        let is_pooled = |index: usize| matches!(self.home(Storage(index as u32)), Home::Pooled { .. });
        let (pooled, together): (Vec<usize>, Vec<LiveRange>) =
            needed().filter(|&(index, _)| is_pooled(index)).unzip();
        let position = |storage: Storage| pooled.binary_search(&(storage.0 as usize)).ok();
        let mut apart = vec![vec![]; together.len()];
        for (one, other) in events.iter().flat_map(Event::apart) {
            if let (Some(one), Some(other)) = (position(one), position(other)) {
                apart[one].push(other);
                apart[other].push(one);
            }
        }
        let besides = match self.constants {
            Constants::Resident => {
                needed().filter(|&(index, _)| !is_pooled(index)).map(|(_, range)| range.bytes).sum()
            }
            // What a prepare plan makes is not there yet while it works.
            Constants::Streamed => 0,
        };
        let (alignment, largest) =
            (ALIGNMENT.max(self.limits.storage_alignment.into()), self.limits.max_buffer);
        let fitting = fit(&together, Rules { apart: &apart, alignment, largest, besides });
        // Slots are numbered in the order in which they come into use: a plan reads more easily that way.
        let mut slot_of_place: Vec<Option<SlotId>> = vec![None; fitting.sizes.len()];
        let mut arrivals: Vec<(usize, LiveRange)> = needed().collect();
        arrivals.sort_by_key(|(_, range)| range.from);
        for (index, range) in arrivals {
            self.spots[index] = match (self.home(Storage(index as u32)), pooled.binary_search(&index)) {
                (Home::Own { kind, .. }, _) => {
                    Spot { slot: self.add(Slot { bytes: range.bytes, kind }), offset: 0 }
                }
                (Home::Pooled { .. }, Ok(position)) => {
                    let (place, offset) = fitting.spots[position];
                    let bytes = fitting.sizes[place];
                    let slot = slot_of_place[place]
                        .unwrap_or_else(|| self.add(Slot { bytes, kind: SlotKind::Pooled }));
                    slot_of_place[place] = Some(slot);
                    Spot { slot, offset }
                }
                (Home::Pooled { .. }, Err(_)) => NOWHERE,
            };
        }
        largest_live_set(&together)
    }

    /// Has a storage loaded, where a load fills it, before the first step that needs it.
    fn open(&self, storage: Storage, opened: &mut [bool], steps: &mut Vec<Step>) {
        let index = storage.0 as usize;
        if std::mem::replace(&mut opened[index], true) {
            return;
        }
        let (Home::Own { load: true, .. } | Home::Pooled { load: true }) = self.home(storage) else { return };
        let Spot { slot, offset } = self.spots[index];
        let (value, elements) = (self.stored[index].value, self.stored[index].range());
        let source = match &self.graph.values()[value.index()].origin {
            Origin::Literal(bits) => LoadSource::Literal(bits[elements.clone()].to_vec()),
            Origin::Constant(name) => LoadSource::Weight(name.clone()),
            _ => return,
        };
        steps.push(Step::Load { value, slot, offset, source, elements });
    }

    fn add(&mut self, slot: Slot) -> SlotId {
        self.slots.push(slot);
        SlotId(self.slots.len() as u32 - 1)
    }

    fn step(&self, event: Event) -> Step {
        let binding = |bound: &Bound, access| {
            let index = bound.storage.0 as usize;
            let Spot { slot, offset } = self.spots[index];
            let value = self.stored[index].value;
            Binding { slot, offset: offset + bound.offset, bytes: bound.bytes, access, value }
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
                    op: draft.op,
                    work: draft.work,
                    bytes: draft.bytes,
                })
            }
        }
    }
}
