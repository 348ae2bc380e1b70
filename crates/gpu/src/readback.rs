//! Bytes from the device to the host.

use std::ops::Range;
use std::sync::{PoisonError, mpsc};
use std::time::Duration;

use crate::buffer::{Buffer, BufferSlice};
use crate::device::Gpu;
use crate::error::GpuError;
use crate::recording::Recording;

/// Most bytes that one round brings back.
const WINDOW: u64 = 64 << 20;

/// The largest buffer that is kept from one readback for the next.
const KEPT: u64 = 4 << 20;

/// How many such buffers are kept: for a readback under way and the one after it.
const KEPT_BUFFERS: usize = 2;

/// How long a callback may be on its way after the device has finished; it is a matter of microseconds.
const CALLBACK_PATIENCE: Duration = Duration::from_secs(30);

/// A contiguous run of bytes within one round.
#[derive(Debug)]
struct Piece {
    /// Which of the parts asked for.
    part: usize,
    /// Where it starts in that part's buffer.
    from: u64,
    /// Where it starts in the staging buffer.
    at: u64,
    bytes: u64,
}

/// Bytes on their way to the host: what [`Gpu::read_later`] and [`Gpu::submit_reading`] give. Dropping it gives them up.
#[derive(Debug)]
#[must_use = "the bytes arrive with `wait`"]
pub struct Readback {
    gpu: Gpu,
    /// Bytes of each part.
    sizes: Vec<usize>,
    rounds: Vec<Round>,
}

/// What one buffer brings back.
#[derive(Debug)]
struct Round {
    pieces: Vec<Piece>,
    staging: wgpu::Buffer,
    submission: wgpu::SubmissionIndex,
    mapped: mpsc::Receiver<Result<(), wgpu::BufferAsyncError>>,
}

impl Readback {
    /// Waits for the bytes, and no longer: what was submitted after them goes on.
    ///
    /// # Errors
    /// Whatever the device has reported since the last call.
    pub fn wait(mut self) -> Result<Vec<Vec<u8>>, GpuError> {
        let mut read: Vec<Vec<u8>> = self.sizes.iter().map(|&size| Vec::with_capacity(size)).collect();
        for round in std::mem::take(&mut self.rounds) {
            self.gpu.finish(round, &mut read)?;
        }
        Ok(read)
    }
}

impl Drop for Readback {
    fn drop(&mut self) {
        for round in self.rounds.drain(..) {
            // No longer wanted: whatever is copied there next comes after these bytes.
            match self.gpu.guarded("readback", 0, |_| round.staging.unmap()) {
                Ok(()) => self.gpu.keep(round.staging),
                // What the device has reported is the next call's to tell.
                Err(error) => self.gpu.0.health.stray(error),
            }
        }
    }
}

impl Gpu {
    /// Reads byte ranges of buffers, after everything submitted so far. All of them come back in one
    /// submission and one mapping, as long as they are 64 MiB together; beyond that in rounds.
    ///
    /// # Errors
    /// [`GpuError::Validation`] where a range leaves its buffer or is not made of whole 4-byte words,
    /// and whatever the device has reported since the last call.
    pub fn read(&self, parts: &[(&Buffer, Range<u64>)]) -> Result<Vec<Vec<u8>>, GpuError> {
        let (sizes, rounds) = self.plan_rounds(parts)?;
        let mut read: Vec<Vec<u8>> = sizes.into_iter().map(Vec::with_capacity).collect();
        for pieces in rounds {
            let round = self.start(parts, pieces)?;
            self.finish(round, &mut read)?;
        }
        Ok(read)
    }

    /// Submits a recording and reads byte ranges of buffers after it: [`submit`](Self::submit) and [`read`](Self::read),
    /// in one submission where a round brings everything back.
    ///
    /// # Errors
    /// Those of [`submit`](Self::submit) and [`read`](Self::read).
    pub fn run(
        &self,
        recording: &Recording,
        parts: &[(&Buffer, Range<u64>)],
    ) -> Result<Vec<Vec<u8>>, GpuError> {
        if self.plan_rounds(parts)?.1.len() == 1 {
            return self.submit_reading(recording, parts)?.wait();
        }
        self.submit(recording)?;
        self.read(parts)
    }

    /// Starts a recording, has the device copy byte ranges of buffers after it, in the same submission, and returns at
    /// once: [`submit`](Self::submit) and [`read_later`](Self::read_later).
    ///
    /// # Errors
    /// Those of [`submit`](Self::submit) and [`read`](Self::read).
    pub fn submit_reading(
        &self,
        recording: &Recording,
        parts: &[(&Buffer, Range<u64>)],
    ) -> Result<Readback, GpuError> {
        let (sizes, rounds) = self.plan_rounds(parts)?;
        let landing = |pieces: &Vec<Piece>| self.landing(bytes_of(pieces));
        let landings: Vec<wgpu::Buffer> = rounds.iter().map(landing).collect::<Result<_, _>>()?;
        let submission = self.send(recording, |encoder| {
            rounds.iter().zip(&landings).for_each(|(pieces, staging)| copy(parts, pieces, staging, encoder));
        })?;
        let rounds = rounds.into_iter().zip(landings).map(|(pieces, staging)| {
            Ok(Round { pieces, mapped: self.map(&staging)?, staging, submission: submission.clone() })
        });
        Ok(Readback { gpu: self.clone(), sizes, rounds: rounds.collect::<Result<_, GpuError>>()? })
    }

    /// Has the device copy byte ranges of buffers, after everything submitted so far, and returns at once. What is
    /// submitted next may overwrite them. Until they are fetched, all of them lie in memory that the host can read.
    ///
    /// # Errors
    /// Those of [`Gpu::read`].
    pub fn read_later(&self, parts: &[(&Buffer, Range<u64>)]) -> Result<Readback, GpuError> {
        let (sizes, rounds) = self.plan_rounds(parts)?;
        let rounds = rounds.into_iter().map(|pieces| self.start(parts, pieces)).collect::<Result<_, _>>()?;
        Ok(Readback { gpu: self.clone(), sizes, rounds })
    }

    /// The bytes of each part, and how they come back.
    fn plan_rounds(
        &self,
        parts: &[(&Buffer, Range<u64>)],
    ) -> Result<(Vec<usize>, Vec<Vec<Piece>>), GpuError> {
        for (buffer, range) in parts {
            self.owns(buffer, "read")?;
            let Some(bytes) = range.end.checked_sub(range.start) else {
                let message = format!(
                    "range {}..{} of buffer {} runs backwards",
                    range.start,
                    range.end,
                    buffer.label()
                );
                return Err(GpuError::validation("read", message));
            };
            BufferSlice { buffer, offset: range.start, bytes }.check("read")?;
        }
        let ranges: Vec<Range<u64>> = parts.iter().map(|(_, range)| range.clone()).collect();
        let window = WINDOW.min(self.0.profile.limits.max_buffer);
        let sizes = ranges.iter().map(|range| (range.end - range.start) as usize).collect();
        Ok((sizes, rounds(&ranges, window)))
    }

    /// Has the bytes of a round copied to where the host can read them.
    fn start(&self, parts: &[(&Buffer, Range<u64>)], pieces: Vec<Piece>) -> Result<Round, GpuError> {
        let bytes = bytes_of(&pieces);
        let staging = self.landing(bytes)?;
        let submission = self.guarded("readback", bytes, |device| {
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            copy(parts, &pieces, &staging, &mut encoder);
            self.0.queue.submit([encoder.finish()])
        })?;
        let mapped = self.map(&staging)?;
        Ok(Round { pieces, staging, submission, mapped })
    }

    /// Waits for a round and takes its bytes out.
    fn finish(&self, round: Round, read: &mut [Vec<u8>]) -> Result<(), GpuError> {
        let Round { pieces, staging, submission, mapped } = round;
        self.poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: None })
            .map_err(unmappable)?;
        self.look(&staging, &mapped, |view| {
            for piece in &pieces {
                read[piece.part]
                    .extend_from_slice(&view[piece.at as usize..(piece.at + piece.bytes) as usize]);
            }
        })?;
        self.keep(staging);
        Ok(())
    }

    /// Keeps a buffer that bytes came back with for those that are read next.
    fn keep(&self, staging: wgpu::Buffer) {
        let mut kept = self.0.landing.lock().unwrap_or_else(PoisonError::into_inner);
        if staging.size() <= KEPT {
            kept.push(staging);
        }
        if kept.len() > KEPT_BUFFERS {
            // Whoever reads much once is likely to do so again.
            kept.sort_by_key(|buffer| std::cmp::Reverse(buffer.size()));
            kept.truncate(KEPT_BUFFERS);
        }
    }

    /// A buffer of at least so many bytes that the host can read: the smallest of those kept that is large enough.
    fn landing(&self, bytes: u64) -> Result<wgpu::Buffer, GpuError> {
        let mut kept = self.0.landing.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = (0..kept.len()).filter(|&index| kept[index].size() >= bytes);
        if let Some(index) = fitting.min_by_key(|&index| kept[index].size()) {
            return Ok(kept.swap_remove(index));
        }
        drop(kept);
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let size = if bytes <= KEPT { bytes.next_power_of_two() } else { bytes };
        self.create_raw("readback", size, usage, false)
    }

    /// Waits for everything submitted, then shows the bytes of a readable buffer to `look`.
    pub(crate) fn mapped(&self, staging: &wgpu::Buffer, look: impl FnOnce(&[u8])) -> Result<(), GpuError> {
        let mapped = self.map(staging)?;
        self.wait()?;
        self.look(staging, &mapped, look)
    }

    /// Asks for a buffer to be mapped once the device is done with it.
    fn map(
        &self,
        staging: &wgpu::Buffer,
    ) -> Result<mpsc::Receiver<Result<(), wgpu::BufferAsyncError>>, GpuError> {
        let (sender, receiver) = mpsc::channel();
        self.guarded("readback", staging.size(), |_| {
            staging.map_async(wgpu::MapMode::Read, .., move |result| {
                // Nobody listens any more once the reader has given up.
                let _ = sender.send(result);
            });
        })
        .map_err(unmappable)?;
        Ok(receiver)
    }

    /// Shows the bytes of a buffer that the device is done with to `look`.
    fn look(
        &self,
        staging: &wgpu::Buffer,
        mapped: &mpsc::Receiver<Result<(), wgpu::BufferAsyncError>>,
        look: impl FnOnce(&[u8]),
    ) -> Result<(), GpuError> {
        // Another thread's poll may have taken our callback along and not have run it yet: wait for it. A device
        // that is gone drops it, which ends the wait at once.
        if !matches!(mapped.recv_timeout(CALLBACK_PATIENCE), Ok(Ok(()))) {
            return Err(gone());
        }
        let view = staging
            .get_mapped_range(..)
            .map_err(|error| GpuError::validation("readback", error.to_string()))?;
        look(&view);
        drop(view);
        staging.unmap();
        Ok(())
    }
}

/// Bytes that a round brings back.
fn bytes_of(pieces: &[Piece]) -> u64 {
    pieces.last().map_or(0, |piece| piece.at + piece.bytes)
}

/// Has the pieces of a round copied to where the host can read them.
fn copy(
    parts: &[(&Buffer, Range<u64>)],
    pieces: &[Piece],
    staging: &wgpu::Buffer,
    encoder: &mut wgpu::CommandEncoder,
) {
    for piece in pieces {
        let source = &parts[piece.part].0.0.raw;
        encoder.copy_buffer_to_buffer(source, piece.from, staging, piece.at, piece.bytes);
    }
}

/// Nothing but the loss of the device keeps a buffer made for it from being mapped, or a submission from being waited for.
/// On a device of the caller's, whose loss is reported to the caller alone, this is where it shows.
fn unmappable(error: GpuError) -> GpuError {
    if let GpuError::Validation { .. } = error { gone() } else { error }
}

fn gone() -> GpuError {
    GpuError::Lost { reason: "it no longer gives back what it computed".into() }
}

/// Packs ranges densely into rounds of at most `window` bytes, cutting those that do not fit.
fn rounds(ranges: &[Range<u64>], window: u64) -> Vec<Vec<Piece>> {
    let mut rounds: Vec<Vec<Piece>> = Vec::new();
    let mut used = window;
    for (part, range) in ranges.iter().enumerate() {
        let mut from = range.start;
        while from < range.end {
            if used == window {
                rounds.push(Vec::new());
                used = 0;
            }
            let bytes = (range.end - from).min(window - used);
            if let Some(round) = rounds.last_mut() {
                round.push(Piece { part, from, at: used, bytes });
            }
            used += bytes;
            from += bytes;
        }
    }
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Limits;

    #[test]
    fn what_is_given_up_takes_no_error_along() {
        let gpu = Gpu::noop(Limits::BASELINE).expect("a noop device should open");
        let buffer = gpu.create_buffer("x", 16).expect("a buffer should be made");
        let readback = gpu.read_later(&[(&buffer, 0..16)]).expect("a readback should start");
        gpu.0.health.stray(GpuError::validation("device", "x"));
        drop(readback);
        assert_eq!(gpu.wait(), Err(GpuError::validation("device", "x")));
        assert_eq!(gpu.wait(), Ok(()));
    }

    fn shape(ranges: &[Range<u64>], window: u64) -> Vec<Vec<(usize, u64, u64, u64)>> {
        let flat = |piece: Piece| (piece.part, piece.from, piece.at, piece.bytes);
        rounds(ranges, window).into_iter().map(|round| round.into_iter().map(flat).collect()).collect()
    }

    #[test]
    fn small_reads_are_one_round() {
        assert_eq!(shape(&[4..12, 0..0, 8..16], 64), [vec![(0, 4, 0, 8), (2, 8, 8, 8)]]);
        assert!(shape(&[], 64).is_empty());
        assert!(shape(std::slice::from_ref(&(4..4)), 64).is_empty());
    }

    #[test]
    fn large_reads_are_cut_at_the_window() {
        assert_eq!(
            shape(&[0..12, 100..128], 16),
            [vec![(0, 0, 0, 12), (1, 100, 12, 4)], vec![(1, 104, 0, 16)], vec![(1, 120, 0, 8)]]
        );
    }
}
