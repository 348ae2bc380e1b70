//! A plan with its buffers: what a run does.

use std::collections::HashMap;
use std::sync::Arc;

use kiln_gpu::{Buffer, Gpu, Readback, Recording};

use super::pool::Pool;
use super::record::record;
use crate::error::{EngineError, Result};
use crate::plan::{Plan, PortPiece};
use crate::tensor::Tensor;

use super::Outputs;

/// A plan of a session.
pub(super) struct Loaded {
    pub(super) plan: Arc<Plan>,
    /// The buffer of each slot that is not pooled.
    fixed: Vec<Option<Buffer>>,
    /// The place in the pool of each slot that is, in their order.
    places: Vec<usize>,
    bound: Option<Bound>,
}

/// A plan on the buffers that it has at present.
pub(super) struct Bound {
    /// One a slot.
    buffers: Vec<Buffer>,
    pub(super) recording: Recording,
}

impl Loaded {
    pub(super) fn new(plan: Plan, fixed: Vec<Option<Buffer>>, places: Vec<usize>) -> Self {
        Self { plan: Arc::new(plan), fixed, places, bound: None }
    }

    /// The recording and its buffers, made anew where the pool has changed since.
    pub(super) fn bind(&mut self, gpu: &Gpu, pool: &mut Pool) -> Result<&Bound> {
        let bound = match self.bound.take() {
            Some(bound) => bound,
            None => {
                let mut places = self.places.iter();
                let mut pooled = || places.next().map(|&place| pool.buffer(gpu, place)).transpose();
                let buffers = self.fixed.iter().map(|fixed| match fixed {
                    Some(buffer) => Ok(buffer.clone()),
                    None => Ok(pooled()?.expect("every pooled slot should have a place")),
                });
                let buffers: Vec<Buffer> = buffers.collect::<Result<_>>()?;
                let recording = record(gpu, &self.plan.name, self.plan.steps.iter(), &buffers)?;
                Bound { buffers, recording }
            }
        };
        Ok(self.bound.insert(bound))
    }

    /// Lets go of buffers of the pool, if it has one of these.
    pub(super) fn release(&mut self, grown: &[usize]) {
        if self.places.iter().any(|place| grown.contains(place)) {
            self.bound = None;
        }
    }
}

impl Bound {
    /// Looks at all inputs, then sends them on their way.
    pub(super) fn write_inputs(&self, gpu: &Gpu, plan: &Plan, inputs: &[(&str, &Tensor)]) -> Result<()> {
        let fail = |name: &str, expected: String, got: String| {
            Err(EngineError::Input { plan: plan.name.clone(), name: name.to_owned(), expected, got })
        };
        for (name, tensor) in inputs {
            match plan.inputs.iter().find(|port| port.name == *name) {
                Some(port) if port.desc == *tensor.desc() => {}
                Some(port) => return fail(name, port.desc.to_string(), tensor.desc().to_string()),
                None => {
                    let known: Vec<&str> = plan.inputs.iter().map(|port| port.name.as_str()).collect();
                    return fail(name, format!("one of {}", known.join(", ")), "an unknown name".to_owned());
                }
            }
        }
        for port in &plan.inputs {
            let Some((_, tensor)) = inputs.iter().find(|(name, _)| *name == port.name) else {
                return fail(&port.name, port.desc.to_string(), "nothing".to_owned());
            };
            for PortPiece { slot, offset, rows } in &port.pieces {
                gpu.write(&self.buffers[slot.index()], *offset, &tensor.bytes()[port.piece_bytes(rows)])?;
            }
        }
        Ok(())
    }

    /// Runs the plan and waits for the outputs.
    pub(super) fn run(&self, gpu: &Gpu, plan: &Plan) -> Result<Outputs> {
        Ok(outputs(plan, gpu.run(&self.recording, &self.parts(plan))?))
    }

    /// Starts the plan, and has the outputs copied before anything else happens to them.
    pub(super) fn submit(&self, gpu: &Gpu, plan: &Plan) -> Result<Readback> {
        Ok(gpu.submit_reading(&self.recording, &self.parts(plan))?)
    }

    /// The pieces of all outputs.
    fn parts(&self, plan: &Plan) -> Vec<(&Buffer, std::ops::Range<u64>)> {
        let pieces = plan.outputs.iter().flat_map(|port| port.pieces.iter().map(move |piece| (port, piece)));
        pieces
            .map(|(port, PortPiece { slot, offset, rows })| {
                let bytes = port.piece_bytes(rows).len() as u64;
                (&self.buffers[slot.index()], *offset..offset + bytes)
            })
            .collect()
    }
}

/// A run whose outputs are on their way: what [`Session::submit`](super::Session::submit) gives. It does not hold the
/// session up; dropping it gives the outputs up.
#[derive(Debug)]
#[must_use = "the outputs arrive with `wait`"]
pub struct Pending {
    pub(super) plan: Arc<Plan>,
    pub(super) readback: Readback,
}

impl Pending {
    /// Waits for the outputs of this run, and for none that were submitted after it.
    ///
    /// # Errors
    /// [`EngineError::Gpu`] for a device failure.
    pub fn wait(self) -> Result<Outputs> {
        Ok(outputs(&self.plan, self.readback.wait()?))
    }
}

/// The outputs of a plan from the bytes of their pieces.
fn outputs(plan: &Plan, pieces: Vec<Vec<u8>>) -> Outputs {
    let mut pieces = pieces.into_iter();
    let mut outputs = HashMap::with_capacity(plan.outputs.len());
    for port in &plan.outputs {
        let first = pieces.next().unwrap_or_default();
        let data =
            pieces.by_ref().take(port.pieces.len().saturating_sub(1)).fold(first, |mut data, piece| {
                data.extend_from_slice(&piece);
                data
            });
        outputs.insert(port.name.clone(), Tensor::from_bytes(port.desc.clone(), &data));
    }
    Outputs(outputs)
}
