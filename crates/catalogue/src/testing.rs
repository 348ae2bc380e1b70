//! What the tests share: shaders with a body to fill in, folders made of them.

use std::{fs, path::Path};

use crate::{CatalogueError, compile};

/// The libraries that the test shaders may use.
const GRID: &str = "//! grid\n//!\n//! Position.\n
fn flat_workgroup(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}
";

/// The messages for a shader `probe` with `text` after the header, and one row `base` with `settings`.
pub(crate) fn messages_with(settings: &str, text: &str) -> Vec<String> {
    let header =
        format!("//! probe\n//!\n//! A test.\n//!\n//! uses: grid\n//! variants:\n//!   base {settings}\n\n");
    compile_files(&[("lib/grid.wgsl", GRID), ("probe.wgsl", &format!("{header}{text}"))])
}

/// The messages for a shader with the usual bindings, `helpers` and the body of `main`.
pub(crate) fn messages(helpers: &str, body: &str) -> Vec<String> {
    messages_with(
        "THREADS=64",
        &format!(
            "override THREADS: u32 = 64u;
struct Params {{
    count: u32,
    depth: u32,
}}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> offsets: array<u32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;
var<workgroup> tile: array<f32, 64>;
{helpers}
@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {{
    let index = flat_workgroup(group, groups) * THREADS + thread;
    tile[thread] = input[index];
    // Uses every binding, soundly.
    if (index < params.count) {{
        output[index] = tile[thread] + f32(offsets[params.depth]);
    }}
{body}
}}
"
        ),
    )
}

/// Compiles a folder made of `files` (path, text); the message of each diagnostic.
pub(crate) fn compile_files(files: &[(&str, &str)]) -> Vec<String> {
    let dir = folder(files);
    match compile(dir.path()) {
        Ok(_) => Vec::new(),
        Err(CatalogueError::Shaders(diagnostics)) => {
            diagnostics.iter().map(|diagnostic| diagnostic.message().to_string()).collect()
        }
        Err(error) => panic!("{error}"),
    }
}

/// A temporary folder with `files` in it, and a `lib`.
pub(crate) fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder should be allowed");
    let write = |path: &Path, text: &str| fs::write(path, text).expect("a temporary file should be writable");
    fs::create_dir(dir.path().join("lib")).expect("a temporary folder should be writable");
    for (path, text) in files {
        write(&dir.path().join(path), text);
    }
    dir
}

/// Fails unless `messages` is one message that has `part` in it.
#[track_caller]
pub(crate) fn only(messages: &[String], part: &str) {
    assert!(
        matches!(messages, [message] if message.contains(part)),
        "expected one message with {part:?}, got {messages:#?}"
    );
}

/// Fails unless `messages` is empty.
#[track_caller]
pub(crate) fn none(messages: &[String]) {
    assert!(messages.is_empty(), "expected a sound shader, got {messages:#?}");
}
