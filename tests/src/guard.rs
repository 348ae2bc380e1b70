//! Bindings that are longer than their tensors, so that a kernel which leaves its tensors is caught.
//!
//! Robust access on Vulkan turns a read past the bound range into 0, which looks like zero padding, and drops a write
//! past it. So the range that is bound ends [`TAIL`] words after the tensor does: an input's tail is NaN (as an index:
//! far out of any range), an output starts as NaN, and its tail is guard words that must survive.

use std::fmt;

/// Words bound after the last element of each tensor.
pub const TAIL: usize = 256;

/// What fills the tail of an input: NaN as `f32`, an index past any extent as `u32`.
pub const POISON: u32 = 0x7fc0_0bad;

/// What an output holds before the kernel runs: NaN, with bits that no arithmetic gives.
pub const UNWRITTEN: u32 = 0x7fc0_d00d;

/// One storage binding of a kernel under test, in words of 32 bits.
#[derive(Clone, Debug)]
pub struct Bind {
    words: Vec<u32>,
    role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Input,
    Output,
    Update,
}

/// What a kernel did outside its tensors, or failed to do inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// An element of an output still holds what it held before.
    Unwritten {
        /// The binding's position among the storage bindings.
        binding: usize,
        /// The first such element.
        element: usize,
        /// How many there are.
        count: usize,
    },
    /// A word after the tensor has changed.
    Overrun {
        /// The binding's position among the storage bindings.
        binding: usize,
        /// How far past the last element: 1 is the word right after it.
        past: usize,
        /// What was written, as bits.
        wrote: u32,
    },
}

impl Bind {
    /// A tensor that the kernel reads.
    pub fn f32(data: &[f32]) -> Self {
        Self { words: data.iter().map(|x| x.to_bits()).collect(), role: Role::Input }
    }

    /// A tensor of indices that the kernel reads.
    pub fn u32(data: &[u32]) -> Self {
        Self { words: data.to_vec(), role: Role::Input }
    }

    /// A tensor of `elements` that the kernel writes whole.
    pub fn output(elements: usize) -> Self {
        Self { words: vec![UNWRITTEN; elements], role: Role::Output }
    }

    /// A tensor that the kernel reads and writes, or writes in part.
    pub fn update(data: &[f32]) -> Self {
        Self { words: data.iter().map(|x| x.to_bits()).collect(), role: Role::Update }
    }

    /// Whether the kernel may write it.
    pub fn is_written(&self) -> bool {
        self.role != Role::Input
    }

    /// The tensor's words and its tail's: all that is bound. A multiple of four words, for bindings of vectors.
    pub fn bound_words(&self) -> Vec<u32> {
        let mut words = self.words.clone();
        let end = (self.words.len() + TAIL).next_multiple_of(4);
        for past in 0..end - self.words.len() {
            words.push(if self.is_written() { guard_word(past) } else { POISON });
        }
        words
    }

    /// What the kernel left in the tensor, once its tail and every element have been checked. `bound` is what
    /// [`Bind::bound_words`] has become.
    pub fn check(&self, binding: usize, bound: &[u32]) -> Result<Vec<u32>, Alarm> {
        let (words, tail) = bound.split_at(self.words.len());
        if let Some(past) = (0..tail.len()).find(|&past| tail[past] != guard_word(past)) {
            return Err(Alarm::Overrun { binding, past: past + 1, wrote: tail[past] });
        }
        if self.role == Role::Output {
            let count = words.iter().filter(|&&word| word == UNWRITTEN).count();
            if let Some(element) = words.iter().position(|&word| word == UNWRITTEN) {
                return Err(Alarm::Unwritten { binding, element, count });
            }
        }
        Ok(words.to_vec())
    }
}

/// Different at each place, so that a copy of one guard over another shows; no NaN, so that a kernel which adds to
/// its output cannot hide.
fn guard_word(past: usize) -> u32 {
    0x4b1d_0000 + past as u32
}

impl std::error::Error for Alarm {}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unwritten { binding, element, count } => {
                write!(f, "output {binding}: element {element} was never written ({count} in all)")
            }
            Self::Overrun { binding, past, wrote } => write!(
                f,
                "output {binding}: wrote {wrote:#010x} ({:e}) {past} word(s) past its end",
                f32::from_bits(*wrote)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_tails_are_nan() {
        let words = Bind::f32(&[1.0, 2.0, 3.0]).bound_words();
        assert_eq!(words.len(), 260);
        assert!(words[3..].iter().all(|&word| f32::from_bits(word).is_nan()));
    }

    #[test]
    fn an_untouched_output_is_unwritten() {
        let bind = Bind::output(5);
        assert_eq!(
            bind.check(2, &bind.bound_words()),
            Err(Alarm::Unwritten { binding: 2, element: 0, count: 5 })
        );
    }

    #[test]
    fn a_full_output_passes() {
        let bind = Bind::output(2);
        let mut words = bind.bound_words();
        words[..2].copy_from_slice(&[7, 8]);
        assert_eq!(bind.check(0, &words), Ok(vec![7, 8]));
    }

    #[test]
    fn one_element_left_out_is_seen() {
        let bind = Bind::output(3);
        let mut words = bind.bound_words();
        words[..2].copy_from_slice(&[7, 8]);
        assert_eq!(bind.check(0, &words), Err(Alarm::Unwritten { binding: 0, element: 2, count: 1 }));
    }

    #[test]
    fn one_word_past_the_end_is_seen() {
        let bind = Bind::update(&[1.0, 2.0]);
        for past in [1, 2, TAIL] {
            let mut words = bind.bound_words();
            words[1 + past] = 9;
            assert_eq!(bind.check(1, &words), Err(Alarm::Overrun { binding: 1, past, wrote: 9 }));
        }
        assert_eq!(bind.check(1, &bind.bound_words()), Ok(vec![1f32.to_bits(), 2f32.to_bits()]));
    }
}
