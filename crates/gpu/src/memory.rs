//! What wgpu itself says of the device's memory and objects.

use std::sync::atomic::Ordering;

use crate::device::Gpu;

/// Device memory as wgpu counts it: everything on this device, of whatever session, with what the driver rounds up. All
/// 0 on backends that do not count (only Vulkan and DirectX do).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GpuMemory {
    /// Bytes in buffers now, staging included.
    pub buffers: u64,
    /// The most that this was right after a buffer of ours was made, or when last asked.
    pub peak: u64,
    /// Bytes that wgpu has taken from the driver for buffers and may use again; at least `buffers`.
    pub reserved: u64,
}

/// How many objects of a kind there are on a device at this moment, as wgpu counts them: also those that it makes on its
/// own account, staging buffers for example. All 0 on backends that do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveObjects {
    /// Buffers.
    pub buffers: usize,
    /// Bind groups.
    pub bind_groups: usize,
    /// Compute pipelines.
    pub pipelines: usize,
    /// Shader modules.
    pub modules: usize,
}

impl Gpu {
    /// Device memory as wgpu counts it.
    pub fn memory(&self) -> GpuMemory {
        self.note_memory();
        let reserved =
            self.0.device.generate_allocator_report().map_or(0, |report| report.total_reserved_bytes);
        let (buffers, peak) = (self.buffer_bytes(), self.0.peak_bytes.load(Ordering::Relaxed));
        // Where the report is missing, what is in buffers must have been taken at least.
        GpuMemory { buffers, peak, reserved: reserved.max(buffers) }
    }

    /// Objects as wgpu counts them. Those that were dropped count until the device is done with them and has been waited
    /// for.
    pub fn live_objects(&self) -> LiveObjects {
        let hal = self.0.device.get_internal_counters().hal;
        let count = |count: isize| count.max(0) as usize;
        LiveObjects {
            buffers: count(hal.buffers.read()),
            bind_groups: count(hal.bind_groups.read()),
            pipelines: count(hal.compute_pipelines.read()),
            modules: count(hal.shader_modules.read()),
        }
    }

    /// Looks whether there is more than ever before.
    pub(crate) fn note_memory(&self) {
        self.0.peak_bytes.fetch_max(self.buffer_bytes(), Ordering::Relaxed);
    }

    fn buffer_bytes(&self) -> u64 {
        self.0.device.get_internal_counters().hal.buffer_memory.read().max(0) as u64
    }
}
