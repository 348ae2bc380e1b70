//! `kiln serve` as a user meets it: on the command line, and with all-MiniLM-L6-v2 and a T5 of a few kilobytes in
//! Chromium. A test for which something is missing reports itself as skipped.

#[path = "common/bench.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod bench;
mod common;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use bench::Bench;
use common::{assert_refused, has_adapter, kiln};
use kiln_tests::browser::Browser;
use kiln_tests::golden;
use kiln_tests::t5::{Form, Geometry};

const SAMPLE: &str = "assets/sample/convolutional-networks.pdf";
const PICTURE: &str = "assets/sample/still-life.jpg";
const ENTER: &str = "\u{e007}";

/// The command, running.
struct Serving {
    child: Child,
    stdout: BufReader<ChildStdout>,
    url: String,
}

impl Serving {
    /// Starts it and waits for its address.
    #[track_caller]
    fn start(mut command: Command) -> Serving {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary should start");
        let mut stdout = BufReader::new(child.stdout.take().expect("it should be a pipe"));
        let mut url = String::new();
        stdout.read_line(&mut url).expect("its address should be text");
        Serving { child, stdout, url: url.trim_end().to_owned() }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command with a model at hand. Its uploads, which it has no time to remove when it is killed, go with the bench.
#[track_caller]
fn serve(bench: &Bench, args: &[&str]) -> Serving {
    let mut command = bench.command(&[&["serve", "--port", "0"], args].concat());
    command.env("TMPDIR", bench.folder.path());
    Serving::start(command)
}

fn asset(name: &str) -> String {
    golden::root().join(name).to_str().expect("the path should be text").to_owned()
}

#[test]
fn what_makes_no_sense_is_refused_in_one_line() {
    for (args, named) in [
        (&["--port", "65536"][..], "--port"),
        (&["--port", "-1"], "--port"),
        (&["--max-upload", "0"], "expected a size above 0"),
        (&["--max-upload", "many"], "expected a size above 0"),
        (&["--contexts", "0"], "0 contexts"),
        (&["--beams", "0"], "--beams"),
        (&["--temperature", "-1"], "--temperature"),
        (&["--answer", "extract", "--sample"], "--sample"),
        (&["--answer", "extract", "--generator", "t5-small"], "--generator says how T5 answers"),
        (&["--answer", "extract", "--precision", "f16"], "--precision says how T5 answers"),
        (&["--answer", "t5", "--generator", "/no/such/model"], "/no/such/model"),
        (&["--generator", "t6-small"], "unknown model \"t6-small\""),
        (&["--model", "/no/such/model"], "/no/such/model"),
        (&["--classifier", "vgg12"], "vgg12"),
        (&["--weights", "/no/such/file"], "/no/such/file"),
        (&["--host", "192.0.2.1"], "192.0.2.1"),
    ] {
        let args = [&["serve"], args].concat();
        assert_refused(&kiln(&args).output().expect("the binary should start"), named, &args.join(" "));
    }
}

#[test]
fn a_port_in_use_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port should be free");
    let port = taken.local_addr().expect("it has an address").port().to_string();
    let output = kiln(&["serve", "--port", &port]).output().expect("the binary should start");
    assert_refused(&output, &format!("port {port} of 127.0.0.1 is in use"), "a port in use");
}

#[cfg(unix)]
#[test]
fn it_prints_its_address_and_stops_when_asked() {
    if !has_adapter() {
        return;
    }
    let uploads = tempfile::tempdir().expect("a folder should be made");
    for signal in ["-INT", "-TERM"] {
        let mut command = kiln(&["serve", "--port", "0"]);
        command.env("TMPDIR", uploads.path());
        let mut serving = Serving::start(command);
        assert!(
            serving.url.starts_with("http://127.0.0.1:") && serving.url.ends_with('/'),
            "{}",
            serving.url
        );
        let kill = Command::new("kill").args([signal, &serving.child.id().to_string()]).status();
        assert!(kill.is_ok_and(|status| status.success()), "the signal should be sent");
        let begun = Instant::now();
        let status = serving.child.wait().expect("it should end");
        assert_eq!(status.code(), Some(0), "{signal}");
        assert!(begun.elapsed() < Duration::from_secs(10));
        let mut rest = String::new();
        serving.stdout.read_to_string(&mut rest).expect("it should be text");
        assert_eq!(rest, "", "the address is all that stdout has");
    }
    let left = std::fs::read_dir(uploads.path()).expect("it should be readable").count();
    assert_eq!(left, 0, "nothing should be left behind");
}

#[test]
fn the_sample_is_asked_about_in_a_browser() {
    let (Some(bench), Some(browser)) = (Bench::new(), Browser::open()) else { return };
    let serving = serve(&bench, &[]);
    browser.go(&serving.url);
    // What is missing here is named with the command that brings it, and the rest works without.
    browser.wait("document.getElementById('notices').childElementCount > 0");
    let notices = browser.text("#notices");
    assert!(notices.contains("kiln models fetch flan-t5-small"), "{notices}");
    assert!(notices.contains("kiln models fetch vgg16.tv_in1k"), "{notices}");
    assert!(!notices.contains("all-MiniLM-L6-v2"), "{notices}");

    browser.type_into("#files", &asset(SAMPLE));
    browser.wait("document.querySelector('.document:not(.pending)')");
    let facts = browser.text(".document .facts");
    assert!(facts.contains("pages") && facts.contains("passages"), "{facts}");
    browser.type_into("#question", &format!("How many parameters does VGG-16 have?{ENTER}"));
    browser.wait("document.querySelector('.sources')");
    let answer = browser.text(".answer");
    assert!(answer.contains("138,357,544 parameters"), "{answer}");
    let entry = browser.text("#entries");
    assert!(entry.contains("Quoted from the documents"), "{entry}");
    assert!(entry.contains("convolutional-networks.pdf, page 5"), "{entry}");
    browser.screenshot("real-answer");

    browser.type_into("#files", &asset("assets/sample/notes.md"));
    browser.wait("document.querySelectorAll('.document:not(.pending)').length === 2");
    browser.type_into("#question", &format!("At about which temperature does cone 6 bend?{ENTER}"));
    browser.wait("document.querySelectorAll('.sources').length === 2");
    assert!(browser.text("#entries li.entry:last-child").contains("notes.md"));

    browser.type_into("#files", &asset(PICTURE));
    browser.wait("document.querySelector('.picture.failed')");
    browser.screenshot("real-missing");
    let complaints = browser.complaints();
    assert!(complaints.is_empty(), "the console should be silent: {complaints:?}");
}

#[test]
fn a_generator_writes_in_the_browser() {
    let (Some(bench), Some(browser)) = (Bench::new(), Browser::open()) else { return };
    let tiny = bench.path("tiny");
    std::fs::create_dir_all(&tiny).expect("the folder should be made");
    Geometry::TINY.write(tiny.as_ref(), Form::F32).expect("the model should be written");
    let mut serving = serve(&bench, &["--answer", "t5", "--generator", &tiny, "--max-new-tokens", "20"]);
    browser.go(&serving.url);
    browser.type_into("#files", &asset("assets/sample/notes.md"));
    browser.wait("document.querySelector('.document:not(.pending)')");
    browser.type_into("#question", &format!("Which cone?{ENTER}"));
    browser.wait("document.querySelector('.made')?.textContent.startsWith('Written by tiny')");
    browser.type_into("#question", &format!("And which is hotter?{ENTER}"));
    browser.wait("document.querySelectorAll('.sources').length === 2");
    let complaints = browser.complaints();
    assert!(complaints.is_empty(), "the console should be silent: {complaints:?}");
    serving.child.kill().expect("it runs");
    let mut stderr = String::new();
    let mut pipe = serving.child.stderr.take().expect("it should be a pipe");
    pipe.read_to_string(&mut stderr).expect("it should be text");
    assert!(!stderr.contains("panicked"), "{stderr}");
}
