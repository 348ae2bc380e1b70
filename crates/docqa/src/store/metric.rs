//! Distances.

use serde::{Deserialize, Serialize};

/// How distance is measured. For unit vectors both give the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The squared Euclidean distance, 0 to 4 for unit vectors (Chroma's default).
    #[default]
    SquaredL2,
    /// One minus the cosine of the angle, 0 to 2.
    Cosine,
}

impl Metric {
    /// The distance, from the dot product and both squared lengths. Rounding can make it fall just below
    /// 0 for equal vectors; it is 0 then.
    pub(super) fn distance(self, dot: f32, query: f64, row: f64) -> f32 {
        let dot = f64::from(dot);
        let distance = match self {
            Self::SquaredL2 => query + row - 2.0 * dot,
            // A vector without direction is at a right angle to all.
            Self::Cosine if query == 0.0 || row == 0.0 => 1.0,
            Self::Cosine => 1.0 - dot / (query * row).sqrt(),
        };
        distance.max(0.0) as f32
    }
}

/// The square of a vector's length.
pub(super) fn squared_norm(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value) * f64::from(value)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_never_fall_below_zero() {
        assert_eq!(Metric::SquaredL2.distance(1.1, 1.0, 1.0), 0.0);
        assert_eq!(Metric::Cosine.distance(1.1, 1.0, 1.0), 0.0);
        assert_eq!(Metric::Cosine.distance(0.0, 0.0, 1.0), 1.0);
        // Lengths other than one count in one and not in the other.
        assert_eq!(Metric::SquaredL2.distance(6.0, 9.0, 4.0), 1.0);
        assert_eq!(Metric::Cosine.distance(6.0, 9.0, 4.0), 0.0);
        assert_eq!(squared_norm(&[3.0, -4.0]), 25.0);
    }
}
