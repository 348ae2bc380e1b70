//! winograd
//!
//! The transforms of Winograd's convolution of 3 taps, along one axis: F(OUTPUTS, 3), with OUTPUTS 2 or 4. Applied to the
//! rows and then to the columns of a tile they make F(OUTPUTS x OUTPUTS, 3x3):
//!     outputs = A^T [(G taps G^T) * (B^T inputs B)] A, the product in the middle element by element
//! (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, equation 8). A line has OUTPUTS + 2 elements:
//! one for each of the points, the last for the point at infinity.
//!
//! The points are 0, +-1 for two outputs and 0, +-3/4, +-3/2 for four: with that pair all coefficients of A and B are exact
//! in f32 and small, and the error is 0.4 of that of the +-1, +-2 of the paper. With p_j the points,
//!     A[j][i] = p_j^i, for infinity 1 at the last i;  G[j][k] = p_j^k / prod_l (p_j - p_l), for infinity 1 at k = 2;
//!     B[.][j] = the coefficients of prod_l (x - p_l), where l goes over all points but j, and but infinity.
//!
//! The kernel declares OUTPUTS and NUMBER, which is f32 or a vector, and takes so many of the six elements of a Line.

alias Line = array<NUMBER, 6>;

// B^T of so many inputs.
fn winograd_inputs(d: Line) -> Line {
    let zero = NUMBER();
    if (OUTPUTS == 2u) {
        return Line(d[2] - d[0], d[2] + d[1], d[2] - d[1], d[3] - d[1], zero, zero);
    }
    let near = d[4] - 2.25 * d[2];
    let near_odd = 0.75 * (d[3] - 2.25 * d[1]);
    let far = d[4] - 0.5625 * d[2];
    let far_odd = 1.5 * (d[3] - 0.5625 * d[1]);
    return Line(
        1.265625 * d[0] - 2.8125 * d[2] + d[4],
        near + near_odd,
        near - near_odd,
        far + far_odd,
        far - far_odd,
        1.265625 * d[1] - 2.8125 * d[3] + d[5],
    );
}

// G of the first three elements.
fn winograd_taps(g: Line) -> Line {
    let zero = NUMBER();
    if (OUTPUTS == 2u) {
        let even = 0.5 * (g[0] + g[2]);
        let odd = 0.5 * g[1];
        return Line(-g[0], even + odd, even - odd, g[2], zero, zero);
    }
    // 1 / (2 a^2 (a^2 - b^2)) and 1 / (2 b^2 (b^2 - a^2)) for a = 3/4 and b = 3/2.
    let near = (-128.0 / 243.0) * (g[0] + 0.5625 * g[2]);
    let near_odd = (-96.0 / 243.0) * g[1];
    let far = (32.0 / 243.0) * (g[0] + 2.25 * g[2]);
    let far_odd = (48.0 / 243.0) * g[1];
    return Line((64.0 / 81.0) * g[0], near + near_odd, near - near_odd, far + far_odd, far - far_odd, g[2]);
}

// A^T, in the first OUTPUTS elements.
fn winograd_outputs(m: Line) -> Line {
    let zero = NUMBER();
    if (OUTPUTS == 2u) {
        return Line(m[0] + (m[1] + m[2]), (m[1] - m[2]) + m[3], zero, zero, zero, zero);
    }
    let near = m[1] + m[2];
    let near_odd = m[1] - m[2];
    let far = m[3] + m[4];
    let far_odd = m[3] - m[4];
    return Line(
        m[0] + (near + far),
        0.75 * near_odd + 1.5 * far_odd,
        0.5625 * near + 2.25 * far,
        (0.421875 * near_odd + 3.375 * far_odd) + m[5],
        zero,
        zero,
    );
}
