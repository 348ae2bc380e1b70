//! An open device.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use crate::adapter::{self, AdapterChoice, AdapterReport};
use crate::error::GpuError;
use crate::health::Health;
use crate::pipeline::Pipelines;
use crate::pipeline_cache::DiskCache;
use crate::profile::{DeviceKind, DeviceProfile, Limits};
use crate::upload::Staged;
use crate::{probe, quiet};

/// An open device. Cloning gives another handle to the same one; handles may cross threads.
#[derive(Clone, Debug)]
pub struct Gpu(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) profile: DeviceProfile,
    pub(crate) health: Arc<Health>,
    pub(crate) pipelines: Mutex<Pipelines>,
    pub(crate) disk_cache: OnceLock<DiskCache>,
    pub(crate) staged: Mutex<Staged>,
    /// Where bytes arrived that were read last, for those that are read next.
    pub(crate) landing: Mutex<Vec<wgpu::Buffer>>,
    /// How many objects have been made on it.
    pub(crate) made: AtomicU64,
    /// The most bytes in buffers that were seen at once.
    pub(crate) peak_bytes: AtomicU64,
    /// Tells this device's buffers and recordings from those of another.
    pub(crate) id: u64,
}

const _: () = {
    const fn crosses_threads<T: Send + Sync>() {}
    crosses_threads::<Gpu>();
    crosses_threads::<crate::Buffer>();
    crosses_threads::<crate::Recording>();
};

impl Gpu {
    /// Opens an adapter of this machine, with all the limits and the features it has that Kiln can
    /// use, and has it compute a known answer.
    ///
    /// # Errors
    /// [`GpuError::NoAdapter`], [`GpuError::UnknownAdapter`] and [`GpuError::Unsupported`] from the
    /// choice, [`GpuError::ProbeFailed`] from the probe, [`GpuError::Validation`] where the driver
    /// refuses to open a device.
    pub fn open(choice: &AdapterChoice) -> Result<Gpu, GpuError> {
        let mut found = adapter::enumerate();
        let reports: Vec<AdapterReport> = found.iter().map(|(_, report)| report.clone()).collect();
        let chosen = adapter::choose(&reports, choice)?;
        let (adapter, report) = found.swap_remove(chosen.index);
        log::info!("adapter {}, {}: {}", chosen.index, chosen.why, report.profile);
        let (device, queue) = request(&adapter, wanted_features(&adapter), wanted_limits(&adapter))?;
        let gpu = Gpu::own(&adapter, device, queue);
        probe::run(&gpu)?;
        Ok(gpu)
    }

    /// Shares a device that the caller opened. Its own error handlers stay in place, and the features
    /// and limits it was opened with are the ones that count. The probe runs here too. The loss of such
    /// a device is reported to the caller's handler; here it shows at the next [`Gpu::read`].
    ///
    /// # Errors
    /// [`GpuError::Unsupported`] where the device's limits are below [`Limits::BASELINE`] (buffer and
    /// binding sizes excepted), [`GpuError::ProbeFailed`] where it computes wrongly.
    pub fn from_wgpu(
        adapter: &wgpu::Adapter,
        device: wgpu::Device,
        queue: wgpu::Queue,
    ) -> Result<Gpu, GpuError> {
        let gpu = Gpu::new(adapter, device, queue, Arc::default());
        if let Some(why) = gpu.profile().limits.shortfall() {
            return Err(GpuError::Unsupported(format!("device on {}: {why}", gpu.profile().name)));
        }
        if adapter.get_info().backend != wgpu::Backend::Noop {
            probe::run(&gpu)?;
        }
        Ok(gpu)
    }

    /// A device that validates everything and computes nothing, with made-up limits: for tests of
    /// plans and recordings. Buffers hold what is written and copied to them; kernels change nothing.
    ///
    /// # Errors
    /// [`GpuError::Validation`] where no device can have such limits.
    pub fn noop(limits: Limits) -> Result<Gpu, GpuError> {
        let full = limits.onto(wgpu::Limits::default());
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::NOOP,
            flags: wgpu::InstanceFlags::empty(),
            backend_options: wgpu::BackendOptions {
                noop: wgpu::NoopBackendOptions {
                    enable: true,
                    limits: Some(full.clone()),
                    ..wgpu::NoopBackendOptions::default()
                },
                ..wgpu::BackendOptions::default()
            },
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))
            .map_err(|error| GpuError::validation("noop adapter", error.to_string()))?;
        let (device, queue) = request(&adapter, wgpu::Features::empty(), full)?;
        let mut gpu = Gpu::own(&adapter, device, queue);
        let inner = Arc::get_mut(&mut gpu.0).expect("a new device should have one handle");
        // wgpu calls it a processor; tests rather want the choices made for hardware unknown.
        inner.profile.kind = DeviceKind::Other;
        Ok(gpu)
    }

    /// Every adapter of this machine that Kiln can reach, in the driver's order.
    pub fn adapters() -> Vec<AdapterReport> {
        adapter::enumerate().into_iter().map(|(_, report)| report).collect()
    }

    /// Static facts about this device.
    pub fn profile(&self) -> &DeviceProfile {
        &self.0.profile
    }

    /// Waits until everything submitted has been computed.
    ///
    /// # Errors
    /// Whatever the device has reported since the last call: above all [`GpuError::Lost`].
    pub fn wait(&self) -> Result<(), GpuError> {
        self.poll(wgpu::PollType::wait_indefinitely())
    }

    /// Lets wgpu do its housekeeping, waiting or not as `kind` says.
    pub(crate) fn poll(&self, kind: wgpu::PollType) -> Result<(), GpuError> {
        let device = std::panic::AssertUnwindSafe(&self.0.device);
        match quiet::without_panic(move || device.poll(kind)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => self.0.health.stray(GpuError::validation("wait", error.to_string())),
            // wgpu panics where polling finds the device gone, and nowhere else.
            None => self.0.health.lose("the driver gave up while Kiln waited for it"),
        }
        self.0.health.check()
    }

    /// How many buffers, pipelines and bind groups have been made on this device so far. Replaying a recording and reading
    /// what is not larger than before make none.
    pub fn objects_made(&self) -> u64 {
        self.0.made.load(Ordering::Relaxed)
    }

    /// Runs `call` and gives its result, or the first error that the device reports within.
    /// `label` and `bytes` describe the call in that error.
    pub(crate) fn guarded<R>(
        &self,
        label: &str,
        bytes: u64,
        call: impl FnOnce(&wgpu::Device) -> R,
    ) -> Result<R, GpuError> {
        let device = &self.0.device;
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let result = call(device);
        // All three are popped before any is looked at: scopes form a stack.
        let caught = [
            pollster::block_on(validation.pop()),
            pollster::block_on(memory.pop()),
            pollster::block_on(internal.pop()),
        ];
        // A lost device makes every later call fail in some way; the loss is the reason to tell.
        self.0.health.check()?;
        match caught.iter().flatten().next() {
            Some(error) => Err(GpuError::from_wgpu(error, label, bytes, &self.0.profile.name)),
            None => Ok(result),
        }
    }

    /// A device of ours alone: its reports go to us.
    fn own(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> Gpu {
        let health = Arc::new(Health::default());
        let name = adapter.get_info().name;
        let strays = Arc::clone(&health);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            strays.stray(GpuError::from_wgpu(&error, "device", 0, &name));
        }));
        let losses = Arc::clone(&health);
        device.set_device_lost_callback(move |reason, message| {
            // Dropping the last handle also counts as a loss, of no interest to anyone.
            if reason != wgpu::DeviceLostReason::Destroyed {
                losses.lose(&message);
            }
        });
        Gpu::new(adapter, device, queue, health)
    }

    fn new(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue, health: Arc<Health>) -> Gpu {
        static DEVICES: AtomicU64 = AtomicU64::new(0);
        let profile = DeviceProfile::new(&adapter.get_info(), device.features(), &device.limits());
        Gpu(Arc::new(Inner {
            device,
            queue,
            profile,
            health,
            pipelines: Mutex::default(),
            disk_cache: OnceLock::new(),
            staged: Mutex::default(),
            landing: Mutex::default(),
            made: AtomicU64::new(0),
            peak_bytes: AtomicU64::new(0),
            id: DEVICES.fetch_add(1, Ordering::Relaxed),
        }))
    }
}

fn request(
    adapter: &wgpu::Adapter,
    required_features: wgpu::Features,
    required_limits: wgpu::Limits,
) -> Result<(wgpu::Device, wgpu::Queue), GpuError> {
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("kiln"),
        required_features,
        required_limits,
        experimental_features: wgpu::ExperimentalFeatures::disabled(),
        // Networks make few, large buffers: big shared blocks would only lie idle.
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        trace: wgpu::Trace::Off,
    };
    pollster::block_on(adapter.request_device(&descriptor)).map_err(|error| {
        GpuError::validation(format!("opening {}", adapter.get_info().name), error.to_string())
    })
}

fn wanted_features(adapter: &wgpu::Adapter) -> wgpu::Features {
    let useful = wgpu::Features::TIMESTAMP_QUERY
        | wgpu::Features::PIPELINE_CACHE
        | wgpu::Features::SHADER_F16
        | wgpu::Features::SHADER_INT64
        | wgpu::Features::SUBGROUP;
    adapter.features() & useful
}

/// The defaults for everything graphical, the adapter's best for what compute uses.
fn wanted_limits(adapter: &wgpu::Adapter) -> wgpu::Limits {
    let best = adapter.limits();
    let base = wgpu::Limits {
        // Counts storage buffers too, so it must rise with their number.
        max_buffers_and_acceleration_structures_per_shader_stage: best
            .max_buffers_and_acceleration_structures_per_shader_stage,
        ..wgpu::Limits::default().or_worse_values_from(&best)
    };
    Limits::from_wgpu(&best).onto(base)
}
