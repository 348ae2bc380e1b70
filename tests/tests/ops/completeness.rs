//! An op is four files: its own in `engine`, its oracle in `reference`, its tests here, and its shader, which
//! `tests/shaders/coverage.rs` asks for. This says which is missing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Stems whose oracle has another name, or that need none.
const ORACLES: &[(&str, Option<&str>)] = &[
    // The second half of a channel sum.
    ("channel_join", Some("channel_sum")),
    // Several ops in one, tested against the oracles of these.
    ("norm_cross_attention", Some("attention")),
    ("norm_linear", Some("rms_norm")),
    ("norm_self_attention", Some("cached_attention")),
    // A layout of a matmul's right side: the product is what can be right or wrong.
    ("pack_panels", Some("matmul")),
    ("pack_half_panels", Some("matmul")),
    // A product or convolution in two steps.
    ("join_parts", None),
    ("split_sum", None),
];

/// Stems that are tested in the module of another op.
const MODULES: &[(&str, &str)] = &[
    ("channel_join", "channel_sum"),
    ("join_parts", "split_sum"),
    ("pack_panels", "matmul"),
    ("pack_half_panels", "matmul"),
];

#[test]
fn every_op_has_an_oracle_and_tests() {
    let root = kiln_tests::golden::root();
    let ops = stems(&root.join("crates/engine/src/ops"));
    let oracles = stems(&root.join("crates/reference/src"));
    let modules = stems(&root.join("tests/tests/ops"));
    assert!(ops.len() >= 16, "only {ops:?} found: are the paths of this test right?");

    let mut missing = Vec::new();
    for op in &ops {
        let oracle =
            ORACLES.iter().find(|(name, _)| name == op).map_or(Some(op.as_str()), |(_, oracle)| *oracle);
        if let Some(oracle) = oracle.filter(|oracle| !oracles.contains(*oracle)) {
            missing.push(format!("crates/reference/src/{oracle}.rs"));
        }
        let module = MODULES.iter().find(|(name, _)| name == op).map_or(op.as_str(), |(_, module)| module);
        if !modules.contains(module) {
            missing.push(format!("tests/tests/ops/{module}.rs"));
        }
    }
    assert!(missing.is_empty(), "ops without their other files, which are missing: {missing:?}");

    // A module that main.rs does not name would never run; Rust reports it for no folder of tests.
    let main = fs::read_to_string(root.join("tests/tests/ops/main.rs")).expect("main.rs should be readable");
    let unnamed: Vec<&String> =
        modules.iter().filter(|name| *name != "main" && !main.contains(&format!("mod {name};"))).collect();
    assert!(unnamed.is_empty(), "tests/tests/ops/main.rs does not name {unnamed:?}");

    let stale = |table: &mut dyn Iterator<Item = &'static str>| -> Vec<&'static str> {
        table.filter(|name| !ops.contains(*name)).collect()
    };
    let stale =
        [stale(&mut ORACLES.iter().map(|row| row.0)), stale(&mut MODULES.iter().map(|row| row.0))].concat();
    assert!(stale.is_empty(), "this test's tables name ops that are gone: {stale:?}");
}

/// The names of a folder's Rust files, without the ending.
fn stems(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths = entries.map(|entry| entry.expect("entries should be readable").path());
    let files = paths.filter(|path| path.extension().is_some_and(|ending| ending == "rs"));
    files.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
}
