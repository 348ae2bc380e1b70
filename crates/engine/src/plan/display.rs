//! A plan as text: what tests compare and people read.

use std::fmt;

use super::{LoadSource, Plan, PortPiece, SlotKind, Step};
use kiln_kernels::Access;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan {}", self.name)?;
        for (index, slot) in self.slots.iter().enumerate() {
            write!(f, "  slot {index}: {} bytes", slot.bytes)?;
            match &slot.kind {
                SlotKind::Pooled => writeln!(f)?,
                SlotKind::Kept => writeln!(f, ", kept")?,
                SlotKind::Literal(_) => writeln!(f, ", literal")?,
                SlotKind::Constant { name, rows } => writeln!(f, ", constant \"{name}\" rows {rows:?}")?,
                SlotKind::Variable { name, rows } => writeln!(f, ", variable \"{name}\" rows {rows:?}")?,
            }
        }
        for (kind, ports) in [("input", &self.inputs), ("output", &self.outputs)] {
            for port in ports {
                let pieces: Vec<String> = port
                    .pieces
                    .iter()
                    .map(|PortPiece { slot, offset, rows }| {
                        format!("slot {}{} rows {rows:?}", slot.0, Offset(*offset))
                    })
                    .collect();
                writeln!(f, "  {kind} \"{}\" {} in {}", port.name, port.desc, pieces.join(", "))?;
            }
        }
        for step in &self.steps {
            match step {
                Step::Load { slot, offset, source, elements, .. } => {
                    let source = match source {
                        LoadSource::Weight(name) => format!("\"{name}\""),
                        LoadSource::Literal(_) => "literal".to_owned(),
                    };
                    writeln!(f, "  load {source} {elements:?} -> {}{}", slot.0, Offset(*offset))?;
                }
                Step::Copy { from, to } => {
                    writeln!(
                        f,
                        "  copy {}+{} -> {}+{}, {} bytes",
                        from.slot.0, from.offset, to.slot.0, to.offset, from.bytes
                    )?;
                }
                Step::Dispatch(dispatch) => {
                    write!(f, "  {}", dispatch.kernel)?;
                    for (name, value) in &dispatch.overrides {
                        write!(f, " {name}={value}")?;
                    }
                    let [x, y, _] = dispatch.workgroups;
                    write!(f, " x{x}")?;
                    if y > 1 {
                        write!(f, "x{y}")?;
                    }
                    for (binding, shape) in dispatch.bindings.iter().zip(dispatch.kernel.bindings) {
                        let arrow = if binding.access == Access::Read { "<-" } else { "->" };
                        write!(f, " {}{arrow}{}", shape.name, binding.slot.0)?;
                        write!(f, "{}", Offset(binding.offset))?;
                    }
                    writeln!(f, "  # {}", dispatch.path)?;
                }
            }
        }
        Ok(())
    }
}

/// `+256`, or nothing for 0.
struct Offset(u64);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > 0 { write!(f, "+{}", self.0) } else { Ok(()) }
    }
}
