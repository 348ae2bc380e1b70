//! Seeded numbers: a value depends on the tensor's name and the element's index alone, so a tensor of any size can be
//! made in pieces, on any machine, by any language with 64-bit integers. All-equal or small-integer data hides swapped
//! operands and transposes; these are asymmetric in every dimension.
//!
//! The hash, bit by bit:
//! 1. `seed` is the 64-bit FNV-1a of the name's UTF-8 bytes (start `0xcbf29ce484222325`, for each byte xor, then
//!    multiply by `0x100000001b3`).
//! 2. `z = seed + (index + 1) * 0x9e3779b97f4a7c15`, then the finaliser of SplitMix64: `z ^= z >> 30`,
//!    `z *= 0xbf58476d1ce4e5b9`, `z ^= z >> 27`, `z *= 0x94d049bb133111eb`, `z ^= z >> 31`, all modulo 2^64.
//! 3. The upper 24 bits times 2^-23, minus 1: uniform in [-1, 1), and exact in `f32`.
//!
//! The same in NumPy:
//! ```text
//! def uniform(name, count, start=0):
//!     seed = 0xcbf29ce484222325
//!     for byte in name.encode():
//!         seed = (seed ^ byte) * 0x100000001b3 % 2**64
//!     index = np.arange(start + 1, start + count + 1, dtype=np.uint64)
//!     z = np.uint64(seed) + index * np.uint64(0x9e3779b97f4a7c15)
//!     z = (z ^ (z >> np.uint64(30))) * np.uint64(0xbf58476d1ce4e5b9)
//!     z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94d049bb133111eb)
//!     z = z ^ (z >> np.uint64(31))
//!     return (z >> np.uint64(40)).astype(np.float32) * np.float32(2**-23) - np.float32(1)
//! ```

use std::hash::Hasher;

use fnv::FnvHasher;

/// `count` numbers in [-1, 1) of the tensor `name`, from its first element on.
pub fn uniform(name: &str, count: usize) -> Vec<f32> {
    uniform_from(name, 0, count)
}

/// The elements `start..start + count` of the tensor `name`.
pub fn uniform_from(name: &str, start: usize, count: usize) -> Vec<f32> {
    let seed = seed(name);
    (start..start + count).map(|index| element(seed, index as u64)).collect()
}

/// Rows of heads beside each other, `[rows][heads * head_dim]`, laid head by head: `[heads][rows][head_dim]`.
pub fn by_head(rows: &[f32], heads: usize, head_dim: usize) -> Vec<f32> {
    let head = |head: usize| {
        rows.chunks(heads * head_dim).flat_map(move |row| &row[head * head_dim..][..head_dim]).copied()
    };
    (0..heads).flat_map(head).collect()
}

/// `count` indices below `extent`, from the same hash (its upper 32 bits, scaled).
pub fn indices(name: &str, count: usize, extent: usize) -> Vec<u32> {
    let seed = seed(name);
    let extent = extent as u64;
    (0..count as u64).map(|index| (((hash(seed, index) >> 32) * extent) >> 32) as u32).collect()
}

fn element(seed: u64, index: u64) -> f32 {
    let bits = (hash(seed, index) >> 40) as f32;
    bits / 8_388_608.0 - 1.0
}

fn seed(name: &str) -> u64 {
    let mut hasher = FnvHasher::default();
    hasher.write(name.as_bytes());
    hasher.finish()
}

fn hash(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the NumPy function above.
    #[test]
    fn the_numbers_are_those_of_numpy() {
        let table = [
            ("weight", 0, [0xbf6469c2, 0xbe7b8348, 0x3f287f9c, 0x3f6dc2d0]),
            ("é/layer0", 1_000_000, [0x3f004c46, 0xbf646e36, 0x3d20a480, 0xbd36efc0]),
            ("", 5_000_000_000, [0x3f68a06c, 0xbe8f7834, 0x3eb28380, 0xbf36f51c]),
        ];
        for (name, start, expected) in table {
            let bits: Vec<u32> = uniform_from(name, start, 4).into_iter().map(f32::to_bits).collect();
            assert_eq!(bits, expected, "{name} from {start}");
        }
    }

    #[test]
    fn pieces_make_the_whole() {
        let whole = uniform("weight", 1000);
        assert_eq!(uniform_from("weight", 0, 300), whole[..300]);
        assert_eq!(uniform_from("weight", 300, 700), whole[300..]);
        assert_ne!(uniform("weight2", 1000), whole);
    }

    #[test]
    fn they_fill_the_interval_evenly() {
        let x = uniform("evenly", 100_000);
        assert!(x.iter().all(|x| (-1.0..1.0).contains(x)));
        let mut tenths = [0usize; 10];
        for x in &x {
            tenths[((x + 1.0) * 5.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|n| (9_600..10_400).contains(n)), "{tenths:?}");
    }

    #[test]
    fn indices_stay_below_the_extent_and_reach_it() {
        let ids = indices("ids", 10_000, 7);
        for id in 0..7 {
            assert!(ids.contains(&id));
        }
        assert!(ids.iter().all(|&id| id < 7));
    }
}
