//! Transposed convolutions.
