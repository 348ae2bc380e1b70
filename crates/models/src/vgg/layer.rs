//! Names of layers, and places in the network that one may look at.

use super::VggConfig;
use crate::error::ModelError;

/// The fully connected layers.
pub(super) const FULLY_CONNECTED: [&str; 3] = ["fc6", "fc7", "fc8"];

/// What a name ends in that means a layer before its activation.
const BEFORE: &str = ".pre";

/// How many names are offered instead of one that does not exist.
const OFFERED: usize = 3;

/// A place in the network whose values are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tap {
    /// As it was asked for: `conv5_3`, or `conv5_3.pre` for what comes before the activation.
    pub name: String,
    /// The layer's place among [`VggConfig::layers`].
    pub(super) depth: usize,
    pub(super) before: bool,
}

impl VggConfig {
    /// A place by its name: a layer's, for what it makes, or that and `.pre` for what goes into its activation (which
    /// is behind the batch norm where there is one). `fc8` has no activation, so both its names mean the logits;
    /// poolings have none either, and no `.pre`.
    ///
    /// The error for a name that does not exist offers the nearest ones.
    pub fn tap(&self, name: &str) -> Result<Tap, ModelError> {
        let layers = self.layers();
        let (layer, before) = match name.strip_suffix(BEFORE) {
            Some(layer) => (layer, true),
            None => (name, false),
        };
        let depth = layers.iter().position(|known| known == layer);
        match depth.filter(|_| !(before && layer.starts_with("pool"))) {
            Some(depth) => Ok(Tap { name: name.to_owned(), depth, before }),
            None => Err(ModelError::UnknownLayer {
                network: self.name.clone(),
                layer: name.to_owned(),
                nearest: nearest(layer, layers),
            }),
        }
    }
}

/// The names that differ least from `name`, nearest first and in their order where several are alike.
fn nearest(name: &str, mut known: Vec<String>) -> Vec<String> {
    known.sort_by_cached_key(|known| strsim::damerau_levenshtein(name, known));
    known.truncate(OFFERED);
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_go_by_the_papers_names() {
        let of = |name: &str| VggConfig::by_name(name).unwrap().layers().join(" ");
        assert_eq!(
            of("vgg16"),
            "conv1_1 conv1_2 pool1 conv2_1 conv2_2 pool2 conv3_1 conv3_2 conv3_3 pool3 conv4_1 conv4_2 conv4_3 \
             pool4 conv5_1 conv5_2 conv5_3 pool5 fc6 fc7 fc8"
        );
        assert!(of("vgg11_bn").starts_with("conv1_1 pool1 conv2_1 pool2 conv3_1 conv3_2 pool3"));
        assert!(of("vgg19").contains("conv5_4 pool5"));
    }

    #[test]
    fn taps_are_layers_with_or_without_their_activation() {
        let config = VggConfig::by_name("vgg16").unwrap();
        let tap = config.tap("conv1_2.pre").unwrap();
        assert_eq!((tap.name.as_str(), tap.depth, tap.before), ("conv1_2.pre", 1, true));
        assert_eq!(config.tap("pool5").unwrap().depth, 17);
        assert!(config.tap("fc8.pre").is_ok());
    }

    #[test]
    fn the_nearest_names_are_offered() {
        let config = VggConfig::by_name("vgg16").unwrap();
        let message = |name: &str| {
            let error = config.tap(name).unwrap_err();
            assert!(error.is_input_error());
            error.to_string()
        };
        assert_eq!(
            message("conv5_4"),
            "vgg16 has no layer \"conv5_4\"; the nearest are conv5_1, conv5_2 and conv5_3"
        );
        assert!(message("relu5_3").contains("conv5_3"));
        assert!(message("fc9").contains("the nearest are fc6, fc7 and fc8"));
        assert!(message("pool1.pre").contains("no layer \"pool1.pre\""));
        assert!(message("").contains("no layer \"\""));
    }
}
