//! The smallest data set there is: the four points of exclusive or.

use super::Dataset;
use crate::normalization::Normalization;

/// The name that stands for it where a data folder is expected.
pub const NAME: &str = "xor";

/// The points (0, 0), (0, 1), (1, 0) and (1, 1) with labels 0, 1, 1 and 0: two channels of one pixel. Both parts are
/// the same.
pub fn dataset() -> Dataset {
    let classes = ["0", "1"].map(str::to_owned).to_vec();
    let pixels = vec![0, 0, 0, 255, 255, 0, 255, 255];
    Dataset::from_memory(NAME, [2, 1, 1], classes, pixels, vec![0, 1, 1, 0])
        .expect("the four points should be a data set")
}

/// Inputs are 0 and 1, as the problem is posed.
pub fn normalization() -> Normalization {
    Normalization::unit(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loader::{Loader, LoaderOptions};

    #[test]
    fn a_network_reads_zeros_and_ones() {
        let mut loader =
            Loader::start(&dataset(), &normalization(), &LoaderOptions::default(), 0, 0).unwrap();
        let batch = loader.next().unwrap().unwrap();
        assert_eq!(batch.shape, [4, 2, 1, 1]);
        for (point, label) in batch.images.chunks_exact(2).zip(&batch.labels) {
            assert_eq!(u32::from(point[0] != point[1]), *label);
            assert!(point.iter().all(|value| [0.0, 1.0].contains(value)));
        }
    }
}
