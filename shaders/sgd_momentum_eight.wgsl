//! sgd_momentum_eight
//!
//! sgd_momentum for eight neighbours an invocation, on software adapters: a dispatch makes `count` eights. With WORD=u64 it
//! takes five loads and stores of all, else ten.
//!
//! uses: eight, eight_out, grid
//! variants:
//!   wide    WORD=u64 BITS=64
//!   plain   WORD=u32 BITS=32

override NESTEROV: u32 = 0u;
const THREADS: u32 = 64u;
const BITS: u32 = 64u;
alias WORD = u64;

struct Params {
    count: u32,
    momentum: f32,
    weight_decay: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> parameter: array<vec4<WORD>>;
@group(0) @binding(2) var<storage, read_write> momentum_buffer: array<vec4<WORD>>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4<WORD>>;
@group(0) @binding(4) var<storage, read> rates: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> guard: array<f32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = flat_workgroup(group, groups) * THREADS + thread;
    // Loads from one address are cheap before the first branch alone.
    let scale = guard[0];
    let now = rates[0];
    if (index >= params.count || scale == 0.0) {
        return;
    }
    let at = index * STEP;
    let old = eight(parameter[at], parameter[at + LAST]);
    let d = scale * eight(gradient[at], gradient[at + LAST]) + params.weight_decay * old;
    let velocity = now.y * eight(momentum_buffer[at], momentum_buffer[at + LAST]) + now.z * d;
    var next = old;
    if (NESTEROV == 0u) {
        next = old - now.x * velocity;
    } else {
        next = old - now.x * (d + params.momentum * velocity);
    }
    momentum_buffer[at] = first_words(velocity);
    parameter[at] = first_words(next);
    if (BITS == 32u) {
        momentum_buffer[at + LAST] = second_words(velocity);
        parameter[at + LAST] = second_words(next);
    }
}
