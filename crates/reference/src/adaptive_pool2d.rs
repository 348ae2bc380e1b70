use crate::array::Array;
use crate::pool2d::{Window, greatest, over_planes};

/// The mean over the window of each element of an `output`-sized plane, as `torch.nn.functional.adaptive_avg_pool2d` of
/// `x[n][c][h][w]`: the window of place `i` along an axis is `floor(i in / out) .. ceil((i + 1) in / out)`. Linear.
pub fn adaptive_avg_pool2d(x: &Array, output: [usize; 2]) -> Array {
    over_planes(x, output, windows(x, output), |plane, window| {
        window.cells.iter().map(|&at| plane[at]).sum::<f64>() / window.places as f64
    })
}

/// The greatest element of the same windows, as `torch.nn.functional.adaptive_max_pool2d`; NaN is the greatest.
pub fn adaptive_max_pool2d(x: &Array, output: [usize; 2]) -> Array {
    over_planes(x, output, windows(x, output), |plane, window| greatest(plane, window).0)
}

/// Where in its plane the greatest element of each of these windows lies, `h * width + w`: the first of equals, and the
/// last NaN.
pub fn adaptive_max_pool2d_indices(x: &Array, output: [usize; 2]) -> Array {
    over_planes(x, output, windows(x, output), |plane, window| {
        greatest(plane, window).1.expect("a window should see an element") as f64
    })
}

/// How these windows lie.
pub(crate) fn windows(x: &Array, output: [usize; 2]) -> impl Fn(usize, usize) -> Window {
    let &[_, _, height, width] = x.shape.as_slice() else { panic!("x of shape {:?}", x.shape) };
    let range = |place: usize, input: usize, output: usize| {
        place * input / output..((place + 1) * input).div_ceil(output)
    };
    move |oh, ow| {
        let (rows, cols) = (range(oh, height, output[0]), range(ow, width, output[1]));
        let cells: Vec<usize> = rows.flat_map(|row| cols.clone().map(move |col| row * width + col)).collect();
        Window { places: cells.len(), cells }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let x = Array::new(&[1, 1, 1, 5], vec![1.0, 2.0, 3.0, 4.0, 5.0]);
        // 0..2, 1..4, 3..5
        assert_eq!(adaptive_avg_pool2d(&x, [1, 3]).data, [1.5, 3.0, 4.5]);
        assert_eq!(adaptive_max_pool2d(&x, [1, 3]).data, [2.0, 4.0, 5.0]);
        assert_eq!(adaptive_avg_pool2d(&x, [2, 1]).data, [3.0, 3.0]);
    }

    #[test]
    fn a_larger_output_repeats() {
        let x = Array::new(&[1, 1, 2, 2], vec![1.0, 2.0, 3.0, 4.0]);
        // 0..1, 0..2, 1..2
        assert_eq!(adaptive_avg_pool2d(&x, [3, 2]).data, [1.0, 2.0, 2.0, 3.0, 3.0, 4.0]);
    }
}
