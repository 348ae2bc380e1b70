//! Compute pipelines, made once for each kernel and set of overrides.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use kiln_kernels::{Access, Kernel};

use crate::device::Gpu;
use crate::error::{GpuError, one_line};

/// What this device has compiled so far.
#[derive(Debug, Default)]
pub(crate) struct Pipelines {
    modules: HashMap<&'static Kernel, wgpu::ShaderModule>,
    layouts: HashMap<Signature, Layout>,
    pipelines: HashMap<(&'static Kernel, Overrides), Pipeline>,
}

/// A compiled kernel together with the layout of its one bind group. Clones are handles.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    pub(crate) raw: wgpu::ComputePipeline,
    pub(crate) bind_group: wgpu::BindGroupLayout,
    pub(crate) signature: Signature,
}

/// What decides a bind group's layout: kernels that agree in it share bind groups.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Signature {
    params_size: u32,
    access: Vec<Access>,
}

#[derive(Clone, Debug)]
struct Layout {
    bind_group: wgpu::BindGroupLayout,
    pipeline: wgpu::PipelineLayout,
}

/// Free overrides by name, values by their bits: a key that can be hashed.
pub(crate) type Overrides = Vec<(&'static str, u64)>;

impl Gpu {
    /// The pipeline of a kernel with its free overrides set as told; compiled the first time.
    pub(crate) fn pipeline(
        &self,
        kernel: &'static Kernel,
        overrides: &[(&'static str, f64)],
    ) -> Result<Pipeline, GpuError> {
        let mut key: Overrides = overrides.iter().map(|(name, value)| (*name, value.to_bits())).collect();
        key.sort_unstable();
        let mut cache = self.0.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = cache.pipelines.get(&(kernel, key.clone())) {
            return Ok(pipeline.clone());
        }
        check_overrides(kernel, overrides)?;
        self.check_fits(kernel)?;
        let pipeline = self.compile(&mut cache, kernel, overrides)?;
        cache.pipelines.insert((kernel, key), pipeline.clone());
        Ok(pipeline)
    }

    fn compile(
        &self,
        cache: &mut Pipelines,
        kernel: &'static Kernel,
        overrides: &[(&'static str, f64)],
    ) -> Result<Pipeline, GpuError> {
        let started = std::time::Instant::now();
        let name = kernel.to_string();
        let module = match cache.modules.get(kernel) {
            Some(module) => module.clone(),
            None => {
                let module = self.module(kernel).map_err(|error| in_kernel(&name, error))?;
                cache.modules.entry(kernel).or_insert(module).clone()
            }
        };
        let signature = Signature {
            params_size: kernel.params_size,
            access: kernel.bindings.iter().map(|binding| binding.access).collect(),
        };
        let layout = match cache.layouts.get(&signature) {
            Some(layout) => layout.clone(),
            None => {
                let layout = self.layout(&signature).map_err(|error| in_kernel(&name, error))?;
                cache.layouts.entry(signature.clone()).or_insert(layout).clone()
            }
        };
        let constants: Vec<(&str, f64)> = kernel.constants.iter().chain(overrides).copied().collect();
        self.0.made.fetch_add(1, Ordering::Relaxed);
        let raw = self
            .guarded(&name, 0, |device| {
                device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                    label: Some(&name),
                    layout: Some(&layout.pipeline),
                    module: &module,
                    entry_point: Some(Kernel::ENTRY),
                    compilation_options: wgpu::PipelineCompilationOptions {
                        constants: &constants,
                        // Kernels write workgroup memory before they read it; zeroing it first costs
                        // a barrier and a loop in every workgroup.
                        zero_initialize_workgroup_memory: false,
                    },
                    cache: None,
                })
            })
            .map_err(|error| in_kernel(&name, error))?;
        log::debug!("compiled {name} {overrides:?} in {:.1?}", started.elapsed());
        Ok(Pipeline { raw, bind_group: layout.bind_group, signature })
    }

    fn module(&self, kernel: &Kernel) -> Result<wgpu::ShaderModule, GpuError> {
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(kernel.name),
            source: wgpu::ShaderSource::Wgsl(kernel.source.into()),
        };
        let checks =
            wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() };
        self.guarded(kernel.name, 0, |device| {
            // SAFETY: the one check left out is the counter that ends endless loops. The source comes
            // from Kiln's own catalogue, whose loops all run to a bound in the parameters; reads and
            // writes out of bounds stay checked.
            #[allow(unsafe_code)]
            unsafe {
                device.create_shader_module_trusted(descriptor, checks)
            }
        })
    }

    fn layout(&self, signature: &Signature) -> Result<Layout, GpuError> {
        let entry = |binding, ty, has_dynamic_offset, min_binding_size| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size },
            count: None,
        };
        let params_size = NonZeroU64::new(signature.params_size.into());
        let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, true, params_size)];
        entries.extend(signature.access.iter().zip(1..).map(|(access, binding)| {
            let read_only = *access == Access::Read;
            entry(binding, wgpu::BufferBindingType::Storage { read_only }, false, None)
        }));
        self.guarded("layout", 0, |device| {
            let bind_group = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: None,
                entries: &entries,
            });
            let pipeline = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: None,
                bind_group_layouts: &[Some(&bind_group)],
                immediate_size: 0,
            });
            Layout { bind_group, pipeline }
        })
    }

    /// Checks what a kernel needs against what this device has.
    fn check_fits(&self, kernel: &Kernel) -> Result<(), GpuError> {
        let profile = &self.0.profile;
        let limits = &profile.limits;
        let lacks = |what: String| {
            Err(GpuError::Unsupported(format!("kernel {kernel} needs {what} on {}", profile.name)))
        };
        if kernel.needs.f16 && !profile.f16 {
            return lacks("f16 arithmetic, which is missing".into());
        }
        let rows = [
            ("threads in a workgroup", kernel.threads(), limits.max_threads),
            ("bytes of workgroup memory", kernel.workgroup_memory, limits.workgroup_memory),
            ("storage buffers", kernel.bindings.len() as u32, limits.max_storage_buffers),
        ];
        match rows.into_iter().find(|(_, needs, has)| needs > has) {
            Some((what, needs, has)) => lacks(format!("{needs} {what}, of which there are at most {has}")),
            None => Ok(()),
        }
    }
}

fn check_overrides(kernel: &Kernel, overrides: &[(&'static str, f64)]) -> Result<(), GpuError> {
    for (position, (name, value)) in overrides.iter().enumerate() {
        let message = if !kernel.free.contains(name) {
            format!("override {name} is not free; free are: {}", kernel.free.join(", "))
        } else if overrides[..position].iter().any(|(earlier, _)| earlier == name) {
            format!("override {name} is set twice")
        } else if !value.is_finite() {
            format!("override {name} is {value}")
        } else {
            continue;
        };
        return Err(GpuError::validation(kernel.to_string(), message));
    }
    Ok(())
}

/// Every refusal while a kernel is compiled is about that kernel.
fn in_kernel(kernel: &str, error: GpuError) -> GpuError {
    match error {
        GpuError::Validation { message, .. } => {
            GpuError::ShaderCompile { kernel: kernel.into(), message: one_line(&message) }
        }
        other => other,
    }
}
