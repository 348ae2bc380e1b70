//! Values that lie inside other values: rows of one that begin where the device can bind, and the parts of a vector that
//! are made where they belong, so that nothing has to be copied.

use std::collections::HashMap;
use std::ops::Range;

use kiln_gpu::Limits;

use super::Constants;
use super::slots::{ALIGNMENT, Stored};
use crate::choices::Target;
use crate::error::Result;
use crate::graph::{Graph, Node, Origin, Update, Value};
use crate::lower::{Draft, Lowering, Piece, Placed};
use crate::ops::{FlatConcat, Op, Slice};
use crate::tensor::DType;
use crate::updates::{Assign, Rule};
use crate::work;

/// Where slices of rows lie.
pub(super) struct Views<'a> {
    pub(super) graph: &'a Graph,
    pub(super) constants: Constants,
    pub(super) limits: &'a Limits,
}

impl Views<'_> {
    /// The memory of some rows of a value that lies in one piece, from byte `start` of it on: nothing has to be copied. What
    /// is given from outside may be replaced while the rows are still wanted; a variable is not, before all that reads it
    /// is done. What no kernel binds may start anywhere.
    pub(super) fn of_rows(
        &self,
        view: Value,
        stored: &[Stored],
        from: &[Piece],
        rows: &[Range<usize>],
        start: u64,
    ) -> Option<Vec<Piece>> {
        let ([only], [rows]) = (from, rows) else { return None };
        let source = stored[only.storage.0 as usize].value;
        let lasts = match (self.graph.origin(source), self.constants) {
            // What a prepare plan keeps starts where its buffer does.
            (Origin::Node, Constants::Streamed) => start == 0,
            (Origin::Node | Origin::Variable(_), Constants::Resident) => true,
            _ => false,
        };
        let offset = only.offset + start;
        let alignment = ALIGNMENT.max(self.limits.storage_alignment.into());
        let alignment = if self.is_bound(view) { alignment } else { DType::BYTES as u64 };
        (lasts && offset.is_multiple_of(alignment))
            .then(|| vec![Piece { rows: rows.clone(), storage: only.storage, offset }])
    }
}

impl Views<'_> {
    /// Whether a kernel reads a value, and not only a copy that replaces a variable.
    fn is_bound(&self, value: Value) -> bool {
        let assigns = |update: &Update| update.rule == Rule::Assign(Assign);
        let mut inputs = self.graph.nodes().iter().map(|node| &node.inputs).chain(
            self.graph.updates().iter().filter(|update| !assigns(update)).map(|update| &update.inputs),
        );
        inputs.any(|inputs| inputs.contains(&value))
    }
}

/// Where a value is made inside the vector that a [`FlatConcat`] makes.
pub(super) struct Seat<'a> {
    /// The vector.
    pub(super) whole: Value,
    node: &'a Node,
    /// First element.
    start: usize,
}

impl Seat<'_> {
    /// The part of the vector that is the value's own.
    pub(super) fn piece(&self, whole: &Piece, rows: &Range<usize>) -> Piece {
        let offset = (self.start * DType::BYTES) as u64;
        Piece { rows: rows.clone(), storage: whole.storage, offset }
    }

    /// Puts zeros between the parts of the vector, before any of them is made: at the path of the first.
    pub(super) fn clear(
        &self,
        graph: &Graph,
        target: Target<'_>,
        path: &str,
        whole: &[Piece],
        drafts: &mut Vec<Draft>,
    ) -> Result<()> {
        let first = drafts.len();
        FlatConcat::clear(&mut Lowering {
            profile: target.profile,
            target,
            op: self.node.op.name(),
            path,
            inputs: vec![],
            variables: vec![],
            output: Placed { desc: graph.desc(self.whole), pieces: whole, constant: false },
            drafts,
        })?;
        work::count_node(graph, self.node, &mut drafts[first..]);
        Ok(())
    }
}

/// Which values can be made inside the vector that joins them.
///
/// Not what is given, what is wanted twice, or a part of something else already; nor what is computed from another part of
/// the same vector, since one buffer can't be bound for reading and for writing in one dispatch.
pub(super) fn seats<'a>(
    graph: &'a Graph,
    ranges: &[Vec<Range<usize>>],
    limits: &Limits,
    constants: Constants,
) -> HashMap<Value, Seat<'a>> {
    let mut seats: HashMap<Value, Seat<'_>> = HashMap::new();
    let alignment = (FlatConcat::ALIGNMENT * DType::BYTES) as u64;
    if constants == Constants::Streamed || !alignment.is_multiple_of(limits.storage_alignment.into()) {
        return seats;
    }
    let makers: HashMap<Value, &Node> = graph.nodes().iter().map(|node| (node.output, node)).collect();
    let constant = graph.constant_values();
    let in_memory_of = |value: Value| {
        beneath(&makers, value, |op| matches!(op, Op::Reshape(_) | Op::Slice(Slice { dim: 0, .. })))
    };
    let in_one_piece = |value: Value| ranges[value.index()].len() == 1;
    for node in graph.nodes() {
        if !matches!(node.op, Op::FlatConcat(_)) || !in_one_piece(node.output) {
            continue;
        }
        let descs: Vec<_> = node.inputs.iter().map(|&input| graph.desc(input)).collect();
        let mut parts: Vec<Value> = vec![];
        for (&input, start) in node.inputs.iter().zip(FlatConcat::starts(&descs)) {
            let value = beneath(&makers, input, |op| matches!(op, Op::Reshape(_)));
            let Some(maker) = makers.get(&value) else { continue };
            let alone = node.inputs.iter().filter(|&&other| in_memory_of(other) == value).count() == 1;
            let reads =
                |maker: &Node, part: Value| maker.inputs.iter().any(|&from| in_memory_of(from) == part);
            let apart = parts.iter().any(|&part| reads(maker, part) || reads(makers[&part], value));
            if !alone
                || apart
                || matches!(maker.op, Op::Slice(_) | Op::FlatConcat(_))
                || constant[value.index()]
                || !in_one_piece(value)
                || seats.contains_key(&value)
            {
                continue;
            }
            parts.push(value);
            seats.insert(value, Seat { whole: node.output, node, start });
        }
    }
    seats
}

/// The value in whose memory this one lies, if it is made by such ops.
fn beneath(makers: &HashMap<Value, &Node>, mut value: Value, through: impl Fn(&Op) -> bool) -> Value {
    while let Some(maker) = makers.get(&value).filter(|maker| through(&maker.op)) {
        value = maker.inputs[0];
    }
    value
}

#[cfg(test)]
mod tests {
    use kiln_gpu::{DeviceKind, DeviceProfile};

    use super::*;
    use crate::plan::{Plan, Step};
    use crate::updates::Accumulate;
    use crate::{DType, GraphBuilder};

    fn plan(build: impl FnOnce(&mut GraphBuilder) -> Result<()>, limits: Limits) -> Result<Plan> {
        let mut g = GraphBuilder::new("g");
        build(&mut g)?;
        Plan::build(&g.finish(), &DeviceProfile::made_up(DeviceKind::Cpu, limits), Constants::Resident)
    }

    fn kernels(plan: &Plan) -> Vec<&str> {
        plan.dispatches().map(|dispatch| dispatch.kernel.name).collect()
    }

    #[test]
    fn parts_are_made_where_they_belong() -> Result<()> {
        let build = |g: &mut GraphBuilder| {
            let x = g.input("x", &[5, 3], DType::F32);
            let (exp, negative) = (g.exp(x)?, g.neg(x)?);
            let negative = g.reshape(negative, &[15])?;
            let flat = g.flat_concat(&[exp, negative])?;
            g.output("flat", flat);
            g.output("exp", exp);
            Ok(())
        };
        let made = plan(build, Limits::BASELINE)?;
        assert_eq!(kernels(&made), ["fill", "unary", "unary"]);
        let [flat, exp] = [0, 1].map(|output: usize| &made.outputs[output].pieces[0]);
        assert_eq!((flat.slot, flat.offset), (exp.slot, exp.offset));
        // Where the device binds at larger steps only, both are copied.
        let coarse = Limits { storage_alignment: 512, ..Limits::BASELINE };
        assert_eq!(
            kernels(&plan(build, coarse)?),
            ["unary", "unary", "fill", "copy_strided", "copy_strided"]
        );
        Ok(())
    }

    #[test]
    fn what_is_read_for_another_part_is_copied() -> Result<()> {
        let made = plan(
            |g| {
                let x = g.input("x", &[5], DType::F32);
                let exp = g.exp(x)?;
                let start = g.slice(exp, 0, 0, 3)?;
                let negative = g.neg(start)?;
                let flat = g.flat_concat(&[exp, negative, x])?;
                g.output("flat", flat);
                Ok(())
            },
            Limits::BASELINE,
        )?;
        assert_eq!(kernels(&made), ["fill", "unary", "unary", "copy_strided", "copy_strided"]);
        Ok(())
    }

    #[test]
    fn members_of_a_flat_variable_are_read_where_they_lie() -> Result<()> {
        let made = plan(
            |g| {
                let flat = g.flat_variable("flat", &[(&["weight"], &[3, 32]), (&["bias"], &[3])])?;
                let (weight, bias) =
                    (g.variable("weight", &[3, 32], DType::F32), g.variable("bias", &[3], DType::F32));
                let (weight, bias) = (g.neg(weight)?, g.neg(bias)?);
                let (both, mix) = (g.flat_concat(&[weight, bias])?, g.input("mix", &[2], DType::F32));
                g.update(Accumulate, &[flat], &[both, mix])?;
                Ok(())
            },
            Limits::BASELINE,
        )?;
        assert_eq!(kernels(&made), ["fill", "unary", "unary", "accumulate"]);
        assert_eq!(made.variables.len(), 1);
        Ok(())
    }

    /// A copy from buffer to buffer takes any part of a value.
    #[test]
    fn what_replaces_a_variable_is_not_copied_before() -> Result<()> {
        for (bound, expected) in [(false, &["unary"][..]), (true, &["unary", "copy_strided", "unary"])] {
            let made = plan(
                |g| {
                    let (x, state) = (g.input("x", &[5], DType::F32), g.variable("state", &[2], DType::F32));
                    let exp = g.exp(x)?;
                    let part = g.slice(exp, 0, 1, 3)?;
                    g.assign(state, part)?;
                    if bound {
                        let negative = g.neg(part)?;
                        g.output("negative", negative);
                    }
                    Ok(())
                },
                Limits::BASELINE,
            )?;
            assert_eq!(kernels(&made), expected);
            let Some(Step::Copy { from, .. }) = made.steps.last() else { panic!("{made}") };
            assert_eq!((from.offset, from.bytes), (if bound { 0 } else { 4 }, 8));
        }
        Ok(())
    }
}
