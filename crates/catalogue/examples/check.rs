//! Checks a folder of shaders without building anything else: `cargo run -p kiln-catalogue --example check shaders`.
//!
//! With a second path it writes the generated Rust there.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{env, fs, path::Path, process::ExitCode, time::Instant};

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let dir = arguments.next().unwrap_or_else(|| "shaders".into());
    let start = Instant::now();
    let catalogue = match kiln_catalogue::compile(Path::new(&dir)) {
        Ok(catalogue) => catalogue,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let rows: usize = catalogue.shaders().iter().map(|shader| shader.variants().len()).sum();
    println!(
        "{} shaders, {rows} variants: sound ({:.2} s)",
        catalogue.shaders().len(),
        start.elapsed().as_secs_f64()
    );
    if let Some(out) = arguments.next()
        && let Err(error) = fs::write(&out, catalogue.rust())
    {
        eprintln!("cannot write {out}: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
