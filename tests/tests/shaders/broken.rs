//! Kernels that are wrong on purpose, run as the right ones are: each must set off its alarm.

use kiln_gpu::Gpu;
use kiln_kernels::{Access, Binding, Kernel, Needs};
use kiln_reference::Array;
use kiln_tests::compare::{self, Headroom, Mismatch};
use kiln_tests::guard::{Alarm, Bind};
use kiln_tests::kernel::{Run, RunError};
use kiln_tests::tolerance::{EXACT, ROUNDED, SUM};
use kiln_tests::{data, device};

/// Not a multiple of a workgroup, so that guards matter.
const COUNT: usize = 3 * 64 - 7;

const INPUT: Binding = Binding { name: "input", access: Access::Read };
const OUTPUT: Binding = Binding { name: "output", access: Access::ReadWrite };
const ONE: &[Binding] = &[INPUT, OUTPUT];
const TWO: &[Binding] =
    &[Binding { name: "lhs", access: Access::Read }, Binding { name: "rhs", access: Access::Read }, OUTPUT];

/// A kernel of the fixtures, which no build has looked at.
fn kernel(name: &'static str, source: &'static str, bindings: &'static [Binding]) -> &'static Kernel {
    Box::leak(Box::new(Kernel {
        name,
        variant: "base",
        source,
        workgroup_size: [64, 1, 1],
        workgroup_memory: 0,
        constants: &[],
        bindings,
        params_size: 4,
        free: &[],
        needs: Needs::default(),
    }))
}

macro_rules! fixture {
    ($name:literal, $bindings:expr) => {
        kernel($name, include_str!(concat!("../../fixtures/", $name, ".wgsl")), $bindings)
    };
}

fn run(gpu: &Gpu, kernel: &'static Kernel, inputs: &[&[f32]]) -> Result<Vec<f32>, RunError> {
    let mut binds: Vec<Bind> = inputs.iter().map(|input| Bind::f32(input)).collect();
    binds.push(Bind::output(COUNT));
    let written = Run::new(kernel, &(COUNT as u32), binds, COUNT.div_ceil(64)).on(gpu)?;
    Ok(written.f32().remove(0))
}

/// `lhs - 2 rhs` by the kernel, and the verdict on it.
fn difference(gpu: &Gpu, kernel: &'static Kernel) -> Result<Result<Headroom, Mismatch>, RunError> {
    let (lhs, rhs) = (data::uniform("lhs", COUNT), data::uniform("rhs", COUNT));
    let got = run(gpu, kernel, &[&lhs, &rhs])?;
    let (lhs, rhs) = (Array::from_f32(&[COUNT], &lhs), Array::from_f32(&[COUNT], &rhs));
    let twice = kiln_reference::add(&rhs, &rhs);
    let expected = kiln_reference::sub(&lhs, &twice);
    let bounds = ROUNDED.bounds(&kiln_reference::add(&lhs.abs(), &twice.abs()));
    Ok(compare::close(&got, &expected, &bounds))
}

#[test]
fn a_sound_kernel_passes() {
    let Some(gpu) = device::gpu() else { return };
    let verdict = difference(gpu, fixture!("sound", TWO)).expect("no alarm should fire");
    verdict.expect("the numbers should agree");
}

#[test]
fn a_write_past_the_end_is_caught() {
    let Some(gpu) = device::gpu() else { return };
    for kernel in [fixture!("broken_overrun", TWO), fixture!("broken_unguarded", TWO)] {
        let error = difference(gpu, kernel).expect_err("the guard words should have changed");
        assert!(matches!(error, RunError::Alarm(Alarm::Overrun { binding: 2, past: 1, .. })), "{error}");
    }
}

#[test]
fn an_unwritten_tail_is_caught() {
    let Some(gpu) = device::gpu() else { return };
    let error =
        difference(gpu, fixture!("broken_unwritten", TWO)).expect_err("the last element is not written");
    let expected = Alarm::Unwritten { binding: 2, element: COUNT - 1, count: 1 };
    assert!(matches!(&error, RunError::Alarm(alarm) if *alarm == expected), "{error}");
}

#[test]
fn swapped_operands_are_caught() {
    let Some(gpu) = device::gpu() else { return };
    let verdict = difference(gpu, fixture!("broken_swapped", TWO)).expect("only the numbers are wrong");
    verdict.expect_err("the operands are swapped");
}

#[test]
fn a_read_past_the_end_is_caught() {
    let Some(gpu) = device::gpu() else { return };
    let input = data::uniform("input", COUNT);
    let got = run(gpu, fixture!("broken_tail", ONE), &[&input]).expect("only the numbers are wrong");
    let x = Array::from_f32(&[COUNT], &input);
    let next = Array::from_fn(&[COUNT], |at| x.data.get(at[0] + 1).copied().unwrap_or(0.0));
    let bounds = ROUNDED.bounds(&kiln_reference::add(&x.abs(), &next.abs()));
    let expected = kiln_reference::add(&x, &next);
    let mismatch = compare::close(&got, &expected, &bounds).expect_err("the poison should have come through");
    let message = mismatch.to_string();
    assert!(message.contains("got NaN") && message.contains("(1 of"), "{message}");
}

#[test]
fn a_sum_that_stops_early_is_caught() {
    let Some(gpu) = device::gpu() else { return };
    let input = data::uniform("input", COUNT);
    let got = run(gpu, fixture!("broken_sum", ONE), &[&input]).expect("only the numbers are wrong");
    let running = |x: &Array| Array::from_fn(&[COUNT], |at| x.data[..=at[0]].iter().sum());
    let x = Array::from_f32(&[COUNT], &input);
    let bounds = SUM.bounds(&running(&x.abs()));
    compare::close(&got, &running(&x), &bounds).expect_err("each sum lacks a term");
}

#[test]
fn a_dropped_nan_is_caught() {
    let Some(gpu) = device::gpu() else { return };
    let mut input = data::uniform("input", COUNT);
    input[70] = f32::NAN;
    let got = run(gpu, fixture!("broken_nan", ONE), &[&input]).expect("only the numbers are wrong");
    let expected = kiln_reference::unary(kiln_reference::Unary::Relu, &Array::from_f32(&[COUNT], &input));
    let bounds = EXACT.bounds(&expected);
    if got[70].is_nan() {
        // WGSL leaves max of NaN open; where the driver keeps it, this kernel happens to be right.
        compare::close(&got, &expected, &bounds).expect("then nothing is wrong");
    } else {
        compare::close(&got, &expected, &bounds).expect_err("the NaN is lost");
    }
}

#[test]
fn a_missing_barrier_is_caught() {
    let Some(gpu) = device::gpu() else { return };
    let input = data::uniform("input", COUNT);
    let kernel = fixture!("broken_barrier", ONE);
    // What the last, partial workgroup mirrors in is undefined; the comparison is about the full ones.
    let full = COUNT / 64 * 64;
    let mirrored = Array::from_fn(&[full], |at| f64::from(input[at[0] / 64 * 64 + 63 - at[0] % 64]));
    match run(gpu, kernel, &[&input]) {
        Err(error) => assert!(matches!(error, RunError::Unstable { .. } | RunError::Alarm(_)), "{error}"),
        Ok(got) => {
            let verdict = compare::close(&got[..full], &mirrored, &EXACT.bounds(&mirrored));
            verdict.expect_err("values were read before they were written");
        }
    }
}

#[test]
fn bindings_that_do_not_fit_are_refused() {
    let Some(gpu) = device::gpu() else { return };
    let kernel = fixture!("sound", TWO);
    let few = Run::new(kernel, &1u32, vec![Bind::output(1)], 1).on(gpu).expect_err("bindings are missing");
    assert!(matches!(few, RunError::Bindings(_)), "{few}");
    let input = || Bind::f32(&[1.0]);
    let read_only = Run::new(kernel, &1u32, vec![input(), input(), input()], 1).on(gpu);
    assert!(matches!(read_only, Err(RunError::Bindings(_))));
}
