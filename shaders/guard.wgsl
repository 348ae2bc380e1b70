//! guard
//!
//! output = [scale, norm, stopped, loss, note]
//!
//! norm = sqrt(squared_norm). Where the loss or the squared norm is not finite, or the run had stopped before, scale = 0
//! and stopped = 1; elsewhere stopped = 0 and scale = min(1, max_norm / (norm + 1e-6)), or 1 where CLIP is 0:
//! torch.nn.utils.clip_grad_norm_. Finiteness is told by the bits, since comparisons of NaN are folded away by some
//! drivers. Loss and note are those of the inputs, so that the output is the whole record of a step. Five invocations of
//! one workgroup make the five numbers.
//!
//! uses: grid
//! variants:
//!   base   THREADS=8

override THREADS: u32 = 8u;
override CLIP: u32 = 0u;

struct Params {
    count: u32,
    max_norm: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> loss: array<f32>;
@group(0) @binding(2) var<storage, read> squared_norm: array<f32>;
@group(0) @binding(3) var<storage, read> stopped: array<f32>;
@group(0) @binding(4) var<storage, read> note: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = flat_workgroup(group, groups) * THREADS + thread;
    if (index >= params.count) {
        return;
    }
    let norm = sqrt(squared_norm[0]);
    let running = (bitcast<u32>(stopped[0]) & 0x7fffffffu) == 0u;
    let goes_on = running && is_finite(loss[0]) && is_finite(squared_norm[0]);
    let clipped = params.max_norm / (norm + 1e-6);
    let scale = select(1.0, clipped, CLIP != 0u && clipped < 1.0);
    switch index {
        case 0u: { output[index] = select(0.0, scale, goes_on); }
        case 1u: { output[index] = norm; }
        case 2u: { output[index] = select(1.0, 0.0, goes_on); }
        case 3u: { output[index] = loss[0]; }
        default: { output[index] = note[0]; }
    }
}
