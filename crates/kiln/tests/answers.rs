//! `kiln ask` and `kiln chat` with a generator: a T5 model of a few kilobytes that the tests write. A test for which the
//! sentence encoder or an adapter is missing reports itself as skipped.

#[path = "common/bench.rs"]
mod bench;
mod common;

use std::fs;
use std::io::{Read, Write};
use std::process::{Output, Stdio};

use bench::Bench;
use common::{assert_refused, text};
use kiln_tests::t5::{Form, Geometry};
use serde_json::Value;

const SAMPLE: &str = "assets/sample/convolutional-networks.pdf";
const CONE: &str = "At about which temperature does cone 6 bend?";

/// Writes the model, named `tiny`.
fn tiny(bench: &Bench) -> String {
    let dir = bench.path("tiny");
    fs::create_dir_all(&dir).expect("the folder should be made");
    Geometry::TINY.write(dir.as_ref(), Form::F32).expect("the model should be written");
    dir
}

/// A conversation whose lines come from a pipe.
#[track_caller]
fn chat(bench: &Bench, args: &[&str], lines: &str) -> Output {
    let mut child = bench
        .command(&[&["chat"], args].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary should start");
    let mut stdin = child.stdin.take().expect("it should be a pipe");
    stdin.write_all(lines.as_bytes()).expect("it should read");
    drop(stdin);
    child.wait_with_output().expect("it should end")
}

/// As [`chat`], for one that ends well: what it told on stdout and on stderr.
#[track_caller]
fn told(bench: &Bench, args: &[&str], lines: &str) -> (String, String) {
    let output = chat(bench, args, lines);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    (text(&output.stdout).to_owned(), text(&output.stderr).to_owned())
}

fn read_json(path: &str) -> Value {
    let bytes = fs::read(path).expect("the file should be there");
    serde_json::from_slice(&bytes).expect("it should be JSON")
}

#[test]
fn auto_says_which_way_it_took_and_why() {
    let Some(bench) = Bench::new() else { return };
    let (notes, tiny) = (bench.notes(), tiny(&bench));
    let absent = "note: answering with sentences quoted from the documents: flan-t5-small is not on this machine \
                  (`kiln models fetch flan-t5-small` brings it)\n";
    let (stdout, stderr) = bench.told(&["ask", &notes, CONE]);
    assert!(stderr.contains(absent) && stdout.contains("This answer is extractive"), "{stderr}{stdout}");
    let (_, stderr) = bench.told(&["ask", &notes, CONE, "--answer", "extract"]);
    assert!(!stderr.contains("answering with"), "{stderr}");

    let generated = ["ask", &notes, CONE, "--generator", &tiny, "--max-new-tokens", "6"];
    let (stdout, stderr) = bench.told(&generated);
    assert!(stderr.contains(&format!("note: answering with tiny, found in {tiny}\n")), "{stderr}");
    assert!(stdout.contains("\n\nThis answer was written by tiny from these passages.\n"), "{stdout}");
    assert!(stdout.contains("Note: the answer ends where it does because it has 6 tokens"), "{stdout}");
    let json = bench.json(&[&generated[..], &["--json", "--answer", "t5"]].concat());
    assert_eq!((&json["method"], &json["generator"]), (&"generative".into(), &"tiny".into()));
    let answer = json["answer"].as_str().expect("it should be text");
    assert!(!answer.is_empty() && stdout.starts_with(&format!("{answer}\n\n")), "{stdout}{answer}");
    let (_, stderr) = bench.told(&[&generated[..], &["-q"]].concat());
    assert_eq!(stderr, "");
}

#[test]
fn a_generated_answer_repeats_itself_and_sampling_follows_its_seed() {
    let Some(bench) = Bench::new() else { return };
    let (notes, tiny) = (bench.notes(), tiny(&bench));
    let answer = |more: &[&str]| {
        let args = ["ask", &notes, CONE, "--json", "--answer", "t5", "--generator", &tiny];
        let json = bench.json(&[&args[..], &["--max-new-tokens", "12"], more].concat());
        json["answer"].as_str().expect("it should be text").to_owned()
    };
    let greedy = answer(&[]);
    assert_eq!(answer(&[]), greedy);
    let drawn = answer(&["--sample", "--seed", "7"]);
    assert_eq!(answer(&["--sample", "--temperature", "0.7", "--seed", "7"]), drawn);
    assert_ne!(answer(&["--sample", "--temperature", "5", "--seed", "8"]), drawn);
    assert_ne!(greedy, drawn);
    // Of a template without passages, they are all the same.
    let template = bench.write("template.txt", "say: {question}\n");
    let bare = answer(&["--prompt-template", &template]);
    assert_eq!(answer(&["--prompt-template", &template, "--contexts", "1"]), bare);
}

#[test]
fn passages_beyond_the_window_are_trimmed_and_that_is_said() {
    let Some(bench) = Bench::new() else { return };
    let tiny = tiny(&bench);
    let args = ["ask", SAMPLE, "What is dropout?", "--generator", &tiny, "--max-new-tokens", "3"];
    let json = bench.json(&[&args[..], &["--contexts", "9", "--json"]].concat());
    let notice = json["notices"][0].as_str().expect("there should be a notice");
    assert!(notice.starts_with("the passages do not fit tiny's window of 512 tokens: "), "{notice}");
    assert!(notice.contains(" sentences were left out, those farthest from the question"), "{notice}");
    let sources = json["sources"].as_array().expect("there should be sources");
    assert_eq!(json["contexts_used"], sources.len());
    assert!((1..=9).contains(&sources.len()), "{json}");
    let (stdout, _) = bench.told(&[&args[..], &["--contexts", "9"]].concat());
    assert!(stdout.contains(&format!("\nNote: {notice}.\n")), "{stdout}");
    let few = bench.json(&[&args[..], &["--contexts", "1", "--json"]].concat());
    assert_eq!(few["notices"].as_array().map(Vec::len), Some(1), "one for the length alone: {few}");

    let long = "dropout ".repeat(10_000);
    let output = bench.run(&["ask", SAMPLE, &long, "--generator", &tiny]);
    assert_refused(&output, "which leaves no room for a passage in tiny's window of 512", "a long question");
    let (_, stderr) = told(&bench, &[SAMPLE, "--generator", &tiny], &long);
    assert!(stderr.contains("error: the question with the prompt template takes "), "{stderr}");
}

#[test]
fn a_generator_that_is_none_is_one_line_with_exit_code_2() {
    let Some(bench) = Bench::new() else { return };
    let (notes, tiny) = (bench.notes(), tiny(&bench));
    let refuses = |more: &[&str], named: &str| {
        bench.refuses(&[&["ask", &notes, CONE][..], more].concat(), named);
        bench.refuses(&[&["chat", &notes][..], more].concat(), named);
    };
    refuses(&["--answer", "t5"], "flan-t5-small not found");
    refuses(&["--answer", "t5", "--generator", &bench.path("nowhere")], "nowhere: ");
    refuses(&["--generator", "word2vec"], "unknown model \"word2vec\"");
    for file in ["tokenizer.json", "config.json", "model.safetensors"] {
        let broken = bench.path("broken");
        let _ = fs::remove_dir_all(&broken);
        fs::create_dir(&broken).expect("the folder should be made");
        for other in ["tokenizer.json", "config.json", "model.safetensors"].iter().filter(|it| **it != file) {
            fs::copy(format!("{tiny}/{other}"), format!("{broken}/{other}")).expect("it should be copied");
        }
        refuses(
            &["--answer", "t5", "--generator", &broken],
            &format!("not a model directory: {file} missing"),
        );
        refuses(&["--generator", &broken], &format!("not a model directory: {file} missing"));
        fs::write(format!("{broken}/{file}"), "{\"half").expect("it should be written");
        refuses(&["--generator", &broken], &format!("broken/{file}: "));
    }
    assert!(!bench.path("cache/indexes").is_empty());
}

#[test]
fn a_conversation_goes_on_is_saved_and_is_taken_up_again() {
    let Some(bench) = Bench::new() else { return };
    let (save, history) = (bench.path("talk.json"), bench.path("history.json"));
    let lines = format!(
        "How many parameters does VGG-16 have?\n\nWho published it?\n/passages\n/contexts 1\n/contexts\n\
         And ResNet-50?\n/sources\n/save {save}\n/contexts 0\n/save\n/reset\n/sources\n/help\n/quit\nWhy?\n"
    );
    let (stdout, stderr) = told(&bench, &[SAMPLE, "--history", &history], &lines);
    for part in [
        "138,357,544 parameters",
        "by Karen Simonyan and Andrew Zisserman of the University of Oxford. (p. 5)\n\nSources\n  1.  ",
        "Answers are made from 1 passage.\n\nAnswers are made from 1 passage.\n\nResNet-50, published in 2015,",
        "\n1. assets/sample/convolutional-networks.pdf, page 5, distance 0.",
        &format!(
            "3 answers saved in {save}.\n\nA new conversation.\n\nThere is no answer with sources yet.\n"
        ),
        "/contexts N   answer from N passages",
    ] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(
        errors,
        [
            "error: unknown command /passages; /help shows what there is",
            "error: 0 contexts: expected at least 1",
            "error: /save: expected a file to save to"
        ]
    );
    let (saved, kept) = (read_json(&save), read_json(&history));
    for talk in [&saved, &kept] {
        let turns = talk.as_array().expect("it should be an array");
        assert_eq!(turns.len(), 3);
        assert_eq!(turns[1]["question"], "Who published it?");
        assert_eq!((&turns[0]["contexts_used"], &turns[2]["contexts_used"]), (&3.into(), &1.into()));
        for turn in turns {
            assert!(turn["answer"].is_string() && turn["processing_time"].as_f64() > Some(0.0), "{turn}");
            let source = turn["sources"][0].as_object().expect("there should be a source");
            for field in ["source", "page", "chunk_id", "distance"] {
                assert!(source.contains_key(field), "{field}: {turn}");
            }
        }
    }
    assert!(kept[0]["indexing_time"].as_f64() > Some(0.0) && kept[1]["indexing_time"] == 0.0, "{kept}");

    // A follow-up means what it meant, where the conversation goes on from the file.
    let when = "When was it published?";
    let (stdout, stderr) = told(&bench, &[SAMPLE, "--history", &history, "-k", "2"], when);
    assert!(stderr.contains(&format!("note: going on from the 3 answers in {history}\n")), "{stderr}");
    assert!(stdout.contains("published in 201"), "{stdout}");
    let (stdout, _) = told(&bench, &[SAMPLE, "-k", "2"], when);
    assert!(!stdout.contains("published in 201"), "{stdout}");
    assert_eq!(read_json(&history).as_array().map(Vec::len), Some(4));

    let diary = bench.write("diary.txt", "dear diary");
    let (_, stderr) = told(&bench, &[SAMPLE], &format!("What is dropout?\n/save {diary}\n"));
    assert!(stderr.contains("error: ") && stderr.contains("diary.txt: not a history file"), "{stderr}");
    assert_eq!(fs::read_to_string(&diary).expect("it should be there"), "dear diary");
    bench.refuses(&["chat", SAMPLE, "--history", &diary], "diary.txt: not a history file");
    // No shell has read this line: a folder of a mistaken name is not made.
    let (nowhere, typed) = (bench.path("~"), bench.path("~/talk.json"));
    let (_, stderr) = told(&bench, &[SAMPLE], &format!("What is dropout?\n/save {typed}\n"));
    let refused = format!("error: {typed}: cannot be written: no folder {nowhere}\n");
    assert!(stderr.contains(&refused) && !fs::exists(&nowhere).expect("it should be known"), "{stderr}");
}

#[test]
fn a_generator_talks_too() {
    let Some(bench) = Bench::new() else { return };
    let (notes, tiny, history) = (bench.notes(), tiny(&bench), bench.path("history.json"));
    let args = [&notes, "--generator", &tiny, "--max-new-tokens", "5", "--history", &history];
    let (first, stderr) = told(&bench, &args, &format!("{CONE}\nWhy?\n"));
    assert!(stderr.contains("note: answering with tiny, found in "), "{stderr}");
    let kept = read_json(&history);
    assert_eq!((&kept[0]["method"], &kept[1]["generator"]), (&"generative".into(), &"tiny".into()));
    assert!(first.starts_with(&format!("{}\n\n", kept[0]["answer"].as_str().expect("it should be text"))));
    // With the conversation before it, the same question gets another prompt.
    let (again, _) = told(&bench, &args, &format!("{CONE}\n"));
    assert!(again.contains("\nSources\n"), "{again}");
    assert_eq!(read_json(&history).as_array().map(Vec::len), Some(3));
    let (fresh, _) = told(&bench, &args[..5], &format!("{CONE}\nWhy?\n"));
    assert_eq!(fresh, first, "twice the same");
}

#[test]
#[cfg(unix)]
fn an_interrupt_stops_the_answer_and_then_the_conversation() {
    let Some(bench) = Bench::new() else { return };
    let (notes, tiny) = (bench.notes(), tiny(&bench));
    let mut child = bench
        .command(&["chat", &notes, "--generator", &tiny, "--max-new-tokens", "3000", "-k", "1", "-q"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary should start");
    let id = child.id();
    let interrupt = || {
        let kill = format!("kill -INT {id}");
        let status = std::process::Command::new("sh").args(["-c", &kill]).status();
        assert!(status.expect("sh should run").success());
    };
    let mut stdin = child.stdin.take().expect("it should be a pipe");
    let mut stdout = child.stdout.take().expect("it should be a pipe");
    stdin.write_all(format!("{CONE}\n").as_bytes()).expect("it should read");
    let mut said = Vec::new();
    let mut hear = |until: &str| {
        let mut byte = [0];
        while !said.ends_with(until.as_bytes()) {
            assert_eq!(stdout.read(&mut byte).expect("it should speak"), 1, "{}", text(&said));
            said.push(byte[0]);
        }
        text(&said).to_owned()
    };
    hear(" ");
    interrupt();
    let heard = hear("\n\nSources\n");
    assert!(heard.ends_with("\n\nNote: the answer was stopped before its end.\n\nSources\n"), "{heard}");
    // It goes on, until it is interrupted while it waits.
    stdin.write_all(b"/contexts\n").expect("it should read");
    hear("Answers are made from 1 passage.\n\n");
    interrupt();
    let output = child.wait_with_output().expect("it should end");
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
}
