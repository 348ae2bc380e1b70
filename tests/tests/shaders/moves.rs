//! Kernels that move elements and compute nothing: every bit must arrive.

use kiln_gpu::Gpu;
use kiln_kernels::{copy_strided, index_select};
use kiln_tests::compare::assert_same_bits;
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::{data, device, sweep};

use crate::support::{halves, strides, u};

/// One copy between two strided views.
struct Copy<'a> {
    shape: &'a [usize],
    input_offset: usize,
    input_strides: &'a [usize],
    output_offset: usize,
    output_strides: &'a [usize],
}

fn copy(gpu: &Gpu, variant: copy_strided::Variant, copy: &Copy<'_>, input: &[u32], output: Bind) -> Vec<u32> {
    let (shape_low, shape_high) = halves(copy.shape);
    let (input_low, input_high) = halves(copy.input_strides);
    let (output_low, output_high) = halves(copy.output_strides);
    let count: usize = copy.shape.iter().product();
    let params = copy_strided::Params {
        count: u(count),
        rank: u(copy.shape.len()),
        input_offset: u(copy.input_offset),
        output_offset: u(copy.output_offset),
        shape_low,
        shape_high,
        input_low,
        input_high,
        output_low,
        output_high,
    };
    let groups = count.div_ceil(variant.threads() as usize);
    Run::new(variant.kernel(), &params, vec![Bind::u32(input), output], groups).words(gpu)
}

/// Words that are told apart, NaN and numbers below the normal range among them: a move must not touch them.
fn words(count: usize) -> Vec<u32> {
    let mut words: Vec<u32> = (0..u(count)).map(|i| i.wrapping_mul(0x9e37_79b9)).collect();
    for (word, odd) in words.iter_mut().zip([0x7fc0_1234, 0xffc0_0001, 0x0000_0001, 0x8000_0000]) {
        *word = odd;
    }
    words
}

#[test]
fn permutes() {
    let Some(gpu) = device::gpu() else { return };
    let table: [(&[usize], &[usize]); 6] = [
        (&[65], &[0]),
        (&[7, 9], &[1, 0]),
        (&[2, 3, 5], &[2, 0, 1]),
        (&[2, 3, 5, 7], &[0, 2, 1, 3]),
        (&[2, 4, 3, 2, 3], &[4, 2, 0, 3, 1]),
        (&[2, 3, 2, 1, 2, 3, 2, 2], &[7, 1, 6, 0, 5, 3, 2, 4]),
    ];
    for variant in copy_strided::Variant::ALL {
        for (shape, axes) in table {
            let count = shape.iter().product();
            let input = words(count);
            let of_input = strides(shape);
            let permuted: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
            let got = copy(
                gpu,
                *variant,
                &Copy {
                    shape: &permuted,
                    input_offset: 0,
                    input_strides: &axes.iter().map(|&axis| of_input[axis]).collect::<Vec<_>>(),
                    output_offset: 0,
                    output_strides: &strides(&permuted),
                },
                &input,
                Bind::output(count),
            );
            // The oracle moves numbers, so it moves the places and the words follow.
            let places = kiln_reference::Array::new(shape, (0..count).map(|i| i as f64).collect());
            let places = kiln_reference::permute(&places, axes);
            let expected: Vec<u32> = places.data.iter().map(|&place| input[place as usize]).collect();
            assert_same_bits(format_args!("{shape:?} by {axes:?}"), &got, &expected, &permuted);
        }
    }
}

#[test]
fn slices_and_parts_of_a_concatenation() {
    let Some(gpu) = device::gpu() else { return };
    // [3, 10, 4] from row 6 of the middle dimension on, into [3, 7, 4] from row 2 on.
    let input = words(3 * 10 * 4);
    let before: Vec<f32> = data::uniform("before", 3 * 7 * 4);
    for variant in copy_strided::Variant::ALL {
        let part = Copy {
            shape: &[3, 4, 4],
            input_offset: 6 * 4,
            input_strides: &[40, 4, 1],
            output_offset: 2 * 4,
            output_strides: &[28, 4, 1],
        };
        let got = copy(gpu, *variant, &part, &input, Bind::update(&before));
        let mut expected: Vec<u32> = before.iter().map(|x| x.to_bits()).collect();
        for (i, j, k) in (0..3).flat_map(|i| (0..4).flat_map(move |j| (0..4).map(move |k| (i, j, k)))) {
            expected[i * 28 + (2 + j) * 4 + k] = input[i * 40 + (6 + j) * 4 + k];
        }
        assert_same_bits("slice into a part", &got, &expected, &[3, 7, 4]);
    }
}

#[test]
fn selects_by_index() {
    let Some(gpu) = device::gpu() else { return };
    for variant in index_select::Variant::ALL {
        for [outer, extent, inner, indices] in
            sweep::shapes([&[1, 3], &[2, 17], &sweep::sizes(8), &[1, 2, 5]])
        {
            let input = words(outer * extent * inner);
            let index = data::indices("index", indices, extent);
            let count = outer * indices * inner;
            let params = index_select::Params {
                count: u(count),
                extent: u(extent),
                inner: u(inner),
                indices: u(indices),
                first: 0,
                rows: u(extent),
            };
            let binds = vec![Bind::u32(&input), Bind::u32(&index), Bind::output(count)];
            let groups = count.div_ceil(variant.threads() as usize);
            let got = Run::new(variant.kernel(), &params, binds, groups).words(gpu);
            let mut expected = Vec::new();
            for (o, &row) in (0..outer).flat_map(|o| index.iter().map(move |row| (o, row))) {
                let start = (o * extent + row as usize) * inner;
                expected.extend_from_slice(&input[start..start + inner]);
            }
            let shape = [outer, indices, inner];
            assert_same_bits(
                format_args!("index_select of {outer}x{extent}x{inner}"),
                &got,
                &expected,
                &shape,
            );
        }
    }
}

/// A table in pieces, as a plan splits one over the binding limit: each piece writes its own rows and no other, and
/// an index past the whole table becomes NaN.
#[test]
fn selects_from_a_table_in_pieces() {
    let Some(gpu) = device::gpu() else { return };
    const NAN: u32 = 0x7fc0_0000;
    let (extent, inner) = (11, 5);
    let table = words(extent * inner);
    let index = [10, 0, 3, 4, 11, 7, 0xffff_ffff, 3];
    let count = index.len() * inner;
    for variant in index_select::Variant::ALL {
        let mut output = vec![-1.0f32; count];
        for (first, rows) in [(0, 4), (4, 4), (8, 3)] {
            let params = index_select::Params {
                count: u(count),
                extent: u(extent),
                inner: u(inner),
                indices: u(index.len()),
                first: u(first),
                rows: u(rows),
            };
            let piece = &table[first * inner..(first + rows) * inner];
            let binds = vec![Bind::u32(piece), Bind::u32(&index), Bind::update(&output)];
            let words = Run::new(variant.kernel(), &params, binds, count.div_ceil(64)).words(gpu);
            output = words.into_iter().map(f32::from_bits).collect();
        }
        let mut expected = Vec::new();
        for row in index {
            let row = row as usize;
            match row < extent {
                true => expected.extend_from_slice(&table[row * inner..(row + 1) * inner]),
                false => expected.extend_from_slice(&[NAN; 5]),
            }
        }
        let got: Vec<u32> = output.iter().map(|x| x.to_bits()).collect();
        assert_same_bits("index_select in pieces", &got, &expected, &[index.len(), inner]);
    }
}
