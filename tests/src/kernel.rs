//! One kernel alone on the device, without plan or session: conformance of shaders, and proof that broken ones are
//! caught.

use std::fmt;

use bytemuck::Pod;
use kiln_gpu::{BufferSlice, Command, Dispatch, Gpu, GpuError};
use kiln_kernels::{Access, Kernel};

use crate::guard::{Alarm, Bind};

/// One dispatch of a kernel over tensors of the test's making.
pub struct Run<'a> {
    /// The kernel: a row of the catalogue, or one built by hand.
    pub kernel: &'static Kernel,
    /// Values for its free overrides.
    pub overrides: &'a [(&'static str, f64)],
    /// The bytes of its `Params`.
    pub params: &'a [u8],
    /// Its storage bindings, in order.
    pub binds: Vec<Bind>,
    /// The workgroups it needs, before folding.
    pub workgroups: u32,
}

/// What a kernel left in each tensor that it may write, in binding order.
#[derive(Debug)]
pub struct Written(Vec<Vec<u32>>);

/// Why a run proves nothing good.
#[derive(Debug)]
pub enum RunError {
    /// The kernel left its tensors, or left elements out.
    Alarm(Alarm),
    /// Two runs on the same data gave different bits: a race.
    Unstable {
        /// The binding's position among the written ones.
        output: usize,
        /// The first word that differs.
        element: usize,
    },
    /// The test's bindings are not those of the kernel.
    Bindings(String),
    /// The device refused.
    Gpu(GpuError),
}

impl<'a> Run<'a> {
    /// A run of a kernel without free overrides.
    pub fn new<P: Pod>(kernel: &'static Kernel, params: &'a P, binds: Vec<Bind>, workgroups: usize) -> Self {
        let workgroups = u32::try_from(workgroups).expect("a test should need few workgroups");
        Self { kernel, overrides: &[], params: bytemuck::bytes_of(params), binds, workgroups }
    }

    /// The same with values for free overrides.
    pub fn with(self, overrides: &'a [(&'static str, f64)]) -> Self {
        Self { overrides, ..self }
    }

    /// Runs the kernel twice from the same start and checks guards, unwritten elements and that both runs agree.
    ///
    /// The workgroups are folded into two dimensions with at least one to spare, as the host folds a count over the
    /// device's limit: a kernel that does not stop at its end writes into the guards.
    pub fn on(&self, gpu: &Gpu) -> Result<Written, RunError> {
        self.check_bindings()?;
        let start: Vec<Vec<u32>> = self.binds.iter().map(Bind::bound_words).collect();
        let mut buffers = Vec::new();
        for (words, binding) in start.iter().zip(self.kernel.bindings) {
            buffers.push(gpu.create_buffer(binding.name, 4 * words.len() as u64)?);
        }
        let slices: Vec<BufferSlice<'_>> = buffers.iter().map(|buffer| buffer.slice()).collect();
        let label = self.kernel.to_string();
        let recording = gpu.record(
            &label,
            &[Command::Dispatch(Dispatch {
                label: &label,
                kernel: self.kernel,
                overrides: self.overrides,
                params: self.params,
                bindings: &slices,
                workgroups: fold(self.workgroups),
            })],
        )?;
        let once = || -> Result<Vec<Vec<u32>>, RunError> {
            for (words, buffer) in start.iter().zip(&buffers) {
                gpu.write(buffer, 0, bytemuck::cast_slice(words))?;
            }
            gpu.submit(&recording)?;
            let parts: Vec<_> = buffers.iter().map(|buffer| (buffer, 0..buffer.bytes())).collect();
            let bytes = gpu.read(&parts)?;
            let mut written = Vec::new();
            for (binding, (bind, bytes)) in self.binds.iter().zip(&bytes).enumerate() {
                if bind.is_written() {
                    let words: Vec<u32> = bytemuck::pod_collect_to_vec(bytes);
                    written.push(bind.check(binding, &words).map_err(RunError::Alarm)?);
                }
            }
            Ok(written)
        };
        let (first, second) = (once()?, once()?);
        for (output, (a, b)) in first.iter().zip(&second).enumerate() {
            if let Some(element) = (0..a.len()).find(|&i| a[i] != b[i]) {
                return Err(RunError::Unstable { output, element });
            }
        }
        Ok(Written(first))
    }

    /// [`Run::on`] where nothing is wrong with the kernel and it writes one tensor of `f32`.
    ///
    /// # Panics
    /// With the alarm, otherwise.
    #[track_caller]
    pub fn output(&self, gpu: &Gpu) -> Vec<f32> {
        self.words(gpu).into_iter().map(f32::from_bits).collect()
    }

    /// [`Run::output`] as bits.
    #[track_caller]
    pub fn words(&self, gpu: &Gpu) -> Vec<u32> {
        let written = self.on(gpu).unwrap_or_else(|e| panic!("{}: {e}", self.kernel));
        let [output] = <[Vec<u32>; 1]>::try_from(written.0).expect("the kernel should write one tensor");
        output
    }

    fn check_bindings(&self) -> Result<(), RunError> {
        let declared = self.kernel.bindings;
        if declared.len() != self.binds.len() {
            let message = format!("{} bindings, the test has {}", declared.len(), self.binds.len());
            return Err(RunError::Bindings(message));
        }
        for (declared, bind) in declared.iter().zip(&self.binds) {
            if (declared.access == Access::ReadWrite) != bind.is_written() {
                let message =
                    format!("binding {} is {:?}, in the test it is not", declared.name, declared.access);
                return Err(RunError::Bindings(message));
            }
        }
        Ok(())
    }
}

impl Written {
    /// The bits of each written tensor, in binding order.
    pub fn words(self) -> Vec<Vec<u32>> {
        self.0
    }

    /// Each written tensor as `f32`, in binding order.
    pub fn f32(self) -> Vec<Vec<f32>> {
        self.0.into_iter().map(|words| words.into_iter().map(f32::from_bits).collect()).collect()
    }
}

/// Three rows of workgroups, and at least one workgroup more than needed.
fn fold(workgroups: u32) -> [u32; 3] {
    [workgroups / 3 + 1, 3, 1]
}

impl From<GpuError> for RunError {
    fn from(error: GpuError) -> Self {
        Self::Gpu(error)
    }
}

impl std::error::Error for RunError {}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alarm(alarm) => alarm.fmt(f),
            Self::Unstable { output, element } => {
                write!(f, "two runs differ, first in word {element} of written tensor {output}")
            }
            Self::Bindings(message) => f.write_str(message),
            Self::Gpu(error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fold_has_room_to_spare() {
        for workgroups in 1..100 {
            let [x, y, z] = fold(workgroups);
            assert!(x * y * z > workgroups && x * y * z <= workgroups + 3);
        }
    }
}
