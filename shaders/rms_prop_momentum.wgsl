//! rms_prop_momentum
//!
//! d = guard[0] gradient[i] + WEIGHT_DECAY parameter[i]
//! square_avg[i] += gain (d^2 - square_avg[i])
//! momentum_buffer[i] = MOMENTUM momentum_buffer[i] + d / (sqrt(square_avg[i]) + epsilon)
//! parameter[i] -= rate momentum_buffer[i]
//!
//! torch.optim.RMSprop with momentum, in place. gain is 1 - alpha, rate is rates[0]. guard[0] is the factor of a clipped
//! gradient, and where it is 0 nothing changes. NUMBER is four neighbours where lengths allow; a dispatch makes those from
//! `begin` to before `end`. One invocation makes STEPS numbers at a distance of THREADS.
//!
//! uses: grid
//! variants:
//!   quad     THREADS=64 STEPS=4 NUMBER=vec4<f32>
//!   single   THREADS=64 STEPS=1 NUMBER=f32

override THREADS: u32 = 64u;
override STEPS: u32 = 4u;

alias NUMBER = vec4<f32>;

struct Params {
    begin: u32,
    end: u32,
    gain: f32,
    epsilon: f32,
    momentum: f32,
    weight_decay: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> parameter: array<NUMBER>;
@group(0) @binding(2) var<storage, read_write> square_avg: array<NUMBER>;
@group(0) @binding(3) var<storage, read_write> momentum_buffer: array<NUMBER>;
@group(0) @binding(4) var<storage, read> gradient: array<NUMBER>;
@group(0) @binding(5) var<storage, read> rates: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> guard: array<f32>;

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
    let rate = rates[0].x;
    for (var step = 0u; step < STEPS; step++) {
        let i = start + step * THREADS;
        if (i < params.end) {
            let p = parameter[i];
            let d = scale * gradient[i] + params.weight_decay * p;
            var v = square_avg[i];
            v += params.gain * (d * d - v);
            square_avg[i] = v;
            let velocity = params.momentum * momentum_buffer[i] + d / (sqrt(v) + params.epsilon);
            momentum_buffer[i] = velocity;
            parameter[i] = p - rate * velocity;
        }
    }
}
