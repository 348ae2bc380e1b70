//! What steps do, in operations and bytes: counted from shapes, so that a time becomes a rate.
//!
//! Multiply-adds are those of products as they are computed. A convolution by Winograd's method is a product of fewer:
//! its steps count what they multiply, and whoever wants the rate of the convolution, as papers give it, takes the
//! [count](crate::Op::work) of the op in the graph from before the passes.

use std::collections::BTreeMap;

use kiln_kernels::Access;

use crate::graph::{Graph, Node, Update};
use crate::lower::{Bound, Draft, Storage};
use crate::tensor::TensorDesc;

/// What an op, or a part of it, computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Multiply-adds of products: of matrices, convolutions and attention. Each is two operations.
    pub multiply_adds: u64,
    /// All other operations, roughly: one for each element of the largest tensor that is touched, one for each element of
    /// a window, and one for each part of an epilogue. A function such as `exp` is one operation.
    pub elementwise: u64,
    /// Whether it reads no more of each input than it writes: a lookup in a table.
    pub selects: bool,
}

impl Work {
    /// Elements that are moved and not computed.
    pub const MOVES: Work = Work { multiply_adds: 0, elementwise: 0, selects: false };

    /// Elements that are picked out of larger tensors.
    pub const SELECTS: Work = Work { selects: true, ..Work::MOVES };

    /// So many multiply-adds.
    pub const fn products(multiply_adds: u64) -> Work {
        Work { multiply_adds, ..Work::MOVES }
    }

    /// So many operations that are no products.
    pub const fn elementwise(operations: u64) -> Work {
        Work { elementwise: operations, ..Work::MOVES }
    }

    /// With more operations that are no products.
    pub const fn and(self, elementwise: u64) -> Work {
        Work { elementwise: self.elementwise.saturating_add(elementwise), ..self }
    }

    /// One operation for each element of the largest of some tensors.
    pub(crate) fn by_element<'a>(tensors: impl IntoIterator<Item = &'a TensorDesc>) -> Work {
        Work::elementwise(tensors.into_iter().map(elements).max().unwrap_or(0))
    }

    /// Floating-point operations, two for each multiply-add.
    pub const fn flops(&self) -> u64 {
        self.multiply_adds.saturating_mul(2).saturating_add(self.elementwise)
    }
}

impl std::ops::Add for Work {
    type Output = Work;

    fn add(self, other: Work) -> Work {
        Work {
            multiply_adds: self.multiply_adds.saturating_add(other.multiply_adds),
            elementwise: self.elementwise.saturating_add(other.elementwise),
            selects: self.selects && other.selects,
        }
    }
}

/// Elements, as counts of work have them.
pub(crate) fn elements(desc: &TensorDesc) -> u64 {
    product(&desc.shape)
}

/// The product of extents.
pub(crate) fn product(extents: &[usize]) -> u64 {
    extents.iter().fold(1, |product: u64, &extent| product.saturating_mul(extent as u64))
}

/// Tells the dispatches of a node what each does.
pub(crate) fn count_node(graph: &Graph, node: &Node, drafts: &mut [Draft]) {
    let inputs: Vec<&TensorDesc> = node.inputs.iter().map(|&input| graph.desc(input)).collect();
    share_out(drafts, node.op.work(&inputs, graph.desc(node.output)), false);
}

/// Tells the dispatches of an update what each does.
pub(crate) fn count_update(graph: &Graph, update: &Update, drafts: &mut [Draft]) {
    let [variables, inputs] = [&update.variables, &update.inputs]
        .map(|values| values.iter().map(|&value| graph.desc(value)).collect::<Vec<_>>());
    share_out(drafts, update.rule.work(&variables, &inputs), true);
}

/// Tells each dispatch of an op what part of the work it does, by what it writes, and how many bytes it moves.
/// `in_place` says that what it writes it also reads, as an update does.
fn share_out(drafts: &mut [Draft], work: Work, in_place: bool) {
    let portions: Vec<Portion> = drafts.iter().map(|draft| Portion::of(draft, drafts)).collect();
    let written: Vec<u64> = drafts
        .iter()
        .zip(&portions)
        .map(|(draft, portion)| portion.of_count(touched(draft, Access::ReadWrite)))
        .collect();
    let whole = written.iter().sum();
    for ((draft, portion), written) in drafts.iter_mut().zip(portions).zip(written) {
        let portion_of_work = Portion { own: written, whole };
        draft.work = Work {
            multiply_adds: portion_of_work.of_count(work.multiply_adds),
            elementwise: portion_of_work.of_count(work.elementwise),
            ..work
        };
        let read = portion.of_count(touched(draft, Access::Read));
        draft.bytes = match (work.selects, in_place) {
            (false, false) => read + written,
            (false, true) => read + 2 * written,
            (true, false) => selected(draft, written) + written,
            // Rows that are put into a larger tensor: as many are written as are read.
            (true, true) => 2 * read,
        };
    }
}

/// So much of a whole.
struct Portion {
    own: u64,
    whole: u64,
}

impl Portion {
    /// What a dispatch does of all that bind the very same, by their invocations: each does a part, as where most elements
    /// go by vectors and the last few one by one.
    fn of(draft: &Draft, drafts: &[Draft]) -> Portion {
        let invocations = |draft: &Draft| {
            let groups: u64 = draft.workgroups.iter().map(|&count| u64::from(count)).product();
            groups * u64::from(draft.kernel.threads())
        };
        let alike = drafts.iter().filter(|other| other.bindings == draft.bindings);
        Portion { own: invocations(draft), whole: alike.map(invocations).sum() }
    }

    /// As much of a count, rounded down.
    fn of_count(&self, count: u64) -> u64 {
        match self.whole {
            0 => 0,
            whole => (u128::from(count) * u128::from(self.own) / u128::from(whole)) as u64,
        }
    }
}

/// Bytes that a dispatch binds with an access, each once: where a kernel has no use for a binding, some other
/// tensor fills its place. What is written counts as that alone.
fn touched(draft: &Draft, access: Access) -> u64 {
    let mut ranges: BTreeMap<Storage, Vec<(u64, u64)>> = BTreeMap::new();
    for bound in bounds(draft, access) {
        ranges.entry(bound.storage).or_default().push((bound.offset, bound.offset + bound.bytes));
    }
    ranges.into_values().map(covered).sum()
}

/// Bytes that a dispatch reads which needs of each tensor at most as many as it writes.
fn selected(draft: &Draft, written: u64) -> u64 {
    bounds(draft, Access::Read).map(|bound| bound.bytes.min(written)).sum()
}

fn bounds(draft: &Draft, access: Access) -> impl Iterator<Item = &Bound> {
    let bindings = draft.kernel.bindings.iter().zip(&draft.bindings);
    bindings.filter(move |(binding, _)| binding.access == access).map(|(_, bound)| bound)
}

/// The length of the union of some ranges.
fn covered(mut ranges: Vec<(u64, u64)>) -> u64 {
    ranges.sort_unstable();
    let (mut total, mut end) = (0, 0);
    for (start, stop) in ranges {
        total += stop.saturating_sub(start.max(end));
        end = end.max(stop);
    }
    total
}
