//! Where pictures go: a PNG file, or stdout.

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

/// Endings that promise another kind of file.
const OTHERS: [&str; 12] =
    ["jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "avif", "pdf", "svg", "ppm", "safetensors"];

impl PictureOutput {
    /// Opens a file, or stdout for `-`.
    pub(crate) fn open(path: &Path) -> Result<PictureOutput, CliError> {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        if let Some(ending) = ending.filter(|ending| OTHERS.contains(&ending.as_str())) {
            return Err(CliError::Input(format!(
                "{}: pictures are written as PNG, not as {}: name the file .png",
                path.display(),
                ending.to_uppercase()
            )));
        }
        Ok(PictureOutput { output: Output::bytes(path)?, path: path.to_owned() })
    }

    /// Writes it, and tells on stdout in a line: what it is, its size and the file. Nothing but the picture where
    /// it goes to stdout itself.
    pub(crate) fn finish(mut self, picture: &Picture, what: &str) -> Result<(), CliError> {
        use std::io::Write;
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
