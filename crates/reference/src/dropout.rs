use crate::array::Array;

/// Ten rounds of Philox4x32 (Salmon, Moraes, Dror and Shaw: Parallel Random Numbers: As Easy as 1, 2, 3, 2011): four
/// random words for a counter and a key.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let mut words = counter.map(u64::from);
    let mut key = key.map(u64::from);
    for _ in 0..10 {
        let (left, right) = (words[0] * 0xD251_1F53, words[2] * 0xCD9E_8D57);
        let low = |product: u64| product % (1 << 32);
        words = [(right >> 32) ^ words[1] ^ key[0], low(right), (left >> 32) ^ words[3] ^ key[1], low(left)];
        key = [low(key[0] + 0x9E37_79B9), low(key[1] + 0xBB67_AE85)];
    }
    words.map(|word| word as u32)
}

/// Dropout in training: each element is kept with probability `1 - p`, times `1 / (1 - p)`, or becomes 0.
///
/// `random` is the seed, low word first, and the step. Element `i` is kept where word `i % 4` of [`philox`] with the seed
/// as key and the counter `[i / 4, 4, step, stream]` is at least `p 2^32`; the 4 stands for dropout among the purposes
/// for which numbers are drawn. NaN and infinities do not become 0, but NaN, as in `torch.nn.functional.dropout`.
pub fn dropout(x: &Array, p: f64, random: [u32; 4], stream: u32) -> Array {
    let mut made = x.clone();
    for (block, elements) in made.data.chunks_mut(4).enumerate() {
        let words = philox([block as u32, 4, random[2], stream], [random[0], random[1]]);
        for (x, word) in elements.iter_mut().zip(words) {
            let kept = p < 1.0 && f64::from(word) >= p * 2f64.powi(32);
            *x *= if kept { 1.0 / (1.0 - p) } else { 0.0 };
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that the authors publish with the generator, in the file `kat_vectors` of Random123.
    #[test]
    fn philox_gives_the_known_answers() {
        let table = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in table {
            assert_eq!(philox(counter, key), expected);
        }
    }

    #[test]
    fn elements_are_kept_and_scaled_or_dropped() {
        let x = Array::from_fn(&[40, 25], |at| (1 + at[0] * 25 + at[1]) as f64);
        let made = dropout(&x, 0.75, [1, 2, 3, 0], 4);
        let kept = made.data.iter().zip(&x.data).filter(|(y, x)| **y == 4.0 * **x).count();
        let dropped = made.data.iter().filter(|y| **y == 0.0).count();
        assert_eq!(kept + dropped, 1000);
        // The standard deviation is 13.7.
        assert!(kept.abs_diff(250) < 69, "{kept}");
        assert_eq!(dropout(&x, 0.0, [1, 2, 3, 0], 4), x);
        assert!(dropout(&x, 1.0, [1, 2, 3, 0], 4).data.iter().all(|&y| y == 0.0));
    }

    #[test]
    fn seed_step_and_stream_matter_and_the_last_word_does_not() {
        let x = Array::from_fn(&[100], |_| 1.0);
        let here = dropout(&x, 0.5, [1, 2, 3, 0], 4);
        for (random, stream) in [([9, 2, 3, 0], 4), ([1, 9, 3, 0], 4), ([1, 2, 9, 0], 4), ([1, 2, 3, 0], 9)] {
            assert_ne!(dropout(&x, 0.5, random, stream), here, "{random:?}, {stream}");
        }
        assert_eq!(dropout(&x, 0.5, [1, 2, 3, 9], 4), here);
    }
}
