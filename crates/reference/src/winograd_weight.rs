use crate::array::Array;
use crate::winograd::{Winograd, both_sides};

/// `y[P r + s][o][c] = (G g G^T)[r][s]` with `g = weight[o][c]` of 3x3.
pub fn winograd_weight(weight: &Array, matrices: &Winograd) -> Array {
    let &[outputs, channels, 3, 3] = weight.shape.as_slice() else {
        panic!("weight of shape {:?}", weight.shape)
    };
    let places = matrices.places();
    let mut y = Array::from_fn(&[places * places, outputs, channels], |_| 0.0);
    for o in 0..outputs {
        for c in 0..channels {
            let made = both_sides(&matrices.taps, |a, b| weight.at(&[o, c, a, b]));
            for (place, value) in made.concat().into_iter().enumerate() {
                y.data[(place * outputs + o) * channels + c] = value;
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
        let weight = Array::from_fn(&[1, 1, 3, 3], |at| if at[2] == 1 { (at[3] + 1) as f64 } else { 0.0 });
        let y = winograd_weight(&weight, &Winograd::new(2));
        // The row 1 2 3 becomes -1 3 1 3, of which the places at 1 and -1 take one half and minus one half.
        let row = [-1.0, 3.0, 1.0, 3.0];
        let expected = [0.0, 0.5, -0.5, 0.0].map(|share| row.map(|x| share * x)).concat();
        assert_eq!(y.data, expected);
    }
}
