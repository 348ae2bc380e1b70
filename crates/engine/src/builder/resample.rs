//! Padding and upsampling.
