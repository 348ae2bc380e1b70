//! Scoring on the present adapter against the same in f64 on the CPU.

use kiln_docqa::similarity::{GpuSimilarity, HostSimilarity, Similarity};
use kiln_gpu::Limits;
use kiln_tests::device;

/// Numbers between -1 and 1 from an integer hash of their index.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    (0..count as u64)
        .map(|index| {
            let mut state =
                (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed.wrapping_mul(0xd1b5_4a32_d192_ed03);
            state = (state ^ (state >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// Rounding of a sum of products in f32: each of `dim` terms is at most 1.
fn bound(dim: usize) -> f32 {
    f32::EPSILON * (dim as f32) * 2.0
}

#[track_caller]
fn compare(gpu: &mut GpuSimilarity, rows: usize, dim: usize) {
    let (data, query) = (numbers(rows * dim, rows as u64), numbers(dim, 7));
    let mut host = HostSimilarity::default();
    host.set_rows(&data, dim).unwrap();
    gpu.set_rows(&data, dim).unwrap();
    let expected = host.dots(&query).unwrap();
    // The second run scores what the first left on the device.
    for _ in 0..2 {
        let got = gpu.dots(&query).unwrap();
        assert_eq!(got.len(), rows, "{rows} rows of {dim}");
        for (row, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let error = (got - expected).abs();
            assert!(error <= bound(dim), "{rows} rows of {dim}: row {row}: expected {expected}, got {got}");
        }
    }
}

#[test]
fn any_number_of_rows_is_scored() {
    let Some(gpu) = device::gpu() else { return };
    let mut similarity = GpuSimilarity::new(gpu);
    assert!(similarity.dots(&[1.0, 0.0]).unwrap().is_empty());
    for rows in [1, 2, 255, 256, 257, 1000, 16_384, 16_385, 40_000, 3] {
        compare(&mut similarity, rows, 16);
    }
    for (rows, dim) in [(0, 384), (92, 384), (300, 384), (5, 1), (7, 3), (130, 2)] {
        compare(&mut similarity, rows, dim);
    }
}

#[test]
fn rows_beyond_what_can_be_bound_are_scored_in_blocks() {
    let Some(gpu) = device::gpu() else { return };
    let limits = Limits { max_binding: 64 << 10, ..gpu.profile().limits };
    let mut similarity = GpuSimilarity::with_limits(gpu, limits);
    // A block holds 1,024 of the short rows and 10 of the long ones.
    for (rows, dim) in [(1024, 16), (1025, 16), (5000, 16), (10, 1600), (33, 1600)] {
        compare(&mut similarity, rows, dim);
    }
}
