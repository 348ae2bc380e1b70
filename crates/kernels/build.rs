//! Compiles `shaders/` into the Rust of this crate. A fault in a shader fails the build with its file and line.

use std::{env, error::Error, fs, path::Path, process::ExitCode};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Display, not Debug: the message has lines of its own.
            #[allow(clippy::print_stderr)]
            {
                eprintln!("\n{error}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../..");
    // The short form of the path is what the diagnostics show.
    let shaders = fs::canonicalize(&root).unwrap_or(root).join("shaders");
    #[allow(clippy::print_stdout)] // how a build script speaks to cargo
    {
        println!("cargo:rerun-if-changed={}", shaders.display());
    }
    let catalogue = kiln_catalogue::compile(&shaders)?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("kernels.rs"), catalogue.rust())?;
    Ok(())
}
