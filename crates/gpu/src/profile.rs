//! Static facts about a device: what the plan and the kernel table decide by.

use std::fmt;

use kiln_kernels::{Kernel, Subgroups};

/// What sort of hardware an adapter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// A GPU lent to a virtual machine.
    Virtual,
    /// The processor, through a software driver such as Mesa's llvmpipe.
    Cpu,
    /// The driver does not say.
    Other,
}

impl DeviceKind {
    /// Whether kernels run on the processor.
    pub const fn is_software(self) -> bool {
        matches!(self, DeviceKind::Cpu)
    }

    /// Order of preference when nobody chose: higher is stronger.
    pub(crate) const fn strength(self) -> u8 {
        match self {
            DeviceKind::Discrete => 4,
            DeviceKind::Integrated => 3,
            DeviceKind::Virtual => 2,
            DeviceKind::Other => 1,
            DeviceKind::Cpu => 0,
        }
    }

    fn from_wgpu(kind: wgpu::DeviceType) -> DeviceKind {
        match kind {
            wgpu::DeviceType::DiscreteGpu => DeviceKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => DeviceKind::Integrated,
            wgpu::DeviceType::VirtualGpu => DeviceKind::Virtual,
            wgpu::DeviceType::Cpu => DeviceKind::Cpu,
            wgpu::DeviceType::Other => DeviceKind::Other,
        }
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DeviceKind::Discrete => "discrete",
            DeviceKind::Integrated => "integrated",
            DeviceKind::Virtual => "virtual",
            DeviceKind::Cpu => "software",
            DeviceKind::Other => "other",
        })
    }
}

/// The sizes that a device holds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Largest part of a buffer that one binding may show to a kernel, in bytes; a multiple of 4.
    pub max_binding: u64,
    /// Largest buffer, in bytes; a multiple of 4.
    pub max_buffer: u64,
    /// Most workgroups in each dimension of a dispatch.
    pub max_workgroups: u32,
    /// Most threads in a workgroup.
    pub max_threads: u32,
    /// Most workgroup memory of a kernel, in bytes.
    pub workgroup_memory: u32,
    /// Most storage buffers bound to a kernel.
    pub max_storage_buffers: u32,
    /// What the offset of a storage binding must be a multiple of, in bytes.
    pub storage_alignment: u32,
    /// What the offset of a uniform block must be a multiple of, in bytes.
    pub uniform_alignment: u32,
}

impl Limits {
    /// The floor that every kernel's baseline variant runs on: WebGPU's default limits.
    pub const BASELINE: Limits = Limits {
        max_binding: 128 << 20,
        max_buffer: 256 << 20,
        max_workgroups: 65_535,
        max_threads: 256,
        workgroup_memory: 16 << 10,
        max_storage_buffers: 8,
        storage_alignment: 256,
        uniform_alignment: 256,
    };

    /// The largest tensor, in bytes, that fits one buffer and one binding.
    pub const fn max_tensor(&self) -> u64 {
        if self.max_binding < self.max_buffer { self.max_binding } else { self.max_buffer }
    }

    pub(crate) fn from_wgpu(limits: &wgpu::Limits) -> Limits {
        Limits {
            // Some drivers give 2^32 - 1 and the like; nothing of ours ends between two words.
            max_binding: limits.max_storage_buffer_binding_size & !3,
            max_buffer: limits.max_buffer_size & !3,
            max_workgroups: limits.max_compute_workgroups_per_dimension,
            // A workgroup is flat in every kernel of ours, so the x limit counts too.
            max_threads: limits
                .max_compute_invocations_per_workgroup
                .min(limits.max_compute_workgroup_size_x),
            workgroup_memory: limits.max_compute_workgroup_storage_size,
            max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
            storage_alignment: limits.min_storage_buffer_offset_alignment,
            uniform_alignment: limits.min_uniform_buffer_offset_alignment,
        }
    }

    /// Writes these limits over `base`, for a made-up device.
    pub(crate) fn onto(self, base: wgpu::Limits) -> wgpu::Limits {
        wgpu::Limits {
            max_storage_buffer_binding_size: self.max_binding,
            max_buffer_size: self.max_buffer,
            max_compute_workgroups_per_dimension: self.max_workgroups,
            max_compute_invocations_per_workgroup: self.max_threads,
            max_compute_workgroup_size_x: self.max_threads,
            max_compute_workgroup_storage_size: self.workgroup_memory,
            max_storage_buffers_per_shader_stage: self.max_storage_buffers,
            min_storage_buffer_offset_alignment: self.storage_alignment,
            min_uniform_buffer_offset_alignment: self.uniform_alignment,
            ..base
        }
    }

    /// The first way in which these limits fall short of what every kernel relies on, in words.
    /// Buffer and binding sizes do not count: plans split to fit them.
    pub(crate) fn shortfall(&self) -> Option<String> {
        let floor = Limits::BASELINE;
        let rows = [
            ("threads in a workgroup", self.max_threads, floor.max_threads),
            ("bytes of workgroup memory", self.workgroup_memory, floor.workgroup_memory),
            ("storage buffers in a kernel", self.max_storage_buffers, floor.max_storage_buffers),
        ];
        let (what, has, needs) = rows.into_iter().find(|(_, has, needs)| has < needs)?;
        Some(format!("it allows {has} {what}, and Kiln's kernels need {needs}"))
    }
}

impl Default for Limits {
    /// [`Limits::BASELINE`].
    fn default() -> Limits {
        Limits::BASELINE
    }
}

/// Static facts about a device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeviceProfile {
    /// The adapter's name, as its driver gives it.
    pub name: String,
    /// The driver and its version.
    pub driver: String,
    /// The interface it is reached by: `vulkan`, `metal`, `dx12` or `noop`.
    pub backend: String,
    /// What sort of hardware it is.
    pub kind: DeviceKind,
    /// Smallest and largest number of invocations in a subgroup.
    pub subgroup: (u32, u32),
    /// Whether kernels may compute in f16.
    pub f16: bool,
    /// Whether kernels may use 64-bit integers.
    pub int64: bool,
    /// Whether kernels may compute across subgroups.
    pub subgroups: bool,
    /// Whether dispatches can be timed on the device.
    pub timestamps: bool,
    /// The sizes it holds to.
    pub limits: Limits,
}

impl DeviceProfile {
    /// A device that is not there, with subgroups of 32 and nothing optional: to plan for without one.
    pub fn made_up(kind: DeviceKind, limits: Limits) -> DeviceProfile {
        DeviceProfile {
            name: "made up".to_owned(),
            driver: "none".to_owned(),
            backend: "noop".to_owned(),
            kind,
            subgroup: (32, 32),
            f16: false,
            int64: false,
            subgroups: false,
            timestamps: false,
            limits,
        }
    }

    /// The first thing that a kernel needs and this device has not, in words; none where the kernel runs.
    pub fn lacks(&self, kernel: &Kernel) -> Option<String> {
        let (limits, needs) = (&self.limits, &kernel.needs);
        let of = |size| self.subgroup == (size, size);
        match needs.subgroups {
            _ if needs.f16 && !self.f16 => return Some("f16 arithmetic, which is missing".to_owned()),
            _ if needs.int64 && !self.int64 => return Some("64-bit integers, which are missing".to_owned()),
            Some(_) if !self.subgroups => {
                return Some("operations across subgroups, which are missing".to_owned());
            }
            Some(Subgroups::Of(size)) if !of(size) => {
                let (least, most) = self.subgroup;
                return Some(format!("subgroups of {size} invocations, which have {least} to {most}"));
            }
            _ => {}
        }
        let rows = [
            ("threads in a workgroup", kernel.threads(), limits.max_threads),
            ("bytes of workgroup memory", kernel.workgroup_memory, limits.workgroup_memory),
            ("storage buffers", kernel.bindings.len() as u32, limits.max_storage_buffers),
        ];
        let (what, needs, has) = rows.into_iter().find(|(_, needs, has)| needs > has)?;
        Some(format!("{needs} {what}, of which there are at most {has}"))
    }

    pub(crate) fn new(
        info: &wgpu::AdapterInfo,
        features: wgpu::Features,
        limits: &wgpu::Limits,
    ) -> DeviceProfile {
        let driver = match (info.driver.trim(), info.driver_info.trim()) {
            (driver, "") => driver.to_owned(),
            ("", detail) => detail.to_owned(),
            (driver, detail) => format!("{driver} {detail}"),
        };
        DeviceProfile {
            name: info.name.clone(),
            driver,
            backend: info.backend.to_str().to_owned(),
            kind: DeviceKind::from_wgpu(info.device_type),
            subgroup: (info.subgroup_min_size, info.subgroup_max_size),
            f16: features.contains(wgpu::Features::SHADER_F16),
            int64: features.contains(wgpu::Features::SHADER_INT64),
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            limits: Limits::from_wgpu(limits),
        }
    }
}

impl fmt::Display for DeviceProfile {
    /// `NAME (KIND, BACKEND, DRIVER)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {}", self.name, self.kind, self.backend)?;
        if !self.driver.is_empty() {
            write!(f, ", {}", self.driver)?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_baseline_is_what_wgpu_grants_everywhere() {
        assert_eq!(Limits::from_wgpu(&wgpu::Limits::default()), Limits::BASELINE);
        assert_eq!(Limits::BASELINE.shortfall(), None);
    }

    #[test]
    fn made_up_limits_survive_the_way_there_and_back() {
        let limits = Limits {
            max_binding: 4 << 20,
            max_buffer: 8 << 20,
            max_workgroups: 100,
            max_threads: 128,
            workgroup_memory: 8192,
            max_storage_buffers: 6,
            storage_alignment: 32,
            uniform_alignment: 64,
        };
        assert_eq!(Limits::from_wgpu(&limits.onto(wgpu::Limits::default())), limits);
        assert_eq!(limits.max_tensor(), 4 << 20);
    }

    #[test]
    fn a_weak_device_is_told_what_it_lacks() {
        let limits = Limits { max_storage_buffers: 4, ..Limits::BASELINE };
        let shortfall = limits.shortfall().expect("four buffers should be too few");
        assert_eq!(shortfall, "it allows 4 storage buffers in a kernel, and Kiln's kernels need 8");
    }

    #[test]
    fn a_kernel_of_eight_lanes_is_for_subgroups_of_eight() {
        let kernel = kiln_kernels::matmul_lanes::Variant::Plain8.kernel();
        let made_up = DeviceProfile::made_up(DeviceKind::Cpu, Limits::BASELINE);
        let lacks = |subgroups, subgroup| {
            DeviceProfile { subgroups, subgroup, ..made_up.clone() }.lacks(kernel).unwrap_or_default()
        };
        assert_eq!(lacks(true, (8, 8)), "");
        assert_eq!(lacks(true, (4, 4)), "subgroups of 8 invocations, which have 4 to 4");
        assert_eq!(lacks(true, (8, 32)), "subgroups of 8 invocations, which have 8 to 32");
        assert_eq!(lacks(false, (8, 8)), "operations across subgroups, which are missing");
        let wide = DeviceProfile { subgroups: true, subgroup: (8, 8), ..made_up };
        let kernel = kiln_kernels::matmul_lanes::Variant::Wide8.kernel();
        assert_eq!(wide.lacks(kernel).as_deref(), Some("64-bit integers, which are missing"));
    }
}
