//! What lies behind the tokens of the texts that grow, and where the cache holds it.

use kiln_engine::{EngineError, Tensor};

use super::decoder::StepShape;

/// For each row the slots of the cache that hold its tokens so far, as a step reads them: u32 `[rows][1 + length]`, first
/// how many they are.
#[derive(Debug, Clone)]
pub(super) struct Histories {
    rows: usize,
    length: usize,
    past: Vec<u32>,
}

impl Histories {
    /// Those of texts without a token.
    pub(super) fn new(shape: StepShape) -> Histories {
        let StepShape { rows, length, .. } = shape;
        Histories { rows, length, past: vec![0; rows * (1 + length)] }
    }

    /// The same for rows that each go on from one of these.
    ///
    /// # Panics
    /// For another number of rows, or a parent that is none of them.
    pub(super) fn of(&self, parents: &[usize]) -> Histories {
        assert_eq!(parents.len(), self.rows, "there should be a parent for each row");
        let row = |row: &usize| &self.past[row * (1 + self.length)..][..1 + self.length];
        Histories { past: parents.iter().flat_map(row).copied().collect(), ..*self }
    }

    /// What a step reads as `past`.
    pub(super) fn tensor(&self) -> Result<Tensor, EngineError> {
        Tensor::u32([self.rows, 1 + self.length], self.past.clone())
    }

    /// A token more for each row: the slots that take them.
    ///
    /// # Panics
    /// Where a text has all tokens that there is room for.
    pub(super) fn grow(&mut self) -> Vec<u32> {
        let length = self.length;
        let rows = self.past.chunks_exact_mut(1 + length).enumerate();
        let slots = rows.map(|(row, past)| {
            let position = past[0] as usize;
            assert!(position < length, "a text should end after the {length} tokens that were asked for");
            // Slots go by row and position, and no history holds a position twice: nothing that is read is lost.
            let slot = (row * length + position) as u32;
            past[0] += 1;
            past[1 + position] = slot;
            slot
        });
        slots.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_take_the_histories_of_their_parents() {
        let mut histories = Histories::new(StepShape { rows: 2, length: 3, source: 1 });
        assert_eq!(histories.grow(), [0, 3]);
        let mut swapped = histories.of(&[1, 1]);
        assert_eq!(swapped.grow(), [1, 4]);
        assert_eq!(swapped.tensor().unwrap().as_u32().unwrap(), [2, 3, 1, 0, 2, 3, 4, 0]);
        // Those that they come from are as before.
        assert_eq!(histories.tensor().unwrap().as_u32().unwrap(), [1, 0, 0, 0, 1, 3, 0, 0]);
    }
}
