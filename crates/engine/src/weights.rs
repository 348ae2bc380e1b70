//! Where a session reads the values of a graph's constants.

use std::collections::HashMap;
use std::ops::Range;

pub use crate::error::WeightError;
use crate::tensor::{Tensor, TensorDesc};

/// A named set of f32 tensors that can be read by ranges, so that no host copy of a whole file is needed.
pub trait WeightSource {
    /// Shape of a tensor, or `None` where there is none of that name. The type is always f32: files in half
    /// precision are widened as they are read.
    fn desc(&self, name: &str) -> Option<TensorDesc>;

    /// Reads the elements `elements` (row-major) of a tensor into `out`, which has their number.
    ///
    /// # Errors
    /// A [`WeightError`] that names the file and the tensor.
    fn read(&self, name: &str, elements: Range<usize>, out: &mut [f32]) -> Result<(), WeightError>;
}

impl WeightSource for HashMap<String, Tensor> {
    fn desc(&self, name: &str) -> Option<TensorDesc> {
        self.get(name).map(|tensor| tensor.desc().clone())
    }

    fn read(&self, name: &str, elements: Range<usize>, out: &mut [f32]) -> Result<(), WeightError> {
        let tensor = self.get(name).ok_or_else(|| WeightError(format!("no tensor \"{name}\"")))?;
        let data = tensor.as_f32().map_err(|error| WeightError(format!("\"{name}\": {error}")))?;
        let part = data.get(elements.clone()).ok_or_else(|| {
            WeightError(format!("\"{name}\": elements {elements:?} of {} asked for", data.len()))
        })?;
        out.copy_from_slice(part);
        Ok(())
    }
}

/// The source of a graph without constants.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWeights;

impl WeightSource for NoWeights {
    fn desc(&self, _: &str) -> Option<TensorDesc> {
        None
    }

    fn read(&self, name: &str, _: Range<usize>, _: &mut [f32]) -> Result<(), WeightError> {
        Err(WeightError(format!("no tensor \"{name}\"")))
    }
}
