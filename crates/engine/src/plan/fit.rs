//! Which values share memory: their live ranges are distributed over places, each a buffer to be, so that the places are
//! small together.

/// How long a value must stay in memory, and how large it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LiveRange {
    /// Size.
    pub(super) bytes: u64,
    /// The first moment at which it is there.
    pub(super) from: usize,
    /// The last one.
    pub(super) to: usize,
}

impl LiveRange {
    fn meets(&self, other: &LiveRange) -> bool {
        self.from <= other.to && other.from <= self.to
    }

    /// How many moments it lasts.
    fn length(&self) -> usize {
        self.to.saturating_sub(self.from).saturating_add(1)
    }
}

/// What the places have to keep to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    /// For each range those, by index, that can't be in one place with it even where there would be room for both: a buffer
    /// can't be bound for reading and for writing in one dispatch. Each pair is told of both.
    pub(super) apart: &'a [Vec<usize>],
    /// Where a range may begin in a place: at multiples of this.
    pub(super) alignment: u64,
    /// The most that a place may have, if none of its ranges is larger.
    pub(super) largest: u64,
    /// Bytes that the plan takes besides: where they are many, a few wasted ones count for little.
    pub(super) besides: u64,
}

/// Where each range goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fitting {
    /// Place and first byte of each range, in their order.
    pub(super) spots: Vec<(usize, u64)>,
    /// Bytes of each place.
    pub(super) sizes: Vec<u64>,
}

impl Fitting {
    /// All places together.
    pub(super) fn bytes(&self) -> u64 {
        self.sizes.iter().sum()
    }
}

/// What one value at a time in each place may cost beyond the least that the plan could take, in percent, before several
/// at a time are tried: places of their own let a device run more side by side.
const PLAIN_MAY_COST: u64 = 4;

/// Gives each range a spot such that those who meet don't overlap. The best distribution is hard to find: several simple
/// ones are tried, and the smallest is taken (of equal ones the first, so that the same ranges always get the same spots).
pub(super) fn fit(ranges: &[LiveRange], rules: Rules<'_>) -> Fitting {
    // The largest first: whoever comes later fits into any place that is free, and costs nothing there (greedy by size, as
    // Pisarchyk and Lee 2020 have it, "Efficient Memory Management for Deep Neural Net Inference").
    let largest = order(ranges, |range| (range.bytes, range.length() as u64));
    // Where a long range of middling size would split every place, it is better off with one of its own.
    let heaviest = order(ranges, |range| (range.bytes.saturating_mul(range.length() as u64), range.bytes));
    let plain = [
        distribute(ranges, &largest, true),
        distribute(ranges, &largest, false),
        distribute(ranges, &heaviest, true),
        in_time(ranges),
    ];
    let plain = smallest(plain);
    let live = largest_live_set(ranges);
    if plain.bytes() <= live + (live + rules.besides) / 100 * PLAIN_MAY_COST {
        return plain;
    }
    let longest = order(ranges, |range| (range.length() as u64, range.bytes));
    let packed = [&largest, &heaviest, &longest]
        .into_iter()
        .flat_map(|order| [true, false].map(|merge| pack(ranges, order, rules, merge)));
    smallest(std::iter::once(plain).chain(packed))
}

fn smallest(fittings: impl IntoIterator<Item = Fitting>) -> Fitting {
    fittings.into_iter().min_by_key(Fitting::bytes).unwrap_or_default()
}

fn order<K: Ord>(ranges: &[LiveRange], key: impl Fn(&LiveRange) -> K) -> Vec<usize> {
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(key(&ranges[index])));
    order
}

/// Puts one range after the other where it makes the places grow least; places hold one at a time. Among those that cost
/// the same, `tight` takes the one whose neighbours in time are nearest, so that the gaps that remain are long.
fn distribute(ranges: &[LiveRange], order: &[usize], tight: bool) -> Fitting {
    let mut fitting = Fitting { spots: vec![(0, 0); ranges.len()], sizes: vec![] };
    let mut guests: Vec<Vec<usize>> = vec![];
    for &index in order {
        let range = &ranges[index];
        let free = (0..guests.len()).filter(|&place| !guests[place].iter().any(|&g| ranges[g].meets(range)));
        let best = free.min_by_key(|&place| {
            let gap = if tight { gap(ranges, &guests[place], range) } else { 0 };
            (range.bytes.saturating_sub(fitting.sizes[place]), gap)
        });
        // A place that grows is never dearer than a new one.
        let place = best.unwrap_or_else(|| {
            guests.push(vec![]);
            fitting.sizes.push(0);
            guests.len() - 1
        });
        guests[place].push(index);
        fitting.sizes[place] = fitting.sizes[place].max(range.bytes);
        fitting.spots[index] = (place, 0);
    }
    fitting
}

/// How much time passes unused between a range and its neighbours in a place.
fn gap(ranges: &[LiveRange], guests: &[usize], range: &LiveRange) -> usize {
    let before =
        guests.iter().filter(|&&g| ranges[g].to < range.from).map(|&g| range.from - ranges[g].to).min();
    let after =
        guests.iter().filter(|&&g| ranges[g].from > range.to).map(|&g| ranges[g].from - range.to).min();
    before.unwrap_or(0).saturating_add(after.unwrap_or(0))
}

/// As an allocator that does not know the future: the free place that wastes least, or the largest one, grown.
fn in_time(ranges: &[LiveRange]) -> Fitting {
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_by_key(|&index| ranges[index].from);
    let mut fitting = Fitting { spots: vec![(0, 0); ranges.len()], sizes: vec![] };
    let mut until: Vec<usize> = vec![];
    for index in order {
        let range = &ranges[index];
        let free = || (0..until.len()).filter(|&place| until[place] < range.from);
        let size = |place: &usize| fitting.sizes[*place];
        let fits = free().filter(|place| size(place) >= range.bytes).min_by_key(size);
        let place = fits.or_else(|| free().max_by_key(size)).unwrap_or_else(|| {
            until.push(0);
            until.len() - 1
        });
        fitting.sizes.resize(until.len(), 0);
        until[place] = range.to;
        fitting.sizes[place] = fitting.sizes[place].max(range.bytes);
        fitting.spots[index] = (place, 0);
    }
    fitting
}

/// Puts one range after the other where it makes the places grow least, several at a time side by side in one place. Where
/// a new place costs as little as one that grows, `merge` takes the latter.
fn pack(ranges: &[LiveRange], order: &[usize], rules: Rules<'_>, merge: bool) -> Fitting {
    let mut fitting = Fitting { spots: vec![(0, 0); ranges.len()], sizes: vec![] };
    let mut guests: Vec<Vec<usize>> = vec![];
    let mut placed = vec![false; ranges.len()];
    for &index in order {
        let range = &ranges[index];
        let others = rules.apart[index].iter().filter(|&&other| placed[other]);
        let taken: Vec<usize> = others.map(|&other| fitting.spots[other].0).collect();
        placed[index] = true;
        let mut best: Option<(u64, usize, u64)> = None;
        for (place, guests) in guests.iter().enumerate() {
            if taken.contains(&place) {
                continue;
            }
            let offset =
                lowest(range, guests.iter().map(|&g| (&ranges[g], fitting.spots[g].1)), rules.alignment);
            let (end, size) = (offset + range.bytes, fitting.sizes[place]);
            let grows = end.saturating_sub(size);
            let allowed = end <= rules.largest.max(size) && (merge || grows < range.bytes);
            if allowed && best.is_none_or(|(least, ..)| grows < least) {
                best = Some((grows, place, offset));
            }
        }
        let (place, offset) = best.filter(|(grows, ..)| *grows <= range.bytes).map_or_else(
            || {
                guests.push(vec![]);
                fitting.sizes.push(0);
                (guests.len() - 1, 0)
            },
            |(_, place, offset)| (place, offset),
        );
        guests[place].push(index);
        fitting.sizes[place] = fitting.sizes[place].max(offset + range.bytes);
        fitting.spots[index] = (place, offset);
    }
    fitting
}

/// The first byte from which a range overlaps nobody whom it meets.
fn lowest<'a>(range: &LiveRange, guests: impl Iterator<Item = (&'a LiveRange, u64)>, alignment: u64) -> u64 {
    let mut met: Vec<(u64, u64)> =
        guests.filter(|(guest, _)| guest.meets(range)).map(|(guest, at)| (at, at + guest.bytes)).collect();
    met.sort_unstable();
    let mut offset = 0;
    for (start, end) in met {
        if offset + range.bytes <= start {
            break;
        }
        offset = offset.max(end.next_multiple_of(alignment));
    }
    offset
}

/// The most bytes that are there at one moment: no distribution can take less.
pub(super) fn largest_live_set(ranges: &[LiveRange]) -> u64 {
    let mut changes: Vec<(usize, bool, u64)> = vec![];
    for range in ranges {
        // At one moment arrivals come before departures: a range includes its last moment.
        changes.push((range.from, false, range.bytes));
        changes.push((range.to, true, range.bytes));
    }
    changes.sort_by_key(|&(moment, leaves, _)| (moment, leaves));
    let (mut now, mut most) = (0u64, 0u64);
    for (_, leaves, bytes) in changes {
        now = if leaves { now - bytes } else { now + bytes };
        most = most.max(now);
    }
    most
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALIGNMENT: u64 = 4;

    fn range((bytes, from, length): (u64, usize, usize)) -> LiveRange {
        LiveRange { bytes: bytes * ALIGNMENT, from, to: from + length }
    }

    /// What is wrong with a fitting, in words.
    fn fault(ranges: &[LiveRange], rules: Rules<'_>, fitting: &Fitting) -> Option<String> {
        for (index, (range, &(place, offset))) in ranges.iter().zip(&fitting.spots).enumerate() {
            if offset + range.bytes > fitting.sizes[place] || !offset.is_multiple_of(rules.alignment) {
                return Some(format!("{range:?} is at {offset} of place {place}"));
            }
            for (other, &(shared, at)) in fitting.spots.iter().enumerate().take(index) {
                let met = ranges[other].meets(range) && shared == place;
                if met && rules.apart[index].contains(&other) {
                    return Some(format!("{other} and {index} are not apart"));
                }
                if met && at < offset + range.bytes && offset < at + ranges[other].bytes {
                    return Some(format!("{other} and {index} overlap"));
                }
            }
        }
        None
    }

    fn rules(apart: &[Vec<usize>]) -> Rules<'_> {
        Rules { apart, alignment: ALIGNMENT, largest: u64::MAX, besides: 0 }
    }

    /// For each of so many ranges, those that it is paired with.
    fn pairs(count: usize, pairs: impl IntoIterator<Item = (usize, usize)>) -> Vec<Vec<usize>> {
        let mut apart = vec![vec![]; count];
        for (one, other) in pairs {
            apart[one].push(other);
            apart[other].push(one);
        }
        apart
    }

    #[test]
    fn a_chain_takes_two_places() {
        let ranges: Vec<LiveRange> = (0..9).map(|index| range((10, index, 1))).collect();
        let apart = pairs(9, (1..9).map(|index| (index - 1, index)));
        assert_eq!(fit(&ranges, rules(&apart)).sizes, [40, 40]);
    }

    /// What lasts beside a value twice its size, first one then another, goes into that one's place afterwards, side by
    /// side.
    #[test]
    fn small_ones_lie_side_by_side_where_a_large_one_was() {
        let ranges = [(8, 0, 1), (4, 2, 3), (4, 2, 3), (1, 0, 5)].map(range);
        let apart = pairs(4, []);
        let fitting = fit(&ranges, rules(&apart));
        assert_eq!((fault(&ranges, rules(&apart), &fitting), fitting.bytes()), (None, 36));
        // Beside large weights what that saves is nothing, and each keeps a place of its own.
        assert_eq!(fit(&ranges, Rules { besides: 4000, ..rules(&apart) }).sizes, [32, 16, 4]);
        // Where the two must be apart, the second needs a place of its own.
        let apart = pairs(4, [(1, 2)]);
        let fitting = fit(&ranges, rules(&apart));
        assert_eq!((fault(&ranges, rules(&apart), &fitting), fitting.bytes()), (None, 52));
    }

    #[test]
    fn a_place_grows_no_larger_than_a_buffer_may() {
        let ranges = [(8, 0, 1), (4, 2, 3), (4, 2, 3), (4, 2, 3), (1, 0, 5)].map(range);
        let apart = pairs(5, []);
        let narrow = Rules { largest: 24, ..rules(&apart) };
        let fitting = fit(&ranges, narrow);
        assert_eq!(fault(&ranges, narrow, &fitting), None);
        assert!(fitting.sizes.iter().all(|&size| size <= 32), "{fitting:?}");
    }

    #[test]
    fn nobody_takes_no_room() {
        assert_eq!(fit(&[], rules(&[])), Fitting::default());
        assert_eq!(largest_live_set(&[]), 0);
    }

    proptest! {
        #[test]
        fn whoever_meets_does_not_overlap(
            ranges in prop::collection::vec((1u64..100, 0usize..40, 0usize..12), 1..60),
            apart in prop::collection::hash_set((0usize..60, 0usize..60), 0..40),
            largest in 100u64..1000,
        ) {
            let ranges: Vec<LiveRange> = ranges.into_iter().map(range).collect();
            let count = ranges.len();
            let apart = pairs(count, apart.into_iter().filter(|&(a, b)| a < b && b < count));
            let rules = Rules { apart: &apart, alignment: ALIGNMENT, largest, besides: 0 };
            let fitting = fit(&ranges, rules);
            prop_assert_eq!(fault(&ranges, rules, &fitting), None);
            prop_assert!(fitting.bytes() >= largest_live_set(&ranges));
            prop_assert!(fitting.bytes() <= ranges.iter().map(|range| range.bytes).sum::<u64>());
        }
    }
}
