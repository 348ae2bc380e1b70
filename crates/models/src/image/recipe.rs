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

    /// The network's input of several [views](Recipe::view), `[views, 3, crop, crop]`.
    ///
    /// # Errors
    /// [`ModelError::Image`] for an image that is no view: not of `crop` x `crop` pixels.
    pub fn normalise(&self, views: &[Image]) -> Result<Tensor, ModelError> {
        let side = self.crop as usize;
        let normalised =
            |value: u8, channel: usize| (f32::from(value) / 255.0 - self.mean[channel]) / self.std[channel];
        let mut values = Vec::with_capacity(views.len() * 3 * side * side);
        for view in views {
            if [view.width(), view.height()] != [side, side] {
                let message = format!(
                    "expected a view of {side}x{side} pixels, got {}x{}",
                    view.width(),
                    view.height()
                );
                return Err(ModelError::image(view.path(), message));
            }
            values.extend(view.map_planes(normalised));
        }
        Ok(Tensor::f32([views.len(), 3, side, side], values)?)
    }

    /// The network's input of several images, `[images, 3, crop, crop]`: their views, normalised.
    ///
    /// # Errors
    /// Those of [`view`](Recipe::view), of the first image that has one.
    pub fn batch(&self, images: &[Image]) -> Result<Tensor, ModelError> {
        let views: Vec<Image> = images.iter().map(|image| self.view(image)).collect::<Result<_, _>>()?;
        self.normalise(&views)
    }
}
