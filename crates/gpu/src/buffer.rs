//! Device memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::device::Gpu;
use crate::error::GpuError;

/// A piece of device memory. Cloning gives another handle to the same memory, which is freed with the
/// last handle (once the device is done with it).
#[derive(Clone, Debug)]
pub struct Buffer(pub(crate) Arc<Memory>);

#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) raw: wgpu::Buffer,
    pub(crate) label: String,
    /// The device it lives on.
    pub(crate) device: u64,
    /// Its own number, never used again.
    pub(crate) id: u64,
}

impl Buffer {
    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.0.raw.size()
    }

    /// The name it was made under.
    pub fn label(&self) -> &str {
        &self.0.label
    }

    /// All of it.
    pub fn slice(&self) -> BufferSlice<'_> {
        BufferSlice { buffer: self, offset: 0, bytes: self.bytes() }
    }
}

/// Part of a buffer, as a kernel or a copy sees it.
#[derive(Clone, Copy, Debug)]
pub struct BufferSlice<'a> {
    /// The buffer.
    pub buffer: &'a Buffer,
    /// Where the part starts, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
}

impl BufferSlice<'_> {
    /// Checks that the part lies in its buffer and that it is made of whole words.
    pub(crate) fn check(&self, label: &str) -> Result<(), GpuError> {
        let size = self.buffer.bytes();
        let name = self.buffer.label();
        if self.offset.checked_add(self.bytes).is_none_or(|end| end > size) {
            let message = format!(
                "bytes {}..{} of buffer {name}, which holds {size}",
                self.offset,
                self.offset.saturating_add(self.bytes)
            );
            return Err(GpuError::validation(label, message));
        }
        if !self.offset.is_multiple_of(4) || !self.bytes.is_multiple_of(4) {
            let message = format!(
                "offset {} and size {} in buffer {name} must be multiples of 4",
                self.offset, self.bytes
            );
            return Err(GpuError::validation(label, message));
        }
        Ok(())
    }
}

impl Gpu {
    /// Makes a buffer of zeros that kernels can bind and that bytes can be copied to and from.
    ///
    /// # Errors
    /// [`GpuError::BufferTooLarge`] past the device's limit, [`GpuError::OutOfMemory`] where the device
    /// has no room, [`GpuError::Validation`] where `bytes` is 0 or no multiple of 4.
    pub fn create_buffer(&self, label: &str, bytes: u64) -> Result<Buffer, GpuError> {
        if bytes == 0 || !bytes.is_multiple_of(4) {
            let message = format!("a buffer's size must be a positive multiple of 4 bytes, not {bytes}");
            return Err(GpuError::validation(label, message));
        }
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        static BUFFERS: AtomicU64 = AtomicU64::new(0);
        Ok(Buffer(Arc::new(Memory {
            raw: self.create_raw(label, bytes, usage, false)?,
            label: label.to_owned(),
            device: self.0.id,
            id: BUFFERS.fetch_add(1, Ordering::Relaxed),
        })))
    }

    /// Makes a buffer of any usage, its size checked and its failures told apart.
    pub(crate) fn create_raw(
        &self,
        label: &str,
        size: u64,
        usage: wgpu::BufferUsages,
        mapped_at_creation: bool,
    ) -> Result<wgpu::Buffer, GpuError> {
        let limit = self.0.profile.limits.max_buffer;
        if size > limit {
            let adapter = self.0.profile.name.clone();
            return Err(GpuError::BufferTooLarge { label: label.into(), bytes: size, limit, adapter });
        }
        let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation };
        self.0.made.fetch_add(1, Ordering::Relaxed);
        let buffer = self.guarded(label, size, |device| device.create_buffer(&descriptor))?;
        self.note_memory();
        Ok(buffer)
    }

    /// Checks that a buffer lives on this device.
    pub(crate) fn owns(&self, buffer: &Buffer, label: &str) -> Result<(), GpuError> {
        if buffer.0.device == self.0.id {
            return Ok(());
        }
        Err(GpuError::validation(label, format!("buffer {} belongs to another device", buffer.label())))
    }
}
