//! The memory that all plans of a session share.

use kiln_gpu::{Buffer, Gpu};

use crate::error::Result;

/// Places for intermediates, the largest first. Plans run one after the other, so each may use them all: its largest slot
/// takes the first place, and so on, so that together they need little more than the largest plan does. A place that a
/// new plan wants larger gets another buffer, and the plans that used the former one are recorded anew when they run next.
#[derive(Default)]
pub(super) struct Pool {
    places: Vec<Place>,
}

/// Room for one slot of each plan.
#[derive(Clone)]
struct Place {
    bytes: u64,
    /// Made when it is first bound.
    buffer: Option<Buffer>,
}

/// What a pool was before a plan asked it for room.
pub(super) struct Before(Vec<Place>);

/// Where a plan's slots go.
pub(super) struct Reserved {
    /// The place of each slot, in their order.
    pub(super) places: Vec<usize>,
    /// Places that there were before and that are larger now: whoever has their former buffers must let go of them.
    pub(super) grown: Vec<usize>,
}

impl Pool {
    /// Finds a place for each slot, none twice, and makes places larger that are too small.
    pub(super) fn reserve(&mut self, sizes: &[u64]) -> Reserved {
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        order.sort_by_key(|&slot| std::cmp::Reverse(sizes[slot]));
        let mut reserved = Reserved { places: vec![0; sizes.len()], grown: vec![] };
        for (place, slot) in order.into_iter().enumerate() {
            reserved.places[slot] = place;
            match self.places.get_mut(place) {
                Some(known) if known.bytes >= sizes[slot] => {}
                Some(known) => {
                    *known = Place { bytes: sizes[slot], buffer: None };
                    reserved.grown.push(place);
                }
                None => self.places.push(Place { bytes: sizes[slot], buffer: None }),
            }
        }
        reserved
    }

    /// The buffer of a place.
    pub(super) fn buffer(&mut self, gpu: &Gpu, place: usize) -> Result<Buffer> {
        let Place { bytes, buffer } = &mut self.places[place];
        match buffer {
            Some(buffer) => Ok(buffer.clone()),
            None => Ok(buffer.insert(gpu.create_buffer("pool", *bytes)?).clone()),
        }
    }

    /// All places together.
    pub(super) fn bytes(&self) -> u64 {
        self.places.iter().map(|place| place.bytes).sum()
    }

    /// For [`restore`](Self::restore), where the plan that wanted room can't have it.
    pub(super) fn remember(&self) -> Before {
        Before(self.places.iter().map(|place| Place { bytes: place.bytes, buffer: None }).collect())
    }

    /// Shrinks back to what it was; buffers are kept where they still fit.
    pub(super) fn restore(&mut self, Before(before): Before) {
        let now = std::mem::replace(&mut self.places, before);
        for (place, now) in self.places.iter_mut().zip(now) {
            place.buffer = now.buffer.filter(|buffer| buffer.bytes() == place.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_share_places_from_the_largest_down() {
        let mut pool = Pool::default();
        let first = pool.reserve(&[10, 40, 20]);
        assert_eq!((first.places, first.grown), (vec![2, 0, 1], vec![]));
        let second = pool.reserve(&[15, 30]);
        assert_eq!((second.places, second.grown), (vec![1, 0], vec![]));
        assert_eq!(pool.bytes(), 70);
        let before = pool.remember();
        let third = pool.reserve(&[5, 50, 12, 12]);
        assert_eq!(
            (third.places, third.grown, pool.bytes()),
            (vec![3, 0, 1, 2], vec![0, 2], 50 + 20 + 12 + 5)
        );
        pool.restore(before);
        assert_eq!(pool.bytes(), 70);
    }
}
