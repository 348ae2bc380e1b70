//! sgd_momentum
//!
//! d = guard[0] gradient[i] + WEIGHT_DECAY parameter[i]
//! momentum_buffer[i] = keep momentum_buffer[i] + gain d
//! parameter[i] -= rate momentum_buffer[i], or rate (d + MOMENTUM momentum_buffer[i]) where NESTEROV is not 0
//!
//! torch.optim.SGD with momentum, in place. rates holds rate, keep and gain: the momentum and 1 - dampening, but 0 and 1
//! at the first step. guard[0] is the factor of a clipped gradient, and where it is 0 nothing changes. NUMBER is four
//! neighbours where lengths allow; a dispatch makes those from `begin` to before `end`. One invocation makes STEPS numbers
//! at a distance of THREADS; on lavapipe one takes half the time that four take for each.
//!
//! uses: grid
//! variants:
//!   quad     THREADS=64 STEPS=4 NUMBER=vec4<f32>
//!   once     THREADS=64 STEPS=1 NUMBER=vec4<f32>
//!   single   THREADS=64 STEPS=1 NUMBER=f32

override THREADS: u32 = 64u;
override STEPS: u32 = 4u;
override NESTEROV: u32 = 0u;

alias NUMBER = vec4<f32>;

struct Params {
    begin: u32,
    end: u32,
    momentum: f32,
    weight_decay: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> parameter: array<NUMBER>;
@group(0) @binding(2) var<storage, read_write> momentum_buffer: array<NUMBER>;
@group(0) @binding(3) var<storage, read> gradient: array<NUMBER>;
@group(0) @binding(4) var<storage, read> rates: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> guard: array<f32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let start = params.begin + flat_workgroup(group, groups) * (THREADS * STEPS) + thread;
    let scale = guard[0];
    if (start >= params.end || scale == 0.0) {
        return;
    }
    let now = rates[0];
    for (var step = 0u; step < STEPS; step++) {
        let i = start + step * THREADS;
        if (i < params.end) {
            let p = parameter[i];
            let d = scale * gradient[i] + params.weight_decay * p;
            let velocity = now.y * momentum_buffer[i] + now.z * d;
            momentum_buffer[i] = velocity;
            if (NESTEROV == 0u) {
                parameter[i] = p - now.x * velocity;
            } else {
                parameter[i] = p - now.x * (d + params.momentum * velocity);
            }
        }
    }
}
