//! `kiln features`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use kiln::Tensor;
use kiln::models::ModelError;
use kiln::models::image::Image;
use kiln::models::vgg::{self, Tap, Vgg, VggConfig, read_input, sheet, to_safetensors};

use super::context::Context;
use super::error::CliError;
use super::network::Size;
use super::output::Output;
use super::table::{align_right, write_table};
use super::vgg::VggArgs;

/// Write what the layers of a network make of an image: as tensors, or as a picture of its feature maps
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln features photo.jpg --layer conv1_1 -o maps.png
  kiln features photo.jpg --layer conv5_3 --layer fc7 -o features.safetensors
  kiln features --tensor x.safetensors --layer conv1_1.pre --weights w.safetensors -o y.safetensors

Layers go by the paper's names: conv1_1 to conv5_3, pool1 to pool5, fc6, fc7 and fc8 (the logits).
They are taken behind their activation, or before it with .pre: conv1_1.pre. Only the weights that
the layers need have to be in the file. A .safetensors file holds a tensor for each layer, under its
name; a .png shows each feature map from its smallest value, black, to its largest, white.")]
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

/// What the network is to look at.
enum Given {
    /// An image, resized and cropped.
    View(Image),
    /// Whatever a file holds.
    Tensor(Tensor),
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
        // All that can be wrong with what was given is found before anything is downloaded or computed.
        let given = self.given(&config, &taps)?;
        let weights = self.network.open(context, &config, Some(&taps))?;
        let input = match given {
            Given::View(view) => weights.preparation().apply(&[view])?,
            Given::Tensor(tensor) => tensor,
        };
        let device = context.open_device()?;
        context.announce(device.gpu());
        let start = Instant::now();
        let mut vgg = Vgg::new(&device, config, weights);
        let features = {
            let _clock = context.clock("computing features");
            vgg.features(&input, &taps)?
        };
        let seconds = start.elapsed().as_secs_f64();
        output.write_all(&form.encode(&self.output, &features)?)?;
        output.finish()?;

        let mut told = Output::stdout();
        write_summary(&mut told, &features)?;
        let (name, adapter) = (&vgg.config().name, &device.profile().name);
        writeln!(told, "{} by {name} on {adapter} in {seconds:.2} s", self.output.display())?;
        told.finish()
    }

    fn given(&self, config: &VggConfig, taps: &[Tap]) -> Result<Given, CliError> {
        let Some(path) = &self.tensor else {
            let path = self.image.as_ref().expect("an image should be asked for where there is no tensor");
            return Ok(Given::View(vgg::view(&Image::open(path)?)?));
        };
        let tensor = read_input(path)?;
        let (batch, size) = config.images_in(&tensor).map_err(|error| in_file(path, error))?;
        config.features(batch, size, taps).map_err(|error| in_file(path, error))?;
        Ok(Given::Tensor(tensor))
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

/// A tensor that the network cannot read is a mistake in its file.
fn in_file(path: &Path, error: ModelError) -> CliError {
    CliError::Input(format!("{}: {error}", path.display()))
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
        // Of two values, of which one is no number, both functions give the other.
        let (least, most) =
            values.iter().fold((f32::NAN, f32::NAN), |(least, most), x| (least.min(*x), most.max(*x)));
        let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / values.len() as f64;
        let shape = Size(tensor.shape().to_vec()).to_string();
        let range = [f64::from(least), mean, f64::from(most)].map(|value| format!("{value:.4}"));
        rows.push([name.clone(), shape].into_iter().chain(range).collect());
    }
    align_right(&mut rows, 2..5);
    Ok(write_table(out, &rows)?)
}
