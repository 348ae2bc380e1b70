//! unary
//!
//! output[i] = op(input[i])
//!
//! OP 0 to 6 are the kinds of lib/activation.wgsl; 7 neg, 8 exp, 9 log, 10 sqrt, 11 rsqrt, 12 abs; 13 leaky_relu
//! (a: slope), 14 elu (a: alpha), 15 softplus (a: beta, b: threshold), 16 hardtanh (a: least, b: greatest),
//! 17 log_sigmoid, 18 softshrink (a: lambda), all as in torch.nn.functional; 19 the terms of smooth_l1_loss
//! (a: beta). NaN passes through each.
//! NUMBER is four neighbours where lengths allow; a dispatch makes those from `begin` to before `end`. One invocation makes
//! one number, a workgroup THREADS neighbours. OP is an override, so the driver keeps one branch. On lavapipe, where a load
//! costs the same whatever its width, quad is three times as fast as single.
//!
//! uses: grid, activation, log_one_plus
//! variants:
//!   quad     THREADS=64 NUMBER=vec4<f32>
//!   single   THREADS=64 NUMBER=f32

override THREADS: u32 = 64u;
override OP: u32 = 0u;

struct Params {
    begin: u32,
    end: u32,
    a: f32,
    b: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<NUMBER>;
@group(0) @binding(2) var<storage, read_write> output: array<NUMBER>;

// e^x - 1. Near zero by its series, whose first term left out is below a tenth of an ULP: there the difference would
// cancel.
fn exp_minus_one(x: NUMBER) -> NUMBER {
    var p = NUMBER(1.0 / 40320.0);
    p = p * x + 1.0 / 5040.0;
    p = p * x + 1.0 / 720.0;
    p = p * x + 1.0 / 120.0;
    p = p * x + 1.0 / 24.0;
    p = p * x + 1.0 / 6.0;
    p = p * x + 0.5;
    p = p * x + 1.0;
    return select(exp(x) - 1.0, x * p, abs(x) < NUMBER(0.5));
}

// log(1 + e^x), of which no part overflows.
fn log_one_plus_exp(x: NUMBER) -> NUMBER {
    return select(x, NUMBER(), x < NUMBER()) + log_one_plus(exp(-abs(x)));
}

fn soft_shrink(x: NUMBER, lambda: NUMBER) -> NUMBER {
    // The inner selection is 0 by way of a comparison that NaN fails.
    let within = select(x, NUMBER(), abs(x) <= lambda);
    return select(select(within, x + lambda, x < -lambda), x - lambda, x > lambda);
}

fn smooth_l1(x: NUMBER, beta: NUMBER) -> NUMBER {
    return select(abs(x) - 0.5 * beta, 0.5 * x * x / beta, abs(x) < beta);
}

fn apply(x: NUMBER) -> NUMBER {
    let zero = NUMBER();
    let a = NUMBER(params.a);
    let b = NUMBER(params.b);
    switch OP {
        case 7u: { return -x; }
        case 8u: { return exp(x); }
        case 9u: { return log(x); }
        case 10u: { return sqrt(x); }
        case 11u: { return inverseSqrt(x); }
        case 12u: { return abs(x); }
        case 13u: { return select(a * x, x, x > zero); }
        case 14u: { return select(x, a * exp_minus_one(x), x <= zero); }
        case 15u: { return select(log_one_plus_exp(a * x) / a, x, a * x > b); }
        case 16u: { return select(select(x, a, x < a), b, x > b); }
        case 17u: { return -log_one_plus_exp(-x); }
        case 18u: { return soft_shrink(x, a); }
        case 19u: { return smooth_l1(x, a); }
        default: { return activate(OP, x); }
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = params.begin + flat_workgroup(group, groups) * THREADS + thread;
    if (i >= params.end) {
        return;
    }
    output[i] = apply(input[i]);
}
