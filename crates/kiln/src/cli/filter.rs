//! `kiln filter`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use kiln::models::ModelError;
use kiln::models::filters::{Border, Filter, FilterKernel, FilterOptions};
use kiln::models::image::{Image, Picture, Show};

use super::context::Context;
use super::error::CliError;
use super::picture::PictureArgs;

/// Filter an image: blur, sharpen, find edges, or slide a kernel of one's own over it
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln filter photo.jpg --kernel sobel-x -o edges.png
  kiln filter photo.jpg --kernel gaussian5 --padding reflect -o soft.png
  kiln filter photo.jpg --kernel mine.txt --show scale -o mine.png

Kernels:
  sobel-x, sobel-y      derivatives: brighter to the right, brighter below
  edge                  the image minus its box blur
  box, gaussian3, gaussian5
                        blurs of 3x3, 3x3 and 5x5 pixels
  sharpen, unsharp      the image plus its differences from what surrounds a pixel
  emboss                light from the upper left
  FILE                  rows of numbers, apart by blanks or commas; # begins a comment

The kernel is laid on the image as it is written, not turned, as networks do it (a correlation). Its
anchor is its middle, of an even number of rows or columns the upper or left one of the two. Kernels
whose numbers add up to zero (sobel-x, sobel-y, edge) filter red, green and blue and add these up to
a gray picture, shown by magnitude; all others filter each channel by itself.")]
pub(crate) struct FilterArgs {
    /// A JPEG, PNG or WebP image
    #[arg(value_name = "IMAGE")]
    image: PathBuf,

    /// sobel-x, sobel-y, box, gaussian3, gaussian5, sharpen, edge, unsharp, emboss, or a file of numbers
    #[arg(long, value_name = "KERNEL|FILE")]
    kernel: PathBuf,

    /// What lies beyond the edge: black, the image mirrored, or its outermost pixels
    #[arg(long, value_enum, value_name = "zero|reflect|replicate", default_value_t = Padding::Zero, hide_possible_values = true)]
    padding: Padding,

    /// Take every Nth pixel, down and across
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = step, allow_negative_numbers = true)]
    stride: u32,

    /// Spread the kernel: neighbouring numbers lie on every Nth pixel
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = step, allow_negative_numbers = true)]
    dilation: u32,

    /// Filter each channel by itself, for a picture in colour, with a derivative too
    #[arg(long)]
    per_channel: bool,

    /// How values become shades: cut off at 0 and 255, by magnitude, or stretched from smallest to largest
    /// [default: abs for derivatives, else clamp]
    #[arg(long, value_enum, value_name = "clamp|abs|scale", hide_possible_values = true)]
    show: Option<ShowArg>,

    #[command(flatten)]
    output: PictureArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Padding {
    Zero,
    Reflect,
    Replicate,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ShowArg {
    Clamp,
    Abs,
    Scale,
}

/// A stride or dilation: larger ones than any image has pixels are mistakes.
fn step(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(step) if (1..=100_000).contains(&step) => Ok(step),
        _ => Err("expected a whole number from 1 to 100000".to_owned()),
    }
}

impl FilterArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let kernel = kernel(&self.kernel)?;
        let output = self.output.open()?;
        let image = Image::open(&self.image)?;
        let options = FilterOptions {
            border: match self.padding {
                Padding::Zero => Border::Zero,
                Padding::Reflect => Border::Reflect,
                Padding::Replicate => Border::Replicate,
            },
            stride: self.stride as usize,
            dilation: self.dilation as usize,
            per_channel: self.per_channel || !kernel.is_derivative(),
            ..FilterOptions::default()
        };
        let show = match self.show {
            None => kernel.show(),
            Some(ShowArg::Clamp) => Show::Clamp,
            Some(ShowArg::Abs) => Show::Abs,
            Some(ShowArg::Scale) => Show::Scale,
        };
        let gpu = context.open_gpu()?;
        let filter = Filter::new(&gpu, &image, &kernel, options)?;
        context.announce(&gpu);
        let filtered = {
            let _clock = context.clock("filtering");
            filter.run()?
        };
        let picture = Picture::from_planes(&filtered.values, filtered.shape, show, 255.0)?;
        output.finish(&picture, &format!("{} of {}", kernel.name(), self.image.display()))
    }
}

/// The kernel of a name or, where there is none, of a file.
fn kernel(name: &Path) -> Result<FilterKernel, CliError> {
    if let Some(kernel) = name.to_str().and_then(FilterKernel::named) {
        return Ok(kernel);
    }
    match FilterKernel::open(name) {
        Err(ModelError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            let known: Vec<&str> = FilterKernel::names().collect();
            let (name, known) = (name.display(), known.join(", "));
            Err(CliError::Input(format!("unknown kernel {name}: expected {known}, or a file of numbers")))
        }
        other => Ok(other?),
    }
}
