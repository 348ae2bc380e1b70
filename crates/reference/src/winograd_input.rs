use crate::array::Array;
use crate::winograd::{Winograd, both_sides, tiles};

/// `y[P r + s][c][t] = (B^T d B)[r][s]` with `d` the `P x P` inputs of channel `c` that meet the tile `t` of outputs of a
/// 3x3 convolution of `x[n][c][h][w]`, 0 outside of its plane. Tiles count image by image, row by row.
pub fn winograd_input(x: &Array, padding: [[usize; 2]; 2], matrices: &Winograd) -> Array {
    let &[batch, channels, height, width] = x.shape.as_slice() else { panic!("x of shape {:?}", x.shape) };
    let (places, tile) = (matrices.places(), matrices.tile());
    let extents = [padding[0][0] + height + padding[0][1] - 2, padding[1][0] + width + padding[1][1] - 2];
    let [rows, cols] = tiles(tile, extents);
    let count = batch * rows * cols;
    let mut y = Array::from_fn(&[places * places, channels, count], |_| 0.0);
    for t in 0..count {
        let (n, i, j) = (t / cols / rows, t / cols % rows, t % cols);
        for c in 0..channels {
            let made = both_sides(&matrices.inputs, |a, b| {
                let row = (tile * i + a).checked_sub(padding[0][0]).filter(|&row| row < height);
                let col = (tile * j + b).checked_sub(padding[1][0]).filter(|&col| col < width);
                row.zip(col).map_or(0.0, |(row, col)| x.at(&[n, c, row, col]))
            });
            for (place, value) in made.concat().into_iter().enumerate() {
                y.data[(place * channels + c) * count + t] = value;
            }
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let x = Array::from_fn(&[1, 1, 3, 3], |at| (3 * at[2] + at[3] + 1) as f64);
        let y = winograd_input(&x, [[1, 0], [0, 1]], &Winograd::new(2));
        assert_eq!(y.shape, [16, 1, 1]);
        // The tile is 0 0 0 0, 1 2 3 0, 4 5 6 0, 7 8 9 0: rows 2 - 0, 2 + 1, 2 - 1, 3 - 1, then columns alike.
        let rows = [[4.0, 5.0, 6.0, 0.0], [5.0, 7.0, 9.0, 0.0], [3.0, 3.0, 3.0, 0.0], [6.0, 6.0, 6.0, 0.0]];
        let expected = rows.map(|[a, b, c, d]| [c - a, c + b, c - b, d - b]).concat();
        assert_eq!(y.data, expected);
    }
}
