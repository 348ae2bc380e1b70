/// Which places of a list of indices name each row, as lists laid out one behind the other: `extent + 1` starts, then the
/// places, those of row `r` at `starts[r]..starts[r + 1]` of them, in ascending order. Places whose index is `extent` or
/// more stand last, by their indices.
pub fn index_rows(indices: &[u32], extent: usize) -> Vec<u32> {
    let mut places: Vec<u32> = (0..indices.len() as u32).collect();
    places.sort_by_key(|&place| (indices[place as usize], place));
    let starts = (0..=extent)
        .map(|row| places.partition_point(|&place| (indices[place as usize] as usize) < row) as u32);
    starts.chain(places.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        assert_eq!(index_rows(&[2, 0, 9, 2, 0, 5], 4), [0, 2, 2, 4, 4, 1, 4, 0, 3, 5, 2]);
    }
}
