//! `kiln classify`.

use std::borrow::Cow;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use kiln::models::image::Image;
use kiln::models::imagenet;
use kiln::models::vgg::{self, Vgg};
use kiln::train::predict::Predictor;
use serde::Serialize;

use super::context::Context;
use super::error::CliError;
use super::network::building;
use super::numbers::{at_least_one, counted, milliseconds};
use super::output::{Output, OutputArgs};
use super::vgg::VggArgs;

/// Tell what images show: by a network trained on ImageNet's 1000 classes, or by one of your own
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln classify photo.jpg
  kiln classify *.jpg --top 3 --json | jq '.images[].classes[0].label'
  kiln classify photo.jpg --model vgg19_bn --weights vgg19_bn.safetensors
  kiln classify shoe.png --checkpoint runs/base/best.safetensors

An image is resized to 256 pixels on its short side, and the middle 224x224 go
into the network. For a checkpoint of kiln train it is prepared as the examples
were that the network learned from.")]
pub(crate) struct ClassifyArgs {
    /// JPEG, PNG or WebP images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,

    /// A network that kiln train made, instead of one trained on ImageNet
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "weights"])]
    checkpoint: Option<PathBuf>,

    #[command(flatten)]
    network: VggArgs,

    /// How many classes to tell for each image
    #[arg(long, value_name = "N", default_value_t = 5,
        value_parser = at_least_one::<usize>, allow_negative_numbers = true)]
    top: usize,

    /// Print one JSON object {model, adapter, load_ms, run_ms, images: [{image, classes: [{class, label,
    /// probability}]}]}
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    output: OutputArgs,
}

/// So many images go through the network at once.
const BATCH: usize = 16;

#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    adapter: &'a str,
    /// From the file to the device.
    load_ms: f64,
    /// All images through the network, there and back.
    run_ms: f64,
    images: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    /// As it was given; what is no Unicode in it is replaced, since JSON has no place for it.
    image: Cow<'a, str>,
    classes: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    class: usize,
    label: String,
    probability: f64,
}

impl ClassifyArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        match &self.checkpoint {
            Some(checkpoint) => self.run_trained(context, checkpoint),
            None => self.run_vgg(context),
        }
    }

    fn run_trained(&self, context: &Context, checkpoint: &Path) -> Result<(), CliError> {
        let mut output = self.output.open()?;
        let start = Instant::now();
        let trained = Predictor::read(checkpoint)?;
        let read = start.elapsed();
        let views = self.views(context, |image| Ok(Predictor::view(&trained, image)?))?;
        let gpu = context.open_gpu()?;
        context.announce(&gpu);
        let start = Instant::now();
        let mut network = Predictor::new(&gpu, trained)?;
        let load = read + start.elapsed();

        let start = Instant::now();
        let mut rows = Vec::with_capacity(self.images.len());
        {
            let progress = context.progress("classifying", self.images.len());
            for (batch, paths) in views.chunks(BATCH).zip(self.images.chunks(BATCH)) {
                for (path, probabilities) in paths.iter().zip(network.classify(batch)?) {
                    let mut classes: Vec<Class> = (probabilities.iter().enumerate())
                        .map(|(class, &probability)| Class {
                            class,
                            label: network.class(class),
                            probability,
                        })
                        .collect();
                    classes.sort_by(|a, b| b.probability.total_cmp(&a.probability));
                    classes.truncate(self.top);
                    rows.push(Row { image: path.to_string_lossy(), classes });
                }
                progress.set(rows.len() as u64);
            }
        }
        let (model, adapter) = (network.network().name(), &gpu.profile().name);
        let run = start.elapsed();
        let report =
            Report { model, adapter, load_ms: milliseconds(load), run_ms: milliseconds(run), images: rows };
        self.write(&mut output, &report)?;
        output.finish()
    }

    fn run_vgg(&self, context: &Context) -> Result<(), CliError> {
        let config = self.network.config()?;
        let mut output = self.output.open()?;
        // All that can be wrong with what was given is found before anything is downloaded or computed.
        let views = self.views(context, |image| Ok(vgg::view(&Image::open(image)?)?))?;
        let weights = self.network.open(context, &config, None)?;
        let preparation = weights.preparation();
        let device = context.open_device()?;
        context.announce(device.gpu());
        let input = config.input();
        let mut vgg = Vgg::new(&device, config, weights);

        let start = Instant::now();
        {
            let _clock = context.clock("loading weights");
            views.chunks(BATCH).try_for_each(|batch| vgg.prepare(batch.len(), input)).map_err(building)?;
        }
        let load = start.elapsed();

        let start = Instant::now();
        let mut rows = Vec::with_capacity(self.images.len());
        {
            let progress = context.progress("classifying", self.images.len());
            for (batch, paths) in views.chunks(BATCH).zip(self.images.chunks(BATCH)) {
                let result = vgg.classify(&preparation.apply(batch)?)?;
                rows.extend(paths.iter().enumerate().map(|(index, path)| Row {
                    image: path.to_string_lossy(),
                    classes: result.top(index, self.top).into_iter().map(class).collect(),
                }));
                progress.set(rows.len() as u64);
            }
        }
        let run = start.elapsed();
        let report = Report {
            model: &vgg.config().name,
            adapter: &device.profile().name,
            load_ms: milliseconds(load),
            run_ms: milliseconds(run),
            images: rows,
        };
        self.write(&mut output, &report)?;
        output.finish()
    }

    fn write(&self, output: &mut Output, report: &Report<'_>) -> Result<(), CliError> {
        if self.json { output.json(report) } else { write_report(output, report) }
    }

    /// What the network looks at of each image: all that is kept of photographs that may be many and large.
    fn views<T>(
        &self,
        context: &Context,
        view: impl Fn(&Path) -> Result<T, CliError>,
    ) -> Result<Vec<T>, CliError> {
        let progress = context.progress("reading", self.images.len());
        let mut views = Vec::with_capacity(self.images.len());
        for path in &self.images {
            views.push(view(path)?);
            progress.set(views.len() as u64);
        }
        Ok(views)
    }
}

fn class((class, probability): (usize, f32)) -> Class {
    let label = imagenet::class_name(class).unwrap_or("?").to_owned();
    Class { class, label, probability: f64::from(probability) }
}

fn write_report(out: &mut Output, report: &Report<'_>) -> Result<(), CliError> {
    for row in &report.images {
        writeln!(out, "{}", row.image)?;
        for Class { label, probability, .. } in &row.classes {
            writeln!(out, "  {:>6.2} %  {label}", probability * 100.0)?;
        }
    }
    let images = counted(report.images.len(), "image");
    let Report { model, adapter, load_ms, run_ms, .. } = report;
    let (load, run) = (load_ms / 1e3, run_ms / 1e3);
    Ok(writeln!(out, "{images} in {run:.2} s by {model} on {adapter}; its weights took {load:.2} s")?)
}
