//! From an image to a network's input.

use kiln_engine::Tensor;

use super::Image;
use crate::ModelError;

/// How a classifier wants its images: the short side resized, the middle cropped, values from 0 to 1, then
/// normalised channel by channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// The shorter side after resizing, in pixels.
    pub resize: u32,
    /// The side of the square that is cropped, in pixels.
    pub crop: u32,
    /// What is taken from each channel, red first.
    pub mean: [f32; 3],
    /// What each channel is divided by afterwards.
    pub std: [f32; 3],
}

impl Recipe {
    /// That of torchvision's ImageNet classifiers, VGG among them (`weights.transforms()`).
    pub const IMAGENET: Recipe =
        Recipe { resize: 256, crop: 224, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

    /// Resizes and crops: what the network looks at, still as an image.
    ///
    /// # Errors
    /// Those of [`Image::resize_short_side`] and [`Image::center_crop`].
    pub fn view(&self, image: &Image) -> Result<Image, ModelError> {
        image.resize_short_side(self.resize)?.center_crop(self.crop, self.crop)
    }

    /// The network's input of one image, `[3, crop, crop]`.
    ///
    /// # Errors
    /// Those of [`view`](Recipe::view).
    pub fn apply(&self, image: &Image) -> Result<Tensor, ModelError> {
        let side = self.crop as usize;
        Ok(Tensor::f32([3, side, side], self.values(image)?)?)
    }

    /// The network's input of several images, `[images, 3, crop, crop]`.
    ///
    /// # Errors
    /// Those of [`view`](Recipe::view), of the first image that has one.
    pub fn batch(&self, images: &[Image]) -> Result<Tensor, ModelError> {
        let side = self.crop as usize;
        let mut values = Vec::with_capacity(images.len() * 3 * side * side);
        for image in images {
            values.extend(self.values(image)?);
        }
        Ok(Tensor::f32([images.len(), 3, side, side], values)?)
    }

    fn values(&self, image: &Image) -> Result<Vec<f32>, ModelError> {
        let normalised =
            |value: u8, channel: usize| (f32::from(value) / 255.0 - self.mean[channel]) / self.std[channel];
        Ok(self.view(image)?.map_planes(normalised))
    }
}

/// The input of an ImageNet classifier, `[3, 224, 224]`: [`Recipe::IMAGENET`].
///
/// # Errors
/// Those of [`Recipe::apply`].
pub fn imagenet_preprocess(image: &Image) -> Result<Tensor, ModelError> {
    Recipe::IMAGENET.apply(image)
}
