//! The plan: kernels in order, with parameters and memory slots. Plain data that knows no device.

mod build;
mod check;
mod display;
mod fit;
mod inside;
mod memory;
mod partition;
mod slots;

use std::ops::Range;

use kiln_kernels::{Access, Kernel};

use crate::graph::Value;
use crate::tensor::TensorDesc;
use crate::work::Work;

pub use build::Constants;
pub use memory::PlanMemory;

/// Index of a slot in [`Plan::slots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(pub(crate) u32);

impl SlotId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a slot is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotKind {
    /// Holds inputs, intermediates and outputs, one after the other: taken from the session's pool.
    Pooled,
    /// Rows of a constant of the graph; kept while the session lives.
    Constant {
        /// Name of the tensor, or the expression that `hoist_constants` gave it.
        name: String,
        /// Rows of the first dimension.
        rows: Range<usize>,
    },
    /// The numbers of a literal that lie in this slot, by their bits.
    Literal(Vec<u32>),
    /// Rows of a variable, shared by name among the plans of a session.
    Variable {
        /// The variable's name.
        name: String,
        /// Rows of the first dimension.
        rows: Range<usize>,
    },
    /// Result of a prepare plan, which becomes a constant of the main plan.
    Kept,
}

/// A device buffer to be. What a step writes has a slot that the step binds for nothing else, since one buffer cannot be
/// bound for reading and for writing in the same dispatch; otherwise values may lie side by side in a pooled slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Size.
    pub bytes: u64,
    /// Use.
    pub kind: SlotKind,
}

/// Part of a slot, bound to a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The slot.
    pub slot: SlotId,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub bytes: u64,
    /// How the kernel uses it.
    pub access: Access,
    /// The value that the slot holds for this step; [`Plan::check`] compares.
    pub value: Value,
}

/// One thing that a run does.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Runs a kernel.
    Dispatch(Dispatch),
    /// Reads rows of a weight into a slot; only in prepare plans.
    Load {
        /// The value, for [`Plan::check`].
        value: Value,
        /// Where it goes.
        slot: SlotId,
        /// First byte there.
        offset: u64,
        /// Name of the tensor, or bits of a literal.
        source: LoadSource,
        /// Elements of the tensor, row-major.
        elements: Range<usize>,
    },
    /// Copies rows of the new value of a variable over it.
    Copy {
        /// What is copied.
        from: Binding,
        /// Where it goes, of the same size.
        to: Binding,
    },
}

/// Where a [`Step::Load`] reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadSource {
    /// A named tensor of the weight source.
    Weight(String),
    /// Those bits of a literal that are loaded.
    Literal(Vec<u32>),
}

/// A kernel with everything that it needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    /// Layer path.
    pub path: String,
    /// Row of the catalogue.
    pub kernel: &'static Kernel,
    /// Values of overrides that the kernel leaves to the host.
    pub overrides: Vec<(&'static str, f64)>,
    /// The bytes of its `Params`.
    pub params: Vec<u8>,
    /// In the order of the kernel's bindings.
    pub bindings: Vec<Binding>,
    /// Folded workgroup counts.
    pub workgroups: [u32; 3],
    /// Name of the op or rule that it belongs to.
    pub op: &'static str,
    /// What it computes.
    pub work: Work,
    /// Bytes that it reads and writes, each once however often a kernel loads it.
    pub bytes: u64,
}

/// A named tensor at the edge of a plan, and the slots that hold its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Name of the input or output.
    pub name: String,
    /// Shape and type.
    pub desc: TensorDesc,
    /// The value that the slots hold.
    pub value: Value,
    /// Where its rows lie, in order.
    pub pieces: Vec<PortPiece>,
}

/// Rows of a tensor at the edge of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPiece {
    /// The slot.
    pub slot: SlotId,
    /// First byte.
    pub offset: u64,
    /// Rows of the first dimension.
    pub rows: Range<usize>,
}

impl Port {
    /// Which bytes of the tensor the rows of one piece are.
    pub(crate) fn piece_bytes(&self, rows: &Range<usize>) -> Range<usize> {
        let row = self.desc.row_elements() * crate::DType::BYTES;
        rows.start * row..rows.end * row
    }

    /// The bytes of its slot that a piece takes.
    fn bytes(&self, piece: &PortPiece) -> Range<u64> {
        piece.offset..piece.offset + self.piece_bytes(&piece.rows).len() as u64
    }
}

/// A graph made ready for a kind of device: what to run, on which slots.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The graph's name.
    pub name: String,
    /// Memory.
    pub slots: Vec<Slot>,
    /// Work, in order.
    pub steps: Vec<Step>,
    /// What every run is given.
    pub inputs: Vec<Port>,
    /// What every run gives back.
    pub outputs: Vec<Port>,
    /// Names and descriptions of the variables that it reads or replaces.
    pub variables: Vec<(String, TensorDesc)>,
    /// The largest live set: bytes of all that pooled slots hold at one moment, at the worst one.
    pub live: u64,
}

impl Plan {
    /// The kernel steps.
    pub fn dispatches(&self) -> impl Iterator<Item = &Dispatch> {
        self.steps.iter().filter_map(|step| match step {
            Step::Dispatch(dispatch) => Some(dispatch),
            _ => None,
        })
    }
}
