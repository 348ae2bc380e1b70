//! The order in which an epoch takes its examples.

use crate::random::{Purpose, Random};

/// The places 0 to `length` in the order of an epoch: [`Random::shuffle`] of the ascending list, with the numbers of
/// [`Purpose::Order`], the seed and the epoch. The same on every machine.
///
/// # Panics
/// For 2^32 examples or more, which no [`Dataset`](crate::data::Dataset) has.
pub fn shuffled(length: usize, seed: u64, epoch: u32) -> Vec<u32> {
    let mut order = stored(length);
    Random::new(seed, Purpose::Order, epoch, 0).shuffle(&mut order);
    order
}

/// The places 0 to `length`, ascending.
///
/// # Panics
/// For 2^32 examples or more, which no [`Dataset`](crate::data::Dataset) has.
pub fn stored(length: usize) -> Vec<u32> {
    (0..u32::try_from(length).expect("a data set should have less than 2^32 examples")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are those of a second implementation, in Python. A change here changes every run that anybody has
    /// made.
    #[test]
    fn the_order_stays_what_it_was() {
        assert_eq!(shuffled(10, 0, 0), [6, 9, 0, 2, 1, 8, 4, 5, 7, 3]);
        assert_eq!(shuffled(10, 0, 1), [7, 2, 6, 1, 9, 4, 3, 0, 8, 5]);
    }

    #[test]
    fn seed_and_epoch_decide() {
        assert_eq!(shuffled(1000, 7, 3), shuffled(1000, 7, 3));
        assert_ne!(shuffled(1000, 7, 3), shuffled(1000, 7, 4));
        assert_ne!(shuffled(1000, 7, 3), shuffled(1000, 8, 3));
        assert!(shuffled(0, 7, 3).is_empty());
        assert_eq!(stored(3), [0, 1, 2]);
    }
}
