//! Rules that need no hardware: checks of buffers, ranges and commands against made-up limits.

use kiln_gpu::{Buffer, BufferSlice, Command, DeviceKind, Dispatch, Gpu, GpuError, Limits};
use kiln_kernels::{binary, fill, matmul_vector_subgroup, unary};

fn small() -> Gpu {
    let limits = Limits { max_binding: 4096, max_buffer: 16384, max_workgroups: 10, ..Limits::BASELINE };
    Gpu::noop(limits).expect("a noop device should open")
}

fn buffer(gpu: &Gpu, label: &str, bytes: u64) -> Buffer {
    gpu.create_buffer(label, bytes).expect("the buffer should fit")
}

/// The message of a validation error, with its label.
fn message<T>(result: Result<T, GpuError>) -> String {
    match result {
        Err(error @ GpuError::Validation { .. }) => error.to_string(),
        Err(other) => panic!("expected a validation error, got {other:?}"),
        Ok(_) => panic!("expected a validation error, got success"),
    }
}

fn fill_dispatch<'a>(
    params: &'a [u8],
    bindings: &'a [BufferSlice<'a>],
    workgroups: [u32; 3],
) -> Dispatch<'a> {
    let kernel = fill::Variant::Base.kernel();
    Dispatch { label: "net/fill", kernel, overrides: &[], params, bindings, workgroups }
}

const FILL_PARAMS: [u8; 8] = [0; 8];

#[test]
fn the_profile_shows_the_made_up_limits() {
    let gpu = small();
    let profile = gpu.profile();
    assert_eq!(profile.limits.max_binding, 4096);
    assert_eq!(profile.limits.max_workgroups, 10);
    assert_eq!(profile.kind, DeviceKind::Other);
    assert_eq!(profile.backend, "noop");
    assert!(!profile.timestamps);
}

#[test]
fn impossible_limits_are_an_error_and_no_panic() {
    let limits = Limits { storage_alignment: 3, ..Limits::BASELINE };
    assert!(matches!(Gpu::noop(limits), Err(GpuError::Validation { .. })));
}

#[test]
fn buffers_have_a_size_that_fits() {
    let gpu = small();
    for bytes in [0, 3, 6] {
        let text = message(gpu.create_buffer("odd", bytes));
        assert!(text.contains(&format!("not {bytes}")), "{text}");
    }
    let error = gpu.create_buffer("fc6.weight", 16388).expect_err("it should be too large");
    let expected = GpuError::BufferTooLarge {
        label: "fc6.weight".into(),
        bytes: 16388,
        limit: 16384,
        adapter: gpu.profile().name.clone(),
    };
    assert_eq!(error, expected);
    assert_eq!(buffer(&gpu, "whole", 16384).bytes(), 16384);
}

#[test]
fn bytes_go_there_and_back() {
    let gpu = small();
    let first = buffer(&gpu, "first", 64);
    let second = buffer(&gpu, "second", 32);
    gpu.write(&first, 8, &[1, 2, 3, 4, 5, 6, 7, 8]).expect("the write should succeed");
    gpu.write(&second, 28, &[9; 4]).expect("the write should succeed");
    let read =
        gpu.read(&[(&second, 24..32), (&first, 4..4), (&first, 4..16)]).expect("the read should succeed");
    assert_eq!(read[0], [0, 0, 0, 0, 9, 9, 9, 9]);
    assert!(read[1].is_empty());
    assert_eq!(read[2], [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(gpu.read(&[]).expect("nothing should be readable").is_empty());
}

#[test]
fn a_read_larger_than_a_buffer_comes_in_rounds() {
    let gpu = small();
    let buffers = [buffer(&gpu, "a", 16384), buffer(&gpu, "b", 16384)];
    let data: Vec<u8> = (0..16384u32).map(|i| (i % 251) as u8).collect();
    for buffer in &buffers {
        gpu.write(buffer, 0, &data).expect("the write should succeed");
    }
    let read =
        gpu.read(&[(&buffers[0], 4..16384), (&buffers[1], 0..16384)]).expect("the read should succeed");
    assert_eq!(read[0], data[4..]);
    assert_eq!(read[1], data);
}

#[test]
fn ranges_outside_a_buffer_are_refused() {
    let gpu = small();
    let buffer = buffer(&gpu, "x", 64);
    assert!(message(gpu.write(&buffer, 60, &[0; 8])).contains("bytes 60..68 of buffer x, which holds 64"));
    assert!(message(gpu.write(&buffer, 2, &[0; 4])).contains("multiples of 4"));
    assert!(message(gpu.write(&buffer, u64::MAX - 3, &[0; 8])).contains("which holds 64"));
    assert!(message(gpu.read(&[(&buffer, 0..65)])).contains("bytes 0..65"));
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = gpu.read(&[(&buffer, 8..4)]);
    assert!(message(backwards).contains("backwards"));
}

#[test]
fn dispatches_are_checked_against_kernel_and_device() {
    let gpu = small();
    let output = buffer(&gpu, "output", 16384);
    let part = |offset, bytes| BufferSlice { buffer: &output, offset, bytes };
    let record = |params: &[u8], bindings: &[BufferSlice<'_>], workgroups| {
        gpu.record("net", &[Command::Dispatch(fill_dispatch(params, bindings, workgroups))])
    };
    record(&FILL_PARAMS, &[part(256, 4096)], [10, 10, 1]).expect("this one should be right");
    for (params, bindings, workgroups, expected) in [
        (&FILL_PARAMS[..4], vec![part(0, 64)], [1, 1, 1], "its parameters are 8 bytes, not 4"),
        (&FILL_PARAMS, vec![], [1, 1, 1], "it binds 1 buffers, not 0"),
        (&FILL_PARAMS, vec![part(0, 64); 2], [1, 1, 1], "it binds 1 buffers, not 2"),
        (&FILL_PARAMS, vec![part(0, 64)], [11, 1, 1], "[11, 1, 1] workgroups, with 1 to 10 a dimension"),
        (&FILL_PARAMS, vec![part(0, 64)], [1, 0, 1], "[1, 0, 1] workgroups"),
        (&FILL_PARAMS, vec![part(0, 4100)], [1, 1, 1], "output binds 4100 bytes, with 1 to 4096"),
        (&FILL_PARAMS, vec![part(0, 0)], [1, 1, 1], "output binds 0 bytes"),
        (&FILL_PARAMS, vec![part(64, 64)], [1, 1, 1], "output starts at 64, no multiple of 256"),
        (&FILL_PARAMS, vec![part(16128, 512)], [1, 1, 1], "bytes 16128..16640 of buffer output"),
    ] {
        let text = message(record(params, &bindings, workgroups));
        assert!(text.contains("net/fill"), "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_written_buffer_is_bound_once() {
    let gpu = small();
    let (a, b) = (buffer(&gpu, "a", 1024), buffer(&gpu, "b", 1024));
    let kernel = binary::Variant::Base.kernel();
    let params = vec![0; kernel.params_size as usize];
    let record = |bindings: [BufferSlice<'_>; 3]| {
        let workgroups = [1, 1, 1];
        let dispatch = Dispatch {
            label: "add",
            kernel,
            overrides: &[],
            params: &params,
            bindings: &bindings,
            workgroups,
        };
        gpu.record("net", &[Command::Dispatch(dispatch)])
    };
    let (low, high) = (
        BufferSlice { buffer: &a, offset: 0, bytes: 256 },
        BufferSlice { buffer: &a, offset: 512, bytes: 256 },
    );
    record([low, high, b.slice()]).expect("reading one buffer twice should be fine");
    let text = message(record([low, b.slice(), high]));
    assert!(text.contains("output is written, so lhs cannot be the same buffer a"), "{text}");
}

#[test]
fn overrides_are_checked() {
    let gpu = small();
    let (input, output) = (buffer(&gpu, "input", 64), buffer(&gpu, "output", 64));
    let kernel = unary::Variant::Single.kernel();
    let bindings = [input.slice(), output.slice()];
    let params = vec![0; kernel.params_size as usize];
    let record = |overrides: &[(&'static str, f64)]| {
        let workgroups = [1, 1, 1];
        let dispatch =
            Dispatch { label: "act", kernel, overrides, params: &params, bindings: &bindings, workgroups };
        gpu.record("net", &[Command::Dispatch(dispatch)])
    };
    record(&[("OP", 2.0)]).expect("a free override should be taken");
    for (overrides, expected) in [
        (&[("THREADS", 32.0)][..], "override THREADS is not free; free are: OP"),
        (&[("OP", 1.0), ("OP", 2.0)], "override OP is set twice"),
        (&[("OP", f64::NAN)], "override OP is NaN"),
    ] {
        let text = message(record(overrides));
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn kernels_that_the_device_cannot_run_are_unsupported() {
    let gpu = Gpu::noop(Limits { max_threads: 32, ..Limits::BASELINE }).expect("a noop device should open");
    let output = buffer(&gpu, "output", 64);
    let bindings = [output.slice()];
    let error = gpu
        .record("net", &[Command::Dispatch(fill_dispatch(&FILL_PARAMS, &bindings, [1, 1, 1]))])
        .expect_err("64 threads should be too many");
    let text = error.to_string();
    assert!(matches!(error, GpuError::Unsupported(_)), "{text}");
    assert!(
        text.contains("fill/base needs 64 threads in a workgroup") && text.contains("at most 32"),
        "{text}"
    );
}

#[test]
fn copies_are_checked() {
    let gpu = small();
    let (a, b) = (buffer(&gpu, "a", 64), buffer(&gpu, "b", 64));
    let copy = |from, to| gpu.record("net", &[Command::Copy { from, to }]);
    let part = |buffer, offset, bytes| BufferSlice { buffer, offset, bytes };
    let recording = copy(part(&a, 4, 8), part(&b, 16, 8)).expect("the copy should be right");
    gpu.write(&a, 4, &[7; 8]).expect("the write should succeed");
    gpu.submit(&recording).expect("the copy should run");
    assert_eq!(gpu.read(&[(&b, 16..24)]).expect("the read should succeed")[0], [7; 8]);
    assert_eq!(recording.dispatches(), 0);
    assert!(message(copy(part(&a, 0, 8), part(&b, 0, 4))).contains("8 bytes into 4"));
    assert!(message(copy(part(&a, 0, 8), part(&a, 16, 8))).contains("into itself"));
    assert!(message(copy(part(&a, 60, 8), part(&b, 0, 8))).contains("bytes 60..68"));
}

#[test]
fn devices_do_not_mix() {
    let (one, other) = (small(), small());
    let theirs = buffer(&other, "theirs", 64);
    let ours = buffer(&one, "ours", 64);
    assert!(message(one.write(&theirs, 0, &[0; 4])).contains("buffer theirs belongs to another device"));
    assert!(message(one.read(&[(&theirs, 0..4)])).contains("another device"));
    let command = [Command::Copy { from: ours.slice(), to: theirs.slice() }];
    assert!(message(one.record("net", &command)).contains("another device"));
    let recording = one.record("net", &[]).expect("an empty list should be fine");
    assert!(message(other.submit(&recording)).contains("recorded on another device"));
}

#[test]
fn a_recording_runs_more_than_once_and_in_batches() {
    let gpu = small();
    let (a, b) = (buffer(&gpu, "a", 1024), buffer(&gpu, "b", 1024));
    let bindings = [a.slice()];
    let mut commands = vec![Command::Dispatch(fill_dispatch(&FILL_PARAMS, &bindings, [1, 1, 1])); 150];
    commands.insert(70, Command::Copy { from: a.slice(), to: b.slice() });
    let recording = gpu.record("net", &commands).expect("the list should be right");
    assert_eq!(recording.dispatches(), 150);
    assert_eq!(recording.labels().count(), 150);
    for _ in 0..3 {
        gpu.submit(&recording).expect("it should run");
    }
    gpu.wait().expect("it should end");
    let error = gpu.time(&recording).expect_err("noop devices have no clock");
    assert!(matches!(error, GpuError::Unsupported(_)), "{error}");
}

/// What a kernel needs beyond the baseline is asked for by name, not found out by the driver.
#[test]
fn a_kernel_across_subgroups_is_refused_where_there_are_none() {
    let gpu = small();
    let kernel = matmul_vector_subgroup::Variant::One.kernel();
    let params = vec![0; kernel.params_size as usize];
    let buffers: Vec<Buffer> = (0..5).map(|_| buffer(&gpu, "operand", 64)).collect();
    let bindings: Vec<BufferSlice<'_>> = buffers.iter().map(|buffer| buffer.slice()).collect();
    let dispatch = Dispatch {
        label: "net",
        kernel,
        overrides: &[],
        params: &params,
        bindings: &bindings,
        workgroups: [1; 3],
    };
    let error = gpu.record("net", &[Command::Dispatch(dispatch)]).expect_err("it should be refused");
    let text = error.to_string();
    assert!(text.contains("matmul_vector_subgroup/one needs operations across subgroups"), "{text}");
}
