//! Writes a T5 with seeded weights, as `kiln generate --model DIR` reads it:
//!
//! ```text
//! cargo run --release -p kiln-tests --example write_t5 -- DIR [--size tiny|v10|v11|odd|small|base] [--form f32|f16|bf16]
//! ```
//!
//! `small` has the geometry of flan-t5-small. What such a model says means nothing, but is the same everywhere.

#![allow(clippy::print_stderr, reason = "a command tells what is wrong")]

use std::path::Path;
use std::process::ExitCode;

use kiln_tests::t5::{Form, Geometry};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let (mut dir, mut geometry, mut form) = (None, Geometry::TINY, Form::F32);
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        match argument {
            "--size" => {
                let name = arguments.next().unwrap_or_default();
                let known = Geometry::ALL.into_iter().find(|(known, _)| *known == name);
                let names = Geometry::ALL.map(|(name, _)| name).join(", ");
                geometry = known.ok_or_else(|| format!("--size: expected one of {names}, got {name:?}"))?.1;
            }
            "--form" => {
                form = match arguments.next().unwrap_or_default() {
                    "f32" => Form::F32,
                    "f16" => Form::F16,
                    "bf16" => Form::Bf16,
                    other => return Err(format!("--form: expected f32, f16 or bf16, got {other:?}")),
                };
            }
            _ if dir.is_none() && !argument.starts_with('-') => dir = Some(Path::new(argument)),
            _ => return Err(format!("unexpected argument {argument:?}")),
        }
    }
    let dir = dir.ok_or("expected a folder to write to")?;
    geometry.write(dir, form).map_err(|e| format!("{}: {e}", dir.display()))
}
