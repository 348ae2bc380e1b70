//! How values that exceed the device's limits are cut along their first dimension.

use std::collections::HashMap;
use std::ops::Range;

use kiln_gpu::DeviceProfile;

use crate::error::{EngineError, Result};
use crate::graph::{Graph, Origin, Value};
use crate::lower::piece_limit;
use crate::tensor::{DType, TensorDesc};

/// Pieces hold a multiple of this many rows, where more than that fit: rows of any size then start at an aligned
/// address, and eight rows of a weight become one whole panel.
const ROW_QUANTUM: usize = 64;

/// The rows of each piece of every value.
///
/// Constants and variables are cut by their own size. Values that are computed are cut alike wherever they have the same number of
/// rows, so that ops can work piece by piece: the widest of them decides.
pub(super) fn partition(graph: &Graph, profile: &DeviceProfile) -> Result<Vec<Vec<Range<usize>>>> {
    let limit = piece_limit(profile);
    // What outlives a plan is cut by its own size alone, so that all plans find it in the same pieces.
    let mut own = graph.constant_values();
    for (own, info) in own.iter_mut().zip(graph.values()) {
        *own |= matches!(info.origin, Origin::Variable(_));
    }
    let row_bytes = |desc: &TensorDesc| (desc.row_elements() * DType::BYTES) as u64;

    let mut widest: HashMap<usize, u64> = HashMap::new();
    for (info, _) in graph.values().iter().zip(&own).filter(|(_, own)| !**own) {
        if info.desc.bytes() > limit {
            let widest = widest.entry(info.desc.rows()).or_default();
            *widest = row_bytes(&info.desc).max(*widest);
        }
    }

    let mut pieces = vec![];
    for (index, info) in graph.values().iter().enumerate() {
        let rows = info.desc.rows();
        let widest = match own[index] {
            true => (info.desc.bytes() > limit).then(|| row_bytes(&info.desc)),
            false => widest.get(&rows).copied(),
        };
        // Everything in one piece, or as many rows of the widest as fit.
        let step = widest.map_or(rows, |widest| {
            let fitting = (limit / widest) as usize;
            if fitting < ROW_QUANTUM { fitting } else { fitting / ROW_QUANTUM * ROW_QUANTUM }
        });
        if step == 0 {
            return Err(EngineError::RowTooLarge {
                path: name(graph, Value(index as u32)),
                desc: info.desc.clone(),
                row_bytes: widest.unwrap_or_default(),
                limit,
            });
        }
        pieces.push((0..rows).step_by(step).map(|start| start..(start + step).min(rows)).collect());
    }
    Ok(pieces)
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
