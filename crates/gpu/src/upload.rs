//! Bytes from the host to the device.

use std::sync::PoisonError;

use crate::buffer::{Buffer, BufferSlice};
use crate::device::Gpu;
use crate::error::GpuError;

/// Bytes that may wait in host memory before they are sent on their way.
const WINDOW: u64 = 4 << 20;

/// What has been written but not yet copied by the device.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    /// Bytes staged since the last submission.
    bytes: u64,
    /// The submission that carries the window before this one.
    before: Option<wgpu::SubmissionIndex>,
}

impl Gpu {
    /// Copies `data` to `buffer`, from byte `offset` on. The copy happens before anything submitted
    /// later; large uploads keep at most two windows of 4 MiB of staging in use.
    ///
    /// # Errors
    /// [`GpuError::Validation`] where the range leaves the buffer or is not made of whole 4-byte words,
    /// [`GpuError::OutOfMemory`] where there is no room to stage the data.
    pub fn write(&self, buffer: &Buffer, offset: u64, data: &[u8]) -> Result<(), GpuError> {
        self.owns(buffer, "write")?;
        BufferSlice { buffer, offset, bytes: data.len() as u64 }.check("write")?;
        let mut at = offset;
        for piece in data.chunks(WINDOW as usize) {
            let bytes = piece.len() as u64;
            self.guarded(buffer.label(), bytes, |_| {
                self.0.queue.write_buffer(&buffer.0.raw, at, piece);
            })?;
            at += bytes;
            self.count_staged(bytes)?;
        }
        Ok(())
    }

    /// wgpu holds what is written until the next submission, and frees it once that is done. Without
    /// this a model's weights would lie in host memory a second time.
    fn count_staged(&self, bytes: u64) -> Result<(), GpuError> {
        let mut staged = self.0.staged.lock().unwrap_or_else(PoisonError::into_inner);
        staged.bytes += bytes;
        if staged.bytes < WINDOW {
            return Ok(());
        }
        staged.bytes = 0;
        let now = self.guarded("upload", bytes, |_| self.0.queue.submit([]))?;
        if let Some(before) = staged.before.replace(now) {
            self.poll(wgpu::PollType::Wait { submission_index: Some(before), timeout: None })?;
        }
        Ok(())
    }
}
