//! Cropping with padding.

/// The piece of a plane that begins `down` rows and `right` columns further on, either of which may be negative; zeros
/// where it reaches beyond the plane.
pub(super) fn shift(plane: &mut [u8], width: usize, [down, right]: [i64; 2]) {
    let source = plane.to_vec();
    let height = source.len() / width;
    // Where a place of the piece lies in the plane, if it does.
    let inside = |place: usize, shift: i64, extent: usize| {
        usize::try_from(place as i64 + shift).ok().filter(|place| *place < extent)
    };
    for (row, out) in plane.chunks_exact_mut(width).enumerate() {
        match inside(row, down, height) {
            None => out.fill(0),
            Some(row) => {
                for (column, value) in out.iter_mut().enumerate() {
                    *value = inside(column, right, width).map_or(0, |column| source[row * width + column]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_taken_from_a_plane_with_zeros_around() {
        let table: [([i64; 2], [u8; 6]); 7] = [
            ([0, 0], [1, 2, 3, 4, 5, 6]),
            ([1, 0], [4, 5, 6, 0, 0, 0]),
            ([-1, 0], [0, 0, 0, 1, 2, 3]),
            ([0, 1], [2, 3, 0, 5, 6, 0]),
            ([0, -2], [0, 0, 1, 0, 0, 4]),
            ([1, -1], [0, 4, 5, 0, 0, 0]),
            ([-2, 5], [0; 6]),
        ];
        for (by, expected) in table {
            let mut plane = [1, 2, 3, 4, 5, 6];
            shift(&mut plane, 3, by);
            assert_eq!(plane, expected, "{by:?}");
        }
    }
}
