//! Packs sequences, without padding, into a few sizes of plans.

use std::collections::BTreeMap;

/// What one run of a plan can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Rows, one a token.
    pub(crate) tokens: usize,
    /// Sequences.
    pub(crate) sequences: usize,
}

impl Budget {
    /// Room for sequences that are short, but not for nothing else: with 4 tokens a sequence both limits meet.
    const fn new(tokens: usize) -> Budget {
        Budget { tokens, sequences: tokens / 4 }
    }

    fn holds(&self, tokens: usize, sequences: usize) -> bool {
        tokens <= self.tokens && sequences <= self.sequences
    }
}

/// One run: the sequences that go together, and the budget whose plan takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pack {
    /// Index into the budgets.
    pub(crate) budget: usize,
    /// Which sequences, as indices into what was packed.
    pub(crate) sequences: Vec<usize>,
}

/// The work of a run besides its rows (launching, reading back), in rows.
const RUN_OVERHEAD: usize = 16;

/// Tokens of a model's budgets. The two small ones are for questions, which are embedded one at a time while somebody waits.
const TOKENS: [usize; 6] = [16, 32, 64, 256, 1024, 2048];

/// The budgets for a model, and one more where a single text may be longer than the largest.
pub(crate) fn budgets(max_length: usize) -> Vec<Budget> {
    let mut budgets: Vec<Budget> = TOKENS.into_iter().map(Budget::new).collect();
    if max_length > 2048 {
        budgets.push(Budget::new(max_length.next_multiple_of(64)));
    }
    budgets
}

/// Divides sequences among runs so that few rows stay empty.
///
/// Long sequences come first, each into the fullest run of the largest budget that still has room; a run that stays
/// far from full is then divided among smaller budgets where that saves rows. No sequence may be longer than the
/// largest budget; budgets ascend.
pub(crate) fn pack(lengths: &[usize], budgets: &[Budget]) -> Vec<Pack> {
    let largest = *budgets.last().expect("there should be a budget");
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(lengths[*index])); // stable: equal lengths stay in order
    let mut runs: Vec<Vec<usize>> = Vec::new();
    let mut open: BTreeMap<usize, Vec<usize>> = BTreeMap::new(); // free rows -> runs
    for index in order {
        let length = lengths[index];
        let (free, run) = match open.range(length..).next().map(|(free, _)| *free) {
            Some(free) => {
                let candidates = open.get_mut(&free).expect("the key was just found");
                let run = candidates.pop().expect("no empty list should stay");
                if candidates.is_empty() {
                    open.remove(&free);
                }
                (free, run)
            }
            None => {
                assert!(length <= largest.tokens, "a sequence of {length} tokens should have been cut");
                runs.push(Vec::new());
                (largest.tokens, runs.len() - 1)
            }
        };
        runs[run].push(index);
        if runs[run].len() < largest.sequences {
            open.entry(free - length).or_default().push(run);
        }
    }
    runs.into_iter().flat_map(|run| divide(run, lengths, budgets).1).collect()
}

/// The cheapest way to run some sequences, longest first, that fit the largest budget: its cost in rows, and the runs.
fn divide(run: Vec<usize>, lengths: &[usize], budgets: &[Budget]) -> (usize, Vec<Pack>) {
    if run.is_empty() {
        return (0, Vec::new());
    }
    let tokens = run.iter().map(|index| lengths[*index]).sum();
    let whole = budgets
        .iter()
        .position(|budget| budget.holds(tokens, run.len()))
        .expect("the sequences should fit the largest budget");
    let cost = budgets[whole].tokens + RUN_OVERHEAD;
    if whole > 0 {
        // Fill the next smaller budget, then see what the rest costs.
        let smaller = budgets[whole - 1];
        let (mut taken, mut rest, mut used) = (Vec::new(), Vec::new(), 0);
        for index in &run {
            if smaller.holds(used + lengths[*index], taken.len() + 1) {
                used += lengths[*index];
                taken.push(*index);
            } else {
                rest.push(*index);
            }
        }
        if !taken.is_empty() && !rest.is_empty() {
            let (rest_cost, mut packs) = divide(rest, lengths, budgets);
            let divided = smaller.tokens + RUN_OVERHEAD + rest_cost;
            if divided < cost {
                packs.insert(0, Pack { budget: whole - 1, sequences: taken });
                return (divided, packs);
            }
        }
    }
    (cost, vec![Pack { budget: whole, sequences: run }])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packs, checks that every sequence is in exactly one run that holds it, and returns the tokens of the plans.
    fn run(lengths: &[usize], max_length: usize) -> Vec<usize> {
        let budgets = budgets(max_length);
        let packs = pack(lengths, &budgets);
        let mut seen = vec![0; lengths.len()];
        for pack in &packs {
            let tokens = pack.sequences.iter().map(|index| lengths[*index]).sum();
            assert!(budgets[pack.budget].holds(tokens, pack.sequences.len()), "{pack:?}");
            assert!(!pack.sequences.is_empty());
            pack.sequences.iter().for_each(|index| seen[*index] += 1);
        }
        assert!(seen.iter().all(|count| *count == 1), "{seen:?}");
        packs.iter().map(|pack| budgets[pack.budget].tokens).collect()
    }

    #[test]
    fn few_texts_take_a_small_plan() {
        assert_eq!(run(&[], 256), [0; 0]);
        assert_eq!(run(&[8], 256), [16]);
        assert_eq!(run(&[17], 256), [32]);
        assert_eq!(run(&[33], 256), [64]);
        assert_eq!(run(&[64], 256), [64]);
        assert_eq!(run(&[65], 256), [256]);
        assert_eq!(run(&[256], 256), [256]);
        assert_eq!(run(&[2; 17], 256), [64, 16], "a plan of 64 tokens holds 16 sequences");
        assert_eq!(run(&[3000, 5], 4000), [4032]);
    }

    #[test]
    fn a_run_that_would_stay_half_empty_is_divided() {
        assert_eq!(run(&[100; 11], 256), [1024, 256], "1100 tokens");
        assert_eq!(run(&[100; 20], 256), [2048]);
        assert_eq!(run(&[30, 30, 30], 256), [64, 32]);
        assert_eq!(run(&[250; 5], 256), [1024, 256]);
    }

    #[test]
    fn passages_of_one_length_fill_the_largest_plan() {
        let plans = run(&[121; 174], 256);
        assert_eq!(plans[..10], [2048; 10]);
        let rows: usize = plans.iter().sum();
        assert!(174 * 121 * 100 >= rows * 93, "at least 93 % of the rows are used");
    }

    #[test]
    fn mixed_lengths_waste_little() {
        // A linear congruential generator is random enough here.
        let mut state = 12345u64;
        let mut next = |limit: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % limit
        };
        for count in [1, 2, 3, 7, 50, 333, 5000] {
            let lengths: Vec<usize> = (0..count).map(|_| 3 + next(254) as usize).collect();
            let rows: usize = run(&lengths, 256).iter().sum();
            let tokens: usize = lengths.iter().sum();
            if count >= 50 {
                assert!(tokens * 100 >= rows * 95, "{count} texts: {tokens} tokens in {rows} rows");
            }
        }
    }
}
