//! Weights and variables: the buffers that last as long as the session.

use std::collections::HashMap;
use std::ops::Range;

use kiln_gpu::{Buffer, Gpu};

use super::record::create;
use crate::error::{EngineError, Result};
use crate::plan::{Plan, Slot, SlotKind};
use crate::tensor::{DType, TensorDesc};
use crate::weights::WeightSource;

/// Weights are read and sent in windows of this many bytes, so that no second copy of a file gathers in memory.
const WINDOW: usize = 8 << 20;

/// Rows of a tensor that the session keeps: name or expression, rows and size. The same name with another shape is
/// another tensor.
type Key = (String, Range<usize>, u64);

/// A new buffer that holds rows of a variable.
pub(super) struct VariablePiece {
    pub(super) name: String,
    pub(super) rows: Range<usize>,
    pub(super) buffer: Buffer,
}

struct Variable {
    desc: TensorDesc,
    /// In order.
    pieces: Vec<(Range<usize>, Buffer)>,
}

#[derive(Default)]
pub(super) struct Resident {
    constants: HashMap<Key, Buffer>,
    variables: HashMap<String, Variable>,
}

impl Resident {
    /// Whether the session holds a constant, by the expression that makes it.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.constants.keys().any(|(held, ..)| held == name)
    }

    /// Takes over a result of a prepare plan.
    pub(super) fn keep(&mut self, name: &str, rows: Range<usize>, bytes: u64, buffer: Buffer) {
        self.constants.insert((name.to_owned(), rows, bytes), buffer);
    }

    /// The buffer of a slot that is neither pooled nor a known variable, made and filled where the session has none.
    pub(super) fn buffer(&mut self, gpu: &Gpu, slot: &Slot, weights: &dyn WeightSource) -> Result<Buffer> {
        match &slot.kind {
            SlotKind::Constant { name, rows } => {
                let key = (name.clone(), rows.clone(), slot.bytes);
                if let Some(buffer) = self.constants.get(&key) {
                    return Ok(buffer.clone());
                }
                let buffer = create(gpu, slot)?;
                let row = slot.bytes as usize / DType::BYTES / rows.len().max(1);
                upload(gpu, &buffer, 0, weights, name, rows.start * row..rows.end * row)?;
                self.constants.insert(key, buffer.clone());
                Ok(buffer)
            }
            SlotKind::Literal(bits) => {
                let buffer = create(gpu, slot)?;
                gpu.write(&buffer, 0, bytemuck::cast_slice(bits))?;
                Ok(buffer)
            }
            SlotKind::Pooled | SlotKind::Variable { .. } | SlotKind::Kept => create(gpu, slot),
        }
    }

    /// Bytes of all constants.
    pub(super) fn constant_bytes(&self) -> u64 {
        self.constants.values().map(Buffer::bytes).sum()
    }

    /// Bytes of all variables.
    pub(super) fn variable_bytes(&self) -> u64 {
        self.variables.values().flat_map(|variable| &variable.pieces).map(|(_, buffer)| buffer.bytes()).sum()
    }

    /// Refuses a plan that declares a known variable with another shape.
    pub(super) fn check_variables(&self, plan: &Plan) -> Result<()> {
        for (name, desc) in &plan.variables {
            if let Some(known) = self.variables.get(name).filter(|known| known.desc != *desc) {
                return Err(EngineError::Variable {
                    name: name.clone(),
                    expected: known.desc.to_string(),
                    got: desc.to_string(),
                });
            }
        }
        Ok(())
    }

    /// The buffer of rows of a variable that the session has.
    pub(super) fn piece(&self, name: &str, rows: &Range<usize>) -> Option<Buffer> {
        let pieces = &self.variables.get(name)?.pieces;
        pieces.iter().find(|(held, _)| held == rows).map(|(_, buffer)| buffer.clone())
    }

    /// Takes over the variables that a plan was the first to declare.
    pub(super) fn adopt(&mut self, plan: &Plan, pieces: Vec<VariablePiece>) {
        for (name, desc) in &plan.variables {
            self.variables.entry(name.clone()).or_insert_with(|| {
                let own = pieces.iter().filter(|piece| piece.name == *name);
                let mut own: Vec<_> = own.map(|piece| (piece.rows.clone(), piece.buffer.clone())).collect();
                own.sort_by_key(|(rows, _)| rows.start);
                Variable { desc: desc.clone(), pieces: own }
            });
        }
    }

    /// The buffers of a variable in order, with the bytes of the whole that each holds.
    pub(super) fn variable(&self, name: &str, desc: Option<&TensorDesc>) -> Result<VariableParts<'_>> {
        let fail =
            |expected: String, got: String| EngineError::Variable { name: name.to_owned(), expected, got };
        let variable = self
            .variables
            .get(name)
            .ok_or_else(|| fail("a variable of a loaded plan".into(), "none".into()))?;
        if let Some(desc) = desc.filter(|desc| **desc != variable.desc) {
            return Err(fail(variable.desc.to_string(), desc.to_string()));
        }
        let row = variable.desc.row_elements() * DType::BYTES;
        let pieces = variable.pieces.iter().map(|(rows, buffer)| (buffer, rows.start * row..rows.end * row));
        Ok((pieces.collect(), &variable.desc))
    }
}

/// Buffers of a variable with the bytes that each holds, and its description.
type VariableParts<'a> = (Vec<(&'a Buffer, Range<usize>)>, &'a TensorDesc);

/// Reads elements of a weight and sends them to a buffer, from byte `offset` on, window by window.
pub(super) fn upload(
    gpu: &Gpu,
    buffer: &Buffer,
    offset: u64,
    weights: &dyn WeightSource,
    name: &str,
    elements: Range<usize>,
) -> Result<()> {
    let step = WINDOW / DType::BYTES;
    let mut window = vec![0.0f32; step.min(elements.len())];
    for start in elements.clone().step_by(step) {
        let end = (start + step).min(elements.end);
        let part = &mut window[..end - start];
        weights
            .read(name, start..end, part)
            .map_err(|error| EngineError::Weight { name: name.to_owned(), problem: error.to_string() })?;
        let at = offset + ((start - elements.start) * DType::BYTES) as u64;
        gpu.write(buffer, at, bytemuck::cast_slice(part))?;
    }
    Ok(())
}
