//! Weights and variables: the buffers that last as long as the session.

use std::collections::HashMap;
use std::ops::Range;

use kiln_gpu::{Buffer, Gpu};

use super::record::create;
use crate::error::{EngineError, Result};
use crate::graph::Part;
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

/// Bytes of a variable that a buffer holds.
pub(super) struct Stretch<'a> {
    pub(super) buffer: &'a Buffer,
    /// First byte there.
    pub(super) offset: u64,
    /// Which bytes of the tensor that was asked for they are.
    pub(super) bytes: Range<usize>,
}

#[derive(Default)]
pub(super) struct Resident {
    constants: HashMap<Key, Buffer>,
    variables: HashMap<String, Variable>,
    /// By their names.
    parts: HashMap<String, Part>,
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

    /// Refuses a plan that declares a known variable with another shape, or takes part of a variable for a whole one or the
    /// other way round.
    pub(super) fn check_variables(&self, plan: &Plan, parts: &[Part]) -> Result<()> {
        let refuse = |name: &str, expected: String, got: String| {
            Err(EngineError::Variable { name: name.to_owned(), expected, got })
        };
        for (name, desc) in &plan.variables {
            if let Some(known) = self.variables.get(name).filter(|known| known.desc != *desc) {
                return refuse(name, known.desc.to_string(), desc.to_string());
            }
            if let Some(part) = self.parts.get(name) {
                return refuse(name, part.to_string(), format!("{desc} by itself"));
            }
        }
        for part in parts {
            if let Some(known) = self.parts.get(&part.name).filter(|known| *known != part) {
                return refuse(&part.name, known.to_string(), part.to_string());
            }
            if let Some(known) = self.variables.get(&part.name) {
                return refuse(&part.name, format!("{} by itself", known.desc), part.to_string());
            }
        }
        Ok(())
    }

    /// The buffer of rows of a variable that the session has.
    pub(super) fn piece(&self, name: &str, rows: &Range<usize>) -> Option<Buffer> {
        let pieces = &self.variables.get(name)?.pieces;
        pieces.iter().find(|(held, _)| held == rows).map(|(_, buffer)| buffer.clone())
    }

    /// Takes over the variables that a plan was the first to declare, and the names of their parts.
    pub(super) fn adopt(&mut self, plan: &Plan, pieces: Vec<VariablePiece>, parts: &[Part]) {
        for (name, desc) in &plan.variables {
            self.variables.entry(name.clone()).or_insert_with(|| {
                let own = pieces.iter().filter(|piece| piece.name == *name);
                let mut own: Vec<_> = own.map(|piece| (piece.rows.clone(), piece.buffer.clone())).collect();
                own.sort_by_key(|(rows, _)| rows.start);
                Variable { desc: desc.clone(), pieces: own }
            });
        }
        // Of what the plan does not use nobody has looked whether it is as the session knows it.
        let used = |part: &&Part| plan.variables.iter().any(|(name, _)| *name == part.variable);
        self.parts.extend(parts.iter().filter(used).map(|part| (part.name.clone(), part.clone())));
    }

    /// Where a variable lies, or a part of one, in order, and its description.
    pub(super) fn variable(
        &self,
        name: &str,
        desc: Option<&TensorDesc>,
    ) -> Result<(Vec<Stretch<'_>>, &TensorDesc)> {
        let fail =
            |expected: String, got: String| EngineError::Variable { name: name.to_owned(), expected, got };
        let part = self.parts.get(name);
        let whole = self
            .variables
            .get(part.map_or(name, |part| &part.variable))
            .ok_or_else(|| fail("a variable of a loaded plan".into(), "none".into()))?;
        let (own, start) = part.map_or((&whole.desc, 0), |part| (&part.desc, part.start * DType::BYTES));
        if let Some(desc) = desc.filter(|desc| *desc != own) {
            return Err(fail(own.to_string(), desc.to_string()));
        }
        let (end, row) = (start + own.elements() * DType::BYTES, whole.desc.row_elements() * DType::BYTES);
        let stretches = whole.pieces.iter().map(|(rows, buffer)| {
            let held = rows.start * row..rows.end * row;
            let (first, last) = (held.start.max(start), held.end.min(end));
            let bytes = first.saturating_sub(start)..last.saturating_sub(start);
            Stretch { buffer, offset: first.saturating_sub(held.start) as u64, bytes }
        });
        Ok((stretches.filter(|stretch| !stretch.bytes.is_empty()).collect(), own))
    }
}

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

#[cfg(test)]
mod tests {
    use kiln_gpu::{Gpu, Limits};

    use crate::{DType, EngineError, GraphBuilder, NoWeights, Session};

    /// A part that no plan uses is none, also where another vector of that name is there.
    #[test]
    fn parts_of_what_is_not_used_have_no_names() -> Result<(), EngineError> {
        let gpu = Gpu::noop(Limits::BASELINE).expect("a device that computes nothing should open");
        let mut session = Session::new(&gpu);
        for members in [&[(&["a"][..], &[5][..])][..], &[(&["b"], &[5]), (&["c"], &[7])]] {
            let mut g = GraphBuilder::new("g");
            g.flat_variable("flat", members)?;
            let x = if members.len() == 1 {
                g.variable("a", &[5], DType::F32)
            } else {
                g.input("x", &[5], DType::F32)
            };
            g.output("x", x);
            session.load(&g.finish(), &NoWeights)?;
        }
        assert_eq!(session.read_variable("a")?.desc().shape, [5]);
        for name in ["b", "c"] {
            assert!(matches!(session.read_variable(name), Err(EngineError::Variable { .. })), "{name}");
        }
        Ok(())
    }
}
