//! Mirroring.

/// Mirrors left and right; `rows` are of any number of channels, each row `width` long.
pub(super) fn flip(rows: &mut [u8], width: usize) {
    rows.chunks_exact_mut(width).for_each(<[u8]>::reverse);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_reversed() {
        let mut rows = [1, 2, 3, 4, 5, 6];
        flip(&mut rows, 3);
        assert_eq!(rows, [3, 2, 1, 6, 5, 4]);
    }
}
