//! Each crate uses only crates on floors below its own.

use cargo_metadata::DependencyKind;

use crate::{expect_none, expect_one, metadata};

/// The floors of ARCHITECTURE.md. `xtask`, `tests` and `benches` stand beside the house: nothing may lean on
/// them, and they may use any floor.
const FLOORS: &[(&str, u8)] = &[
    ("kiln-catalogue", 0),
    ("kiln-kernels", 1),
    ("kiln-reference", 1),
    ("kiln-gpu", 2),
    ("kiln-engine", 3),
    ("kiln-models", 4),
    ("kiln-train", 5),
    ("kiln-docqa", 5),
    ("kiln-serve", 6),
    ("kiln", 7),
];

const BESIDE: &[&str] = &["xtask", "kiln-tests", "kiln-benches"];

/// Who may name what: the owner of a dependency that is to stay behind one door.
const DOORS: &[(&str, &str)] = &[("wgpu", "kiln-gpu"), ("naga", "kiln-catalogue")];

/// One line of a package's dependency tables.
struct Edge {
    from: String,
    to: String,
    kind: DependencyKind,
}

fn edge(from: &str, to: &str, kind: DependencyKind) -> Edge {
    Edge { from: from.to_owned(), to: to.to_owned(), kind }
}

fn floor(package: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == package).map(|(_, floor)| *floor)
}

fn strangers(packages: &[&str]) -> Vec<String> {
    let known = |package: &str| floor(package).is_some() || BESIDE.contains(&package);
    let strangers = packages.iter().filter(|package| !known(package));
    strangers
        .map(|package| format!("{package} stands on no floor: give it one here and in ARCHITECTURE.md"))
        .collect()
}

fn climbs(edges: &[Edge]) -> Vec<String> {
    let mut complaints = Vec::new();
    // Development dependencies are for tests, which may look at what stands above.
    for Edge { from, to, .. } in edges.iter().filter(|edge| edge.kind != DependencyKind::Development) {
        if let (Some(from_floor), Some(to_floor)) = (floor(from), floor(to))
            && to_floor >= from_floor
        {
            complaints.push(format!("{from} (F{from_floor}) uses {to} (F{to_floor}), which is not below it"));
        }
        if floor(from).is_some() && BESIDE.contains(&to.as_str()) {
            complaints.push(format!("{from} uses {to}, which is beside the house, not part of it"));
        }
    }
    complaints
}

fn doors(edges: &[Edge]) -> Vec<String> {
    let mut complaints = Vec::new();
    for Edge { from, to, kind } in edges {
        if let Some((_, owner)) = DOORS.iter().find(|(name, _)| name == to)
            && from != owner
            && *kind != DependencyKind::Development
        {
            complaints.push(format!("{from} names {to}: only {owner} may"));
        }
        // naga must not come along at run time.
        let builds_kernels = from == "kiln-kernels" && *kind == DependencyKind::Build;
        if to == "kiln-catalogue" && floor(from).is_some() && !builds_kernels {
            complaints.push(format!("{from} uses kiln-catalogue: only the build script of kiln-kernels may"));
        }
        if from == "kiln-reference" {
            complaints
                .push(format!("kiln-reference uses {to}: the oracle shares no code with what it judges"));
        }
    }
    complaints
}

fn packages() -> Vec<&'static str> {
    metadata().workspace_packages().iter().map(|package| package.name.as_str()).collect()
}

fn edges() -> Vec<Edge> {
    let packages = metadata().workspace_packages();
    let all = packages.iter().flat_map(|package| {
        package.dependencies.iter().map(|dependency| edge(&package.name, &dependency.name, dependency.kind))
    });
    all.collect()
}

#[test]
fn every_crate_stands_on_a_floor() {
    expect_none(strangers(&packages()));
}

#[test]
fn every_crate_uses_only_floors_below() {
    let edges = edges();
    assert!(
        edges.iter().any(|edge| edge.from == "kiln" && edge.to == "kiln-engine"),
        "the edges should be read"
    );
    expect_none(climbs(&edges));
}

#[test]
fn wgpu_naga_and_the_catalogue_stay_behind_their_doors() {
    expect_none(doors(&edges()));
}

mod complains_about {
    use super::*;
    use DependencyKind::{Build, Development, Normal};

    #[test]
    fn a_crate_without_a_floor() {
        expect_one(&strangers(&["kiln-gpu", "xtask", "kiln-attic"]), "kiln-attic");
    }

    #[test]
    fn a_crate_that_climbs() {
        expect_one(
            &climbs(&[edge("kiln-gpu", "kiln-engine", Normal)]),
            "kiln-gpu (F2) uses kiln-engine (F3)",
        );
        expect_one(&climbs(&[edge("kiln-kernels", "kiln-gpu", Build)]), "not below it");
    }

    #[test]
    fn neighbours_on_one_floor() {
        expect_one(&climbs(&[edge("kiln-train", "kiln-docqa", Normal)]), "not below it");
    }

    #[test]
    fn a_crate_that_leans_on_the_tests() {
        expect_one(&climbs(&[edge("kiln-engine", "kiln-tests", Normal)]), "beside the house");
    }

    #[test]
    fn wgpu_above_gpu() {
        expect_one(&doors(&[edge("kiln-engine", "wgpu", Normal)]), "only kiln-gpu may");
        expect_one(&doors(&[edge("kiln-kernels", "naga", Normal)]), "only kiln-catalogue may");
    }

    #[test]
    fn the_catalogue_at_run_time() {
        expect_one(&doors(&[edge("kiln-kernels", "kiln-catalogue", Normal)]), "only the build script");
        expect_one(&doors(&[edge("kiln-engine", "kiln-catalogue", Build)]), "only the build script");
    }

    #[test]
    fn an_oracle_with_dependencies() {
        expect_one(&doors(&[edge("kiln-reference", "rayon", Development)]), "shares no code");
    }

    #[test]
    fn nothing_that_is_right() {
        let right = [
            edge("kiln-kernels", "kiln-catalogue", Build),
            edge("kiln-gpu", "wgpu", Normal),
            edge("kiln", "kiln-engine", Normal),
            edge("kiln-engine", "kiln-tests", Development),
            edge("kiln-tests", "kiln-catalogue", Development),
        ];
        expect_none([climbs(&right), doors(&right)].concat());
    }
}
