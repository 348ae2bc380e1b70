//! Activations as files: tensors for other programs, contact sheets for people.

use std::collections::BTreeMap;
use std::path::Path;

use kiln_engine::{Tensor, WeightSource};

use crate::error::ModelError;
use crate::image::{Picture, SheetOptions, contact_sheet, stack};
use crate::weights::Weights;

/// What the tensor is called that is given to a network instead of an image.
const INPUT: &str = "input";

/// Reads a batch for a network from a safetensors file: the tensor `input`, `[N][C][H][W]`, as f32.
pub fn read_input(path: &Path) -> Result<Tensor, ModelError> {
    let weights = Weights::open(path)?;
    let refused = |message: String| ModelError::TensorFile { file: path.to_owned(), message };
    let Some(shape) = weights.shape(INPUT) else {
        let mut names = weights.names();
        let count = names.len();
        names.truncate(5);
        let more = if count > names.len() { ", …" } else { "" };
        let held = format!("expected a tensor \"{INPUT}\" of [N, C, H, W], got {}{more}", names.join(", "));
        return Err(refused(if count == 0 { "holds no tensors".to_owned() } else { held }));
    };
    if shape.len() != 4 || shape.contains(&0) {
        return Err(refused(format!("tensor \"{INPUT}\": expected [N, C, H, W], got {shape:?}")));
    }
    let mut values = vec![0.0; shape.iter().product()];
    weights
        .read(INPUT, 0..values.len(), &mut values)
        .map_err(|error| ModelError::TensorRead(error.to_string()))?;
    Ok(Tensor::f32(shape, values)?)
}

/// The bytes of a safetensors file that holds f32 tensors under their names.
pub fn to_safetensors(features: &[(String, Tensor)]) -> Result<Vec<u8>, ModelError> {
    use safetensors::tensor::{Dtype, TensorView};
    let mut views = Vec::with_capacity(features.len());
    let mut bytes = Vec::with_capacity(features.len());
    for (_, tensor) in features {
        bytes.push(tensor.as_f32()?.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
    }
    for ((name, tensor), bytes) in features.iter().zip(&bytes) {
        let view = TensorView::new(Dtype::F32, tensor.shape().to_vec(), bytes);
        views.push((name.as_str(), view.expect("four bytes an element should fill the shape")));
    }
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let file = safetensors::serialize(views, Some(metadata.into_iter().collect()));
    Ok(file.expect("tensors of well-formed views should serialise"))
}

/// One contact sheet for each layer, one below the other: a tile for each feature map, those of the first image first.
/// A layer without maps, fully connected, is a tile for each image, its values row by row in a rectangle.
///
/// # Errors
/// [`ModelError::Image`] for tensors that are neither `[N][C][H][W]` nor `[N][values]`, and those of
/// [`contact_sheet`].
pub fn sheet(features: &[(String, Tensor)]) -> Result<Picture, ModelError> {
    let mut sheets = Vec::with_capacity(features.len());
    for (name, tensor) in features {
        let shape = match *tensor.shape() {
            [images, maps, height, width] => [images * maps, height, width],
            [images, values] => {
                let height = (1..=values.isqrt()).rev().find(|rows| values % rows == 0).unwrap_or(1);
                [images, height, values / height]
            }
            ref other => {
                let message = format!("expected feature maps [N, C, H, W] or values [N, C], got {other:?}");
                return Err(ModelError::image(name.as_ref(), message));
            }
        };
        sheets.push(contact_sheet(tensor.as_f32()?, shape, &SheetOptions::default())?);
    }
    stack(&sheets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize]) -> Tensor {
        let count = shape.iter().product();
        Tensor::f32(shape, (0..count).map(|index| index as f32).collect()).unwrap()
    }

    fn named(shapes: &[&[usize]]) -> Vec<(String, Tensor)> {
        shapes.iter().enumerate().map(|(index, shape)| (format!("layer{index}"), tensor(shape))).collect()
    }

    #[test]
    fn what_is_written_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("features.safetensors");
        let features = vec![
            ("conv1_1.pre".to_owned(), tensor(&[1, 2, 3, 4])),
            (INPUT.to_owned(), tensor(&[2, 1, 2, 2])),
        ];
        std::fs::write(&path, to_safetensors(&features).unwrap()).unwrap();
        let weights = Weights::open(&path).unwrap();
        assert_eq!(weights.shape("conv1_1.pre"), Some(&[1, 2, 3, 4][..]));
        assert_eq!(read_input(&path).unwrap(), features[1].1);
    }

    #[test]
    fn files_without_an_input_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let refused = |features: &[(&str, &[usize])]| {
            let features: Vec<_> =
                features.iter().map(|(name, shape)| (name.to_string(), tensor(shape))).collect();
            std::fs::write(&path, to_safetensors(&features).unwrap()).unwrap();
            let error = read_input(&path).unwrap_err();
            assert!(error.is_input_error(), "{error}");
            error.to_string().split_once("x.safetensors: ").unwrap().1.to_owned()
        };
        assert_eq!(refused(&[("x", &[1, 3, 2, 2])]), "expected a tensor \"input\" of [N, C, H, W], got x");
        assert_eq!(refused(&[(INPUT, &[3, 2, 2])]), "tensor \"input\": expected [N, C, H, W], got [3, 2, 2]");
        assert_eq!(refused(&[]), "holds no tensors");
    }

    #[test]
    fn sheets_stand_one_below_the_other() {
        let one = sheet(&named(&[&[2, 8, 5, 7]])).unwrap();
        assert_eq!(one.channels(), 1);
        let vector = sheet(&named(&[&[1, 12]])).unwrap();
        let both = sheet(&named(&[&[2, 8, 5, 7], &[1, 12]])).unwrap();
        assert_eq!(both.height(), one.height() + vector.height());
        assert_eq!(both.width(), one.width().max(vector.width()));
        assert_eq!(&both.pixels()[..one.width()], &one.pixels()[..one.width()]);
        let message = sheet(&named(&[&[2, 3, 4]])).unwrap_err().to_string();
        assert_eq!(message, "layer0: expected feature maps [N, C, H, W] or values [N, C], got [2, 3, 4]");
    }
}
