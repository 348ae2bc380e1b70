//! The adapter of this machine: `KILN_ADAPTER` names it, else the strongest; `none` leaves these out.

use std::path::PathBuf;
use std::sync::{LazyLock, RwLock};
use std::time::Duration;

use kiln_gpu::{AdapterChoice, Buffer, BufferSlice, Command, Dispatch, Gpu, GpuError, Limits, wgpu};
use kiln_kernels::{fill, unary};

/// One device for the whole process: some drivers leak a little with each.
static GPU: LazyLock<Option<Gpu>> = LazyLock::new(|| {
    let name = std::env::var("KILN_ADAPTER").unwrap_or_default();
    if name == "none" {
        return None;
    }
    let choice = name.parse().expect("every text should be a choice");
    Some(Gpu::open(&choice).expect("an adapter should open; KILN_ADAPTER=none leaves these tests out"))
});

/// Tests share the device, but for the one that takes all of its memory.
static TURNS: RwLock<()> = RwLock::new(());

/// Runs a test on the device, where there is one.
fn on_device(test: impl FnOnce(&Gpu)) {
    let _turn = TURNS.read();
    if let Some(gpu) = &*GPU {
        test(gpu);
    }
}

fn alone_on_device(test: impl FnOnce(&Gpu)) {
    let _turn = TURNS.write();
    if let Some(gpu) = &*GPU {
        test(gpu);
    }
}

fn filled(gpu: &Gpu, buffer: &Buffer, value: f32, count: u32) -> Result<kiln_gpu::Recording, GpuError> {
    let kernel = fill::Variant::Base.kernel();
    let params = fill::Params { value, count };
    gpu.record(
        "fill",
        &[Command::Dispatch(Dispatch {
            label: "fill",
            kernel,
            overrides: &[],
            params: bytemuck::bytes_of(&params),
            bindings: &[buffer.slice()],
            workgroups: [count.div_ceil(kernel.threads()), 1, 1],
        })],
    )
}

/// A device opened past Kiln, with the features and limits that wgpu gives by default.
fn device_of_ours() -> (wgpu::Adapter, wgpu::Device, wgpu::Queue) {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let options = wgpu::RequestAdapterOptions::default();
    let adapter = pollster::block_on(instance.request_adapter(&options)).expect("an adapter should be found");
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()))
        .expect("a device should open");
    (adapter, device, queue)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(bytes)
}

#[test]
fn a_kernel_writes_what_it_should_and_no_more() {
    on_device(|gpu| {
        let buffer = gpu.create_buffer("numbers", 4096).expect("the buffer should fit");
        let recording = filled(gpu, &buffer, 1.25, 1000).expect("the kernel should compile");
        gpu.submit(&recording).expect("it should run");
        let read = gpu.read(&[(&buffer, 0..4096), (&buffer, 3996..4004)]).expect("it should be readable");
        let all = floats(&read[0]);
        assert!(all[..1000].iter().all(|value| *value == 1.25));
        assert!(all[1000..].iter().all(|value| *value == 0.0));
        assert_eq!(floats(&read[1]), [1.25, 0.0]);
    });
}

#[test]
fn commands_run_in_order_across_passes_copies_and_submissions() {
    on_device(|gpu| {
        let (a, b) = (gpu.create_buffer("a", 256), gpu.create_buffer("b", 256));
        let (a, b) = (a.expect("the buffer should fit"), b.expect("the buffer should fit"));
        let kernel = fill::Variant::Base.kernel();
        let params: Vec<fill::Params> =
            (0..200).map(|step| fill::Params { value: step as f32, count: 64 }).collect();
        let bindings = [a.slice()];
        let mut commands = Vec::new();
        for params in &params {
            commands.push(Command::Dispatch(Dispatch {
                label: "step",
                kernel,
                overrides: &[],
                params: bytemuck::bytes_of(params),
                bindings: &bindings,
                workgroups: [1, 1, 1],
            }));
        }
        let (from, to) = (
            BufferSlice { buffer: &a, offset: 0, bytes: 128 },
            BufferSlice { buffer: &b, offset: 128, bytes: 128 },
        );
        commands.insert(130, Command::Copy { from, to });
        let recording = gpu.record("steps", &commands).expect("the list should be right");
        for _ in 0..2 {
            gpu.submit(&recording).expect("it should run");
        }
        let read = gpu.read(&[(&a, 0..256), (&b, 0..256)]).expect("it should be readable");
        assert_eq!(floats(&read[0]), [199.0; 64]);
        assert_eq!(floats(&read[1])[..32], [0.0; 32]);
        assert_eq!(floats(&read[1])[32..], [129.0; 32]);
    });
}

#[test]
fn free_overrides_make_different_pipelines() {
    on_device(|gpu| {
        let input = gpu.create_buffer("input", 16).expect("the buffer should fit");
        let output = gpu.create_buffer("output", 16).expect("the buffer should fit");
        gpu.write(&input, 0, bytemuck::cast_slice(&[-2.0f32, -0.5, 0.5, 3.0]))
            .expect("the write should work");
        let kernel = unary::Variant::Single.kernel();
        for (op, expected) in [(0.0, [-2.0f32, -0.5, 0.5, 3.0]), (1.0, [0.0, 0.0, 0.5, 3.0])] {
            let dispatch = Dispatch {
                label: "activation",
                kernel,
                overrides: &[("OP", op)],
                params: bytemuck::bytes_of(&unary::Params { begin: 0, end: 4, a: 0.0, b: 0.0 }),
                bindings: &[input.slice(), output.slice()],
                workgroups: [1, 1, 1],
            };
            let recording = gpu.record("act", &[Command::Dispatch(dispatch)]).expect("it should compile");
            gpu.submit(&recording).expect("it should run");
            let read = gpu.read(&[(&output, 0..16)]).expect("it should be readable");
            assert_eq!(floats(&read[0]), expected);
        }
    });
}

#[test]
fn large_uploads_arrive_whole() {
    on_device(|gpu| {
        let words: Vec<u32> = (0..20u32 << 18).map(|i| i.wrapping_mul(2_654_435_761)).collect();
        let bytes: &[u8] = bytemuck::cast_slice(&words);
        let buffer = gpu.create_buffer("weights", bytes.len() as u64 + 8).expect("80 MiB should fit");
        gpu.write(&buffer, 4, bytes).expect("the upload should work");
        let read = gpu.read(&[(&buffer, 0..buffer.bytes())]).expect("it should be readable");
        assert_eq!(read[0][..4], [0; 4]);
        assert!(read[0][4..bytes.len() + 4] == *bytes, "the bytes read differ from those written");
        assert_eq!(read[0][bytes.len() + 4..], [0; 4]);
    });
}

/// What a loop over a recording costs is what it submits and reads.
#[test]
fn replaying_and_reading_make_nothing_new() {
    alone_on_device(|gpu| {
        let [small, large] = [16, 8 << 20].map(|bytes| gpu.create_buffer("x", bytes).unwrap());
        let recording = filled(gpu, &small, 1.5, 4).unwrap();
        let read =
            |buffer: &Buffer, range: std::ops::Range<u64>| gpu.read(&[(buffer, range)]).unwrap().remove(0);
        gpu.submit(&recording).unwrap();
        assert_eq!(floats(&read(&small, 0..16)), [1.5; 4]);
        let before = gpu.objects_made();
        for _ in 0..3 {
            gpu.submit(&recording).unwrap();
            assert_eq!(floats(&read(&small, 0..16)), [1.5; 4]);
            // What lay there before does not show.
            assert_eq!(floats(&read(&small, 8..12)), [1.5]);
        }
        assert_eq!(gpu.objects_made(), before);
        assert_eq!(read(&large, 0..8 << 20).len(), 8 << 20);
        assert!(gpu.objects_made() > before, "more than there was room for");
    });
}

/// What is read later is what was there when it was asked for, whatever comes next and in whatever order it is fetched.
#[test]
fn what_is_read_later_is_not_overwritten() {
    alone_on_device(|gpu| {
        let buffer = gpu.create_buffer("x", 4096).expect("the buffer should fit");
        let recordings: Vec<_> = (0..4)
            .map(|value| filled(gpu, &buffer, value as f32, 1024).expect("it should compile"))
            .collect();
        let run = || -> Vec<_> {
            let later = recordings.iter().map(|recording| {
                gpu.submit(recording).expect("it should run");
                gpu.read_later(&[(&buffer, 0..4096), (&buffer, 8..12)]).expect("it should be readable")
            });
            later.collect()
        };
        for (value, readback) in run().into_iter().enumerate().rev() {
            let read = readback.wait().expect("the bytes should arrive");
            assert_eq!(floats(&read[0]), [value as f32; 1024]);
            assert_eq!(floats(&read[1]), [value as f32]);
        }
        // One that nobody waits for does no harm; and with two under way at a time, no staging is made anew.
        drop(run());
        let pair = || {
            for readback in [0, 1].map(|_| gpu.read_later(&[(&buffer, 0..4096)])) {
                let readback = readback.expect("it should be readable");
                readback.wait().expect("the bytes should arrive");
            }
        };
        pair();
        let before = gpu.objects_made();
        (0..5).for_each(|_| pair());
        assert_eq!(gpu.objects_made(), before);
        // The same in the submission of what makes the bytes; and what is given up serves the next.
        let pair = |first: usize| {
            let part = [(&buffer, 0..4096)];
            let reading = |which| gpu.submit_reading(&recordings[which], &part).expect("it should run");
            [reading(first), reading(3 - first)]
        };
        for first in [0, 1, 2, 3] {
            drop(pair(first));
            for (readback, value) in pair(first).into_iter().zip([first, 3 - first]).rev() {
                let read = readback.wait().expect("the bytes should arrive");
                assert_eq!(floats(&read[0]), [value as f32; 1024]);
            }
        }
        let read = gpu.run(&recordings[2], &[(&buffer, 0..8), (&buffer, 4..4)]).expect("it should run");
        assert_eq!((floats(&read[0]), read[1].len()), (vec![2.0; 2], 0));
        assert!(gpu.run(&recordings[2], &[]).expect("it should run").is_empty());
        assert_eq!(gpu.objects_made(), before);
    });
}

/// Kernels of a recording are compiled side by side, and of several wrong ones the first is named.
#[test]
fn many_kernels_at_once_compile_once_each() {
    alone_on_device(|gpu| {
        let input = gpu.create_buffer("input", 16).expect("the buffer should fit");
        let output = gpu.create_buffer("output", 16).expect("the buffer should fit");
        let params = unary::Params { begin: 0, end: 4, a: 0.0, b: 0.0 };
        let bindings = [input.slice(), output.slice()];
        let record = |ops: &[f64]| {
            let overrides: Vec<_> = ops.iter().map(|op| [("OP", *op)]).collect();
            let commands: Vec<_> = overrides
                .iter()
                .map(|overrides| {
                    Command::Dispatch(Dispatch {
                        label: "activation",
                        kernel: unary::Variant::Single.kernel(),
                        overrides,
                        params: bytemuck::bytes_of(&params),
                        bindings: &bindings,
                        workgroups: [1, 1, 1],
                    })
                })
                .collect();
            gpu.record("many", &commands)
        };
        let ops = [2.0, 3.0, 2.0, 4.0, 5.0, 3.0];
        let before = (gpu.live_objects(), gpu.objects_made());
        let recording = record(&ops).expect("they should compile");
        gpu.submit(&recording).expect("they should run");
        let after = (gpu.live_objects(), gpu.objects_made());
        assert!(after.1 - before.1 <= 4 + 2, "four pipelines, a bind group and the parameters");
        if after.0.pipelines > 0 {
            assert!(after.0.pipelines - before.0.pipelines <= 4, "{before:?} {after:?}");
        }
        record(&ops).expect("they are there");
        assert_eq!(gpu.live_objects().pipelines, after.0.pipelines);
        let error = record(&[6.0, f64::NAN, f64::INFINITY]).expect_err("these are no numbers").to_string();
        assert!(error.contains("override OP is NaN"), "{error}");
    });
}

/// A second device finds what the first one compiled, and a damaged file is as good as none.
#[test]
fn compiled_kernels_are_kept_on_disk_where_the_driver_gives_them_out() {
    if GPU.is_none() {
        return;
    }
    let name = std::env::var("KILN_ADAPTER").unwrap_or_default();
    let directory = std::env::temp_dir().join(format!("kiln-gpu-test-{}", std::process::id()));
    let open = || Gpu::open(&name.parse().expect("every text should be a choice")).expect("it should open");
    let compute = |gpu: &Gpu| {
        let buffer = gpu.create_buffer("x", 16).expect("the buffer should fit");
        let recording = filled(gpu, &buffer, 2.5, 4).expect("it should compile");
        gpu.submit(&recording).expect("it should run");
        assert_eq!(floats(&gpu.read(&[(&buffer, 0..16)]).expect("it should be readable")[0]), [2.5; 4]);
    };
    let gpu = open();
    let file = gpu.keep_pipelines(&directory);
    compute(&gpu);
    drop(gpu);
    // Some drivers have nothing to give out; then there is no file.
    let is_there = || file.as_ref().is_some_and(|file| file.exists());
    let gives = is_there();
    for damage in [None, Some(&b"nonsense"[..]), Some(&[])] {
        if let (Some(file), Some(bytes)) = (&file, damage) {
            std::fs::create_dir_all(&directory).expect("the folder should be made");
            std::fs::write(file, bytes).expect("the file should be writable");
        }
        let gpu = open();
        assert_eq!(gpu.keep_pipelines(&directory), file, "{damage:?}");
        compute(&gpu);
        gpu.save_pipelines();
        let whole = |file: &PathBuf| std::fs::metadata(file).is_ok_and(|file| file.len() > 100);
        assert!(!gives || file.as_ref().is_some_and(whole), "{damage:?}");
    }
    let _ = std::fs::remove_dir_all(directory);
}

#[test]
fn memory_is_counted() {
    alone_on_device(|gpu| {
        gpu.wait().expect("nothing should go wrong");
        let before = gpu.memory();
        let buffer = gpu.create_buffer("x", 8 << 20).expect("the buffer should fit");
        let with = gpu.memory();
        if with.buffers > 0 {
            assert!(with.buffers >= before.buffers + (8 << 20), "{before:?} {with:?}");
            assert!(with.peak >= with.buffers && with.reserved >= with.buffers, "{with:?}");
        }
        drop(buffer);
        gpu.wait().expect("nothing should go wrong");
        let after = gpu.memory();
        assert_eq!((after.buffers, after.peak), (before.buffers, with.peak));
    });
}

#[test]
fn too_large_a_buffer_is_told_with_sizes() {
    on_device(|gpu| {
        let limit = gpu.profile().limits.max_buffer;
        let error = gpu.create_buffer("fc6.weight", limit + 4).expect_err("it should not fit");
        assert!(matches!(error, GpuError::BufferTooLarge { .. }), "{error:?}");
        assert!(error.to_string().starts_with("fc6.weight needs "), "{error}");
    });
}

#[test]
fn running_out_of_memory_is_an_error_and_the_device_lives_on() {
    alone_on_device(|gpu| {
        let limit = gpu.profile().limits.max_buffer;
        let mut held = Vec::new();
        let error = loop {
            match gpu.create_buffer("hoard", limit) {
                Ok(buffer) => held.push(buffer),
                Err(error) => break error,
            }
            // A driver that promises memory without end has no out-of-memory error to test.
            if held.len() as u64 * limit > 1 << 44 {
                return;
            }
        };
        drop(held);
        assert!(matches!(error, GpuError::OutOfMemory { .. }), "{error:?}");
        gpu.wait().expect("the device should live on");
        let buffer = gpu.create_buffer("small", 64).expect("there should be room again");
        let recording = filled(gpu, &buffer, 2.0, 16).expect("the kernel should compile");
        gpu.submit(&recording).expect("it should run");
        assert_eq!(floats(&gpu.read(&[(&buffer, 0..64)]).expect("it should be readable")[0]), [2.0; 16]);
    });
}

#[test]
fn dispatches_are_timed() {
    on_device(|gpu| {
        let count = 1 << 20;
        let buffer = gpu.create_buffer("numbers", 4 << 20).expect("the buffer should fit");
        let kernel = fill::Variant::Base.kernel();
        let params = [fill::Params { value: 1.0, count: 1 }, fill::Params { value: 2.0, count }];
        let bindings = [buffer.slice()];
        let commands = [0, 1, 0, 1].map(|row: usize| {
            Command::Dispatch(Dispatch {
                label: if row == 0 { "one" } else { "many" },
                kernel,
                overrides: &[],
                params: bytemuck::bytes_of(&params[row]),
                bindings: &bindings,
                workgroups: [params[row].count.div_ceil(kernel.threads()), 1, 1],
            })
        });
        let recording = gpu.record("timed", &commands).expect("the list should be right");
        assert_eq!(recording.labels().collect::<Vec<_>>(), ["one", "many", "one", "many"]);
        if !gpu.profile().timestamps {
            assert!(matches!(gpu.time(&recording), Err(GpuError::Unsupported(_))));
            return;
        }
        gpu.time(&recording).expect("the warm-up should run");
        let times = gpu.time(&recording).expect("it should be timed");
        assert_eq!(times.len(), 4);
        assert!(times.iter().all(|time| *time < Duration::from_secs(10)), "{times:?}");
        assert!(
            times[1] > times[0] && times[3] > times[2],
            "a million elements cost no more than one: {times:?}"
        );
        let read = gpu.read(&[(&buffer, 0..buffer.bytes())]).expect("it should be readable");
        assert!(floats(&read[0]).iter().all(|value| *value == 2.0));
    });
}

#[test]
fn adapters_are_listed_and_chosen() {
    on_device(|gpu| {
        let adapters = Gpu::adapters();
        assert!(adapters.iter().enumerate().all(|(index, adapter)| adapter.index == index));
        assert!(adapters.iter().any(|adapter| adapter.profile == *gpu.profile()), "{adapters:#?}");
        let error = Gpu::open(&AdapterChoice::Index(99)).expect_err("there should not be so many");
        assert!(error.to_string().contains(&adapters[0].profile.name), "{error}");
        let error = Gpu::open(&AdapterChoice::Name("Voodoo 2".into())).expect_err("it should be gone");
        assert!(matches!(error, GpuError::UnknownAdapter { .. }), "{error:?}");
    });
}

#[test]
fn a_device_of_the_caller_is_shared() {
    on_device(|gpu| {
        let (adapter, device, queue) = device_of_ours();
        let shared = Gpu::from_wgpu(&adapter, device, queue).expect("the probe should pass");
        assert_eq!(shared.profile().limits, Limits::BASELINE);
        assert!(!shared.profile().timestamps, "features that were not asked for cannot be used");
        let buffer = shared.create_buffer("numbers", 64).expect("the buffer should fit");
        let recording = filled(&shared, &buffer, 3.0, 16).expect("the kernel should compile");
        shared.submit(&recording).expect("it should run");
        assert_eq!(floats(&shared.read(&[(&buffer, 0..64)]).expect("it should be readable")[0]), [3.0; 16]);
        // The caller's device has no error handler of ours; a mistake still comes back as an error.
        let refused =
            shared.submit(&filled(gpu, &gpu.create_buffer("x", 64).expect("fits"), 1.0, 16).expect("ok"));
        assert!(matches!(refused, Err(GpuError::Validation { .. })));
    });
}

#[test]
fn a_device_that_goes_away_is_an_error_and_no_panic() {
    on_device(|_| {
        let (adapter, device, queue) = device_of_ours();
        let gpu = Gpu::from_wgpu(&adapter, device.clone(), queue).expect("the probe should pass");
        let buffer = gpu.create_buffer("numbers", 64).expect("the buffer should fit");
        let recording = filled(&gpu, &buffer, 1.0, 16).expect("the kernel should compile");
        gpu.submit(&recording).expect("it should run");
        device.destroy();
        // As WebGPU has it, a lost device swallows what it is given and says so when asked for results.
        let _ = (gpu.create_buffer("more", 64), gpu.write(&buffer, 0, &[0; 4]), gpu.submit(&recording));
        let _ = gpu.wait();
        let error = gpu.read(&[(&buffer, 0..4)]).expect_err("nothing should come back");
        assert!(matches!(error, GpuError::Lost { .. }), "{error:?}");
    });
}

#[test]
fn threads_share_a_device() {
    on_device(|gpu| {
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4u32)
                .map(|worker| {
                    scope.spawn(move || {
                        let buffer = gpu.create_buffer("mine", 1024).expect("the buffer should fit");
                        for round in 0..20 {
                            let value = (worker * 100 + round) as f32;
                            let recording = filled(gpu, &buffer, value, 256).expect("it should compile");
                            gpu.submit(&recording).expect("it should run");
                            let read = gpu.read(&[(&buffer, 0..1024)]).expect("it should be readable");
                            assert_eq!(floats(&read[0]), [value; 256]);
                        }
                    })
                })
                .collect();
            for worker in workers {
                worker.join().expect("no thread should panic");
            }
        });
    });
}
