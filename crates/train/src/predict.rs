//! A trained network at work on images.

use std::path::Path;

use kiln_engine::{Optimizer, SgdOptions, Tensor};
use kiln_gpu::Gpu;
use kiln_models::cnn::{Architecture, Objective};

use crate::TrainError;
use crate::checkpoint::Trained;
use crate::data::example;
use crate::trainer::{Trainer, TrainerOptions};

/// Tells classes of images by a network from a checkpoint.
pub struct Predictor {
    network: Trained,
    trainer: Trainer,
}

impl Predictor {
    /// Reads a checkpoint of [`Run`](crate::run::Run), to be put on a device by [`new`](Self::new). Files of other
    /// programs are refused: they do not say how images are normalised.
    ///
    /// # Errors
    /// Those of [`Trained::open`], and where the network does not tell classes of images.
    pub fn read(path: &Path) -> Result<Trained, TrainError> {
        let network = Trained::open_own(path)?;
        if network.network.objective() == Objective::Reconstruction {
            let message = format!("it holds network {}, which does not tell classes", network.network.name());
            return Err(TrainError::checkpoint(path, message));
        }
        let [channels, ..] = network.network.input();
        if !matches!(channels, 1 | 3) {
            let name = network.network.name();
            let message =
                format!("it holds network {name}, which reads {channels} channels: images have 1 or 3");
            return Err(TrainError::checkpoint(path, message));
        }
        Ok(network)
    }

    /// Puts what [`read`](Self::read) gave on a device.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn new(gpu: &Gpu, network: Trained) -> Result<Predictor, TrainError> {
        let options = TrainerOptions::new(Optimizer::Sgd(SgdOptions::default()));
        let mut trainer = Trainer::new(gpu, &network.network, options)?;
        trainer.restore(&network.state)?;
        Ok(Predictor { network, trainer })
    }

    /// The network.
    pub fn network(&self) -> &Architecture {
        &self.network.network
    }

    /// The name of a class; its number where the file has no names.
    pub fn class(&self, class: usize) -> String {
        let names = self.network.classes.as_ref();
        names.and_then(|names| names.get(class).cloned()).unwrap_or_else(|| class.to_string())
    }

    /// What a network reads of an image, a byte a pixel and channel: the image is scaled until it covers the network's
    /// input, of which the middle is taken, gray where the network reads one channel.
    ///
    /// # Errors
    /// An image that cannot be read.
    pub fn view(network: &Trained, image: &Path) -> Result<Vec<u8>, TrainError> {
        example(image, network.network.input())
    }

    /// The probability of each class for each image, of which there are the [`view`](Self::view)s. They are normalised as
    /// the training examples were.
    ///
    /// # Errors
    /// A view of another size; a failure of the device.
    pub fn classify(&mut self, views: &[Vec<u8>]) -> Result<Vec<Vec<f64>>, TrainError> {
        let shape @ [channels, height, width] = self.network().input();
        let size: usize = shape.iter().product();
        let mut numbers = vec![0.0; views.len() * size];
        for (bytes, numbers) in views.iter().zip(numbers.chunks_mut(size)) {
            match &self.network.normalization {
                Some(normalization) => normalization.apply(bytes, shape, numbers)?,
                None => numbers
                    .iter_mut()
                    .zip(bytes)
                    .for_each(|(number, byte)| *number = f32::from(*byte) / 255.0),
            }
        }
        let batch = Tensor::f32([views.len(), channels, height, width], numbers)?;
        let outputs = self.trainer.outputs(&batch)?.into_f32()?;
        let binary = self.network().objective() == Objective::Binary;
        Ok(outputs
            .chunks(outputs.len() / views.len().max(1))
            .map(|logits| probabilities(logits, binary))
            .collect())
    }
}

/// The softmax of logits, or of one logit the probabilities of no and yes.
fn probabilities(logits: &[f32], binary: bool) -> Vec<f64> {
    let logits: Vec<f64> = match (binary, logits) {
        (true, [yes]) => vec![0.0, f64::from(*yes)],
        _ => logits.iter().copied().map(f64::from).collect(),
    };
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_add_up_to_one() {
        let made = probabilities(&[1000.0, 1000.0, -1000.0], false);
        assert_eq!(made, [0.5, 0.5, 0.0]);
        let made = probabilities(&[0.0], true);
        assert_eq!(made, [0.5, 0.5]);
        assert!(probabilities(&[3.0], true)[1] > 0.95);
    }
}
