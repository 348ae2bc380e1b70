//! The numbers that one dispatch of a kernel over neighbouring elements makes.

use std::iter;
use std::ops::Range;

/// Neighbouring elements in the kernel's own unit: vectors of four, or single numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Whether a unit is a vector of four.
    pub(crate) wide: bool,
    /// Units.
    pub(crate) range: Range<u32>,
}

/// So few elements that do not fill vectors are not worth two dispatches.
const FEW: u32 = 64;

/// Dispatches that cover so many elements: vectors of four as far as they go, which is a quarter of the loads, and what
/// is left singly.
pub(crate) fn spans(elements: u32) -> impl Iterator<Item = Span> {
    let vectors = if elements.is_multiple_of(4) || elements > FEW { elements / 4 } else { 0 };
    let wide = Span { wide: true, range: 0..vectors };
    let single = Span { wide: false, range: 4 * vectors..elements };
    iter::once(wide).chain(iter::once(single)).filter(|span| !span.range.is_empty())
}

impl Span {
    /// How many workgroups it takes.
    pub(crate) fn groups(&self, threads: u32, steps: u32) -> u64 {
        u64::from(self.range.end - self.range.start).div_ceil(u64::from(threads) * u64::from(steps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_then_the_rest() {
        let wide = |range| Span { wide: true, range };
        let single = |range| Span { wide: false, range };
        for (elements, expected) in [
            (1, vec![single(0..1)]),
            (10, vec![single(0..10)]),
            (12, vec![wide(0..3)]),
            (4096, vec![wide(0..1024)]),
            (4099, vec![wide(0..1024), single(4096..4099)]),
        ] {
            assert_eq!(spans(elements).collect::<Vec<_>>(), expected, "{elements}");
        }
    }
}
