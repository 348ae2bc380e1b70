//! Matrix products through the engine: in f32 against one invocation per output, and the few rows of a decoder with weights
//! in f32 against f16.
//!
//! `cargo bench -p kiln-benches --bench matmul`
#![allow(clippy::print_stdout, missing_docs, reason = "a benchmark prints its figures")]

use kiln_benches::{Subject, alternate, linear, numbers, open, product, table};
use kiln_gpu::{BufferSlice, Command, Dispatch, Gpu};
use kiln_kernels::matmul_naive;

const ROUNDS: usize = 9;

type Failure = Box<dyn std::error::Error>;

/// The naive kernel on buffers of its own.
fn naive<'a>(gpu: &'a Gpu, [m, k, n]: [usize; 3]) -> Result<Subject<'a>, Failure> {
    let lhs = gpu.create_buffer("lhs", (m * k * 4) as u64)?;
    let rhs = gpu.create_buffer("rhs", (k * n * 4) as u64)?;
    let output = gpu.create_buffer("output", (m * n * 4) as u64)?;
    for (buffer, count) in [(&lhs, m * k), (&rhs, k * n)] {
        let bytes: Vec<u8> = numbers(count).iter().flat_map(|number| number.to_le_bytes()).collect();
        gpu.write(buffer, 0, &bytes)?;
    }
    let params = matmul_naive::Params {
        rows: m as u32,
        cols: n as u32,
        depth: k as u32,
        batch: 1,
        lhs_row_stride: k as u32,
        lhs_k_stride: 1,
        rhs_k_stride: n as u32,
        rhs_col_stride: 1,
        piece_cols: n as u32,
        output_cols: n as u32,
        ..Default::default()
    };
    let variant = matmul_naive::Variant::Base;
    let slice = |buffer| BufferSlice { offset: 0, bytes: kiln_gpu::Buffer::bytes(buffer), buffer };
    let (lhs, rhs) = (slice(&lhs), slice(&rhs));
    let bindings =
        matmul_naive::Bindings { lhs, rhs, bias: lhs, residual: lhs, output: slice(&output) }.into_array();
    let recording = gpu.record(
        "naive",
        &[Command::Dispatch(Dispatch {
            label: "naive",
            kernel: variant.kernel(),
            overrides: &matmul_naive::Overrides::default().pairs(),
            params: bytemuck::bytes_of(&params),
            bindings: &bindings,
            workgroups: [((m * n) as u32).div_ceil(variant.threads()), 1, 1],
        })],
    )?;
    Ok(Subject {
        name: "naive kernel".to_owned(),
        flop: (2 * m * k * n) as f64,
        run: Box::new(move || {
            gpu.submit(&recording).expect("the naive kernel should run");
            gpu.wait().expect("the device should finish");
        }),
    })
}

fn main() -> Result<(), Failure> {
    let gpu = open()?;
    println!("matmul on {} ({}), {ROUNDS} alternating rounds\n", gpu.profile().name, gpu.profile().driver);
    for size in [[512; 3], [1024; 3], [1024, 384, 384], [1024, 384, 1536], [1024, 1536, 384], [1, 1024, 1024]]
    {
        let mut subjects = [naive(&gpu, size)?, product(&gpu, size)?];
        let [m, k, n] = size;
        println!("{}", table(&format!("[{m} x {k}] x [{k} x {n}]"), &alternate(ROUNDS, &mut subjects)));
    }
    for size in [[1, 512, 2048], [1, 512, 32_128], [4, 512, 2048], [4, 512, 32_128], [8, 512, 32_128]] {
        let mut subjects = [linear(&gpu, size, false)?, linear(&gpu, size, true)?];
        let [m, k, n] = size;
        let measured = alternate(ROUNDS, &mut subjects);
        println!("{}", table(&format!("linear [{m} x {k}] to {n}"), &measured));
        for (row, bytes) in measured.iter().zip([4, 2]) {
            let rate = (k * n * bytes) as f64 / row.median.as_secs_f64() / 1e9;
            println!("  {:<28} {rate:>10.2} GB/s of weights", row.name);
        }
        println!();
    }
    Ok(())
}
