use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::timed;
use crate::command::{Captured, Command};
use crate::error::Error;
use crate::progress::Took;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// How long one test process or example may take before it counts as hung. The slowest takes a few minutes
/// on two cores in software.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// What a build of all targets left to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Artifacts {
    suites: Vec<Suite>,
    examples: Vec<PathBuf>,
}

/// One test program.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Suite {
    /// The package's folder, and the program's name where it has one of its own: `gpu`, `tests/ops`.
    label: String,
    program: PathBuf,
    /// The package's folder: where cargo runs its tests.
    folder: PathBuf,
    /// Whether its modules run in a process each.
    split: bool,
}

impl Artifacts {
    /// Builds every target once, with one choice of features, so that no later step builds anything again.
    pub(super) fn build(workspace: &Workspace) -> Result<Artifacts, Error> {
        // This program is running, and Windows lets nobody replace a program that runs: of xtask, only tests.
        let selections: [&[&str]; 2] =
            [&["--workspace", "--exclude", "xtask", "--all-targets"], &["--package", "xtask", "--tests"]];
        let mut messages = String::new();
        for selection in selections {
            let build = Command::cargo().arg("build").args(selection).dir(&workspace.root);
            let captured =
                build.clone().args(["--message-format", "json-render-diagnostics"]).capture_stdout()?;
            if !captured.success() {
                let status = captured.status.map(|status| status.to_string()).unwrap_or_default();
                return Err(Error::Failed { command: build.to_string(), status, output: String::new() });
            }
            messages += &captured.stdout;
        }
        Ok(Artifacts::parse(&messages))
    }

    /// Reads cargo's messages, one JSON object a line.
    fn parse(messages: &str) -> Artifacts {
        let mut artifacts = Artifacts::default();
        for message in messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let (Some(program), Some(manifest)) =
                (text(&message["executable"]), text(&message["manifest_path"]))
            else {
                continue;
            };
            let (kind, name) = (&message["target"]["kind"][0], &message["target"]["name"]);
            let (kind, name) = (kind.as_str().unwrap_or_default(), name.as_str().unwrap_or_default());
            let is_test = message["profile"]["test"] == true;
            let folder = Path::new(&manifest).parent().unwrap_or(Path::new("")).to_owned();
            let package = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let label = match kind {
                "test" => format!("{package}/{name}"),
                "bin" => format!("{package} (binary)"),
                _ => package.clone(),
            };
            match (kind, is_test) {
                // A driver in software leaks with each device, and a device that one test loses is lost to
                // all tests of its process: so each op, model and command has a process of its own.
                ("test", true) => {
                    artifacts.suites.push(Suite {
                        label,
                        program: program.into(),
                        folder,
                        split: package == "tests",
                    });
                }
                ("lib" | "bin", true) => {
                    artifacts.suites.push(Suite { label, program: program.into(), folder, split: false });
                }
                // Other crates' examples are tools, which want arguments.
                ("example", false) if package == "kiln" => artifacts.examples.push(program.into()),
                _ => {}
            }
        }
        // Units before what is built from them; cargo's own order is the order in which builds end.
        artifacts.suites.sort_by_key(|suite| (suite.split, suite.label.clone()));
        artifacts.examples.sort();
        artifacts
    }
}

/// Runs every test program; what each process did goes to the terminal as one line, what failed in full.
///
/// `chroma` is the folder of a Chroma server, for the tests that ask one.
pub(super) fn tests(artifacts: &Artifacts, log: &Path, chroma: Option<&Path>) -> Result<Tally, Error> {
    let mut sum = Tally::default();
    for suite in &artifacts.suites {
        for (module, names) in suite.processes()? {
            let label =
                if module.is_empty() { suite.label.clone() } else { format!("{}::{module}", suite.label) };
            let mut command =
                suite.command(log).args(if names.is_empty() { None } else { Some("--exact") }).args(&names);
            if let Some(chroma) = chroma {
                command = command.env("KILN_TEST_CHROMA", chroma);
            }
            sum += judge(&label, &command)?;
        }
    }
    Ok(sum)
}

impl Suite {
    /// The module and the tests of each process to run; no tests named means all.
    fn processes(&self) -> Result<Vec<(String, Vec<String>)>, Error> {
        if !self.split {
            return Ok(vec![(String::new(), Vec::new())]);
        }
        let list =
            Command::new(&self.program).args(["--list", "--format", "terse"]).dir(&self.folder).capture()?;
        Ok(by_module(&list.stdout))
    }

    /// What cargo would run, in the folder and with the variables that tests go by.
    fn command(&self, log: &Path) -> Command {
        Command::new(&self.program)
            .dir(&self.folder)
            .env("CARGO_MANIFEST_DIR", &self.folder)
            .env("KILN_TEST_LOG", log)
            // A snapshot that differs fails; it is looked at with `cargo insta`, not written in passing.
            .env("INSTA_UPDATE", "no")
    }
}

/// Groups the tests of a list (`module::name: test`, one a line) by their first module, in order.
fn by_module(list: &str) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for test in list.lines().filter_map(|line| line.strip_suffix(": test")) {
        let module = test.split_once("::").map_or("", |(module, _)| module);
        match groups.iter_mut().find(|(known, _)| known == module) {
            Some((_, tests)) => tests.push(test.to_owned()),
            None => groups.push((module.to_owned(), vec![test.to_owned()])),
        }
    }
    groups
}

/// Runs one test process and tells how it went in a line; all that it said, where it failed.
fn judge(label: &str, command: &Command) -> Result<Tally, Error> {
    print!("   {label:<34}");
    // The name shows before a long wait, not after it. A closed terminal is no reason to stop testing.
    let _ = std::io::stdout().flush();
    let (captured, took) = timed(|| command.capture_within(LIMIT));
    let captured = captured?;
    let (tally, verdict) = verdict(&captured);
    println!("{verdict} ({})", Took(took));
    if tally.failed > 0 {
        println!("{}\n{}", captured.stdout.trim_end(), captured.stderr.trim_end());
    }
    Ok(tally)
}

/// The count of a test process. One that ends badly counts as a failure even if no test of it does.
fn verdict(captured: &Captured) -> (Tally, String) {
    let counted = Tally::of_output(&captured.stdout);
    let mut tally = counted.unwrap_or_default();
    let Some(status) = captured.status else {
        tally.failed += 1;
        return (tally, format!("FAILED: ended after {}", Took(LIMIT)));
    };
    let Tally { passed, failed, skipped } = tally;
    let ignored = if skipped > 0 { format!(", {skipped} ignored") } else { String::new() };
    match (status.success(), failed, counted) {
        (true, 0, Some(_)) => (tally, format!("{passed} passed{ignored}")),
        (_, 1.., _) => (tally, format!("FAILED: {passed} passed, {failed} failed{ignored}")),
        _ => {
            tally.failed += 1;
            (tally, format!("FAILED: no result, {status}"))
        }
    }
}

/// Runs the documentation's examples, which only cargo can build.
pub(super) fn doctests(workspace: &Workspace, log: &Path) -> Result<Tally, Error> {
    let command = Command::cargo()
        .args(["test", "--workspace", "--doc", "--no-fail-fast"])
        .dir(&workspace.root)
        .env("KILN_TEST_LOG", log);
    let captured = command.capture_stdout()?;
    let (tally, _) = verdict(&captured);
    if tally.failed > 0 {
        println!("{}", captured.stdout.trim_end());
    }
    Ok(tally)
}

/// Runs each example from the project's root, as its documentation says to.
pub(super) fn examples(workspace: &Workspace, artifacts: &Artifacts) -> Result<Tally, Error> {
    let mut sum = Tally::default();
    for example in &artifacts.examples {
        let name = example.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        print!("   {name:<34}");
        let _ = std::io::stdout().flush();
        let (captured, took) = timed(|| Command::new(example).dir(&workspace.root).capture_within(LIMIT));
        let captured = captured?;
        if captured.success() {
            println!("ran ({})", Took(took));
            sum.passed += 1;
        } else {
            println!(
                "FAILED ({})\n{}\n{}",
                Took(took),
                captured.stdout.trim_end(),
                captured.stderr.trim_end()
            );
            sum.failed += 1;
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: &str = r#"{"reason":"compiler-artifact","manifest_path":"/k/tests/Cargo.toml","target":{"kind":["test"],"name":"ops"},"profile":{"test":true},"executable":"/t/ops-1"}
{"reason":"compiler-artifact","manifest_path":"/k/crates/gpu/Cargo.toml","target":{"kind":["lib"],"name":"kiln_gpu"},"profile":{"test":true},"executable":"/t/gpu-1"}
{"reason":"compiler-artifact","manifest_path":"/k/crates/gpu/Cargo.toml","target":{"kind":["lib"],"name":"kiln_gpu"},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","manifest_path":"/k/crates/kiln/Cargo.toml","target":{"kind":["bin"],"name":"kiln"},"profile":{"test":false},"executable":"/t/kiln"}
{"reason":"compiler-artifact","manifest_path":"/k/crates/kiln/Cargo.toml","target":{"kind":["bin"],"name":"kiln"},"profile":{"test":true},"executable":"/t/kiln-1"}
{"reason":"compiler-artifact","manifest_path":"/k/crates/kiln/Cargo.toml","target":{"kind":["example"],"name":"graph"},"profile":{"test":false},"executable":"/t/examples/graph"}
{"reason":"compiler-artifact","manifest_path":"/k/crates/catalogue/Cargo.toml","target":{"kind":["example"],"name":"check"},"profile":{"test":false},"executable":"/t/examples/check"}
{"reason":"compiler-artifact","manifest_path":"/k/benches/Cargo.toml","target":{"kind":["bench"],"name":"matmul"},"profile":{"test":true},"executable":"/t/matmul-1"}
{"reason":"build-script-executed","package_id":"x"}
not json
{"reason":"build-finished","success":true}"#;

    #[test]
    fn test_programs_and_examples_are_found() {
        let artifacts = Artifacts::parse(MESSAGES);
        let labels: Vec<_> =
            artifacts.suites.iter().map(|suite| (suite.label.as_str(), suite.split)).collect();
        assert_eq!(labels, [("gpu", false), ("kiln (binary)", false), ("tests/ops", true)]);
        assert_eq!(artifacts.suites[0].folder, Path::new("/k/crates/gpu"));
        assert_eq!(artifacts.examples, [Path::new("/t/examples/graph")]);
    }

    #[test]
    fn tests_are_grouped_by_module() {
        let list =
            "matmul::small: test\nadd::one: test\nmatmul::deep::large: test\nalone: test\nbench: benchmark\n";
        let groups = by_module(list);
        let groups: Vec<_> = groups.iter().map(|(module, tests)| (module.as_str(), tests.len())).collect();
        assert_eq!(groups, [("matmul", 2), ("add", 1), ("", 1)]);
    }

    #[cfg(unix)]
    #[test]
    fn a_process_that_dies_is_a_failure() {
        let run = |script: &str| Command::new("sh").args(["-c", script]).capture().expect("sh should run");
        let line = |failed: usize| {
            format!(
                "echo 'test result: ok. 4 passed; {failed} failed; 1 ignored; 0 measured; 0 filtered out'"
            )
        };
        let count = |script: &str| verdict(&run(script)).0;
        assert_eq!(count(&line(0)), Tally { passed: 4, failed: 0, skipped: 1 });
        assert_eq!(count(&format!("{}; exit 101", line(2))), Tally { passed: 4, failed: 2, skipped: 1 });
        // all passed, then it crashed on its way out
        assert_eq!(count(&format!("{}; exit 139", line(0))), Tally { passed: 4, failed: 1, skipped: 1 });
        // it crashed, or it never was a test program
        assert_eq!(count("exit 139").failed, 1);
        assert_eq!(count("exit 0").failed, 1);
    }
}
