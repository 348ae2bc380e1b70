//! Turning.

/// Bits behind the point of the fixed-point numbers.
const FRACTION: u32 = 20;
const ONE: i64 = 1 << FRACTION;

/// A turn about the middle of a plane, counter-clockwise.
///
/// Sine and cosine are rounded to whole multiples of 2^-20 and everything after them is done in whole numbers, so that
/// libraries whose sines differ in the last bit turn alike. A place of a plane of a thousand rows is off by 2^-11 of a
/// pixel at the most.
pub(super) struct Turn {
    sine: i64,
    cosine: i64,
}

impl Turn {
    pub(super) fn new(degrees: f64) -> Turn {
        let (sine, cosine) = degrees.to_radians().sin_cos();
        let fixed = |number: f64| (number * ONE as f64).round() as i64;
        Turn { sine: fixed(sine), cosine: fixed(cosine) }
    }

    /// Turns a plane. Each new pixel is interpolated between the four around the place it comes from, those beyond the
    /// edge being 0, and rounded to the nearest, halves upward.
    pub(super) fn apply(&self, plane: &mut [u8], width: usize) {
        let source = plane.to_vec();
        let height = source.len() / width;
        let at = |row: i64, column: i64| {
            let (row, column) = (usize::try_from(row).ok(), usize::try_from(column).ok());
            match (row.filter(|row| *row < height), column.filter(|column| *column < width)) {
                (Some(row), Some(column)) => i64::from(source[row * width + column]),
                _ => 0,
            }
        };
        // Twice the place of the middle, which may lie between two pixels.
        let (middle_row, middle_column) = (height as i64 - 1, width as i64 - 1);
        for (row, out) in plane.chunks_exact_mut(width).enumerate() {
            for (column, value) in out.iter_mut().enumerate() {
                let (down, right) = (2 * row as i64 - middle_row, 2 * column as i64 - middle_column);
                let from_row = (self.cosine * down + self.sine * right + middle_row * ONE) >> 1;
                let from_column = (self.cosine * right - self.sine * down + middle_column * ONE) >> 1;
                let (above, left) = (from_row >> FRACTION, from_column >> FRACTION);
                let (below, beside) = (from_row & (ONE - 1), from_column & (ONE - 1));
                let upper = at(above, left) * (ONE - beside) + at(above, left + 1) * beside;
                let lower = at(above + 1, left) * (ONE - beside) + at(above + 1, left + 1) * beside;
                let sum = upper * (ONE - below) + lower * below;
                *value = ((sum + (1 << (2 * FRACTION - 1))) >> (2 * FRACTION)) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(plane: &[u8], width: usize, degrees: f64) -> Vec<u8> {
        let mut plane = plane.to_vec();
        Turn::new(degrees).apply(&mut plane, width);
        plane
    }

    #[test]
    fn quarter_turns_are_exact() {
        let plane = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(turned(&plane, 3, 0.0), plane);
        assert_eq!(turned(&plane, 3, 90.0), [3, 6, 9, 2, 5, 8, 1, 4, 7]);
        assert_eq!(turned(&plane, 3, -90.0), [7, 4, 1, 8, 5, 2, 9, 6, 3]);
        assert_eq!(turned(&plane, 3, 180.0), [9, 8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(turned(&[1, 2, 3, 4, 5, 6], 3, 180.0), [6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn full_white_stays_white() {
        assert_eq!(turned(&[255; 25], 5, 37.0)[12], 255);
    }

    /// From `torchvision.transforms.functional.rotate(image, angle, InterpolationMode.BILINEAR)` of torchvision 0.14,
    /// which computes in f32.
    #[test]
    fn it_turns_as_torchvision_does() {
        let (height, width) = (5, 6);
        let plane: Vec<u8> = (0..height)
            .flat_map(|y| (0..width).map(move |x| ((y * 37 + x * 59 + x * y * 11) % 256) as u8))
            .collect();
        let table: [(f64, [u8; 30]); 3] = [
            (
                15.0,
                [
                    15, 63, 140, 196, 121, 59, 36, 110, 190, 182, 111, 160, 56, 140, 226, 72, 169, 123, 71,
                    165, 101, 112, 159, 116, 69, 183, 164, 137, 92, 37,
                ],
            ),
            (
                -33.0,
                [
                    20, 53, 87, 111, 80, 0, 80, 130, 168, 196, 196, 181, 163, 165, 174, 120, 109, 108, 196,
                    111, 104, 141, 167, 150, 0, 67, 174, 152, 102, 54,
                ],
            ),
            (
                90.0,
                [
                    69, 117, 139, 162, 120, 50, 103, 180, 128, 139, 151, 62, 74, 180, 180, 117, 117, 75, 44,
                    115, 169, 158, 148, 87, 15, 51, 93, 136, 178, 100,
                ],
            ),
        ];
        for (degrees, expected) in table {
            let turned = turned(&plane, width, degrees);
            let off = turned.iter().zip(&expected).map(|(got, expected)| got.abs_diff(*expected)).max();
            assert!(off <= Some(1), "{degrees} degrees: {turned:?}, expected {expected:?}");
        }
    }
}
