//! How long each dispatch takes, by the device's own clock.

use std::time::Duration;

use crate::device::Gpu;
use crate::error::GpuError;
use crate::recording::{Prepared, Recording, Step};

/// A dispatch takes two timestamps, and a query set holds at most 4,096.
const DISPATCHES_A_SET: usize = wgpu::QUERY_SET_MAX_QUERIES as usize / 2;

impl Gpu {
    /// Runs a recording once and gives the time each dispatch took, in their order. Each runs in a pass
    /// of its own, which every device with timestamps can measure; the sum is therefore more than
    /// [`Gpu::submit`] takes.
    ///
    /// # Errors
    /// [`GpuError::Unsupported`] where the device has no timestamps, and whatever [`Gpu::submit`] gives.
    pub fn time(&self, recording: &Recording) -> Result<Vec<Duration>, GpuError> {
        if !self.0.profile.timestamps {
            let message = format!("{} has no timestamps", self.0.profile.name);
            return Err(GpuError::Unsupported(message));
        }
        if recording.device != self.0.id {
            return Err(GpuError::validation(&recording.label, "it was recorded on another device"));
        }
        let mut times = Vec::with_capacity(recording.dispatches());
        let mut rest = recording.steps.as_slice();
        while !rest.is_empty() {
            let end = rest.len().min(DISPATCHES_A_SET);
            self.time_steps(recording, &rest[..end], &mut times)?;
            rest = &rest[end..];
        }
        Ok(times)
    }

    fn time_steps(
        &self,
        recording: &Recording,
        steps: &[Step],
        times: &mut Vec<Duration>,
    ) -> Result<(), GpuError> {
        let count = steps.iter().filter(|step| matches!(step, Step::Dispatch(_))).count() as u32;
        let bytes = u64::from(2 * count.max(1)) * u64::from(wgpu::QUERY_SIZE);
        let resolved = self.create_raw(
            "timestamps",
            bytes,
            wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            false,
        )?;
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = self.create_raw("timestamps", bytes, usage, false)?;
        self.guarded(&recording.label, bytes, |device| {
            let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: 2 * count.max(1),
            });
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let mut query = 0;
            for step in steps {
                match step {
                    Step::Dispatch(prepared) => {
                        recording.encode_timed(prepared, &queries, query, &mut encoder);
                        query += 2;
                    }
                    Step::Copy { .. } => recording.encode_copy(step, &mut encoder),
                }
            }
            if query > 0 {
                encoder.resolve_query_set(&queries, 0..query, &resolved, 0);
                encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, bytes);
            }
            self.0.queue.submit([encoder.finish()]);
        })?;
        let period = f64::from(self.0.queue.get_timestamp_period());
        self.mapped(&staging, |view| {
            let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(view);
            times.extend(ticks.chunks_exact(2).take(count as usize).map(|pair| {
                // Clocks of some drivers step back a tick between passes.
                let nanos = pair[1].saturating_sub(pair[0]) as f64 * period;
                Duration::from_nanos(nanos.round() as u64)
            }));
        })
    }
}

impl Recording {
    fn encode_timed(
        &self,
        prepared: &Prepared,
        queries: &wgpu::QuerySet,
        first: u32,
        encoder: &mut wgpu::CommandEncoder,
    ) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some(&prepared.label),
            timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                query_set: queries,
                beginning_of_pass_write_index: Some(first),
                end_of_pass_write_index: Some(first + 1),
            }),
        });
        pass.set_pipeline(&self.pipelines[prepared.pipeline].raw);
        self.encode_dispatch(prepared, &mut pass);
    }
}
