//! unary
//!
//! output[i] = op(input[i])
//!
//! OP 0 to 6 are the kinds of lib/activation.wgsl; 7 neg, 8 exp, 9 log, 10 sqrt, 11 rsqrt, 12 abs; 13 leaky_relu
//! (a: slope), 14 elu (a: alpha), 15 softplus (a: beta, b: threshold), 16 hardtanh (a: least, b: greatest),
//! 17 log_sigmoid, 18 softshrink (a: lambda), all as in torch.nn.functional. NaN passes through each.
//! One invocation makes one element, a workgroup THREADS neighbours. OP is an override, so the driver keeps one
//! branch.
//!
//! uses: grid, activation
//! variants:
//!   base   THREADS=64

override THREADS: u32 = 64u;
override OP: u32 = 0u;

struct Params {
    count: u32,
    a: f32,
    b: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

// e^x - 1. Near zero by its series, whose first term left out is below a tenth of an ULP: there the difference would
// cancel.
fn exp_minus_one(x: f32) -> f32 {
    var p = 1.0 / 40320.0;
    p = p * x + 1.0 / 5040.0;
    p = p * x + 1.0 / 720.0;
    p = p * x + 1.0 / 120.0;
    p = p * x + 1.0 / 24.0;
    p = p * x + 1.0 / 6.0;
    p = p * x + 0.5;
    p = p * x + 1.0;
    return select(exp(x) - 1.0, x * p, abs(x) < 0.5);
}

// log(1 + u) for u in [0, 1] as 2 artanh(u / (2 + u)), by its series: log loses all digits next to 1.
fn log_one_plus(u: f32) -> f32 {
    let s = u / (2.0 + u);
    let q = s * s;
    var p = 1.0 / 13.0;
    p = p * q + 1.0 / 11.0;
    p = p * q + 1.0 / 9.0;
    p = p * q + 1.0 / 7.0;
    p = p * q + 1.0 / 5.0;
    p = p * q + 1.0 / 3.0;
    p = p * q + 1.0;
    return 2.0 * s * p;
}

// log(1 + e^x), of which no part overflows.
fn log_one_plus_exp(x: f32) -> f32 {
    return select(x, 0.0, x < 0.0) + log_one_plus(exp(-abs(x)));
}

fn soft_shrink(x: f32, lambda: f32) -> f32 {
    // The inner selection is 0 by way of a comparison that NaN fails.
    let within = select(x, 0.0, abs(x) <= lambda);
    return select(select(within, x + lambda, x < -lambda), x - lambda, x > lambda);
}

fn apply(x: f32) -> f32 {
    switch OP {
        case 7u: { return -x; }
        case 8u: { return exp(x); }
        case 9u: { return log(x); }
        case 10u: { return sqrt(x); }
        case 11u: { return inverseSqrt(x); }
        case 12u: { return abs(x); }
        case 13u: { return select(params.a * x, x, x > 0.0); }
        case 14u: { return select(x, params.a * exp_minus_one(x), x <= 0.0); }
        case 15u: { return select(log_one_plus_exp(params.a * x) / params.a, x, params.a * x > params.b); }
        case 16u: { return select(select(x, params.a, x < params.a), params.b, x > params.b); }
        case 17u: { return -log_one_plus_exp(-x); }
        case 18u: { return soft_shrink(x, params.a); }
        default: { return activate(OP, x); }
    }
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
    output[index] = apply(input[index]);
}
