//! Random numbers by count: a pure function of what they are for.
//!
//! The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3, 2011).
//! It scrambles a counter of four 32-bit words under a key of two; nothing is carried from one number to the next, so
//! any thread may make any of them. Here the key is the run's seed, low word first, and the counter is
//!
//! | word | holds |
//! |---|---|
//! | 0 | the number of the block, from 0; each block gives four numbers |
//! | 1 | the [`Purpose`] |
//! | 2 | the epoch, or 0 |
//! | 3 | the example's place in its file, or 0 |
//!
//! A change to this table, or to the order in which something draws its numbers, changes every run.

/// What random numbers are for. Each purpose has numbers of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Purpose {
    /// The order of the examples in an epoch.
    Order = 0,
    /// Which examples are kept for validation.
    Validation = 1,
    /// Which images of a folder are kept for the test.
    Test = 2,
    /// How an example is changed in an epoch.
    Augment = 3,
    /// What dropout drops: drawn on the device, with the step in place of the epoch and the layer in that of the example.
    Dropout = 4,
    /// Parameters before the first step; the tensor's place in the network stands for the example.
    Initial = 5,
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    /// How many numbers of the block have been handed out.
    used: usize,
}

impl Random {
    /// The stream for a purpose, an epoch and an example (0 where there is none).
    pub fn new(seed: u64, purpose: Purpose, epoch: u32, example: u32) -> Random {
        let key = [seed as u32, (seed >> 32) as u32];
        Random { key, counter: [0, purpose as u32, epoch, example], block: [0; 4], used: 4 }
    }

    /// The next number, any of 2^32.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == self.block.len() {
            self.block = philox(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// A whole number below `bound`, each as likely as any other (Lemire: Fast Random Integer Generation in an
    /// Interval, 2019). It may use more than one number.
    ///
    /// # Panics
    /// Where `bound` is 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0, "there is no number below 0");
        // Of the 2^32 numbers as many as do not share out evenly are drawn again.
        let uneven = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(self.next_u32()) * u64::from(bound);
            if product as u32 >= uneven {
                return (product >> 32) as u32;
            }
        }
    }

    /// A number in [0, 1): a multiple of 2^-32.
    pub fn unit(&mut self) -> f64 {
        f64::from(self.next_u32()) / 4_294_967_296.0
    }

    /// A number between `low` and `high`, evenly spread.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// True half of the time.
    pub fn coin(&mut self) -> bool {
        self.next_u32() >> 31 == 1
    }

    /// Puts a list in a random order (Fisher and Yates, from the end): place `i` is swapped with one of the first
    /// `i + 1`.
    ///
    /// # Panics
    /// For more than 2^32 - 1 items.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        let length = u32::try_from(items.len()).expect("a list should have less than 2^32 items");
        for place in (1..length).rev() {
            items.swap(place as usize, self.below(place + 1) as usize);
        }
    }
}

/// Ten rounds of Philox4x32.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let product = |factor: u32, word: u32| {
        let product = u64::from(factor) * u64::from(word);
        ((product >> 32) as u32, product as u32)
    };
    for _ in 0..10 {
        let (high0, low0) = product(0xd251_1f53, counter[0]);
        let (high1, low1) = product(0xcd9e_8d57, counter[2]);
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The known answers that the authors publish with the generator.
    #[test]
    fn philox_gives_the_known_answers() {
        let table = [
            ([0; 4], [0; 2], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]),
            (
                [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
                [0xa4093822, 0x299f31d0],
                [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
            ),
        ];
        for (counter, key, expected) in table {
            assert_eq!(philox(counter, key), expected);
        }
    }

    #[test]
    fn a_stream_is_its_blocks_one_after_the_other() {
        let mut random = Random::new(0x1122_3344_5566_7788, Purpose::Augment, 9, 77);
        let key = [0x5566_7788, 0x1122_3344];
        let blocks = [0, 1, 2].map(|block| philox([block, 3, 9, 77], key));
        assert_eq!([(); 12].map(|()| random.next_u32()).as_slice(), blocks.as_flattened());
    }

    #[test]
    fn all_words_of_the_key_and_counter_matter() {
        let first = |seed, purpose, epoch, example| Random::new(seed, purpose, epoch, example).next_u32();
        let here = first(1, Purpose::Order, 1, 1);
        assert_ne!(here, first(2, Purpose::Order, 1, 1));
        assert_ne!(here, first(1 | 1 << 32, Purpose::Order, 1, 1));
        assert_ne!(here, first(1, Purpose::Validation, 1, 1));
        assert_ne!(here, first(1, Purpose::Order, 2, 1));
        assert_ne!(here, first(1, Purpose::Order, 1, 2));
        assert_eq!(here, first(1, Purpose::Order, 1, 1));
    }

    /// Each of six numbers in 60,000 draws: the standard deviation of a count is 91, so five of them are 456.
    #[test]
    fn numbers_below_a_bound_are_equally_likely() {
        let mut random = Random::new(5, Purpose::Order, 0, 0);
        let mut counts = [0_i32; 6];
        for _ in 0..60_000 {
            counts[random.below(6) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (count - 10_000).abs() < 456), "{counts:?}");
    }

    /// Three quarters of all numbers: a quarter of the draws is to be repeated, or every third number would be twice as
    /// likely as the others.
    #[test]
    fn large_bounds_are_fair_as_well() {
        let mut random = Random::new(6, Purpose::Order, 0, 0);
        let thirds = (0..18_000).filter(|_| random.below(3 << 30).is_multiple_of(3)).count();
        assert!(thirds.abs_diff(6_000) < 317, "{thirds}");
    }

    #[test]
    fn all_orders_of_three_are_equally_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for example in 0..6_000 {
            let mut items = [0, 1, 2];
            Random::new(0, Purpose::Order, 0, example).shuffle(&mut items);
            *counts.entry(items).or_insert(0_i32) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|count| (count - 1_000).abs() < 145), "{counts:?}");
    }

    proptest! {
        #[test]
        fn numbers_keep_within_their_bounds(seed: u64, bound in 1_u32.., low in -9.0..9.0, span in 0.1..9.0) {
            let mut random = Random::new(seed, Purpose::Test, 0, 0);
            for _ in 0..20 {
                prop_assert!(random.below(bound) < bound);
                let between = random.between(low, low + span);
                prop_assert!(low <= between && between <= low + span);
                prop_assert!((0.0..1.0).contains(&random.unit()));
            }
        }

        #[test]
        fn shuffling_loses_nothing(seed: u64, length in 0_u32..200) {
            let mut items: Vec<u32> = (0..length).collect();
            Random::new(seed, Purpose::Order, 0, 0).shuffle(&mut items);
            items.sort_unstable();
            prop_assert!(items.into_iter().eq(0..length));
        }
    }
}
