//! unary_grad
//!
//! output[i] = op'(reads[i]) * grad[i]
//!
//! The gradients of unary.wgsl's functions, under its numbers and options. OP 1 relu, 4 sigmoid, 5 tanh, 8 exp, 10 sqrt,
//! 11 rsqrt, 13 leaky_relu with a slope of at least 0, 16 hardtanh and 18 softshrink read the function's result; 2 gelu,
//! 3 gelu_tanh, 6 silu, 9 log, 12 abs, 14 elu, 15 softplus, 17 log_sigmoid and 19 smooth_l1 (a: beta) read what it was
//! of, as does 13 with a slope below 0; 7 neg needs neither. At kinks these are PyTorch's: 0 at the corners of relu, abs,
//! hardtanh and softshrink, the left side's slope for leaky_relu and elu.
//!
//! NUMBER is four neighbours where lengths allow; a dispatch makes those from `begin` to before `end`. One invocation makes
//! one number, a workgroup THREADS neighbours: on lavapipe twice as fast as four numbers at a distance of THREADS. OP is an
//! override, so the driver keeps one branch.
//!
//! uses: grid, activation
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
@group(0) @binding(1) var<storage, read> reads: array<NUMBER>;
@group(0) @binding(2) var<storage, read> grad: array<NUMBER>;
@group(0) @binding(3) var<storage, read_write> output: array<NUMBER>;

// The derivative of sigmoid at x, which keeps its digits in both tails.
fn bell(x: NUMBER) -> NUMBER {
    let e = exp(-abs(x));
    return e / ((1.0 + e) * (1.0 + e));
}

// A number no further out than `end`, where the derivative has reached its limit: products with x stay finite.
fn within(x: NUMBER, end: f32) -> NUMBER {
    return select(select(x, NUMBER(end), x > NUMBER(end)), NUMBER(-end), x < NUMBER(-end));
}

// Phi(x) + x phi(x). The tail of the normal distribution shares its exponential with the density (Abramowitz and Stegun,
// 7.1.26, within 1.5e-7 of erfc).
fn gelu_slope(v: NUMBER) -> NUMBER {
    let x = within(v, 20.0);
    let e = exp(-0.5 * x * x);
    let t = 1.0 / (1.0 + 0.23164189 * abs(x));
    var p = t * 0.5307027145 - 0.7265760135;
    p = p * t + 0.7107068705;
    p = p * t - 0.142248368;
    p = p * t + 0.127414796;
    let tail = p * t * e;
    return select(1.0 - tail, tail, x < NUMBER()) + 0.39894228040143268 * x * e;
}

// gelu_tanh(x) = x sigmoid(2 u(x)): tanh, whose bound in WGSL is loose, is not needed.
fn gelu_tanh_slope(v: NUMBER) -> NUMBER {
    let x = within(v, 20.0);
    let u = 1.5957691216057308 * x * (1.0 + 0.044715 * x * x);
    return sigmoid(u) + x * bell(u) * 1.5957691216057308 * (1.0 + 0.134145 * x * x);
}

fn silu_slope(v: NUMBER) -> NUMBER {
    let x = within(v, 200.0);
    return sigmoid(x) + x * bell(x);
}

// 0 and NaN are their own signs.
fn sign_of(x: NUMBER) -> NUMBER {
    return select(select(x, NUMBER(-1.0), x < NUMBER()), NUMBER(1.0), x > NUMBER());
}

fn differentiate(r: NUMBER, g: NUMBER) -> NUMBER {
    let zero = NUMBER();
    let a = NUMBER(params.a);
    switch OP {
        case 1u: { return select(g, zero, r <= zero); }
        case 2u: { return gelu_slope(r) * g; }
        case 3u: { return gelu_tanh_slope(r) * g; }
        case 4u: { return r * (1.0 - r) * g; }
        case 5u: { return (1.0 - r) * (1.0 + r) * g; }
        case 6u: { return silu_slope(r) * g; }
        case 7u: { return -g; }
        case 8u: { return r * g; }
        case 9u: { return g / r; }
        case 10u: { return 0.5 * g / r; }
        case 11u: { return -0.5 * r * r * r * g; }
        case 12u: { return sign_of(r) * g; }
        case 13u: { return select(a * g, g, r > zero); }
        case 14u: { return select(g, a * exp(select(r, zero, r > zero)) * g, r <= zero); }
        case 15u: { return select(sigmoid(a * r) * g, g, a * r > NUMBER(params.b)); }
        case 16u: { return select(g, zero, (r <= a) | (r >= NUMBER(params.b))); }
        case 17u: { return sigmoid(-r) * g; }
        case 18u: { return select(g, zero, r == zero); }
        case 19u: { return select(r / a, sign_of(r), abs(r) >= a) * g; }
        default: { return g; }
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
    output[i] = differentiate(reads[i], grad[i]);
}
