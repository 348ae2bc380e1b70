//! The files that the project as a whole is made of.

use std::fs;
use std::path::Path;

use crate::{expect_none, expect_one, metadata, relative, root};

/// What `assets/` may weigh, in bytes: a clone should stay quick.
const ASSETS_BUDGET: u64 = 3_000_000;

fn over_budget(files: &[(String, u64)], budget: u64) -> Vec<String> {
    let total: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    if total <= budget {
        return Vec::new();
    }
    let mut largest: Vec<_> = files.iter().collect();
    largest.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let largest: Vec<_> = largest.iter().take(5).map(|(path, bytes)| format!("{path} {bytes}")).collect();
    vec![format!("assets weigh {total} bytes, {budget} are allowed; the largest: {}", largest.join(", "))]
}

fn unreleased(changelog: &str, version: &str) -> Vec<String> {
    let heading = format!("## [{version}]");
    let found = changelog.lines().any(|line| line.starts_with(&heading));
    if found { Vec::new() } else { vec![format!("CHANGELOG.md should have a section `{heading}`")] }
}

/// Links of a page to files of the project that are not there.
fn dead_links(page: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.map(|target| target.split('#').next().unwrap_or_default());
    let files = files.filter(|file| !file.is_empty() && !file.contains("://"));
    let dead = files.filter(|file| !exists(file));
    dead.map(|file| format!("{page} links to {file}, which is not there")).collect()
}

/// Crates that the page on architecture has no row for.
fn unexplained(page: &str, crates: &[String]) -> Vec<String> {
    let explained = |name: &str| {
        page.lines().any(|line| line.starts_with('|') && line.contains(&format!("| `{name}` |")))
    };
    let unexplained = crates.iter().filter(|name| !explained(name));
    unexplained.map(|name| format!("ARCHITECTURE.md should have a row for crates/{name}")).collect()
}

fn sizes(folder: &Path, files: &mut Vec<(String, u64)>) {
    for entry in fs::read_dir(folder).expect("a folder of the project should be readable") {
        let entry = entry.expect("an entry should be readable");
        let data = entry.metadata().expect("a file of the project should have a size");
        if data.is_dir() {
            sizes(&entry.path(), files);
        } else {
            files.push((relative(&entry.path()), data.len()));
        }
    }
}

#[test]
fn assets_keep_to_their_budget() {
    let mut files = Vec::new();
    sizes(&root().join("assets"), &mut files);
    assert!(!files.is_empty(), "assets/ should hold files");
    expect_none(over_budget(&files, ASSETS_BUDGET));
}

#[test]
fn the_changelog_has_the_current_version() {
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).expect("there should be a CHANGELOG.md");
    let packages = metadata().workspace_packages();
    let kiln =
        packages.iter().find(|package| package.name == "kiln").expect("there should be a package kiln");
    expect_none(unreleased(&changelog, &kiln.version.to_string()));
}

#[test]
fn the_licences_are_there() {
    let names = ["LICENSE", "LICENSE-MIT", "LICENSE-APACHE"];
    let missing = names.into_iter().filter(|name| !root().join(name).is_file());
    expect_none(missing.map(|name| format!("{name} should be there")).collect());
}

#[test]
fn pages_link_to_what_is_there() {
    let pages = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    let check = |page: &str| {
        let text = fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        dead_links(page, &text, |file| root().join(file).exists())
    };
    expect_none(pages.into_iter().flat_map(check).collect());
}

#[test]
fn every_crate_is_explained() {
    let page =
        fs::read_to_string(root().join("ARCHITECTURE.md")).expect("there should be an ARCHITECTURE.md");
    let entries = fs::read_dir(root().join("crates")).expect("there should be crates");
    let crates = entries.map(|entry| entry.expect("an entry should be readable").file_name());
    let crates: Vec<String> = crates.map(|name| name.to_string_lossy().into_owned()).collect();
    expect_none(unexplained(&page, &crates));
}

mod complains_about {
    use super::*;

    #[test]
    fn heavy_assets() {
        let files = [("assets/a.pdf".to_owned(), 60), ("assets/b.json".to_owned(), 50)];
        expect_one(&over_budget(&files, 100), "110 bytes, 100 are allowed; the largest: assets/a.pdf 60");
        expect_none(over_budget(&files, 110));
    }

    #[test]
    fn a_version_without_its_section() {
        let changelog = "# Changelog\n\n## [0.1.0] - unreleased\n\n- first\n";
        expect_none(unreleased(changelog, "0.1.0"));
        expect_one(&unreleased(changelog, "0.2.0"), "[0.2.0]");
    }

    #[test]
    fn a_crate_that_the_page_leaves_out() {
        let page = "The crate `attic` is above.\n| 2 | `gpu` | the device |\n";
        expect_one(&unexplained(page, &["gpu".to_owned(), "attic".to_owned()]), "crates/attic");
    }

    #[test]
    fn a_dead_link() {
        let text = "[a](here.md) [b](gone.md#part) [c](#part) [d](https://example.com/gone.md)";
        expect_one(&dead_links("README.md", text, |file| file == "here.md"), "gone.md");
    }
}
