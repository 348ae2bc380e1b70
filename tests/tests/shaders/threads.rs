//! One device, many threads: what each reads back is its own, whoever waits for the device first.

use std::thread;

use kiln_kernels::fill;
use kiln_tests::device;
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;

#[test]
fn threads_share_a_device() {
    let Some(gpu) = device::gpu() else { return };
    let work = |thread: usize| {
        move || {
            for round in 0..100 {
                let count = 1 + 37 * thread + round;
                let params = fill::Params { value: (1000 * thread + round) as f32, count: count as u32 };
                let kernel = fill::Variant::Base.kernel();
                let got =
                    Run::new(kernel, &params, vec![Bind::output(count)], count.div_ceil(64)).output(gpu);
                assert_eq!(got, vec![params.value; count], "thread {thread}, round {round}");
            }
        }
    };
    let threads: Vec<_> = (0..8).map(|thread| thread::spawn(work(thread))).collect();
    let failed: Vec<usize> = threads
        .into_iter()
        .enumerate()
        .filter_map(|(i, thread)| thread.join().is_err().then_some(i))
        .collect();
    assert!(failed.is_empty(), "threads {failed:?} failed: their messages stand above");
}
