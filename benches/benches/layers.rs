//! The layers around the convolutions of a network: how many bytes a second of input and output they move, beside a relu
//! of the same input.
//!
//! `cargo bench -p kiln-benches --bench layers`
#![allow(clippy::print_stdout, missing_docs, reason = "a benchmark prints its figures")]

use kiln_benches::{Subject, alternate, numbers, open, table};
use kiln_engine::ops::{AveragePadding, LocalResponseNorm, PadMode, PoolOptions};
use kiln_engine::{DType, EngineError, GraphBuilder, NoWeights, Padding, Session, Tensor, Value};
use kiln_gpu::Gpu;

const ROUNDS: usize = 9;

/// Channels, height and width of the one image.
const INPUT: [usize; 3] = [64, 112, 112];

type Failure = Box<dyn std::error::Error>;

fn layer<'a>(
    gpu: &'a Gpu,
    name: &str,
    op: impl Fn(&mut GraphBuilder, Value) -> Result<Value, EngineError>,
) -> Result<Subject<'a>, Failure> {
    let [channels, height, width] = INPUT;
    let shape = [1, channels, height, width];
    let mut g = GraphBuilder::new("layer");
    let x = g.input("x", &shape, DType::F32);
    let y = op(&mut g, x)?;
    let bytes = g.desc(x).bytes() + g.desc(y).bytes();
    g.output("y", y);
    let mut session = Session::new(gpu);
    let plan = session.load(&g.finish(), &NoWeights)?;
    session.run(plan, &[("x", &Tensor::f32(shape, numbers(shape.iter().product()))?)])?;
    Ok(Subject {
        name: name.to_owned(),
        flop: bytes as f64,
        run: Box::new(move || session.rerun(plan).expect("the plan should run")),
    })
}

fn main() -> Result<(), Failure> {
    let gpu = open()?;
    let [_, height, width] = INPUT;
    let two = PoolOptions::new([2, 2]);
    let three = PoolOptions { stride: [2, 2], padding: Padding::all(1), ..PoolOptions::new([3, 3]) };
    let statistics = |g: &mut GraphBuilder| g.literal(&[INPUT[0]], &[1.0; INPUT[0]]);
    let mut subjects = vec![
        layer(&gpu, "relu", |g, x| g.relu(x))?,
        layer(&gpu, "max_pool2d 2x2 / 2", |g, x| g.max_pool2d(x, two))?,
        layer(&gpu, "max_pool2d 3x3 / 2", |g, x| g.max_pool2d(x, three))?,
        layer(&gpu, "avg_pool2d 3x3 / 2", |g, x| g.avg_pool2d(x, three, AveragePadding::Include))?,
        layer(&gpu, "adaptive_avg_pool2d 7x7", |g, x| g.adaptive_avg_pool2d(x, [7, 7]))?,
        layer(&gpu, "global_avg_pool2d", |g, x| g.global_avg_pool2d(x))?,
        layer(&gpu, "batch_norm", |g, x| {
            let ones = statistics(g)?;
            g.batch_norm(x, ones, ones, None, None, 1e-5)
        })?,
        layer(&gpu, "group_norm 8", |g, x| g.group_norm(x, 8, None, None, 1e-5))?,
        layer(&gpu, "local_response_norm 5", |g, x| g.local_response_norm(x, LocalResponseNorm::new(5)))?,
        layer(&gpu, "gelu", |g, x| g.gelu(x))?,
        layer(&gpu, "softplus", |g, x| g.softplus(x, 1.0, 20.0))?,
        layer(&gpu, "prelu", |g, x| {
            let slope = statistics(g)?;
            g.prelu(x, slope)
        })?,
        layer(&gpu, "log_softmax of channels", |g, x| g.log_softmax(x, 1))?,
        layer(&gpu, "pad, reflected", |g, x| g.pad(x, &[[1, 1], [1, 1]], PadMode::Reflect))?,
        layer(&gpu, "upsample_nearest2d x2", |g, x| g.upsample_nearest2d(x, [2 * height, 2 * width]))?,
        layer(&gpu, "upsample_bilinear2d x2", |g, x| {
            g.upsample_bilinear2d(x, [2 * height, 2 * width], false)
        })?,
    ];
    let rows = alternate(ROUNDS, &mut subjects);
    println!("{}", table("64 channels of 112 x 112; GFLOP/s here are GB/s of input and output", &rows));
    Ok(())
}
