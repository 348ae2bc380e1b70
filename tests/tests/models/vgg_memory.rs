//! How much memory VGG-16 takes, from its first weight to its result. On a software adapter that includes the device's
//! memory, which is the process's own.
#![cfg(target_os = "linux")]

use std::io::Write;
use std::process::Command;

use kiln_engine::plan::Constants;
use kiln_engine::{Graph, Plan, compile};
use kiln_models::seeded::{self, SeededWeights};
use kiln_models::vgg::{Vgg, VggConfig};
use kiln_tests::device;

/// Set for the process that is measured.
const CHILD: &str = "KILN_TEST_MEMORY_CHILD";
/// What stands before its peak, in kB.
const MARK: &str = "peak resident kB: ";

/// At most 1.3 times the weights as they lie on the device, plus 100 MB; and these are at most a quarter more than the
/// parameters, as those of the convolutions that are transformed take 16 / 9 or 4 times as much. Other tests would count
/// too, so this one runs itself once more, alone.
#[test]
fn the_peak_is_little_more_than_the_weights() {
    let Some(gpu) = device::gpu() else { return };
    if std::env::var_os(CHILD).is_some() {
        classify();
        // Straight to where the parent reads: the harness would keep what `println` writes.
        writeln!(std::io::stdout(), "\n{MARK}{}", peak()).expect("the parent should listen");
        return;
    }
    let output = Command::new(std::env::current_exe().expect("the test should know its file"))
        .args(["--exact", "vgg_memory::the_peak_is_little_more_than_the_weights", "--nocapture"])
        .env(CHILD, "1")
        .env_remove("KILN_TEST_LOG")
        .output()
        .expect("the test should start once more");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let peak = text.lines().find_map(|line| line.split_once(MARK)?.1.parse::<u64>().ok());
    let peak = peak.unwrap_or_else(|| panic!("no peak in {text}")) * 1024;
    let graph = graph();
    let main = compile(&graph, gpu.profile()).expect("the network should compile").main;
    let plan = Plan::build(&main, gpu.profile(), Constants::Resident).expect("it should fit the device");
    let (parameters, weights) = (4 * 138_357_544, plan.memory().weights);
    assert!(weights <= parameters / 4 * 5, "weights of {weights} bytes for parameters of {parameters}");
    let limit = weights / 10 * 13 + 100_000_000;
    assert!(peak <= limit, "peak {peak} bytes, expected at most {limit}");
}

fn classify() {
    let gpu = device::gpu().expect("there is a device");
    let weights = SeededWeights::of(&graph());
    let images = seeded::image([1, 3, 224, 224]).expect("the shape should be filled");
    let mut vgg = Vgg::new(gpu, config(), weights);
    vgg.classify(&images).expect("the network should run");
}

fn config() -> VggConfig {
    VggConfig::by_name("vgg16").expect("the name is known")
}

fn graph() -> Graph {
    let config = config();
    config.graph(1, config.input()).expect("the network should build")
}

/// The most memory that this process had at any time, in kB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the system should tell");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).expect("the peak should be among it")
}
