use crate::array::Array;
use crate::winograd::{Winograd, both_sides, tiles};

/// `y[n][o][T i + a][T j + b] = (A^T m A)[a][b]` with `m[r][s] = x[P r + s][o][t]`, `t` the tile in row `i` and column `j`
/// of the image `n`; `extents` are the height and width of `y`. `x` may have more tiles than there are.
pub fn winograd_output(x: &Array, batch: usize, extents: [usize; 2], matrices: &Winograd) -> Array {
    let &[_, outputs, count] = x.shape.as_slice() else { panic!("x of shape {:?}", x.shape) };
    let (places, tile) = (matrices.places(), matrices.tile());
    assert_eq!(x.shape[0], places * places, "the places of a tile");
    let [rows, cols] = tiles(tile, extents);
    assert!(batch * rows * cols <= count, "{batch} times {rows} by {cols} tiles of {count}");
    let mut y = Array::from_fn(&[batch, outputs, extents[0], extents[1]], |_| 0.0);
    for t in 0..batch * rows * cols {
        let (n, i, j) = (t / cols / rows, t / cols % rows, t % cols);
        for o in 0..outputs {
            let made = both_sides(&matrices.outputs, |r, s| x.at(&[places * r + s, o, t]));
            for (a, line) in made.iter().enumerate().take(extents[0] - tile * i) {
                for (b, &value) in line.iter().enumerate().take(extents[1] - tile * j) {
                    let at = ((n * outputs + o) * extents[0] + tile * i + a) * extents[1] + tile * j + b;
                    y.data[at] = value;
                }
            }
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conv, conv2d, matmul, winograd_input, winograd_terms, winograd_weight};

    /// The three steps are a convolution.
    #[test]
    fn as_the_direct_convolution() {
        let number = |seed: usize, at: &[usize]| {
            let flat = at.iter().fold(seed, |flat, index| flat * 7 + index);
            ((flat * 2_654_435_761) % 1000) as f64 / 500.0 - 1.0
        };
        for (shape, padding) in
            [([2, 3, 7, 9], [[1, 1]; 2]), ([1, 2, 4, 5], [[0, 2], [3, 0]]), ([1, 1, 3, 3], [[0, 0]; 2])]
        {
            let x = Array::from_fn(&shape, |at| number(1, at));
            let weight = Array::from_fn(&[4, shape[1], 3, 3], |at| number(2, at));
            let expected = conv2d(&x, &weight, None, Conv { padding, ..Conv::default() });
            let terms = conv2d(&x.abs(), &weight.abs(), None, Conv { padding, ..Conv::default() });
            for tile in [2, 4] {
                let matrices = Winograd::new(tile);
                let [weights, images] =
                    [winograd_weight(&weight, &matrices), winograd_input(&x, padding, &matrices)];
                let products = matmul(&weights, &images, false, false);
                let extents = [expected.shape[2], expected.shape[3]];
                let made = winograd_output(&products, shape[0], extents, &matrices);
                assert_eq!(made.shape, expected.shape);
                for (a, b) in made.data.iter().zip(&expected.data) {
                    assert!((a - b).abs() < 1e-12, "{tile}: {a} and {b}");
                }
                let more = winograd_terms(&x, &weight, padding, tile);
                assert!(more.data.iter().zip(&terms.data).all(|(more, terms)| more >= terms));
            }
        }
    }
}
