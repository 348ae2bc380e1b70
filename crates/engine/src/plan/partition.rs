//! How values that exceed the device's limits are cut along their first dimension.

use std::collections::HashMap;
use std::ops::Range;

use kiln_gpu::DeviceProfile;

use crate::error::{EngineError, Result};
use crate::graph::{Graph, Origin, Value};
use crate::lower::piece_limit;
use crate::tensor::DType;

/// Pieces hold a multiple of this many rows, where more than that fit: rows of any size then start at an aligned
/// address, and eight rows of a weight become one whole panel.
const ROW_QUANTUM: usize = 64;

/// A constant or variable that must be cut goes into pieces of about this many bytes. While weights are prepared, a piece
/// as it was read lies beside what is made of it: the smaller it is, the lower the peak.
const LASTING_PIECE: u64 = 64 << 20;

/// The rows of each piece of every value.
///
/// Constants and variables, which outlive a plan, are cut by their own size alone, so that all plans find them in the
/// same pieces. Values that are computed are cut alike wherever they have the same number of rows, so that ops can work
/// piece by piece: the widest of them decides. One that would fit is left whole if its parts start where the device can
/// bind.
pub(super) fn partition(graph: &Graph, profile: &DeviceProfile) -> Result<Vec<Vec<Range<usize>>>> {
    let limit = piece_limit(profile);
    let alignment = u64::from(profile.limits.storage_alignment);
    let row_bytes = |value: Value| (graph.desc(value).row_elements() * DType::BYTES) as u64;
    let constant = graph.constant_values();
    let lasting = |value: Value| {
        constant[value.index()] || matches!(graph.values()[value.index()].origin, Origin::Variable(_))
    };
    let values = || (0..graph.values().len() as u32).map(Value);

    let mut widest: HashMap<usize, Value> = HashMap::new();
    for value in values().filter(|&value| !lasting(value) && graph.desc(value).bytes() > limit) {
        let widest = widest.entry(graph.desc(value).rows()).or_insert(value);
        if row_bytes(value) > row_bytes(*widest) {
            *widest = value;
        }
    }

    let mut pieces = vec![];
    for value in values() {
        let (desc, rows) = (graph.desc(value), graph.desc(value).rows());
        let fits = desc.bytes() <= limit;
        let decides = match (lasting(value), fits) {
            (true, true) => None,
            (true, false) => Some(value),
            (false, _) => widest.get(&rows).copied(),
        };
        let limit = if lasting(value) { limit.min(LASTING_PIECE.max(row_bytes(value))) } else { limit };
        let step = decides.map(|decides| step(graph, decides, row_bytes(decides), limit)).transpose()?;
        let step = step.filter(|&step| !fits || !(step as u64 * row_bytes(value)).is_multiple_of(alignment));
        let step = step.unwrap_or(rows);
        pieces.push((0..rows).step_by(step).map(|start| start..(start + step).min(rows)).collect());
    }
    Ok(pieces)
}

/// How many rows of a value go into a piece.
fn step(graph: &Graph, value: Value, row_bytes: u64, limit: u64) -> Result<usize> {
    let fitting = (limit / row_bytes) as usize;
    if fitting == 0 {
        let (path, desc) = (name(graph, value), graph.desc(value).clone());
        return Err(EngineError::RowTooLarge { path, desc, row_bytes, limit });
    }
    Ok(if fitting < ROW_QUANTUM { fitting } else { fitting / ROW_QUANTUM * ROW_QUANTUM })
}

/// The path or name of a value, for messages.
fn name(graph: &Graph, value: Value) -> String {
    match &graph.values()[value.index()].origin {
        Origin::Input(name) | Origin::Constant(name) | Origin::Variable(name) => name.clone(),
        Origin::Literal(_) => "literal".to_owned(),
        Origin::Node => graph
            .nodes()
            .iter()
            .find(|node| node.output == value)
            .map_or_else(|| value.to_string(), |node| node.path.clone()),
    }
}
