//! Compute pipelines, made once for each kernel and set of overrides; those that are new, on several threads.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{MutexGuard, OnceLock, PoisonError};

use kiln_kernels::{Access, Kernel};

use crate::device::Gpu;
use crate::error::{GpuError, one_line};

/// What this device has compiled so far.
#[derive(Debug, Default)]
pub(crate) struct Pipelines {
    modules: HashMap<&'static Kernel, wgpu::ShaderModule>,
    layouts: HashMap<Signature, Layout>,
    pipelines: HashMap<Key, Pipeline>,
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

/// What tells pipelines apart: the kernel, and its free overrides by name, values by their bits.
pub(crate) type Key = (&'static Kernel, Vec<(&'static str, u64)>);

/// The key of a kernel with its free overrides set as told, in any order.
pub(crate) fn key(kernel: &'static Kernel, overrides: &[(&'static str, f64)]) -> Key {
    let mut bits: Vec<(&'static str, u64)> =
        overrides.iter().map(|(name, value)| (*name, value.to_bits())).collect();
    bits.sort_unstable();
    (kernel, bits)
}

impl Gpu {
    /// Compiles kernels with their overrides, side by side as far as the machine has processors, those that are there
    /// already excepted. [`Gpu::record`] does the same; whoever knows early what will be recorded has them compiled
    /// while other things go on.
    ///
    /// # Errors
    /// Those of [`Gpu::record`] that are about kernels.
    pub fn compile(&self, kernels: &[(&'static Kernel, &[(&'static str, f64)])]) -> Result<(), GpuError> {
        let keys: Vec<Key> = kernels.iter().map(|(kernel, overrides)| key(kernel, overrides)).collect();
        self.pipelines(&keys).map(drop)
    }

    /// The pipelines of several kernels with their overrides, in their order. Those that are not there yet are compiled,
    /// side by side as far as the machine has processors; of several errors that of the first comes out.
    pub(crate) fn pipelines(&self, wanted: &[Key]) -> Result<Vec<Pipeline>, GpuError> {
        let missing = self.missing(wanted)?;
        let slots: Vec<OnceLock<Result<Pipeline, GpuError>>> =
            missing.iter().map(|_| OnceLock::new()).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some((key, slot)) = missing.get(index).zip(slots.get(index)) else { break };
                // No other thread has this index.
                let _ = slot.set(self.compile_one(key));
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(missing.len());
        std::thread::scope(|scope| {
            // This thread works as well; where the system gives no more threads, alone.
            for _ in 1..threads {
                let _ = std::thread::Builder::new().name("kiln pipelines".into()).spawn_scoped(scope, work);
            }
            work();
        });
        let mut made = self.made();
        for (key, slot) in missing.into_iter().zip(slots) {
            let compiled = slot.into_inner().expect("every kernel should have been taken by a thread");
            let compiled = compiled?;
            made.pipelines.entry(key).or_insert(compiled);
        }
        Ok(wanted.iter().map(|key| made.pipelines[key].clone()).collect())
    }

    /// Those that have to be compiled, each once, checked against what the device has.
    fn missing(&self, wanted: &[Key]) -> Result<Vec<Key>, GpuError> {
        let mut missing: Vec<Key> = vec![];
        let made = self.made();
        for key in wanted {
            if made.pipelines.contains_key(key) || missing.contains(key) {
                continue;
            }
            let (kernel, overrides) = key;
            check_overrides(kernel, overrides)?;
            self.check_fits(kernel)?;
            missing.push(key.clone());
        }
        Ok(missing)
    }

    fn made(&self) -> MutexGuard<'_, Pipelines> {
        self.0.pipelines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compile_one(&self, (kernel, overrides): &Key) -> Result<Pipeline, GpuError> {
        let started = std::time::Instant::now();
        let name = kernel.to_string();
        let module = self.kept(|made| &mut made.modules, *kernel, || self.module(kernel));
        let module = module.map_err(|error| in_kernel(&name, error))?;
        let signature = Signature {
            params_size: kernel.params_size,
            access: kernel.bindings.iter().map(|binding| binding.access).collect(),
        };
        let layout = self.kept(|made| &mut made.layouts, signature.clone(), || self.layout(&signature));
        let layout = layout.map_err(|error| in_kernel(&name, error))?;
        let overrides = overrides.iter().map(|(name, bits)| (*name, f64::from_bits(*bits)));
        let constants: Vec<(&str, f64)> = kernel.constants.iter().copied().chain(overrides).collect();
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
                    cache: self.0.disk_cache.get().map(|cache| &cache.raw),
                })
            })
            .map_err(|error| in_kernel(&name, error))?;
        log::debug!("compiled {name} {constants:?} in {:.1?}", started.elapsed());
        Ok(Pipeline { raw, bind_group: layout.bind_group, signature })
    }

    /// What a table holds under a key, made where it is missing. It is made unlocked, so that other threads go on;
    /// of two that make the same one, the first wins, so that what is equal stays one object.
    fn kept<K: Eq + std::hash::Hash, V: Clone>(
        &self,
        table: impl Fn(&mut Pipelines) -> &mut HashMap<K, V>,
        key: K,
        make: impl FnOnce() -> Result<V, GpuError>,
    ) -> Result<V, GpuError> {
        if let Some(kept) = table(&mut self.made()).get(&key) {
            return Ok(kept.clone());
        }
        let fresh = make()?;
        Ok(table(&mut self.made()).entry(key).or_insert(fresh).clone())
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
        match self.0.profile.lacks(kernel) {
            Some(what) => {
                Err(GpuError::Unsupported(format!("kernel {kernel} needs {what} on {}", self.0.profile.name)))
            }
            None => Ok(()),
        }
    }
}

fn check_overrides(kernel: &Kernel, overrides: &[(&'static str, u64)]) -> Result<(), GpuError> {
    for (position, (name, bits)) in overrides.iter().enumerate() {
        let value = f64::from_bits(*bits);
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
