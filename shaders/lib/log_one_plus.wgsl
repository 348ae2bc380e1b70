//! log_one_plus
//!
//! The logarithm next to 1, where the built-in one loses all digits. The kernel, or a library before this one, says what a
//! NUMBER is: f32, or a vector of it.

// log(1 + u) for u in [0, 1] as 2 artanh(u / (2 + u)), by its series.
fn log_one_plus(u: NUMBER) -> NUMBER {
    let s = u / (2.0 + u);
    let q = s * s;
    var p = NUMBER(1.0 / 13.0);
    p = p * q + 1.0 / 11.0;
    p = p * q + 1.0 / 9.0;
    p = p * q + 1.0 / 7.0;
    p = p * q + 1.0 / 5.0;
    p = p * q + 1.0 / 3.0;
    p = p * q + 1.0;
    return 2.0 * s * p;
}
