//! The `kiln` command.

use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    // First of all: it may only touch the environment while there is one thread.
    kiln::gpu::quiet_driver();
    cli::run()
}
