//! The start-up probe: a device that computes a known answer wrongly is refused, since everything it
//! made later would be wrong without a sign.

use kiln_kernels::{binary, fill};

use crate::buffer::Buffer;
use crate::device::Gpu;
use crate::error::GpuError;
use crate::recording::{Command, Dispatch};

/// Elements computed: more than one workgroup, and no multiple of one.
const COUNT: u32 = 300;
/// Elements in the buffers: the tail must keep its zeros.
const CAPACITY: u32 = 320;
const VALUE: f32 = 1.375;

/// Fills a buffer, adds it to itself and compares every element with the answer.
pub(crate) fn run(gpu: &Gpu) -> Result<(), GpuError> {
    let bytes = u64::from(CAPACITY) * 4;
    let term = gpu.create_buffer("probe term", bytes)?;
    let sum = gpu.create_buffer("probe sum", bytes)?;
    let fill_params = fill::Params { value: VALUE, count: COUNT };
    let add_params = binary::Params {
        count: COUNT,
        rank: 1,
        shape_low: [COUNT, 1, 1, 1],
        lhs_low: [1, 0, 0, 0],
        rhs_low: [1, 0, 0, 0],
        ..Default::default()
    };
    let fill_kernel = fill::Variant::Base.kernel();
    let add_kernel = binary::Variant::Base.kernel();
    let filled = [term.slice()];
    let added = [term.slice(), term.slice(), sum.slice()];
    let commands = [
        Command::Dispatch(Dispatch {
            label: "probe fill",
            kernel: fill_kernel,
            overrides: &[],
            params: bytemuck::bytes_of(&fill_params),
            bindings: &filled,
            workgroups: [COUNT.div_ceil(fill_kernel.threads()), 1, 1],
        }),
        Command::Dispatch(Dispatch {
            label: "probe add",
            kernel: add_kernel,
            overrides: &[],
            params: bytemuck::bytes_of(&add_params),
            bindings: &added,
            workgroups: [COUNT.div_ceil(add_kernel.threads()), 1, 1],
        }),
    ];
    let recording = gpu.record("start-up probe", &commands)?;
    gpu.submit(&recording)?;
    check(&gpu.profile().name, &read_f32(gpu, &sum)?)
}

fn read_f32(gpu: &Gpu, buffer: &Buffer) -> Result<Vec<f32>, GpuError> {
    let bytes = gpu.read(&[(buffer, 0..buffer.bytes())])?;
    Ok(bytes.iter().flat_map(|part| bytemuck::pod_collect_to_vec::<u8, f32>(part)).collect())
}

/// Doubling is exact in every f32 arithmetic, so the comparison is too.
fn check(adapter: &str, got: &[f32]) -> Result<(), GpuError> {
    let expected = |index: usize| if index < COUNT as usize { VALUE + VALUE } else { 0.0 };
    let wrong = got.iter().enumerate().find(|(index, value)| **value != expected(*index));
    match wrong {
        None => Ok(()),
        Some((index, value)) => Err(GpuError::ProbeFailed {
            adapter: adapter.to_owned(),
            expected: format!("{} at element {index}", expected(index)),
            got: value.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_answers_are_caught_and_named() {
        let mut answer = vec![2.75; COUNT as usize];
        answer.resize(CAPACITY as usize, 0.0);
        assert_eq!(check("card", &answer), Ok(()));
        for (index, value) in [(0, 1.375), (299, f32::NAN), (300, 2.75), (319, f32::NAN)] {
            let mut broken = answer.clone();
            broken[index] = value;
            let message = check("card", &broken).expect_err("it should be caught").to_string();
            assert!(message.starts_with("card fails the start-up probe: expected "), "{message}");
            assert!(message.contains(&format!("at element {index}, got {value};")), "{message}");
        }
    }
}
