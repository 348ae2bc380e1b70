//! Maximum and average pooling: windows side by side, overlapping, dilated, past the padding, and along one axis.

use kiln_engine::ops::{AveragePadding, PoolOptions};
use kiln_engine::{DType, EngineError, GraphBuilder, Padding, Session, Tensor};
use kiln_reference::Pool;
use kiln_tests::graph::{f32_tensor, seeded};
use kiln_tests::{device, gradient};

/// Numbers no two of which are closer than a hundred times the step of a difference.
pub(crate) fn apart(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    // A step without a common divisor walks through all places.
    let step = (count * 5 / 13..)
        .find(|step| (2..=*step).all(|d| !step.is_multiple_of(d) || !count.is_multiple_of(d)));
    let step = step.expect("there should be such a step").max(1);
    let place = |i: usize| (i * step % count) as f32;
    f32_tensor(shape, (0..count).map(|i| 2.0 * place(i) / count as f32 - 1.0).collect())
}

fn spelled<const N: usize>(options: PoolOptions<N>) -> Pool<N> {
    let padding = match options.padding {
        Padding::Sides(sides) => sides,
        Padding::Valid => [[0; 2]; N],
        Padding::Same => panic!("the table should spell it out"),
    };
    let PoolOptions { kernel, stride, dilation, ceil_mode, .. } = options;
    Pool { kernel, stride, padding, dilation, ceil_mode }
}

const PLAIN: PoolOptions<2> = PoolOptions {
    kernel: [2, 2],
    stride: [2, 2],
    padding: Padding::Valid,
    dilation: [1, 1],
    ceil_mode: false,
};

const TABLE: [([usize; 4], PoolOptions<2>); 9] = [
    ([2, 3, 6, 8], PLAIN),
    ([1, 2, 5, 6], PLAIN),
    ([2, 1, 7, 5], PoolOptions { ceil_mode: true, ..PLAIN }),
    ([1, 2, 7, 9], PoolOptions { kernel: [3, 3], stride: [2, 2], padding: Padding::all(1), ..PLAIN }),
    ([1, 2, 6, 8], PoolOptions { kernel: [3, 3], stride: [1, 1], padding: Padding::all(1), ..PLAIN }),
    (
        [1, 1, 7, 10],
        PoolOptions {
            kernel: [4, 5],
            stride: [3, 4],
            padding: Padding::axes([2, 1]),
            ceil_mode: true,
            ..PLAIN
        },
    ),
    ([1, 2, 8, 9], PoolOptions { kernel: [2, 2], stride: [3, 4], ceil_mode: true, ..PLAIN }),
    ([1, 2, 9, 8], PoolOptions { kernel: [2, 3], stride: [1, 2], dilation: [3, 2], ..PLAIN }),
    (
        [1, 1, 6, 7],
        PoolOptions { kernel: [2, 3], padding: Padding::Sides([[1, 0], [0, 1]]), stride: [2, 3], ..PLAIN },
    ),
];

#[test]
fn maxima() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, options) in TABLE {
        gradient::conforms(
            gpu,
            format!("max of {shape:?}, {options:?}"),
            &[apart(&shape)],
            |g, v| g.max_pool2d(v[0], options),
            |x| kiln_reference::max_pool2d(&x[0], spelled(options)),
        );
    }
}

#[test]
fn averages() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, options) in TABLE.into_iter().filter(|(_, options)| options.dilation == [1, 1]) {
        for (padding, include) in [(AveragePadding::Include, true), (AveragePadding::Exclude, false)] {
            gradient::conforms(
                gpu,
                format!("average of {shape:?}, {padding:?}, {options:?}"),
                &[seeded("x", &shape)],
                |g, v| g.avg_pool2d(v[0], options, padding),
                |x| kiln_reference::avg_pool2d(&x[0], spelled(options), include),
            );
        }
    }
}

#[test]
fn along_one_axis() {
    let Some(gpu) = device::gpu() else { return };
    for options in [
        PoolOptions::new([2]),
        PoolOptions { stride: [2], padding: Padding::all(1), ceil_mode: true, ..PoolOptions::new([3]) },
    ] {
        let shape = [2, 3, 13];
        gradient::conforms(
            gpu,
            format!("max, {options:?}"),
            &[apart(&shape)],
            |g, v| g.max_pool1d(v[0], options),
            |x| kiln_reference::max_pool1d(&x[0], spelled(options)),
        );
        gradient::conforms(
            gpu,
            format!("average, {options:?}"),
            &[seeded("x", &shape)],
            |g, v| g.avg_pool1d(v[0], options, AveragePadding::Include),
            |x| kiln_reference::avg_pool1d(&x[0], spelled(options), true),
        );
    }
}

/// Windows so large that they are taken in two steps: the first of equals in either order of the axes. A finite difference
/// of each of so many elements would take too long.
#[test]
fn large_windows() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let (height, width) = (140, 130);
    let mut x = vec![0.0f32; height * width];
    for (row, col) in [(40, 17), (40, 90), (77, 5)] {
        x[row * width + col] = 1.0;
    }
    let mut g = GraphBuilder::new("large");
    let input = g.input("x", &[1, 1, height, width], DType::F32);
    let pooled = g.max_pool2d(input, PoolOptions::new([height, width]))?;
    let loss = g.sum(pooled, &[0, 1, 2, 3], false)?;
    let gradient = g.gradients(loss, &[input])?[0];
    g.output("gradient", gradient);
    let mut session = Session::new(gpu);
    let plan = session.load(&g.finish(), &kiln_engine::NoWeights)?;
    let outputs = session.run(plan, &[("x", &f32_tensor(&[1, 1, height, width], x))])?;
    let gradient = outputs["gradient"].as_f32()?;
    let places: Vec<usize> = (0..gradient.len()).filter(|&place| gradient[place] != 0.0).collect();
    assert_eq!((places, gradient[40 * width + 17]), (vec![40 * width + 17], 1.0));
    Ok(())
}
