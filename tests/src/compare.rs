//! Results against what they should be, element by element.
//!
//! An element passes where `|got - expected| <= bound`, written so that NaN fails: NaN matches NaN alone (recognised
//! by its bits), and an infinity matches itself alone. Bounds come from [`tolerance`](crate::tolerance).

use std::fmt;

use kiln_reference::Array;

/// How far a result was from its bound at the worst element: at most 1 where it passed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Headroom(pub f64);

/// The first element that is wrong, and how many are.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    shape: Vec<usize>,
    wrong: usize,
    fault: Fault,
}

#[derive(Clone, Debug, PartialEq)]
enum Fault {
    /// The result has another number of elements than the shape.
    Count {
        got: usize,
    },
    /// There is another number of bounds than of elements, or one is NaN, infinite or negative: the test is at fault.
    Bound {
        flat: usize,
        bound: f64,
    },
    Value {
        flat: usize,
        got: f32,
        expected: f64,
        bound: f64,
    },
    Bits {
        flat: usize,
        got: u32,
        expected: u32,
    },
}

/// `got` against `expected`, with a bound for each element.
pub fn close(got: &[f32], expected: &Array, bounds: &[f64]) -> Result<Headroom, Mismatch> {
    let fail = |wrong, fault| Err(Mismatch { shape: expected.shape.clone(), wrong, fault });
    if got.len() != expected.data.len() {
        return fail(got.len().abs_diff(expected.data.len()), Fault::Count { got: got.len() });
    }
    if bounds.len() != expected.data.len() {
        return fail(0, Fault::Bound { flat: bounds.len(), bound: f64::NAN });
    }
    let mut worst = Headroom::default();
    let (mut wrong, mut first) = (0, None);
    for (flat, (&got, &expected)) in got.iter().zip(&expected.data).enumerate() {
        let bound = bounds[flat];
        if expected.is_finite() && !(0.0..f64::INFINITY).contains(&bound) {
            return fail(0, Fault::Bound { flat, bound });
        }
        if !passes(got, expected, bound) {
            wrong += 1;
            first.get_or_insert(Fault::Value { flat, got, expected, bound });
        } else if expected.is_finite() && bound > 0.0 {
            worst.0 = worst.0.max((f64::from(got) - expected).abs() / bound);
        }
    }
    match first {
        Some(fault) => fail(wrong, fault),
        None => Ok(worst),
    }
}

fn passes(got: f32, expected: f64, bound: f64) -> bool {
    if expected.is_nan() || is_nan(got) {
        return expected.is_nan() && is_nan(got);
    }
    if expected.is_infinite() {
        return f64::from(got) == expected;
    }
    let error = (f64::from(got) - expected).abs();
    // Negated on purpose: whatever cannot be compared fails.
    #[expect(clippy::neg_cmp_op_on_partial_ord, reason = "an error that is NaN must not pass")]
    let fails = !(error <= bound);
    !fails
}

/// By its bits: a comparison of a number with itself may be folded away.
fn is_nan(x: f32) -> bool {
    x.to_bits() & 0x7fff_ffff > 0x7f80_0000
}

/// Elements that are moved or counted, not computed, agree in every bit.
pub fn same_bits(got: &[u32], expected: &[u32], shape: &[usize]) -> Result<(), Mismatch> {
    let fail = |wrong, fault| Err(Mismatch { shape: shape.to_vec(), wrong, fault });
    if got.len() != expected.len() {
        return fail(got.len().abs_diff(expected.len()), Fault::Count { got: got.len() });
    }
    let wrong = got.iter().zip(expected).filter(|(got, expected)| got != expected).count();
    match got.iter().zip(expected).position(|(got, expected)| got != expected) {
        Some(flat) => fail(wrong, Fault::Bits { flat, got: got[flat], expected: expected[flat] }),
        None => Ok(()),
    }
}

/// [`same_bits`] of `f32`: NaN matches NaN of the same bits, and 0 is not -0.
pub fn same_f32(got: &[f32], expected: &[f32], shape: &[usize]) -> Result<(), Mismatch> {
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    same_bits(&bits(got), &bits(expected), shape)
}

/// `max|got - expected| / max|expected|`, by which whole layers of a network are compared. NaN where anything in
/// `got` or `expected` is NaN or the lengths differ, so that `!(layer_error(..) <= limit)` fails.
pub fn layer_error(got: &[f32], expected: &[f64]) -> f64 {
    if got.len() != expected.len() {
        return f64::NAN;
    }
    let (mut difference, mut largest) = (0.0, 0.0);
    for (&got, &expected) in got.iter().zip(expected) {
        let error = (f64::from(got) - expected).abs();
        if error.is_nan() {
            return f64::NAN;
        }
        difference = error.max(difference);
        largest = expected.abs().max(largest);
    }
    if difference == 0.0 { 0.0 } else { difference / largest }
}

/// [`close`], or a panic that says what was computed and where it is wrong.
#[track_caller]
pub fn assert_close(what: impl fmt::Display, got: &[f32], expected: &Array, bounds: &[f64]) -> Headroom {
    close(got, expected, bounds).unwrap_or_else(|mismatch| panic!("{what}: {mismatch}"))
}

/// [`same_bits`], or a panic that says what was computed and where it is wrong.
#[track_caller]
pub fn assert_same_bits(what: impl fmt::Display, got: &[u32], expected: &[u32], shape: &[usize]) {
    same_bits(got, expected, shape).unwrap_or_else(|mismatch| panic!("{what}: {mismatch}"));
}

impl std::error::Error for Mismatch {}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { shape, wrong, fault } = self;
        let total: usize = shape.iter().product();
        match fault {
            Fault::Count { got } => write!(f, "{got} elements came for shape {shape:?}, which has {total}"),
            Fault::Bound { flat, bound } => {
                write!(
                    f,
                    "the test has no usable bound ({bound}) for element {:?} of {shape:?}",
                    at(shape, *flat)
                )
            }
            Fault::Value { flat, got, expected, bound } => {
                let at = at(shape, *flat);
                write!(
                    f,
                    "element {at:?} of {shape:?}: got {got:e}, expected {expected:e} within {bound:.2e}"
                )?;
                write!(f, " ({wrong} of {total} wrong)")
            }
            Fault::Bits { flat, got, expected } => {
                let at = at(shape, *flat);
                write!(
                    f,
                    "element {at:?} of {shape:?}: got {got} ({got:#010x}, {:e} as f32), ",
                    f32::from_bits(*got)
                )?;
                write!(f, "expected {expected} ({expected:#010x}, {:e} as f32)", f32::from_bits(*expected))?;
                write!(f, " ({wrong} of {total} wrong)")
            }
        }
    }
}

/// The coordinate of an element, for people.
fn at(shape: &[usize], mut flat: usize) -> Vec<usize> {
    let mut at: Vec<usize> = Vec::new();
    for &extent in shape.iter().rev() {
        at.push(flat % extent.max(1));
        flat /= extent.max(1);
    }
    at.reverse();
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data;
    use crate::tolerance::{self, Tolerance};

    fn array(data: &[f64]) -> Array {
        Array::new(&[data.len()], data.to_vec())
    }

    fn one(got: f32, expected: f64, bound: f64) -> Result<Headroom, Mismatch> {
        close(&[got], &array(&[expected]), &[bound])
    }

    /// A product, its expectation and its bounds, as every matmul test has them.
    fn product() -> (Vec<f32>, Array, Vec<f64>) {
        let a = Array::from_f32(&[5, 7], &data::uniform("a", 35));
        let b = Array::from_f32(&[7, 5], &data::uniform("b", 35));
        let expected = kiln_reference::matmul(&a, &b, false, false);
        let bounds = tolerance::MATMUL.bounds(&kiln_reference::matmul(&a.abs(), &b.abs(), false, false));
        (expected.data.iter().map(|&x| x as f32).collect(), expected, bounds)
    }

    #[test]
    fn what_is_right_passes() {
        let (got, expected, bounds) = product();
        let headroom = close(&got, &expected, &bounds).expect("rounding alone should pass");
        assert!(headroom.0 > 0.0 && headroom.0 < 1.0, "{headroom:?}");
    }

    #[test]
    fn nan_never_passes_against_a_number() {
        assert!(one(f32::NAN, 0.0, 1e30).is_err());
        assert!(one(-f32::NAN, 0.0, 1e30).is_err());
        assert!(one(f32::from_bits(0x7f80_0001), 0.0, 1e30).is_err());
        assert!(one(0.0, f64::NAN, 1e30).is_err());
        assert!(one(f32::INFINITY, f64::NAN, 1e30).is_err());
        assert!(one(f32::NAN, f64::INFINITY, 1e30).is_err());
        assert!(one(f32::NAN, f64::NAN, 0.0).is_ok());
    }

    #[test]
    fn infinities_match_themselves_alone() {
        assert!(one(f32::INFINITY, f64::INFINITY, 0.0).is_ok());
        assert!(one(f32::NEG_INFINITY, f64::INFINITY, 1e30).is_err());
        assert!(one(f32::INFINITY, 1.0, 1e30).is_err());
        assert!(one(f32::MAX, f64::INFINITY, f64::INFINITY).is_err());
    }

    #[test]
    fn a_bound_that_is_no_number_fails() {
        assert!(one(1.0, 1.0, f64::NAN).is_err());
        assert!(one(1.0, 1.0, f64::INFINITY).is_err());
        assert!(one(1.0, 1.0, -1.0).is_err());
        assert!(close(&[1.0, 1.0], &array(&[1.0, 1.0]), &[0.0]).is_err());
    }

    #[test]
    fn the_bound_itself_passes_and_no_more() {
        assert!(one(1.5, 1.0, 0.5).is_ok());
        assert!(one(1.5, 1.0, 0.499).is_err());
        assert!(one(0.0, -0.0, 0.0).is_ok());
    }

    #[test]
    fn swapped_operands_fail() {
        let (_, expected, bounds) = product();
        let a = Array::from_f32(&[5, 7], &data::uniform("a", 35));
        let b = Array::from_f32(&[7, 5], &data::uniform("b", 35));
        let swapped = kiln_reference::matmul(&b, &a, true, true);
        let swapped: Vec<f32> = swapped.data.iter().map(|&x| x as f32).collect();
        assert!(close(&swapped, &expected, &bounds).is_err());
    }

    #[test]
    fn off_by_one_fails() {
        let (got, expected, bounds) = product();
        let mut shifted = got.clone();
        shifted.rotate_left(1);
        let mismatch = close(&shifted, &expected, &bounds).expect_err("shifted by one element");
        assert_eq!(mismatch.wrong, 25, "{mismatch}");
        // One term of the sum left out.
        let a = Array::from_f32(&[5, 7], &data::uniform("a", 35));
        let b = Array::from_f32(&[7, 5], &data::uniform("b", 35));
        let short = kiln_reference::matmul(
            &kiln_reference::slice(&a, 1, 0, 6),
            &kiln_reference::slice(&b, 0, 0, 6),
            false,
            false,
        );
        let short: Vec<f32> = short.data.iter().map(|&x| x as f32).collect();
        assert!(close(&short, &expected, &bounds).is_err());
    }

    #[test]
    fn an_unwritten_tail_fails() {
        let (mut got, expected, bounds) = product();
        for unwritten in [0.0, f32::NAN] {
            *got.last_mut().expect("there should be elements") = unwritten;
            let mismatch = close(&got, &expected, &bounds).expect_err("the last element was not written");
            assert_eq!(mismatch.wrong, 1, "{mismatch}");
        }
        got.pop();
        assert!(close(&got, &expected, &bounds).is_err());
    }

    #[test]
    fn bits_are_compared_as_bits() {
        assert!(same_f32(&[f32::NAN, -0.0], &[f32::NAN, -0.0], &[2]).is_ok());
        assert!(same_f32(&[0.0], &[-0.0], &[1]).is_err());
        assert!(same_f32(&[f32::from_bits(0x7fc0_0001)], &[f32::NAN], &[1]).is_err());
        assert!(same_bits(&[1, 2], &[1, 3], &[2]).is_err());
        assert!(same_bits(&[1, 2], &[1], &[1]).is_err());
    }

    #[test]
    fn a_layer_with_nan_has_no_small_error() {
        assert_eq!(layer_error(&[1.0, -1.5], &[1.0, -2.0]), 0.25);
        assert_eq!(layer_error(&[0.0], &[0.0]), 0.0);
        assert!(layer_error(&[1.0, f32::NAN], &[1.0, 1.0]).is_nan());
        assert!(layer_error(&[f32::NAN, 1.0], &[1.0, 1.0]).is_nan());
        assert!(layer_error(&[1.0], &[f64::NAN]).is_nan());
        assert!(layer_error(&[1.0], &[1.0, 1.0]).is_nan());
        assert_eq!(layer_error(&[1.0], &[0.0]), f64::INFINITY);
    }

    #[test]
    fn the_message_says_where_and_by_how_much() {
        let expected = Array::new(&[2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let bounds = Tolerance { epsilons: 0.0, absolute: 0.5 }.bounds(&expected);
        let mismatch =
            close(&[0.0, 1.0, 2.0, 3.0, 6.25, f32::NAN], &expected, &bounds).expect_err("two are wrong");
        assert_eq!(
            mismatch.to_string(),
            "element [1, 1] of [2, 3]: got 6.25e0, expected 4e0 within 5.00e-1 (2 of 6 wrong)"
        );
    }
}
