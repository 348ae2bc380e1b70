//! Tensors one after another.

use kiln_reference::Array;
use kiln_tests::device;
use kiln_tests::graph::{array, conforms, seeded};

#[test]
fn along_each_dimension() {
    let Some(gpu) = device::gpu() else { return };
    for (shapes, dim) in [
        (&[&[5][..], &[3]][..], 0),
        (&[&[2, 3], &[4, 3], &[1, 3]], 0),
        (&[&[3, 64], &[3, 1], &[3, 63]], 1),
        (&[&[2, 3, 4], &[2, 5, 4]], 1),
        (&[&[2, 3, 4, 5], &[2, 3, 4, 2]], 3),
        (&[&[4, 4]], 0),
    ] {
        let operands: Vec<_> =
            shapes.iter().enumerate().map(|(i, shape)| seeded(&format!("part{i}"), shape)).collect();
        let arrays: Vec<Array> = operands.iter().map(array).collect();
        let expected = kiln_reference::concat(&arrays.iter().collect::<Vec<_>>(), dim);
        let bounds = vec![0.0; expected.data.len()];
        conforms(
            gpu,
            format_args!("{shapes:?} along {dim}"),
            &operands,
            |g, v| g.concat(v, dim),
            &expected,
            &bounds,
        );
    }
}

/// One value twice.
#[test]
fn with_itself() {
    let Some(gpu) = device::gpu() else { return };
    let operands = [seeded("x", &[3, 5])];
    let x = array(&operands[0]);
    let expected = kiln_reference::concat(&[&x, &x], 1);
    conforms(gpu, "twice", &operands, |g, v| g.concat(&[v[0], v[0]], 1), &expected, &[0.0; 30]);
}
