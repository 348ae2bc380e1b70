//! Rows of numbers, one for each token.

use crate::error::ModelError;

/// Fails where a row of logits is no basis for a choice: where one is not a number or positive infinity, or all are
/// minus infinity.
pub(super) fn check(logits: &[f32], prompt: usize, step: usize) -> Result<(), ModelError> {
    let wrong = logits.iter().position(|logit| logit.is_nan() || *logit == f32::INFINITY);
    let none = || logits.iter().all(|logit| *logit == f32::NEG_INFINITY).then_some(0);
    match wrong.or_else(none) {
        None => Ok(()),
        Some(token) => {
            let value = logits.get(token).copied().unwrap_or(f32::NAN);
            Err(ModelError::NotFiniteToken { prompt, step, token, value })
        }
    }
}

/// As [`check`], where only the largest logit is known: it tells of all, since what is not a number counts as the largest.
pub(super) fn check_largest(token: u32, value: f32, prompt: usize, step: usize) -> Result<(), ModelError> {
    if value.is_finite() {
        return Ok(());
    }
    Err(ModelError::NotFiniteToken { prompt, step, token: token as usize, value })
}

/// The place of the largest number, the first of equals.
pub(super) fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (place, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = place;
        }
    }
    best
}

/// The places of the `count` largest numbers, the largest first, equals in their order.
pub(super) fn largest(row: &[f32], count: usize) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::with_capacity(count + 1);
    for (place, value) in row.iter().enumerate() {
        if found.len() == count && found.last().is_none_or(|last| *value <= row[*last]) {
            continue;
        }
        let at = found.partition_point(|other| row[*other] >= *value);
        found.insert(at, place);
        found.truncate(count);
    }
    found
}

/// Logits to the logarithms of their softmax, in place. They must have passed [`check`].
///
/// The sum is kept in double precision and the functions are the `libm` crate's: the same on every machine.
pub(super) fn log_softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|logit| libm::exp(f64::from(*logit - largest))).sum();
    let log = libm::log(sum) as f32;
    row.iter_mut().for_each(|logit| *logit = *logit - largest - log);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: f32 = f32::NEG_INFINITY;

    #[test]
    fn the_first_of_equals_goes_first() {
        let row = [1.0, 3.0, LOW, 3.0, 2.0, 3.0, LOW];
        assert_eq!(argmax(&row), 1);
        assert_eq!(argmax(&[LOW; 3]), 0);
        assert_eq!(largest(&row, 2), [1, 3]);
        assert_eq!(largest(&row, 7), [1, 3, 5, 4, 0, 2, 6]);
        assert_eq!(largest(&row, 9).len(), 7);
        assert!(largest(&row, 0).is_empty());
    }

    #[test]
    fn log_softmax_is_exact_for_even_rows_and_keeps_what_is_excluded() {
        let mut row = [5.0, LOW, 5.0, 5.0, 5.0];
        log_softmax(&mut row);
        assert_eq!(row, [-4.0_f32.ln(), LOW, -4.0_f32.ln(), -4.0_f32.ln(), -4.0_f32.ln()]);
    }

    #[test]
    fn what_is_no_number_is_named() {
        check(&[0.0, LOW], 0, 0).unwrap();
        for (row, message) in [
            ([0.0, f32::NAN], "prompt 2: the logit of token 1 at step 7 is NaN"),
            ([f32::INFINITY, 0.0], "prompt 2: the logit of token 0 at step 7 is inf"),
            ([LOW, LOW], "prompt 2: the logit of token 0 at step 7 is -inf"),
        ] {
            let error = check(&row, 1, 7).unwrap_err();
            assert!(!error.is_input_error());
            assert_eq!(error.to_string(), message);
        }
    }
}
