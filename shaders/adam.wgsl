//! adam
//!
//! d = guard[0] gradient[i] + WEIGHT_DECAY parameter[i]
//! exp_avg[i] += gain (d - exp_avg[i])
//! exp_avg_sq[i] += gain_sq (d^2 - exp_avg_sq[i])
//! parameter[i] -= decay parameter[i] + rate exp_avg[i] / (correction sqrt(exp_avg_sq[i]) + epsilon)
//!
//! torch.optim.Adam and AdamW, in place. gain and gain_sq are 1 - beta1 and 1 - beta2. rates holds rate, the learning rate
//! over 1 - beta1^step; correction, 1 / sqrt(1 - beta2^step); and decay, AdamW's learning rate times weight decay, else 0.
//! guard[0] is the factor of a clipped gradient, and where it is 0 nothing changes. NUMBER is four neighbours where
//! lengths allow; a dispatch makes those from `begin` to before `end`. One invocation makes STEPS numbers at a distance of
//! THREADS; software adapters take one, as in sgd_momentum.
//!
//! uses: grid
//! variants:
//!   quad     THREADS=64 STEPS=4 NUMBER=vec4<f32>
//!   once     THREADS=64 STEPS=1 NUMBER=vec4<f32>
//!   single   THREADS=64 STEPS=1 NUMBER=f32

override THREADS: u32 = 64u;
override STEPS: u32 = 4u;

alias NUMBER = vec4<f32>;

struct Params {
    begin: u32,
    end: u32,
    gain: f32,
    gain_sq: f32,
    epsilon: f32,
    weight_decay: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> parameter: array<NUMBER>;
@group(0) @binding(2) var<storage, read_write> exp_avg: array<NUMBER>;
@group(0) @binding(3) var<storage, read_write> exp_avg_sq: array<NUMBER>;
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
    let now = rates[0];
    for (var step = 0u; step < STEPS; step++) {
        let i = start + step * THREADS;
        if (i < params.end) {
            let p = parameter[i];
            let d = scale * gradient[i] + params.weight_decay * p;
            var m = exp_avg[i];
            m += params.gain * (d - m);
            var v = exp_avg_sq[i];
            v += params.gain_sq * (d * d - v);
            exp_avg[i] = m;
            exp_avg_sq[i] = v;
            let size = now.y * sqrt(v) + params.epsilon;
            parameter[i] = p - (now.z * p + now.x * m / size);
        }
    }
}
