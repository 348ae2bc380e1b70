//! Tensors as parts of one vector.

use kiln_engine::ops::FlatConcat;
use kiln_engine::{EngineError, GraphBuilder, Value};
use kiln_reference::Array;
use kiln_tests::device;
use kiln_tests::graph::{array, conforms, seeded};

/// Shapes around the alignment, of which none, one or all fill it.
const SHAPES: [&[&[usize]]; 5] = [
    &[&[]],
    &[&[64], &[2, 32]],
    &[&[1], &[63], &[65], &[64]],
    &[&[3, 5, 7], &[20], &[]],
    &[&[127, 3], &[2, 2, 2, 2]],
];

type Build = fn(&mut GraphBuilder, &[Value]) -> Result<Value, EngineError>;

/// As the graph computes it from inputs, which have to be copied, and from what is computed, which does not.
#[test]
fn given_and_computed() {
    let Some(gpu) = device::gpu() else { return };
    let given: Build = |g, v| g.flat_concat(v);
    let computed: Build = |g, v| {
        let parts = v.iter().map(|&x| g.neg(x)).collect::<Result<Vec<_>, _>>()?;
        g.flat_concat(&parts)
    };
    // One part is made from another, one is there twice, one is part of another, and one is read besides.
    let entangled: Build = |g, v| {
        let first = g.neg(v[0])?;
        let second = g.neg(first)?;
        let flat = g.flat_concat(&[second, first, first, v[0]])?;
        let half = g.flat_concat(&[first])?;
        let start = g.slice(half, 0, 0, 1)?;
        let ends = [flat, half, start, second].map(|x| g.reshape(x, &[g.desc(x).elements()]));
        let [flat, half, start, second] = ends;
        g.concat(&[flat?, half?, start?, second?], 0)
    };
    for (what, build) in [("given", given), ("computed", computed), ("entangled", entangled)] {
        for shapes in SHAPES {
            let operands: Vec<_> =
                shapes.iter().enumerate().map(|(i, shape)| seeded(&format!("part{i}"), shape)).collect();
            let arrays: Vec<Array> = operands.iter().map(array).collect();
            let negative = |x: &Array| Array::new(&x.shape, x.data.iter().map(|x| -x).collect());
            let flat = |parts: &[&Array]| kiln_reference::flat_concat(parts, FlatConcat::ALIGNMENT);
            let expected = match what {
                "given" => flat(&arrays.iter().collect::<Vec<_>>()),
                "computed" => {
                    flat(&arrays.iter().map(negative).collect::<Vec<_>>().iter().collect::<Vec<_>>())
                }
                _ => {
                    let (x, minus) = (&arrays[0], negative(&arrays[0]));
                    let half = flat(&[&minus]);
                    let data = [
                        flat(&[x, &minus, &minus, x]).data,
                        half.data.clone(),
                        vec![half.data[0]],
                        x.data.clone(),
                    ];
                    let data = data.concat();
                    Array::new(&[data.len()], data)
                }
            };
            let bounds = vec![0.0; expected.data.len()];
            conforms(gpu, format_args!("{what} {shapes:?}"), &operands, build, &expected, &bounds);
        }
    }
}
