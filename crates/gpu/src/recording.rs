//! A list of commands, checked and prepared once, submitted many times.

use std::collections::HashMap;
use std::fmt;

use kiln_kernels::{Access, Kernel};

use crate::buffer::{Buffer, BufferSlice};
use crate::device::Gpu;
use crate::error::GpuError;
use crate::pipeline::{Key, Pipeline, Signature, key};

/// Dispatches that go to the driver in one submission. The device then starts while the rest is still
/// being encoded, and no submission runs for as long as a driver's watchdog allows. A submission costs
/// lavapipe 50 us, as much as three of the smallest dispatches.
const DISPATCHES_A_SUBMIT: usize = 64;

/// One thing for the device to do.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// Run a kernel.
    Dispatch(Dispatch<'a>),
    /// Copy bytes; both parts have the same size and lie in different buffers.
    Copy {
        /// Where the bytes come from.
        from: BufferSlice<'a>,
        /// Where they go.
        to: BufferSlice<'a>,
    },
}

/// One run of a kernel.
#[derive(Clone, Copy)]
pub struct Dispatch<'a> {
    /// What it is for: a layer path. Errors and timings name it.
    pub label: &'a str,
    /// The kernel.
    pub kernel: &'static Kernel,
    /// Values for the kernel's free overrides; those left out keep the shader's defaults.
    pub overrides: &'a [(&'static str, f64)],
    /// The bytes of its `Params`.
    pub params: &'a [u8],
    /// Its storage buffers, in binding order.
    pub bindings: &'a [BufferSlice<'a>],
    /// Workgroups along x, y and z.
    pub workgroups: [u32; 3],
}

impl fmt::Debug for Dispatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dispatch({}: {} {:?})", self.label, self.kernel, self.workgroups)
    }
}

/// Commands ready to run: pipelines compiled, parameters on the device, buffers bound. It keeps the
/// buffers alive that it names.
#[derive(Debug)]
pub struct Recording {
    pub(crate) label: String,
    pub(crate) steps: Vec<Step>,
    pub(crate) pipelines: Vec<Pipeline>,
    pub(crate) bind_groups: Vec<wgpu::BindGroup>,
    pub(crate) device: u64,
    dispatches: usize,
}

#[derive(Debug)]
pub(crate) enum Step {
    Dispatch(Prepared),
    Copy { from: Buffer, from_offset: u64, to: Buffer, to_offset: u64, bytes: u64 },
}

#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) label: String,
    pub(crate) pipeline: usize,
    pub(crate) bind_group: usize,
    pub(crate) params_offset: u32,
    pub(crate) workgroups: [u32; 3],
}

impl Recording {
    /// How many kernels it runs.
    pub fn dispatches(&self) -> usize {
        self.dispatches
    }

    /// The labels of its dispatches, in the order of [`Gpu::time`].
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match step {
            Step::Dispatch(prepared) => Some(prepared.label.as_str()),
            Step::Copy { .. } => None,
        })
    }
}

impl Gpu {
    /// Checks a list of commands against this device and prepares it.
    ///
    /// # Errors
    /// [`GpuError::Validation`] names the first command that breaks a rule: sizes of parameters and
    /// number of bindings as the kernel has them; binding sizes, alignments and workgroups within the
    /// device's limits; a buffer that is written bound once only. [`GpuError::Unsupported`] and
    /// [`GpuError::ShaderCompile`] where a kernel does not run here.
    pub fn record(&self, label: &str, commands: &[Command<'_>]) -> Result<Recording, GpuError> {
        for command in commands {
            match command {
                Command::Dispatch(dispatch) => self.check_dispatch(dispatch)?,
                Command::Copy { from, to } => self.check_copy(label, from, to)?,
            }
        }
        let alignment = u64::from(self.0.profile.limits.uniform_alignment);
        let arena = Arena::pack(commands, alignment);
        let uniforms = self.upload_arena(label, &arena)?;
        let (keys, pipelines) = distinct_kernels(commands);
        let mut builder = Builder { gpu: self, uniforms, pipelines, groups: HashMap::new() };
        let mut recording = Recording {
            label: label.to_owned(),
            steps: Vec::with_capacity(commands.len()),
            pipelines: self.pipelines(&keys)?,
            bind_groups: Vec::new(),
            device: self.0.id,
            dispatches: arena.offsets.len(),
        };
        let mut offsets = arena.offsets.iter();
        for command in commands {
            let step = match command {
                Command::Dispatch(dispatch) => {
                    let offset = *offsets.next().expect("the arena should hold an offset a dispatch");
                    Step::Dispatch(builder.prepare(&mut recording, dispatch, offset)?)
                }
                Command::Copy { from, to } => Step::Copy {
                    from: from.buffer.clone(),
                    from_offset: from.offset,
                    to: to.buffer.clone(),
                    to_offset: to.offset,
                    bytes: from.bytes,
                },
            };
            recording.steps.push(step);
        }
        Ok(recording)
    }

    /// Starts a recording on the device, after everything submitted before, and returns at once.
    ///
    /// # Errors
    /// [`GpuError::Validation`] where it was recorded on another device, [`GpuError::OutOfMemory`], and
    /// whatever the device has reported since the last call.
    pub fn submit(&self, recording: &Recording) -> Result<(), GpuError> {
        self.send(recording, |_| ()).map(|_| ())
    }

    /// Submits a recording with something behind it, in the same submission as its last steps: what follows in one of its
    /// own costs the device a pause, and a host whose submissions wait for those before (lavapipe's) all of their time.
    pub(crate) fn send(
        &self,
        recording: &Recording,
        behind: impl FnOnce(&mut wgpu::CommandEncoder),
    ) -> Result<wgpu::SubmissionIndex, GpuError> {
        if recording.device != self.0.id {
            let message = "it was recorded on another device";
            return Err(GpuError::validation(&recording.label, message));
        }
        self.guarded(&recording.label, 0, |device| {
            let mut rest = recording.steps.as_slice();
            loop {
                let steps = first_batch(rest);
                rest = &rest[steps.len()..];
                let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor {
                    label: Some(&recording.label),
                });
                recording.encode(steps, &mut encoder);
                if rest.is_empty() {
                    behind(&mut encoder);
                    return self.0.queue.submit([encoder.finish()]);
                }
                self.0.queue.submit([encoder.finish()]);
            }
        })
    }

    fn check_dispatch(&self, dispatch: &Dispatch<'_>) -> Result<(), GpuError> {
        let Dispatch { label, kernel, params, bindings, workgroups, .. } = dispatch;
        let fail = |message: String| Err(GpuError::validation(format!("{label} ({kernel})"), message));
        if params.len() != kernel.params_size as usize {
            return fail(format!("its parameters are {} bytes, not {}", kernel.params_size, params.len()));
        }
        if bindings.len() != kernel.bindings.len() {
            return fail(format!("it binds {} buffers, not {}", kernel.bindings.len(), bindings.len()));
        }
        let limits = &self.0.profile.limits;
        if workgroups.iter().any(|&count| count == 0 || count > limits.max_workgroups) {
            return fail(format!(
                "{workgroups:?} workgroups, with 1 to {} a dimension",
                limits.max_workgroups
            ));
        }
        for (slice, binding) in bindings.iter().zip(kernel.bindings) {
            self.owns(slice.buffer, label)?;
            slice.check(label)?;
            let name = binding.name;
            if slice.bytes == 0 || slice.bytes > limits.max_binding {
                return fail(format!("{name} binds {} bytes, with 1 to {}", slice.bytes, limits.max_binding));
            }
            if !slice.offset.is_multiple_of(limits.storage_alignment.into()) {
                let alignment = limits.storage_alignment;
                return fail(format!("{name} starts at {}, no multiple of {alignment}", slice.offset));
            }
        }
        for (position, binding) in kernel.bindings.iter().enumerate() {
            let buffer = bindings[position].buffer;
            let shares = |other: usize| other != position && bindings[other].buffer.0.id == buffer.0.id;
            if let (Access::ReadWrite, Some(other)) =
                (binding.access, (0..bindings.len()).find(|&o| shares(o)))
            {
                let (name, other) = (binding.name, kernel.bindings[other].name);
                return fail(format!(
                    "{name} is written, so {other} cannot be the same buffer {}",
                    buffer.label()
                ));
            }
        }
        Ok(())
    }

    fn check_copy(&self, label: &str, from: &BufferSlice<'_>, to: &BufferSlice<'_>) -> Result<(), GpuError> {
        for slice in [from, to] {
            self.owns(slice.buffer, label)?;
            slice.check(label)?;
        }
        let names = format!("copy from {} to {}", from.buffer.label(), to.buffer.label());
        if from.bytes != to.bytes {
            return Err(GpuError::validation(names, format!("{} bytes into {}", from.bytes, to.bytes)));
        }
        if from.buffer.0.id == to.buffer.0.id {
            return Err(GpuError::validation(names, "a buffer cannot be copied into itself"));
        }
        Ok(())
    }

    /// Puts every block of parameters on the device in one buffer, or nothing if there are none.
    fn upload_arena(&self, label: &str, arena: &Arena) -> Result<Option<wgpu::Buffer>, GpuError> {
        if arena.bytes.is_empty() {
            return Ok(None);
        }
        let bytes = arena.bytes.len() as u64;
        let buffer =
            self.create_raw(&format!("{label} parameters"), bytes, wgpu::BufferUsages::UNIFORM, true)?;
        let mapped = self.guarded(label, bytes, |_| {
            let mut view = buffer.get_mapped_range_mut(..)?;
            view.copy_from_slice(&arena.bytes);
            drop(view);
            buffer.unmap();
            Ok(())
        })?;
        mapped.map_err(|error: wgpu::MapRangeError| GpuError::validation(label, error.to_string()))?;
        Ok(Some(buffer))
    }
}

/// As many steps as go into one submission.
fn first_batch(steps: &[Step]) -> &[Step] {
    let dispatches = steps.iter().enumerate().filter(|(_, step)| matches!(step, Step::Dispatch(_)));
    let end = dispatches.map(|(position, _)| position + 1).nth(DISPATCHES_A_SUBMIT - 1);
    &steps[..end.unwrap_or(steps.len())]
}

impl Recording {
    /// Encodes steps: runs of dispatches share a compute pass, since a pass each would double the
    /// cost of a small dispatch on a software adapter.
    fn encode(&self, steps: &[Step], encoder: &mut wgpu::CommandEncoder) {
        let mut steps = steps.iter().peekable();
        while let Some(step) = steps.peek() {
            if let Step::Copy { .. } = step {
                self.encode_copy(step, encoder);
                steps.next();
                continue;
            }
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: Some(&self.label),
                timestamp_writes: None,
            });
            let mut bound = None;
            while let Some(Step::Dispatch(prepared)) = steps.peek() {
                if bound != Some(prepared.pipeline) {
                    pass.set_pipeline(&self.pipelines[prepared.pipeline].raw);
                    bound = Some(prepared.pipeline);
                }
                self.encode_dispatch(prepared, &mut pass);
                steps.next();
            }
        }
    }

    pub(crate) fn encode_dispatch(&self, prepared: &Prepared, pass: &mut wgpu::ComputePass<'_>) {
        let [x, y, z] = prepared.workgroups;
        pass.set_bind_group(0, &self.bind_groups[prepared.bind_group], &[prepared.params_offset]);
        pass.dispatch_workgroups(x, y, z);
    }

    pub(crate) fn encode_copy(&self, step: &Step, encoder: &mut wgpu::CommandEncoder) {
        if let Step::Copy { from, from_offset, to, to_offset, bytes } = step {
            encoder.copy_buffer_to_buffer(&from.0.raw, *from_offset, &to.0.raw, *to_offset, *bytes);
        }
    }
}

/// The parameters of all dispatches, each at an offset that the device can bind; equal blocks once.
struct Arena {
    bytes: Vec<u8>,
    /// One a dispatch, in order.
    offsets: Vec<u32>,
}

impl Arena {
    fn pack(commands: &[Command<'_>], alignment: u64) -> Arena {
        let mut arena = Arena { bytes: Vec::new(), offsets: Vec::new() };
        let mut seen: HashMap<&[u8], u32> = HashMap::new();
        for command in commands {
            let Command::Dispatch(dispatch) = command else { continue };
            let offset = *seen.entry(dispatch.params).or_insert_with(|| {
                let offset = (arena.bytes.len() as u64).next_multiple_of(alignment) as usize;
                arena.bytes.resize(offset, 0);
                arena.bytes.extend_from_slice(dispatch.params);
                offset as u32
            });
            arena.offsets.push(offset);
        }
        // Mapping and binding both want whole words.
        arena.bytes.resize(arena.bytes.len().next_multiple_of(16), 0);
        arena
    }
}

/// What the dispatches run, each once, and the position of each in that list.
fn distinct_kernels(commands: &[Command<'_>]) -> (Vec<Key>, HashMap<Key, usize>) {
    let (mut keys, mut positions) = (vec![], HashMap::new());
    for command in commands {
        let Command::Dispatch(dispatch) = command else { continue };
        let key = key(dispatch.kernel, dispatch.overrides);
        positions.entry(key.clone()).or_insert_with(|| {
            keys.push(key);
            keys.len() - 1
        });
    }
    (keys, positions)
}

/// What is shared while one recording is being made.
struct Builder<'g> {
    gpu: &'g Gpu,
    uniforms: Option<wgpu::Buffer>,
    pipelines: HashMap<Key, usize>,
    groups: HashMap<GroupKey, usize>,
}

/// Two dispatches with the same key can share a bind group: buffers by number, with offset and size.
type GroupKey = (Signature, Vec<(u64, u64, u64)>);

impl Builder<'_> {
    fn prepare(
        &mut self,
        recording: &mut Recording,
        dispatch: &Dispatch<'_>,
        params_offset: u32,
    ) -> Result<Prepared, GpuError> {
        let pipeline = self.pipelines[&key(dispatch.kernel, dispatch.overrides)];
        let bind_group = self.bind_group(recording, dispatch, pipeline)?;
        Ok(Prepared {
            label: dispatch.label.to_owned(),
            pipeline,
            bind_group,
            params_offset,
            workgroups: dispatch.workgroups,
        })
    }

    fn bind_group(
        &mut self,
        recording: &mut Recording,
        dispatch: &Dispatch<'_>,
        pipeline: usize,
    ) -> Result<usize, GpuError> {
        let pipeline = &recording.pipelines[pipeline];
        let buffers = dispatch.bindings.iter().map(|slice| (slice.buffer.0.id, slice.offset, slice.bytes));
        let key = (pipeline.signature.clone(), buffers.collect());
        if let Some(&group) = self.groups.get(&key) {
            return Ok(group);
        }
        let part = |buffer, offset, bytes| {
            wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer,
                offset,
                size: std::num::NonZeroU64::new(bytes),
            })
        };
        let uniforms = self.uniforms.as_ref().expect("a recording with dispatches should have parameters");
        let params = part(uniforms, 0, u64::from(dispatch.kernel.params_size));
        let storage =
            dispatch.bindings.iter().map(|slice| part(&slice.buffer.0.raw, slice.offset, slice.bytes));
        let entries: Vec<wgpu::BindGroupEntry<'_>> = std::iter::once(params)
            .chain(storage)
            .zip(0..)
            .map(|(resource, binding)| wgpu::BindGroupEntry { binding, resource })
            .collect();
        self.gpu.0.made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let group = self.gpu.guarded(dispatch.label, 0, |device| {
            device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(dispatch.label),
                layout: &pipeline.bind_group,
                entries: &entries,
            })
        })?;
        recording.bind_groups.push(group);
        self.groups.insert(key, recording.bind_groups.len() - 1);
        Ok(recording.bind_groups.len() - 1)
    }
}
