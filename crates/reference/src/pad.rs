use crate::array::Array;

/// What stands in the padding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pad {
    /// A number.
    Constant(f64),
    /// The input mirrored at its first and last element, which are not repeated.
    Reflect,
    /// The nearest element.
    Replicate,
}

/// `x` with `sides[axis] = [before, after]` more elements along each axis, as `torch.nn.functional.pad`.
pub fn pad(x: &Array, sides: &[[usize; 2]], mode: Pad) -> Array {
    assert_eq!(sides.len(), x.rank(), "sides {sides:?} of shape {:?}", x.shape);
    let shape: Vec<usize> =
        x.shape.iter().zip(sides).map(|(extent, [before, after])| before + extent + after).collect();
    Array::from_fn(&shape, |at| {
        let mut source = Vec::new();
        for (axis, (&place, [before, _])) in at.iter().zip(sides).enumerate() {
            let last = x.shape[axis] as isize - 1;
            let place = place as isize - *before as isize;
            let place = match mode {
                _ if (0..=last).contains(&place) => place,
                Pad::Constant(value) => return value,
                Pad::Replicate => place.clamp(0, last),
                Pad::Reflect if place < 0 => -place,
                Pad::Reflect => 2 * last - place,
            };
            source.push(usize::try_from(place).expect("a reflection should be smaller than its axis"));
        }
        x.at(&source)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let x = Array::new(&[3], vec![1.0, 2.0, 3.0]);
        assert_eq!(pad(&x, &[[2, 1]], Pad::Constant(9.0)).data, [9.0, 9.0, 1.0, 2.0, 3.0, 9.0]);
        assert_eq!(pad(&x, &[[2, 1]], Pad::Reflect).data, [3.0, 2.0, 1.0, 2.0, 3.0, 2.0]);
        assert_eq!(pad(&x, &[[2, 1]], Pad::Replicate).data, [1.0, 1.0, 1.0, 2.0, 3.0, 3.0]);
    }

    #[test]
    fn corners_follow_both_axes() {
        let x = Array::new(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let sides = [[1, 0], [0, 1]];
        let padded = pad(&x, &sides, Pad::Reflect);
        assert_eq!(padded.shape, [3, 3]);
        assert_eq!(padded.data, [3.0, 4.0, 3.0, 1.0, 2.0, 1.0, 3.0, 4.0, 3.0]);
        assert_eq!(pad(&x, &sides, Pad::Constant(0.0)).data, [0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 3.0, 4.0, 0.0]);
    }
}
