//! Every shader of the catalogue is run here, in every row.

use std::fs;
use std::path::Path;

/// A module that runs a shader walks its rows by `shader::Variant::ALL`: the rows that the present device would not
/// choose are tested on it all the same.
#[test]
fn every_row_of_the_catalogue_is_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shaders");
    let mut sources = String::new();
    for entry in fs::read_dir(&folder).expect("the folder of this test should be readable") {
        let path = entry.expect("its entries should be readable").path();
        sources += &fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
    let mut missing: Vec<&str> = kiln_kernels::ALL.iter().map(|kernel| kernel.name).collect();
    missing.dedup();
    missing.retain(|name| !sources.contains(&format!("{name}::Variant::ALL")));
    assert!(missing.is_empty(), "no module of tests/shaders runs Variant::ALL of {missing:?}");
}

/// The catalogue's own list agrees with itself.
#[test]
fn names_are_unique_and_found() {
    for (i, kernel) in kiln_kernels::ALL.iter().enumerate() {
        assert!(kiln_kernels::ALL[..i].iter().all(|other| other != kernel), "{kernel} is listed twice");
        assert_eq!(kiln_kernels::find(kernel.name, kernel.variant), Some(*kernel));
    }
    assert_eq!(kiln_kernels::find("matmul", "none"), None);
}
