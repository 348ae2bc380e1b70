//! What may stand in source files, and where.

use std::fs;
use std::path::Path;

use crate::{expect_none, expect_one, relative, root};

/// A file of text with its path from the root.
struct Source {
    path: String,
    text: String,
}

/// A Rust source with comments and the insides of text literals blanked out, so that words in them are not
/// taken for code. Lines stay where they are.
fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let starts = |at: usize, text: &str| text.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = if starts(at, "//") {
            (at..chars.len()).find(|&i| chars[i] == '\n').unwrap_or(chars.len())
        } else if starts(at, "/*") {
            block_comment_end(&chars, at)
        } else if let Some(end) = raw_text_end(&chars, at) {
            end
        } else if chars[at] == '"' {
            text_end(&chars, at)
        } else if starts(at, "'\"'") {
            at + 3
        } else {
            code.push(chars[at]);
            at += 1;
            continue;
        };
        code.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    code
}

/// Block comments nest.
fn block_comment_end(chars: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn text_end(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// The end of `r"..."` or `r#"..."#` where one starts here.
fn raw_text_end(chars: &[char], start: usize) -> Option<usize> {
    let part_of_a_name = start > 0 && (chars[start - 1].is_alphanumeric() || chars[start - 1] == '_');
    // `br` and `cr` are raw texts too; their first letter is left as code, which does no harm.
    let after_prefix = start > 0 && matches!(chars[start - 1], 'b' | 'c');
    if chars[start] != 'r' || (part_of_a_name && !after_prefix) {
        return None;
    }
    let hashes = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let closes = |at: &usize| {
        chars[*at] == '"' && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    Some((open + 1..chars.len()).find(closes).map_or(chars.len(), |at| at + 1 + hashes))
}

/// Whether `word` stands in `line` as a word of its own.
fn has_word(line: &str, word: &str) -> bool {
    let part_of_a_name = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        !part_of_a_name(line[..at].chars().next_back())
            && !part_of_a_name(line[at + word.len()..].chars().next())
    })
}

/// Complaints about lines of code for which `wrong` has a word.
fn lines_with(sources: &[Source], wrong: impl Fn(&str, &str) -> Option<String>) -> Vec<String> {
    let mut complaints = Vec::new();
    for Source { path, text } in sources {
        for (line, code) in code_only(text).lines().enumerate() {
            complaints.extend(wrong(path, code).map(|complaint| format!("{path}:{}: {complaint}", line + 1)));
        }
    }
    complaints
}

fn unsafe_code(sources: &[Source]) -> Vec<String> {
    lines_with(sources, |path, line| {
        let wrong = !path.starts_with("crates/gpu/") && has_word(line, "unsafe");
        wrong.then(|| "`unsafe` lives in crates/gpu alone".into())
    })
}

fn unfinished(sources: &[Source]) -> Vec<String> {
    lines_with(sources, |_, line| {
        let marks = ["todo!", "unimplemented!", "dbg!"];
        marks.into_iter().find(|mark| has_word(line, mark)).map(|mark| format!("`{mark}` is unfinished work"))
    })
}

/// Where the environment may be read: the programs, the one function of the store that the binary calls, and
/// the switch that keeps a driver from writing to the terminal.
const READS_ENVIRONMENT: &[&str] =
    &["crates/kiln/src/", "crates/xtask/", "crates/models/src/store/config.rs", "crates/gpu/src/quiet.rs"];

fn environment(sources: &[Source]) -> Vec<String> {
    lines_with(sources, |path, line| {
        let library = path.starts_with("crates/") && path.contains("/src/");
        let allowed = READS_ENVIRONMENT.iter().any(|start| path.starts_with(start));
        let reads = ["env::var", "env::var_os", "env::vars", "env::vars_os"]
            .into_iter()
            .any(|name| has_word(line, name));
        (library && !allowed && reads).then(|| "library code reads no environment variable".into())
    })
}

fn headers(shaders: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for Source { path, text } in shaders {
        let stem = path.rsplit('/').next().and_then(|name| name.strip_suffix(".wgsl")).unwrap_or_default();
        let header: Vec<&str> =
            text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
        if header.first() != Some(&stem) {
            complaints.push(format!("{path}: the header's first line should be `//! {stem}`"));
        }
        if header.iter().filter(|line| !line.is_empty()).count() < 2 {
            complaints.push(format!("{path}: the header should say what the file does"));
        }
        if !path.contains("/lib/") && !header.contains(&"variants:") {
            complaints.push(format!("{path}: the header should have its `variants:`"));
        }
    }
    complaints
}

/// The files with an extension below the given folders of the project.
fn sources(folders: &[&str], extension: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for folder in folders {
        collect(&root().join(folder), extension, &mut sources);
    }
    assert!(!sources.is_empty(), "there should be .{extension} files in {folders:?}");
    sources
}

fn collect(folder: &Path, extension: &str, sources: &mut Vec<Source>) {
    let entries = fs::read_dir(folder).expect("a folder of the project should be readable");
    for path in entries.map(|entry| entry.expect("an entry should be readable").path()) {
        // What other workspaces build below benches/peers is not ours.
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, extension, sources);
        } else if path.extension().is_some_and(|found| found == extension) {
            let text = fs::read_to_string(&path).expect("a source file should be UTF-8");
            sources.push(Source { path: relative(&path), text });
        }
    }
}

fn rust() -> Vec<Source> {
    sources(&["crates", "tests", "benches"], "rs")
}

#[test]
fn unsafe_lives_in_gpu_alone() {
    expect_none(unsafe_code(&rust()));
}

#[test]
fn nothing_is_left_unfinished() {
    expect_none(unfinished(&rust()));
}

#[test]
fn libraries_read_no_environment() {
    expect_none(environment(&rust()));
}

#[test]
fn every_shader_has_its_header() {
    expect_none(headers(&sources(&["shaders"], "wgsl")));
}

mod complains_about {
    use super::*;

    fn source(path: &str, text: &str) -> [Source; 1] {
        [Source { path: path.to_owned(), text: text.to_owned() }]
    }

    #[test]
    fn unsafe_outside_gpu() {
        let block = "fn f() {\n    unsafe { g() }\n}\n";
        expect_one(&unsafe_code(&source("crates/engine/src/lib.rs", block)), "lib.rs:2:");
        expect_none(unsafe_code(&source("crates/gpu/src/lib.rs", block)));
    }

    #[test]
    fn unfinished_work() {
        expect_one(&unfinished(&source("crates/engine/src/lib.rs", "fn f() { todo!() }")), "todo!");
        expect_one(
            &unfinished(&source("tests/src/lib.rs", "fn f() { unimplemented!(\"x\") }")),
            "unimplemented!",
        );
    }

    #[test]
    fn a_library_that_reads_the_environment() {
        let read = "let home = std::env::var_os(\"HOME\");";
        expect_one(&environment(&source("crates/engine/src/tune.rs", read)), "no environment");
        expect_none(environment(&source("crates/xtask/src/main.rs", read)));
        expect_none(environment(&source("crates/engine/tests/x.rs", read)));
        expect_none(environment(&source("crates/engine/src/x.rs", "env!(\"CARGO_MANIFEST_DIR\")")));
    }

    #[test]
    fn a_shader_without_its_header() {
        let good = "//! relu\n//!\n//! output[i] = max(input[i], 0)\n//!\n//! variants:\n//!   base\n";
        expect_none(headers(&source("shaders/relu.wgsl", good)));
        expect_none(headers(&source("shaders/lib/relu.wgsl", "//! relu\n//! relu, by select\n")));
        expect_one(&headers(&source("shaders/gelu.wgsl", good)), "//! gelu");
        expect_one(&headers(&source("shaders/relu.wgsl", &good.replace("variants:", "rows:"))), "variants:");
        expect_one(
            &headers(&source("shaders/lib/relu.wgsl", "//! relu\nfn relu() {}\n")),
            "what the file does",
        );
    }

    #[test]
    fn code_not_comments_or_text() {
        let harmless = "// unsafe\n/* unsafe /* todo!() */ unsafe */\n\"unsafe \\\" unsafe\" r#\"unsafe \" unsafe\"# \
                        br\"unsafe\" '\"' #[forbid(unsafe_code)] let not_unsafe = 1;\n";
        expect_none(unsafe_code(&source("crates/engine/src/lib.rs", harmless)));
        // and the code after each of them is code again
        for start in ["// x\n", "/* x */", "\"x\\\\\"", "r\"x\\\"", "r##\"x\"# \"##", "'\"'", "br'x'"] {
            let text = format!("{start} unsafe {{}}");
            assert_eq!(unsafe_code(&source("crates/engine/src/lib.rs", &text)).len(), 1, "{text}");
        }
    }

    #[test]
    fn lines_that_it_can_name() {
        let text = "/* one\ntwo */\n\"three\nfour\"\nunsafe {}\n";
        expect_one(&unsafe_code(&source("crates/engine/src/lib.rs", text)), "lib.rs:5:");
    }
}
