//! Processes that are killed at a random moment.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use kiln_train::checkpoint::Checkpoint;
use kiln_train::random::{Purpose, Random};

use crate::support::{Bench, train};

/// Tells the test that is to be killed where to work.
const FOLDER: &str = "KILN_TEST_KILL";
const READY: &[u8] = b"ready";
const KILLS: u32 = 50;

/// Runs one of the tests below in a process of its own.
fn child(test: &str, folder: &Path) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).env(FOLDER, folder);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Tells the test that it may kill from now on.
fn say(word: &[u8]) {
    let mut out = std::io::stdout();
    out.write_all(word).and_then(|()| out.flush()).unwrap();
}

fn folder() -> Option<PathBuf> {
    env::var_os(FOLDER).map(PathBuf::from)
}

/// Kills a process after it has said something and a random time more.
fn kill_at_random(mut child: Child, random: &mut Random, most: Duration) {
    let mut out = child.stdout.take().unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(READY) {
        let mut byte = [0];
        assert_eq!(out.read(&mut byte).unwrap(), 1, "it should get going");
        seen.push(byte[0]);
    }
    thread::sleep(most.mul_f64(random.unit()));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Writes checkpoints until it is killed.
#[test]
#[ignore = "runs in a process that is killed"]
fn writes_without_end() {
    let Some(folder) = folder() else { return };
    let mut checkpoint = Checkpoint::read(&folder.join("last.safetensors")).unwrap();
    say(READY);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        checkpoint.state.step += 1;
        checkpoint.write(&folder.join("last.safetensors")).unwrap();
    }
}

#[test]
fn a_checkpoint_being_written_always_loads() {
    let bench = Bench::new(20);
    bench.run("run", bench.options()).unwrap();
    let (run, mut random) = (bench.path("run"), Random::new(1, Purpose::Test, 0, 0));
    let mut step = 0;
    for kill in 0..KILLS {
        kill_at_random(child("kill::writes_without_end", &run), &mut random, Duration::from_millis(30));
        let now = Checkpoint::read(&run.join("last.safetensors")).unwrap().state.step;
        assert!(now >= step, "kill {kill}: step {now} after {step}");
        step = now;
    }
    assert!(step > u64::from(KILLS), "the processes should have written something: step {step}");
    let left = || {
        let names = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with('.')).count()
    };
    assert!(left() > 0, "one should have been killed while it wrote");
    // What they left behind goes when the run goes on.
    bench.resume("run").unwrap();
    assert_eq!(left(), 0);
}

/// Goes on with a run until it is killed or done.
#[test]
#[ignore = "runs in a process that is killed"]
fn trains_without_end() {
    let Some(folder) = folder() else { return };
    let options = kiln_train::config::RunOptions::default();
    say(READY);
    let run = kiln_train::run::Run::resume(&folder, &options, crate::support::Linear::new).unwrap();
    let control = kiln_train::run::Control { save_every: Duration::ZERO, ..Default::default() };
    run.train(&control, &mut |_: &_| {}).unwrap();
}

#[test]
fn a_run_killed_again_and_again_comes_to_the_same() {
    let bench = Bench::new(50);
    let options =
        || kiln_train::config::RunOptions { validation: Some(0.2), epochs: Some(60), ..bench.options() };
    bench.run("whole", options()).unwrap();
    drop(bench.start("run", options()).unwrap());
    let mut random = Random::new(2, Purpose::Test, 0, 0);
    let (mut kills, last) = (0, bench.path("run/last.safetensors"));
    while Checkpoint::read(&last).unwrap().progress.epoch < 60 && kills < KILLS {
        kill_at_random(
            child("kill::trains_without_end", &bench.path("run")),
            &mut random,
            Duration::from_millis(60),
        );
        kills += 1;
    }
    assert!(kills > 3, "it should have been killed in between");
    train(bench.resume("run").unwrap(), usize::MAX).unwrap();
    for file in ["last.safetensors", "best.safetensors"] {
        assert_eq!(bench.bytes(&format!("run/{file}")), bench.bytes(&format!("whole/{file}")), "{file}");
    }
    assert_eq!(bench.metrics("run"), bench.metrics("whole"));
}
