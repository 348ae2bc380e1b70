//! Pictures and their classes.

use std::path::{Path, PathBuf};
use std::time::Instant;

use kiln_models::image::Image;
use kiln_models::imagenet;
use kiln_models::vgg::{self, Preparation, Vgg, VggConfig, VggWeights};

use super::Engine;
use crate::service::{Class, Classes, Failure, Job};

/// So many classes are told.
const SHOWN: usize = 5;

/// What classifies pictures: a VGG trained on ImageNet.
#[derive(Debug, Clone, PartialEq)]
pub enum Classifier {
    /// With the weights of the model store.
    Stored(VggConfig),
    /// With weights of one's own.
    Weights {
        /// Which VGG they are of.
        config: VggConfig,
        /// The file.
        path: PathBuf,
    },
}

/// A network on the device.
pub(super) struct Loaded {
    vgg: Vgg,
    preparation: Preparation,
}

pub(super) fn classify(engine: &mut Engine, name: &str, bytes: &[u8], job: &Job) -> Result<Classes, Failure> {
    // A picture that cannot be read is no reason to load a network.
    let view = vgg::view(&Image::decode(Path::new(name), bytes)?)?;
    let loaded = match engine.vgg.take() {
        Some(loaded) => loaded,
        None => load(engine, job)?,
    };
    let loaded = engine.vgg.insert(loaded);
    job.check()?;
    job.step("looking at the picture");
    let started = Instant::now();
    let result = loaded.vgg.classify(&loaded.preparation.apply(&[view])?)?;
    let class = |(class, probability): (usize, f32)| Class {
        label: imagenet::class_name(class).unwrap_or("?").to_owned(),
        probability: probability.into(),
    };
    Ok(Classes {
        model: loaded.vgg.config().name.clone(),
        classes: result.top(0, SHOWN).into_iter().map(class).collect(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn load(engine: &Engine, job: &Job) -> Result<Loaded, Failure> {
    let (config, path) = match &engine.options.classifier {
        Classifier::Stored(config) => {
            (config, vgg::weights_in(&engine.options.locate(&config.store_name())?))
        }
        Classifier::Weights { config, path } => (config, path.clone()),
    };
    job.step(format!("loading the weights of {}", config.name));
    let weights = VggWeights::open(&path, config)?;
    let preparation = weights.preparation();
    let mut vgg = Vgg::new(&engine.device, config.clone(), weights);
    vgg.prepare(1, config.input())?;
    Ok(Loaded { vgg, preparation })
}
