//! From graph to plan: pieces, lowered ops, slots.

use super::inside::{Views, seats};
use super::partition::partition;
use super::slots::{Assigned, Event, Lifetimes, Spot, Stored};
use super::{Plan, Port, PortPiece};
use crate::choices::Target;
use crate::error::{EngineError, Result};
use crate::graph::{Graph, Origin, Value};
use crate::lower::{Bound, Draft, Lowering, Piece, Placed, Storage, piece_limit};
use crate::ops::{Op, Slice};
use crate::tensor::{DType, TensorDesc};
use crate::updates::{Assign, Rule};
use crate::work;

/// How a plan comes by the graph's constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constants {
    /// They lie in buffers of their own while the session lives: a main plan.
    Resident,
    /// They are read when first needed and let go after their last use: a prepare plan.
    Streamed,
}

impl Plan {
    /// Lowers a graph for a device, or for a [`Target`] that has choices besides.
    ///
    /// # Errors
    /// [`EngineError::RowTooLarge`] or [`EngineError::CannotSplit`] where the device cannot bind what an op needs.
    pub fn build<'a>(graph: &Graph, target: impl Into<Target<'a>>, constants: Constants) -> Result<Plan> {
        let target = target.into();
        let profile = target.profile;
        let constant = graph.constant_values();
        let mut stored: Vec<Stored> = vec![];
        let mut places: Vec<Vec<Piece>> = vec![];
        let ranges = partition(graph, profile)?;
        for (index, (info, rows)) in graph.values().iter().zip(&ranges).enumerate() {
            let pieces = match &info.origin {
                // Placed with the node that makes it, below.
                Origin::Node => vec![],
                _ => place(&mut stored, Value(index as u32), rows, info.desc.row_elements()),
            };
            places.push(pieces);
        }
        let views = Views { graph, constants, limits: &profile.limits };
        let seats = seats(graph, &ranges, &profile.limits, constants);
        let mut drafts: Vec<Draft> = vec![];
        for node in graph.nodes() {
            let output = node.output.index();
            let desc = graph.desc(node.output);
            let mut first = drafts.len();
            places[output] =
                match node.op {
                    Op::Reshape(_) => alias(graph, node.inputs[0], node.output, &places, &ranges)
                        .ok_or_else(|| EngineError::CannotSplit {
                            op: node.op.name(),
                            path: node.path.clone(),
                            desc: graph.desc(node.inputs[0]).clone(),
                            limit: piece_limit(profile),
                            why: "the new shape has other rows",
                        })?,
                    Op::Slice(Slice { dim: 0, start, .. })
                        if let Some(pieces) = views.of_rows(
                            node.output,
                            &stored,
                            &places[node.inputs[0].index()],
                            &ranges[output],
                            start as u64 * row_bytes(desc),
                        ) =>
                    {
                        pieces
                    }
                    // Some of its inputs lie in it already.
                    Op::FlatConcat(_) if !places[output].is_empty() => std::mem::take(&mut places[output]),
                    _ => match seats.get(&node.output) {
                        Some(seat) => {
                            let whole = seat.whole.index();
                            if places[whole].is_empty() {
                                places[whole] = place(&mut stored, seat.whole, &ranges[whole], 1);
                                seat.clear(graph, target, &node.path, &places[whole], &mut drafts)?;
                            }
                            first = drafts.len();
                            vec![seat.piece(&places[whole][0], &ranges[output][0])]
                        }
                        None => place(&mut stored, node.output, &ranges[output], desc.row_elements()),
                    },
                };
            let placed = |value: Value| Placed {
                desc: graph.desc(value),
                pieces: &places[value.index()],
                constant: constant[value.index()],
            };
            node.op.lower(&mut Lowering {
                profile,
                target,
                op: node.op.name(),
                path: &node.path,
                inputs: node.inputs.iter().map(|&input| placed(input)).collect(),
                variables: vec![],
                output: placed(node.output),
                drafts: &mut drafts,
            })?;
            work::count_node(graph, node, &mut drafts[first..]);
        }
        let mut events: Vec<Event> = drafts.drain(..).map(Event::Dispatch).collect();
        // Copies end a compute pass: as far as they can wait, they do so together.
        let mut last: Vec<Event> = vec![];
        for update in graph.updates() {
            let placed = |value: &Value| Placed {
                desc: graph.desc(*value),
                pieces: &places[value.index()],
                constant: constant[value.index()],
            };
            let (variables, inputs): (Vec<_>, Vec<_>) =
                (update.variables.iter().map(placed).collect(), update.inputs.iter().map(placed).collect());
            if update.rule == Rule::Assign(Assign) {
                let from_variable = matches!(origin(graph, update.inputs[0]), Origin::Variable(_));
                // What another update is about to replace is copied before.
                let when = if from_variable { &mut events } else { &mut last };
                when.extend(copies(inputs[0], variables[0]));
                continue;
            }
            update.rule.lower(&mut Lowering {
                profile,
                target,
                op: update.rule.name(),
                path: &update.path,
                inputs,
                output: variables[0],
                variables,
                drafts: &mut drafts,
            })?;
            work::count_update(graph, update, &mut drafts);
            events.extend(drafts.drain(..).map(Event::Dispatch));
        }
        events.append(&mut last);
        let ends: Vec<Storage> = graph
            .outputs()
            .iter()
            .flat_map(|(_, value)| places[value.index()].iter().map(|piece| piece.storage))
            .collect();
        let Assigned { slots, steps, spots, live } =
            Lifetimes::new(graph, &stored, &ends, constants, &profile.limits).assign(events);
        let port = |name: &str, value: Value| Port {
            name: name.to_owned(),
            desc: graph.desc(value).clone(),
            value: stored[places[value.index()][0].storage.0 as usize].value,
            pieces: places[value.index()]
                .iter()
                .map(|piece| {
                    let Spot { slot, offset } = spots[piece.storage.0 as usize];
                    PortPiece { slot, offset: offset + piece.offset, rows: piece.rows.clone() }
                })
                .collect(),
        };
        let inputs = graph.values().iter().enumerate().filter_map(|(index, info)| match &info.origin {
            Origin::Input(name) => Some(port(name, Value(index as u32))),
            _ => None,
        });
        let variables = graph.values().iter().filter_map(|info| match &info.origin {
            Origin::Variable(name) => Some((name.clone(), info.desc.clone())),
            _ => None,
        });
        let plan = Plan {
            name: graph.name().to_owned(),
            inputs: inputs.collect(),
            outputs: graph.outputs().iter().map(|(name, value)| port(name, *value)).collect(),
            variables: variables.collect(),
            slots,
            steps,
            live,
        };
        plan.check(&profile.limits)?;
        Ok(plan)
    }
}

/// Where a value comes from, reshaping aside.
fn origin(graph: &Graph, value: Value) -> &Origin {
    let made = graph.nodes().iter().find(|node| node.output == value);
    match made.filter(|node| matches!(node.op, Op::Reshape(_))) {
        Some(reshape) => origin(graph, reshape.inputs[0]),
        None => &graph.values()[value.index()].origin,
    }
}

/// New storage for each piece of a value.
fn place(
    stored: &mut Vec<Stored>,
    value: Value,
    rows: &[std::ops::Range<usize>],
    row_elements: usize,
) -> Vec<Piece> {
    rows.iter()
        .map(|rows| {
            stored.push(Stored { value, rows: rows.clone(), elements: rows.len() * row_elements });
            Piece { rows: rows.clone(), storage: Storage(stored.len() as u32 - 1), offset: 0 }
        })
        .collect()
}

/// What copies a value over a variable. Both may be cut, in different places.
fn copies(value: Placed<'_>, variable: Placed<'_>) -> Vec<Event> {
    let row_bytes = row_bytes(variable.desc);
    let mut copies = vec![];
    for to in variable.pieces {
        for from in value.pieces {
            let rows = to.rows.start.max(from.rows.start)..to.rows.end.min(from.rows.end);
            if rows.is_empty() {
                continue;
            }
            let bound = |piece: &Piece| Bound {
                storage: piece.storage,
                offset: piece.offset + (rows.start - piece.rows.start) as u64 * row_bytes,
                bytes: rows.len() as u64 * row_bytes,
            };
            copies.push(Event::Copy { from: bound(from), to: bound(to) });
        }
    }
    copies
}

/// The bytes of one row of a tensor.
fn row_bytes(desc: &TensorDesc) -> u64 {
    (desc.row_elements() * DType::BYTES) as u64
}

/// The input's pieces as those of the output, if the output is cut in the same places.
fn alias(
    graph: &Graph,
    input: Value,
    output: Value,
    places: &[Vec<Piece>],
    ranges: &[Vec<std::ops::Range<usize>>],
) -> Option<Vec<Piece>> {
    let (from, to) = (&places[input.index()], &ranges[output.index()]);
    if let ([only], [rows]) = (from.as_slice(), to.as_slice()) {
        return Some(vec![Piece { rows: rows.clone(), ..only.clone() }]);
    }
    let same_rows = graph.desc(input).rows() == graph.desc(output).rows();
    (same_rows && from.iter().map(|piece| &piece.rows).eq(to)).then(|| from.clone())
}
