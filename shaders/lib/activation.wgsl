//! activation
//!
//! The pointwise functions that an epilogue or a unary kernel may apply. NaN passes through: selections instead
//! of max and clamp, which drop it on some drivers. A kernel that applies them to vectors sets NUMBER in its variants.

alias NUMBER = f32;

// erf as x * P(x^2) / Q(x^2) on [-4, 4] (the rational approximation that Eigen documents); beyond, erf is 1 in f32.
fn erf(v: NUMBER) -> NUMBER {
    let x = select(select(v, NUMBER(4.0), v > NUMBER(4.0)), NUMBER(-4.0), v < NUMBER(-4.0));
    let s = x * x;
    var p = NUMBER(-2.72614225801306e-10);
    p = p * s + 2.77068142495902e-08;
    p = p * s - 2.10102402082508e-06;
    p = p * s - 5.69250639462346e-05;
    p = p * s - 7.34990630326855e-04;
    p = p * s - 2.95459980854025e-03;
    p = p * s - 1.60960333262415e-02;
    var q = NUMBER(-1.45660718464996e-05);
    q = q * s - 2.13374055278905e-04;
    q = q * s - 1.68282697438203e-03;
    q = q * s - 7.37332916720468e-03;
    q = q * s - 1.42647390514189e-02;
    return x * p / q;
}

// The argument is bounded first: some drivers compute tanh as a quotient of exponentials that overflow.
fn tanh_bounded(v: NUMBER) -> NUMBER {
    return tanh(select(select(v, NUMBER(10.0), v > NUMBER(10.0)), NUMBER(-10.0), v < NUMBER(-10.0)));
}

// The exponential is of a negative number, so nothing overflows: a driver may do as it likes with infinities.
fn sigmoid(x: NUMBER) -> NUMBER {
    let e = exp(-abs(x));
    return select(NUMBER(1.0), e, x < NUMBER()) / (1.0 + e);
}

// kind: 0 identity, 1 relu, 2 gelu, 3 gelu with tanh, 4 sigmoid, 5 tanh, 6 silu.
// Callers pass an override, so that the driver keeps one branch.
fn activate(kind: u32, x: NUMBER) -> NUMBER {
    switch kind {
        case 1u: { return select(x, NUMBER(), x < NUMBER()); }
        case 2u: { return 0.5 * x * (1.0 + erf(x * 0.70710678118654752)); }
        case 3u: { return 0.5 * x * (1.0 + tanh_bounded(0.79788456080286536 * (x + 0.044715 * x * x * x))); }
        case 4u: { return sigmoid(x); }
        case 5u: { return tanh_bounded(x); }
        case 6u: { return x * sigmoid(x); }
        default: { return x; }
    }
}
