//! Weights and variables: the buffers that last as long as the session.

use std::collections::HashMap;
use std::ops::Range;

use kiln_gpu::{Buffer, Gpu};

use super::{VariablePieces, create};
use crate::error::{EngineError, Result};
use crate::plan::{Plan, Slot, SlotKind};
use crate::tensor::{DType, TensorDesc};
use crate::weights::WeightSource;

/// Weights are read and sent in windows of this many bytes, so that no second copy of a file gathers in memory.
const WINDOW: usize = 8 << 20;

/// Rows of a named tensor.
type Rows = (String, Range<usize>);

#[derive(Default)]
pub(super) struct Resident {
    constants: HashMap<Rows, Buffer>,
    variables: HashMap<Rows, Buffer>,
    declared: HashMap<String, TensorDesc>,
}

impl Resident {
    /// Whether the session holds a constant, by its name or expression.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.constants.keys().any(|(held, _)| held == name)
    }

    /// Takes over a result of a prepare plan.
    pub(super) fn keep(&mut self, name: &str, rows: Range<usize>, buffer: Buffer) {
        self.constants.insert((name.to_owned(), rows), buffer);
    }

    /// The buffer of a slot that is not pooled, made and filled where the session has none yet.
    pub(super) fn buffer(&mut self, gpu: &Gpu, slot: &Slot, weights: &dyn WeightSource) -> Result<Buffer> {
        match &slot.kind {
            SlotKind::Constant { name, rows } => {
                let key = (name.clone(), rows.clone());
                if let Some(buffer) = self.constants.get(&key) {
                    return Ok(buffer.clone());
                }
                let buffer = create(gpu, slot)?;
                let row = slot.bytes as usize / DType::BYTES / rows.len().max(1);
                upload(gpu, &buffer, weights, name, rows.start * row..rows.end * row)?;
                self.constants.insert(key, buffer.clone());
                Ok(buffer)
            }
            SlotKind::Variable { name, rows } => {
                let key = (name.clone(), rows.clone());
                if let Some(buffer) = self.variables.get(&key) {
                    return Ok(buffer.clone());
                }
                let buffer = create(gpu, slot)?;
                self.variables.insert(key, buffer.clone());
                Ok(buffer)
            }
            SlotKind::Literal(bits) => {
                let buffer = create(gpu, slot)?;
                gpu.write(&buffer, 0, bytemuck::cast_slice(bits))?;
                Ok(buffer)
            }
            SlotKind::Pooled | SlotKind::Kept => create(gpu, slot),
        }
    }

    /// Remembers the shapes of a plan's variables, and refuses a second shape for one name.
    pub(super) fn declare_variables(&mut self, plan: &Plan) -> Result<()> {
        for (name, desc) in &plan.variables {
            let declared = self.declared.entry(name.clone()).or_insert_with(|| desc.clone());
            if declared != desc {
                return Err(EngineError::Variable {
                    name: name.clone(),
                    expected: declared.to_string(),
                    got: desc.to_string(),
                });
            }
        }
        Ok(())
    }

    /// The buffers of a variable in order, with the bytes of the whole that each holds.
    pub(super) fn variable(&self, name: &str, desc: Option<&TensorDesc>) -> Result<VariablePieces> {
        let fail =
            |expected: String, got: String| EngineError::Variable { name: name.to_owned(), expected, got };
        let declared = self
            .declared
            .get(name)
            .ok_or_else(|| fail("a variable of a loaded plan".into(), "none".into()))?;
        if let Some(desc) = desc.filter(|desc| *desc != declared) {
            return Err(fail(declared.to_string(), desc.to_string()));
        }
        let row = declared.row_elements() * DType::BYTES;
        let mut pieces: Vec<(Range<usize>, &Buffer)> = self
            .variables
            .iter()
            .filter(|((held, _), _)| held == name)
            .map(|((_, rows), buffer)| (rows.clone(), buffer))
            .collect();
        pieces.sort_by_key(|(rows, _)| rows.start);
        let pieces =
            pieces.into_iter().map(|(rows, buffer)| (buffer.clone(), rows.start * row..rows.end * row));
        Ok((pieces.collect(), declared.clone()))
    }
}

/// Reads elements of a weight and sends them to the start of a buffer, window by window.
pub(super) fn upload(
    gpu: &Gpu,
    buffer: &Buffer,
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
        let offset = ((start - elements.start) * DType::BYTES) as u64;
        gpu.write(buffer, offset, bytemuck::cast_slice(part))?;
    }
    Ok(())
}
