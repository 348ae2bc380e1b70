//! From a plan's steps to commands of the device.

use kiln_gpu::{Buffer, Command, Gpu, Recording};

use crate::error::Result;
use crate::plan::{Binding, Dispatch, Slot, SlotKind, Step};

/// Turns steps into a recording over the buffers of their slots.
pub(super) fn record<'a>(
    gpu: &Gpu,
    label: &str,
    steps: impl Iterator<Item = &'a Step>,
    buffers: &'a [Buffer],
) -> Result<Recording> {
    let slice = |binding: &Binding| kiln_gpu::BufferSlice {
        buffer: &buffers[binding.slot.index()],
        offset: binding.offset,
        bytes: binding.bytes,
    };
    let steps: Vec<&Step> = steps.collect();
    let bindings: Vec<Vec<_>> = steps
        .iter()
        .map(|step| match step {
            Step::Dispatch(dispatch) => dispatch.bindings.iter().map(slice).collect(),
            _ => vec![],
        })
        .collect();
    let commands: Vec<Command<'_>> = steps
        .iter()
        .zip(&bindings)
        .filter_map(|(step, bindings)| match step {
            Step::Dispatch(Dispatch { path, kernel, overrides, params, workgroups, .. }) => {
                Some(Command::Dispatch(kiln_gpu::Dispatch {
                    label: path,
                    kernel,
                    overrides,
                    params,
                    bindings,
                    workgroups: *workgroups,
                }))
            }
            Step::Copy { from, to } => Some(Command::Copy { from: slice(from), to: slice(to) }),
            Step::Load { .. } => None,
        })
        .collect();
    Ok(gpu.record(label, &commands)?)
}

/// A new buffer for a slot.
pub(super) fn create(gpu: &Gpu, slot: &Slot) -> Result<Buffer> {
    let label = match &slot.kind {
        SlotKind::Constant { name, .. } | SlotKind::Variable { name, .. } => name.as_str(),
        SlotKind::Literal(_) => "literal",
        SlotKind::Kept => "prepared weight",
        SlotKind::Pooled => "pool",
    };
    Ok(gpu.create_buffer(label, slot.bytes)?)
}
