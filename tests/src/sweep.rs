//! The sizes where kernels go wrong: one element, a prime, and the neighbourhood of a tile.

/// Extents for a dimension that a kernel walks in tiles of `tile`: one, a prime over the tile, one less than a tile,
/// a tile, one more. Ascending, without repeats.
pub fn sizes(tile: usize) -> Vec<usize> {
    let mut sizes = vec![1, tile.saturating_sub(1).max(1), tile, tile + 1, prime_over(tile + 1)];
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// Shapes in which every listed extent of every axis occurs, in ever new company: as many as three times the longest
/// list, where all combinations would be their product.
pub fn shapes<const AXES: usize>(extents: [&[usize]; AXES]) -> Vec<[usize; AXES]> {
    let longest = extents.iter().map(|list| list.len()).max().unwrap_or(0);
    let mut shapes: Vec<[usize; AXES]> = Vec::new();
    for round in 0..3 {
        for i in 0..longest {
            // Each axis steps through its own list, displaced further from its neighbour in each round.
            let shape = std::array::from_fn(|axis| extents[axis][(i + round * axis) % extents[axis].len()]);
            if !shapes.contains(&shape) {
                shapes.push(shape);
            }
        }
    }
    shapes
}

/// The least prime greater than `n`.
fn prime_over(n: usize) -> usize {
    (n + 1..)
        .find(|&n| n >= 2 && (2..n).take_while(|d| d * d <= n).all(|d| n % d != 0))
        .expect("primes have no end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_surround_the_tile() {
        assert_eq!(sizes(8), [1, 7, 8, 9, 11]);
        assert_eq!(sizes(32), [1, 31, 32, 33, 37]);
        assert_eq!(sizes(1), [1, 2, 3]);
    }

    #[test]
    fn every_extent_occurs() {
        let (a, b, c) = (sizes(8), sizes(4), [1, 3]);
        let shapes = shapes([&a, &b, &c]);
        assert!(shapes.len() <= 3 * a.len());
        for (axis, list) in [&a[..], &b, &c].into_iter().enumerate() {
            for extent in list {
                assert!(shapes.iter().any(|shape| shape[axis] == *extent), "{extent} of axis {axis}");
            }
        }
        // Not only along the diagonal.
        assert!(shapes.iter().any(|shape| shape[0] == 7 && shape[1] != 3));
    }
}
