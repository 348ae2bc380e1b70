//! Slices added up by index.

use kiln_engine::Tensor;
use kiln_tests::graph::{Source, array, conforms, profiles, run_op, seeded, u32_tensor};
use kiln_tests::tolerance::SUM;
use kiln_tests::{compare, data, device};

fn check(shape: &[usize], dim: usize, index: Vec<u32>, extent: usize) {
    let Some(gpu) = device::gpu() else { return };
    let operands = [seeded("x", shape), u32_tensor(&[index.len()], index.clone())];
    let x = array(&operands[0]);
    let expected = kiln_reference::index_add(&x, dim, &index, extent);
    let bounds = SUM.bounds(&kiln_reference::index_add(&x.abs(), dim, &index, extent));
    let what = format!("{} of {shape:?} along {dim} into {extent}", index.len());
    conforms(gpu, what, &operands, |g, v| g.index_add(v[0], dim, v[1], extent), &expected, &bounds);
}

#[test]
fn along_each_dimension() {
    for (shape, dim, extent) in [
        (&[5][..], 0, 7),
        (&[9, 64], 0, 5),
        (&[3, 17], 1, 4),
        (&[2, 5, 7], 1, 9),
        (&[2, 5, 8], 1, 3),
        (&[2, 5, 7], 2, 1),
        (&[3, 2, 4, 5], 2, 6),
        (&[300, 12], 0, 1000),
    ] {
        // Some of them past the extent, where nothing is added.
        check(shape, dim, data::indices("index", shape[dim], extent + 1), extent);
    }
}

#[test]
fn one_row_takes_all() {
    check(&[3000, 4], 0, vec![1; 3000], 3);
    check(&[3000, 3], 0, vec![2; 3000], 3);
}

fn run(operands: &[Tensor; 2], dim: usize, extent: usize, piece: Option<u64>) -> Option<Tensor> {
    let gpu = device::gpu()?;
    let mut profile = profiles(gpu)[0].clone();
    if let Some(bytes) = piece {
        profile.limits.max_binding = bytes;
    }
    let made = run_op(gpu, &profile, Source::Inputs, operands, |g, v| g.index_add(v[0], dim, v[1], extent));
    Some(made.expect("the op should run"))
}

/// The ids of a long text in a large vocabulary, a tenth of them one and the same: more than a software adapter's
/// invocations may loop over, one by one.
#[test]
fn a_hundred_thousand_ids() {
    let (count, width, extent) = (100_000, 8, 30_000);
    let mut index = data::indices("ids", count, extent);
    index.iter_mut().step_by(10).for_each(|id| *id = 101);
    let operands = [seeded("x", &[count, width]), u32_tensor(&[count], index.clone())];
    let Some(made) = run(&operands, 0, extent, None) else { return };
    let x = array(&operands[0]);
    let expected = kiln_reference::index_add(&x, 0, &index, extent);
    let bounds = SUM.bounds(&kiln_reference::index_add(&x.abs(), 0, &index, extent));
    let got = made.as_f32().expect("sums are f32");
    compare::assert_close("a hundred thousand ids", got, &expected, &bounds);
}

/// More of one id than one dispatch adds on a software adapter.
#[test]
fn a_row_in_several_parts() {
    let count = 900_000;
    let operands = [seeded("x", &[count, 1]), u32_tensor(&[count], vec![1; count])];
    let Some(made) = run(&operands, 0, 2, None) else { return };
    let x = array(&operands[0]);
    let expected = kiln_reference::index_add(&x, 0, &vec![1; count], 2);
    let bounds = SUM.bounds(&kiln_reference::index_add(&x.abs(), 0, &vec![1; count], 2));
    compare::assert_close("900,000 of one id", made.as_f32().expect("sums are f32"), &expected, &bounds);
}

/// On a device that binds little: a table in pieces, of a gradient in pieces.
#[test]
fn a_table_in_pieces() {
    for dim in [0, 1] {
        let shape = if dim == 0 { [900, 64] } else { [640, 65] };
        let index = data::indices("ids", shape[dim], 800);
        let operands = [seeded("x", &shape), u32_tensor(&[shape[dim]], index.clone())];
        let Some(made) = run(&operands, dim, 768, Some(64 * 1024)) else { return };
        let x = array(&operands[0]);
        let expected = kiln_reference::index_add(&x, dim, &index, 768);
        let bounds = SUM.bounds(&kiln_reference::index_add(&x.abs(), dim, &index, 768));
        let what = format!("pieces along {dim}");
        compare::assert_close(what, made.as_f32().expect("sums are f32"), &expected, &bounds);
    }
}
