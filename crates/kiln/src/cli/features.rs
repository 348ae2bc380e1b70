//! `kiln features`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use kiln::Tensor;
use kiln::models::ModelError;
use kiln::models::image::Image;
use kiln::models::vgg::{Tap, Vgg, VggConfig, read_input, sheet, to_safetensors};

use super::context::Context;
use super::error::CliError;
use super::network::building;
use super::output::Output;
use super::table::{align_right, write_table};
use super::vgg::VggArgs;

/// Write what the layers of a network make of an image: as tensors, or as a picture of its feature maps
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln features photo.jpg --layer conv1_1 -o maps.png
  kiln features photo.jpg --layer conv5_3 --layer fc7 -o features.safetensors
  kiln features --tensor batch.safetensors --layer conv1_1.pre --weights convs.safetensors -o out.safetensors

Layers go by the paper's names: conv1_1 to conv5_3, pool1 to pool5, fc6, fc7 and fc8 (the logits). They are taken
behind their activation, or before it with .pre: conv1_1.pre. Only the weights that the layers need have to be in
the file. A .safetensors file holds a tensor for each layer, under its name; a .png shows each feature map from its
smallest value, black, to its largest.")]
pub(crate) struct FeaturesArgs {
    /// A JPEG, PNG or WebP image: 256 pixels on its short side, then the middle 224x224, go into the network
    #[arg(value_name = "IMAGE", required_unless_present = "tensor")]
    image: Option<PathBuf>,

    /// Give the network the tensor `input`, [N, 3, H, W], of a safetensors file, as it is
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    tensor: Option<PathBuf>,

    #[command(flatten)]
    network: VggArgs,

    /// A layer; the option may be given several times
    #[arg(long, value_name = "NAME", required = true)]
    layer: Vec<String>,

    /// The file to write
    #[arg(short, long, value_name = "OUT.safetensors|OUT.png")]
    output: PathBuf,
}

/// How activations are written.
#[derive(Clone, Copy)]
enum Form {
    Tensors,
    Picture,
}

impl FeaturesArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let config = self.network.config()?;
        let taps = self.taps(&config)?;
        let form = Form::of(&self.output)?;
        let mut output = Output::bytes(&self.output)?;
        let image = self.image.as_deref().map(Image::open).transpose()?;
        let tensor = self.tensor.as_deref().map(read_input).transpose()?;
        let weights = self.network.open(context, &config, Some(&taps))?;
        let input = match (image, tensor) {
            (Some(image), _) => weights.prepare(&[image])?,
            (None, Some(tensor)) => tensor,
            (None, None) => {
                return Err(CliError::Input("neither an image nor a tensor was given".to_owned()));
            }
        };
        let gpu = context.open_gpu()?;
        context.announce(&gpu);
        let start = Instant::now();
        let mut vgg = Vgg::new(&gpu, config, weights);
        let features = vgg.features(&input, &taps).map_err(building)?;
        let seconds = start.elapsed().as_secs_f64();
        output.write_all(&form.encode(&self.output, &features)?)?;
        output.finish()?;

        let mut told = Output::stdout();
        write_summary(&mut told, &features)?;
        let (name, adapter) = (&vgg.config().name, &gpu.profile().name);
        writeln!(told, "{} by {name} on {adapter} in {seconds:.2} s", self.output.display())?;
        told.finish()
    }

    /// Each layer once, in the order asked for.
    fn taps(&self, config: &VggConfig) -> Result<Vec<Tap>, CliError> {
        let mut taps: Vec<Tap> = Vec::with_capacity(self.layer.len());
        for name in &self.layer {
            let tap = config.tap(name)?;
            if !taps.contains(&tap) {
                taps.push(tap);
            }
        }
        Ok(taps)
    }
}

impl Form {
    /// By the file's ending.
    fn of(path: &Path) -> Result<Form, CliError> {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        match ending.as_deref() {
            Some("safetensors") => Ok(Form::Tensors),
            Some("png") => Ok(Form::Picture),
            _ => {
                let message =
                    format!("{}: expected a name that ends in .safetensors or .png", path.display());
                Err(CliError::Input(message))
            }
        }
    }

    fn encode(self, path: &Path, features: &[(String, Tensor)]) -> Result<Vec<u8>, CliError> {
        match self {
            Form::Tensors => Ok(to_safetensors(features)?),
            Form::Picture => {
                let mut png = Vec::new();
                sheet(features)?.encode_png(path, &mut png)?;
                Ok(png)
            }
        }
    }
}

/// A line for each layer: its shape and the range of its values.
fn write_summary(out: &mut Output, features: &[(String, Tensor)]) -> Result<(), CliError> {
    let mut rows = vec![["layer", "shape", "least", "mean", "most"].map(str::to_owned).to_vec()];
    for (name, tensor) in features {
        let values = tensor.as_f32().map_err(ModelError::from)?;
        let (least, most) =
            values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), x| (a.min(*x), b.max(*x)));
        let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / values.len() as f64;
        let shape = tensor.shape().iter().map(usize::to_string).collect::<Vec<_>>().join("x");
        rows.push(vec![
            name.clone(),
            shape,
            format!("{least:.4}"),
            format!("{mean:.4}"),
            format!("{most:.4}"),
        ]);
    }
    align_right(&mut rows, 2..5);
    Ok(write_table(out, &rows)?)
}
