//! VGG's layers in the files that Keras's own applications come with.

use super::{KerasKernel, KerasLayer};
use crate::vgg::VggConfig;

/// Where a Keras file has the layers of a VGG without batch norm, under torchvision's names (`features.0`,
/// `classifier.3`).
///
/// Keras calls them `block1_conv1` to `block5_conv3`, `fc1`, `fc2` and `predictions`. A Keras network wants other
/// images than a torchvision one: BGR, from 0 to 255, less (103.939, 116.779, 123.68), as `keras.applications.vgg16`
/// has them.
pub fn vgg_layers(config: &VggConfig) -> Vec<KerasLayer> {
    let trunk = config.trunk();
    let convolutions = trunk.convs().enumerate().map(|(count, conv)| KerasLayer {
        name: format!("features.{}", conv.position),
        keras: vec![format!("block{}_conv{}", conv.block, conv.index), numbered("layers/conv2d", count)],
        kernel: KerasKernel::Convolution,
    });
    let dense = ["fc1", "fc2", "predictions"].into_iter().enumerate().map(|(count, name)| KerasLayer {
        name: format!("classifier.{}", 3 * count),
        keras: vec![name.to_owned(), numbered("layers/dense", count)],
        kernel: match count {
            0 => KerasKernel::Flattened { height: config.grid, width: config.grid },
            _ => KerasKernel::Dense,
        },
    });
    convolutions.chain(dense).collect()
}

/// How Keras tells layers of one class apart: `conv2d`, `conv2d_1`, `conv2d_2`.
fn numbered(class: &str, count: usize) -> String {
    if count == 0 { class.to_owned() } else { format!("{class}_{count}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_have_their_names_in_keras() {
        let layers = vgg_layers(&VggConfig::by_name("vgg16").unwrap());
        let of = |name: &str| layers.iter().find(|layer| layer.name == name).unwrap();
        assert_eq!(layers.len(), 16);
        assert_eq!(of("features.0").keras, ["block1_conv1", "layers/conv2d"]);
        assert_eq!(of("features.28").keras, ["block5_conv3", "layers/conv2d_12"]);
        assert_eq!(of("classifier.0").keras, ["fc1", "layers/dense"]);
        assert_eq!(of("classifier.0").kernel, KerasKernel::Flattened { height: 7, width: 7 });
        assert_eq!(of("classifier.6").keras, ["predictions", "layers/dense_2"]);
    }
}
