//! Images as a network was trained with them.

use kiln_engine::Tensor;

use crate::error::ModelError;
use crate::image::{Image, Recipe};

/// How the pixels of a [`view`] become numbers: networks trained by different libraries want different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preparation {
    /// Red, green and blue from 0 to 1, less the mean and divided by the deviation of ImageNet's images.
    Torchvision,
    /// Blue, green and red from 0 to 255, less the mean: `keras.applications.vgg16.preprocess_input`.
    Keras,
}

/// What Keras takes from each channel, red first.
const KERAS: Recipe = Recipe {
    mean: [123.68 / 255.0, 116.779 / 255.0, 103.939 / 255.0],
    std: [1.0 / 255.0; 3],
    ..Recipe::IMAGENET
};

/// What a network looks at of an image, however it is prepared: the short side resized to 256 pixels, then the middle
/// 224x224.
///
/// # Errors
/// Those of [`Recipe::view`].
pub fn view(image: &Image) -> Result<Image, ModelError> {
    Recipe::IMAGENET.view(image)
}

impl Preparation {
    /// The network's input of several [views](view), f32 `[N][3][224][224]`.
    ///
    /// # Errors
    /// Those of [`Recipe::normalise`].
    pub fn apply(self, views: &[Image]) -> Result<Tensor, ModelError> {
        match self {
            Preparation::Torchvision => Recipe::IMAGENET.normalise(views),
            Preparation::Keras => blue_first(KERAS.normalise(views)?),
        }
    }
}

/// Images with their first and their last channel exchanged.
fn blue_first(images: Tensor) -> Result<Tensor, ModelError> {
    let shape = images.shape().to_vec();
    let mut values = images.into_f32()?;
    let plane = shape[2] * shape[3];
    for image in values.chunks_exact_mut(3 * plane) {
        let (red, rest) = image.split_at_mut(plane);
        red.swap_with_slice(&mut rest[plane..]);
    }
    Ok(Tensor::f32(shape, values)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_library_has_its_own_numbers() {
        let image = Image::from_rgb8("plain", 300, 256, [10, 20, 30].repeat(300 * 256)).unwrap();
        let expected = [
            (
                Preparation::Torchvision,
                [
                    (10.0 / 255.0 - 0.485) / 0.229,
                    (20.0 / 255.0 - 0.456) / 0.224,
                    (30.0 / 255.0 - 0.406) / 0.225,
                ],
            ),
            (Preparation::Keras, [30.0 - 103.939, 20.0 - 116.779, 10.0 - 123.68]),
        ];
        for (preparation, expected) in expected {
            let input = preparation.apply(&[view(&image).unwrap()]).unwrap();
            assert_eq!(input.shape(), [1, 3, 224, 224]);
            for (channel, expected) in expected.into_iter().enumerate() {
                let value: f64 = input.as_f32().unwrap()[channel * 224 * 224 + 99].into();
                assert!((value - expected).abs() < 1e-4, "{preparation:?} {channel}: {value} for {expected}");
            }
            assert!(preparation.apply(std::slice::from_ref(&image)).is_err(), "it is no view");
        }
    }
}
