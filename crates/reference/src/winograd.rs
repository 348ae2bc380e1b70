//! The matrices of Winograd's convolution, made from their points.

use crate::array::Array;

/// F(outputs, 3): `A^T [(G g) * (B^T d)]` are the `outputs` sums of three taps `g` over `outputs + 2` inputs `d`, with
/// one product for each input. Equation 5 of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015), as
/// a Toom-Cook algorithm: a polynomial of degree `outputs + 1` is found from its values at so many points, and at infinity.
#[derive(Clone, Debug)]
pub struct Winograd {
    /// `B^T`, of `(outputs + 2)^2`.
    pub(crate) inputs: Vec<Vec<f64>>,
    /// `G`, of `(outputs + 2) x 3`.
    pub(crate) taps: Vec<Vec<f64>>,
    /// `A^T`, of `outputs x (outputs + 2)`.
    pub(crate) outputs: Vec<Vec<f64>>,
}

impl Winograd {
    /// The matrices for tiles of two outputs (points 0, 1, -1) or four (0, 3/4, -3/4, 3/2, -3/2), and infinity.
    pub fn new(outputs: usize) -> Self {
        let points: &[f64] = match outputs {
            2 => &[0.0, 1.0, -1.0],
            4 => &[0.0, 0.75, -0.75, 1.5, -1.5],
            _ => panic!("tiles of {outputs} outputs"),
        };
        let others = |j: usize| points.iter().enumerate().filter(move |&(l, _)| l != j).map(|(_, &p)| p);
        let places = points.len() + 1;
        // The coefficients of the product of all x - p, the lowest first.
        let product = |factors: &mut dyn Iterator<Item = f64>| {
            let mut polynomial = vec![0.0; places];
            polynomial[0] = 1.0;
            for point in factors {
                for i in (0..places).rev() {
                    let lower = if i > 0 { polynomial[i - 1] } else { 0.0 };
                    polynomial[i] = lower - point * polynomial[i];
                }
            }
            polynomial
        };
        let mut matrices = Self { inputs: vec![], taps: vec![], outputs: vec![vec![0.0; places]; outputs] };
        for (j, &point) in points.iter().enumerate() {
            matrices.inputs.push(product(&mut others(j)));
            let scale: f64 = others(j).map(|other| point - other).product();
            matrices.taps.push((0..3).map(|k| point.powi(k) / scale).collect());
            for (i, row) in matrices.outputs.iter_mut().enumerate() {
                row[j] = point.powi(i as i32);
            }
        }
        matrices.inputs.push(product(&mut points.iter().copied()));
        matrices.taps.push(vec![0.0, 0.0, 1.0]);
        matrices.outputs[outputs - 1][places - 1] = 1.0;
        matrices
    }

    /// The same with the absolute values of all coefficients, for sums of magnitudes.
    pub fn abs(&self) -> Self {
        let abs = |matrix: &[Vec<f64>]| {
            matrix.iter().map(|row| row.iter().map(|x| x.abs()).collect()).collect::<Vec<Vec<f64>>>()
        };
        Self { inputs: abs(&self.inputs), taps: abs(&self.taps), outputs: abs(&self.outputs) }
    }

    /// Inputs along an axis of a tile: `outputs + 2`.
    pub fn places(&self) -> usize {
        self.inputs.len()
    }

    /// Outputs along an axis of a tile.
    pub fn tile(&self) -> usize {
        self.outputs.len()
    }
}

/// `matrix x matrix^T` of a square `x` that `at` reads.
pub(crate) fn both_sides(matrix: &[Vec<f64>], at: impl Fn(usize, usize) -> f64) -> Vec<Vec<f64>> {
    let inner = matrix[0].len();
    let half: Vec<Vec<f64>> = matrix
        .iter()
        .map(|row| (0..inner).map(|b| (0..inner).map(|a| row[a] * at(a, b)).sum()).collect())
        .collect();
    let other = |line: &Vec<f64>| {
        matrix.iter().map(|row| row.iter().zip(line).map(|(x, y)| x * y).sum()).collect::<Vec<f64>>()
    };
    half.iter().map(other).collect()
}

/// Tiles of an image: rows and columns of them.
pub(crate) fn tiles(outputs: usize, extents: [usize; 2]) -> [usize; 2] {
    extents.map(|extent| extent.div_ceil(outputs))
}

/// What the rounding errors of a convolution by Winograd's transforms, in tiles of `outputs`, are relative to: for each
/// element of its result the sum of the magnitudes of all terms that the transforms and the products add up,
/// `|A|^T [sum_c (|G| |g| |G|^T) * (|B|^T |d| |B|)] |A|`. That is more than [`conv2d`](crate::conv2d()) has of them, and it counts the
/// whole tile, not only what the window sees: an output beside a large input inherits from it.
pub fn winograd_terms(x: &Array, weight: &Array, padding: [[usize; 2]; 2], outputs: usize) -> Array {
    let matrices = Winograd::new(outputs).abs();
    let extents: [usize; 2] =
        std::array::from_fn(|axis| padding[axis][0] + x.shape[axis + 2] + padding[axis][1] - 2);
    let images = crate::winograd_input(&x.abs(), padding, &matrices);
    let weights = crate::winograd_weight(&weight.abs(), &matrices);
    let products = crate::matmul(&weights, &images, false, false);
    crate::winograd_output(&products, x.shape[0], extents, &matrices)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The matrices of the paper's section 4.1, but for a sign that cancels out.
    #[test]
    fn two_outputs_as_in_the_paper() {
        let Winograd { inputs, taps, outputs } = Winograd::new(2);
        assert_eq!(
            inputs,
            [[-1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, -1.0, 1.0, 0.0], [0.0, -1.0, 0.0, 1.0]]
        );
        assert_eq!(taps, [[-1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]]);
        assert_eq!(outputs, [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, -1.0, 1.0]]);
    }

    #[test]
    fn three_taps_by_fewer_products() {
        for tile in [2, 4] {
            let matrices = Winograd::new(tile);
            let inputs: Vec<f64> = (0..tile + 2).map(|i| ((i * 37 + 11) % 17) as f64 - 8.0).collect();
            let taps = [3.0, -5.0, 0.5];
            let times = |matrix: &[Vec<f64>], x: &[f64]| -> Vec<f64> {
                matrix.iter().map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum()).collect()
            };
            let products: Vec<f64> = times(&matrices.inputs, &inputs)
                .iter()
                .zip(times(&matrices.taps, &taps))
                .map(|(a, b)| a * b)
                .collect();
            for (i, made) in times(&matrices.outputs, &products).into_iter().enumerate() {
                let expected: f64 = (0..3).map(|k| inputs[i + k] * taps[k]).sum();
                assert!((made - expected).abs() < 1e-12, "{tile}: {made} for {expected}");
            }
        }
    }
}
