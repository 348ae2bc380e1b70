//! Kiln's device layer, and the only crate that names `wgpu`.
//!
//! A [`Gpu`] is an open device. It makes [`Buffer`]s, moves bytes in and out of them, and turns a list
//! of [`Command`]s (kernels of the catalogue with their parameters and bindings) into a [`Recording`]
//! that can be submitted any number of times.
//!
//! ```no_run
//! use kiln_gpu::{AdapterChoice, Gpu};
//!
//! kiln_gpu::quiet_driver();
//! let gpu = Gpu::open(&AdapterChoice::Strongest)?;
//! let buffer = gpu.create_buffer("numbers", 16)?;
//! gpu.write(&buffer, 0, &[0; 16])?;
//! let bytes = gpu.read(&[(&buffer, 0..16)])?;
//! assert_eq!(bytes[0], [0; 16]);
//! # Ok::<(), kiln_gpu::GpuError>(())
//! ```
//!
//! Nothing here panics on a device's failure: what the driver reports between calls is kept and comes
//! out of the next one as a [`GpuError`]. The library reads no environment
//! variable, but for those that [`quiet_driver`] names.

mod adapter;
mod buffer;
mod device;
mod error;
mod health;
mod memory;
mod pipeline;
mod pipeline_cache;
mod probe;
mod profile;
mod quiet;
mod readback;
mod recording;
mod timestamps;
mod upload;

pub use adapter::{AdapterChoice, AdapterReport, Chosen, choose};
pub use buffer::{Buffer, BufferSlice};
pub use device::Gpu;
pub use error::{Bytes, GpuError};
pub use memory::{GpuMemory, LiveObjects};
pub use profile::{DeviceKind, DeviceProfile, Limits};
pub use quiet::quiet_driver;
pub use readback::Readback;
pub use recording::{Command, Dispatch, Recording};
/// The version of `wgpu` that [`Gpu::from_wgpu`] takes its arguments from.
pub use wgpu;
