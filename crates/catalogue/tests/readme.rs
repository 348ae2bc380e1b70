//! The example in `shaders/README.md` is a sound shader.

use std::{error::Error, fs, path::Path};

#[test]
fn the_example_compiles() -> Result<(), Box<dyn Error>> {
    let shaders = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shaders");
    let readme = fs::read_to_string(shaders.join("README.md"))?;
    let (_, rest) = readme.split_once("```wgsl\n").ok_or("no example")?;
    let (example, _) = rest.split_once("```").ok_or("no end of the example")?;

    let dir = tempfile::tempdir()?;
    fs::create_dir(dir.path().join("lib"))?;
    fs::copy(shaders.join("lib/grid.wgsl"), dir.path().join("lib/grid.wgsl"))?;
    fs::write(dir.path().join("scale.wgsl"), example)?;
    let catalogue = kiln_catalogue::compile(dir.path())?;
    let rust = catalogue.rust();
    for promised in ["pub mod scale", "pub const fn threads(self)", "pub offset: u32"] {
        assert!(rust.contains(promised), "no `{promised}` in\n{rust}");
    }
    Ok(())
}
