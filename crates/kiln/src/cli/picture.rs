//! Where pictures go: a PNG file, or stdout.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use kiln::models::image::Picture;

use super::error::CliError;
use super::output::Output;

/// The option that names a picture to write.
#[derive(Debug, Args)]
pub(crate) struct PictureArgs {
    /// The PNG file to write; `-` is stdout
    #[arg(short, long, value_name = "OUT.png")]
    output: PathBuf,
}

impl PictureArgs {
    /// The file that was named, or `-`.
    pub(crate) fn path(&self) -> &Path {
        &self.output
    }

    /// Opens what was named, before any long work is done for it.
    pub(crate) fn open(&self) -> Result<PictureOutput, CliError> {
        PictureOutput::open(&self.output)
    }
}

/// A picture to be written. Its file appears whole or not at all.
pub(crate) struct PictureOutput {
    output: Output,
    path: PathBuf,
}

impl PictureOutput {
    /// Opens a file, or stdout for `-`. A name without an ending may be a device; another ending than `.png` would
    /// promise another kind of file.
    pub(crate) fn open(path: &Path) -> Result<PictureOutput, CliError> {
        if path.extension().is_some_and(|ending| !ending.eq_ignore_ascii_case("png")) {
            return Err(CliError::Input(format!(
                "{}: pictures are written as PNG: expected a name that ends in .png",
                path.display()
            )));
        }
        Ok(PictureOutput { output: Output::bytes(path)?, path: path.to_owned() })
    }

    /// Writes it, and tells on stdout in a line: what it is, its size and the file. Nothing but the picture where
    /// it goes to stdout itself.
    pub(crate) fn finish(mut self, picture: &Picture, what: &str) -> Result<(), CliError> {
        let mut png = Vec::new();
        picture.encode_png(&self.path, &mut png)?;
        self.output.write_all(&png)?;
        self.output.finish()?;
        if self.path == Path::new("-") {
            return Ok(());
        }
        let mut told = Output::stdout();
        writeln!(told, "{what} in {} ({}x{})", self.path.display(), picture.width(), picture.height())?;
        told.finish()
    }
}
