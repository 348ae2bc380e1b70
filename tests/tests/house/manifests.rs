//! One place for versions, lints and licence: the root manifest.

use std::fs;

use crate::{expect_none, expect_one, metadata, root};

/// What each package takes from `[workspace.package]`.
const INHERITED: &[&str] = &["version", "edition", "rust-version", "license", "repository", "publish"];

/// Lines of a manifest with the table they stand in; comments and blank lines left out.
fn lines(manifest: &str) -> Vec<(&str, &str)> {
    let mut table = "";
    let mut lines = Vec::new();
    for line in manifest.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => table = name,
            None => lines.push((table, line)),
        }
    }
    lines
}

fn own_versions(path: &str, manifest: &str) -> Vec<String> {
    let from_workspace = |line: &str| {
        let line: String = line.split_whitespace().collect();
        line.contains(".workspace=true") || line.contains("workspace=true")
    };
    let mut complaints = Vec::new();
    for (table, line) in lines(manifest) {
        if table.ends_with("dependencies") && !from_workspace(line) {
            complaints
                .push(format!("{path}: [{table}] {line}: name the version in [workspace.dependencies]"));
        }
        // `[dependencies.wgpu]`: its lines would escape the rule above.
        if table.contains("dependencies.") {
            complaints.push(format!("{path}: [{table}]: write it as one line of a dependency table"));
        }
    }
    complaints
}

fn not_inherited(path: &str, manifest: &str) -> Vec<String> {
    let lines = lines(manifest);
    let mut complaints: Vec<String> = INHERITED
        .iter()
        .filter(|key| !lines.contains(&("package", format!("{key}.workspace = true").as_str())))
        .map(|key| format!("{path}: [package] should have `{key}.workspace = true`"))
        .collect();
    if !lines.contains(&("lints", "workspace = true")) {
        complaints.push(format!("{path}: [lints] should have `workspace = true`"));
    }
    complaints
}

/// Entries of `[workspace.dependencies]` that no manifest takes.
fn unused(root: &str, manifests: &[String]) -> Vec<String> {
    let taken = |name: &str| {
        manifests.iter().flat_map(|manifest| lines(manifest)).any(|(table, line)| {
            let key = line.split(['.', '=', ' ']).next();
            table.ends_with("dependencies") && key == Some(name)
        })
    };
    let entries = lines(root).into_iter().filter(|(table, _)| *table == "workspace.dependencies");
    let names = entries.filter_map(|(_, line)| line.split_once('=').map(|(name, _)| name.trim()));
    let unused = names.filter(|name| !taken(name));
    unused.map(|name| format!("{name} is in [workspace.dependencies], and no crate uses it")).collect()
}

/// Path from the root and text of each member's manifest.
fn members() -> Vec<(String, String)> {
    let packages = metadata().workspace_packages();
    let paths = packages.iter().map(|package| package.manifest_path.as_std_path());
    let read = |path| fs::read_to_string(path).expect("a manifest that cargo has read should be there");
    paths.map(|path| (crate::relative(path), read(path))).collect()
}

#[test]
fn versions_are_named_in_the_root_manifest() {
    expect_none(members().iter().flat_map(|(path, manifest)| own_versions(path, manifest)).collect());
}

#[test]
fn packages_inherit_what_they_share() {
    expect_none(members().iter().flat_map(|(path, manifest)| not_inherited(path, manifest)).collect());
}

#[test]
fn every_version_named_is_used() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the root manifest should be there");
    let members: Vec<String> = members().into_iter().map(|(_, manifest)| manifest).collect();
    expect_none(unused(&manifest, &members));
}

mod complains_about {
    use super::*;

    #[test]
    fn a_version_of_its_own() {
        let bad = "[dependencies]\nlog.workspace = true\nhalf = \"2.7\"\n";
        expect_one(&own_versions("Cargo.toml", bad), "half");
        let bad = "[target.'cfg(unix)'.dev-dependencies]\nlibc = { version = \"0.2\" }\n";
        expect_one(&own_versions("Cargo.toml", bad), "libc");
        let bad = "[dependencies.half]\nversion = \"2.7\"\n";
        expect_one(&own_versions("Cargo.toml", bad), "one line");
    }

    #[test]
    fn a_package_without_the_common_lints() {
        let good: String = INHERITED.iter().map(|key| format!("{key}.workspace = true\n")).collect();
        expect_one(&not_inherited("Cargo.toml", &format!("[package]\n{good}")), "[lints]");
        let bad = good.replace("license.workspace", "license") + "\n[lints]\nworkspace = true\n";
        expect_one(&not_inherited("Cargo.toml", &format!("[package]\n{bad}")), "license.workspace");
    }

    #[test]
    fn a_version_that_nobody_uses() {
        let root = "[workspace.dependencies]\nhalf = \"2.7\"\nlog = \"0.4\"\n";
        expect_one(&unused(root, &["[dependencies]\nlog.workspace = true\n".to_owned()]), "half");
    }

    #[test]
    fn nothing_that_is_right() {
        let right = "[build-dependencies]\n# why\nhalf.workspace = true\nlog = { workspace = true, optional = true }\n";
        expect_none(own_versions("Cargo.toml", right));
    }
}
