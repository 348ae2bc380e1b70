//! VGG, after Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition" (2015).
//!
//! [`VggConfig`] is a column of the paper's table 1, [`Trunk`] its convolutions and poolings, and [`Vgg`] the network at
//! work on a device. Layers go by the paper's names: `conv1_1` to `conv5_3`, `pool1` to `pool5`, `fc6`, `fc7`, `fc8`.

mod features;
mod layer;
mod preparation;
mod run;
mod trunk;
mod weights;

use std::path::{Path, PathBuf};

use kiln_engine::{DType, EngineError, Graph, GraphBuilder, Tensor, Value};

use crate::error::ModelError;
use crate::layout;
use crate::weights::constants;
pub use features::{read_input, sheet, to_safetensors};
pub use layer::Tap;
pub use preparation::{Preparation, view};
pub use run::{Classification, Vgg};
pub use trunk::{Conv, Part, Stage, Trunk};
pub use weights::VggWeights;

/// The paper's table 1, column by column: the channels that each convolution makes, block by block. All kernels are
/// 3x3 with a padding of 1; a max pooling of 2x2 ends each block.
const TABLE: [(&str, [&[usize]; 5]); 4] = [
    ("vgg11", [&[64], &[128], &[256, 256], &[512, 512], &[512, 512]]), // A
    ("vgg13", [&[64, 64], &[128, 128], &[256, 256], &[512, 512], &[512, 512]]), // B
    ("vgg16", [&[64, 64], &[128, 128], &[256, 256, 256], &[512, 512, 512], &[512, 512, 512]]), // D
    ("vgg19", [&[64, 64], &[128, 128], &[256; 4], &[512; 4], &[512; 4]]), // E
];

/// What the names of configurations with batch norm end in, as torchvision and timm have them.
const BATCH_NORM: &str = "_bn";

/// The input of a graph: f32 `[batch][channels][height][width]`.
pub const INPUT: &str = "x";
/// The output of [`VggConfig::graph`] before the softmax: f32 `[batch][classes]`.
pub const LOGITS: &str = "logits";
/// The output of [`VggConfig::graph`] after it.
pub const PROBABILITIES: &str = "probabilities";

/// A network of VGG's form: which convolutions it has, and how wide its layers are.
///
/// ```
/// use kiln_models::vgg::VggConfig;
///
/// # fn main() -> Result<(), kiln_models::ModelError> {
/// let vgg16 = VggConfig::by_name("vgg16")?;
/// let graph = vgg16.graph(1, [3, 224, 224])?;
/// assert_eq!(graph.desc(graph.outputs()[0].1).shape, [1, 1000]);
/// let parameters: usize = vgg16.tensors()?.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
/// assert_eq!(parameters, 138_357_544);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VggConfig {
    /// The name: the first scope of every layer's path.
    pub name: String,
    /// The channels of the input: 3 for images.
    pub channels: usize,
    /// The channels that each convolution makes, block by block.
    pub blocks: Vec<Vec<usize>>,
    /// Whether a batch norm stands between each convolution and its activation.
    pub batch_norm: bool,
    /// The side of what the last pooling leaves of an image of the size that the network was trained on: 7. The means
    /// of as many patches of it go into `fc6` where an image has another size, as torchvision does it.
    pub grid: usize,
    /// The width of `fc6` and `fc7`.
    pub hidden: usize,
    /// The classes, so the width of `fc8`.
    pub classes: usize,
}

impl VggConfig {
    /// A configuration of the paper by torchvision's name for it: `vgg11`, `vgg13`, `vgg16` or `vgg19` (columns A, B, D
    /// and E), with `_bn` behind it for batch norm.
    pub fn by_name(name: &str) -> Result<VggConfig, ModelError> {
        let unknown = || ModelError::UnknownNetwork { name: name.to_owned(), known: VggConfig::names() };
        let lower = name.to_ascii_lowercase();
        let plain = lower.strip_suffix(BATCH_NORM);
        let (_, blocks) =
            TABLE.iter().find(|(known, _)| *known == plain.unwrap_or(&lower)).ok_or_else(unknown)?;
        Ok(VggConfig {
            batch_norm: plain.is_some(),
            name: lower.clone(),
            channels: 3,
            blocks: blocks.map(<[usize]>::to_vec).to_vec(),
            grid: 7,
            hidden: 4096,
            classes: 1000,
        })
    }

    /// The names that [`by_name`](Self::by_name) knows.
    pub fn names() -> Vec<String> {
        TABLE.iter().flat_map(|(name, _)| [name.to_string(), format!("{name}{BATCH_NORM}")]).collect()
    }

    /// The name of the network in the model store, as timm has it: of those that torchvision trained on ImageNet.
    pub fn store_name(&self) -> String {
        format!("{}.tv_in1k", self.name)
    }

    /// The shape of the images that the network was trained on, `[channels, height, width]`.
    pub fn input(&self) -> [usize; 3] {
        let side = self.grid << self.blocks.len();
        [self.channels, side, side]
    }

    /// The names of all layers in order, by the paper.
    pub fn layers(&self) -> Vec<String> {
        let trunk = self.trunk().layers().into_iter();
        trunk.chain(layer::FULLY_CONNECTED.map(str::to_owned)).collect()
    }

    /// The convolutions and poolings.
    pub fn trunk(&self) -> Trunk {
        Trunk::new(self.channels, &self.blocks, self.batch_norm)
    }

    /// The network over a batch of images of `[channels, height, width]`: from [`INPUT`] to [`LOGITS`] and
    /// [`PROBABILITIES`], their softmax. Constants have torchvision's names.
    ///
    /// An image must be at least as large as the five poolings need, 32x32. Refused with the layer's name where not.
    pub fn graph(&self, batch: usize, input: [usize; 3]) -> Result<Graph, ModelError> {
        let mut g = GraphBuilder::new(&self.name);
        let x = declare(&mut g, batch, input);
        let stages = self.build(&mut g, x, usize::MAX)?;
        let logits = stages.last().expect("the last layer should have been built").value;
        let probabilities = g.scope("softmax", |g| g.softmax(logits, None, 1))?;
        g.output(LOGITS, logits);
        g.output(PROBABILITIES, probabilities);
        Ok(g.finish())
    }

    /// How many images a tensor holds, f32 `[N][channels][height][width]`, and the size of each,
    /// `[channels, height, width]`.
    ///
    /// # Errors
    /// [`ModelError::ImageTensor`] for a tensor of another form.
    pub fn images_in(&self, tensor: &Tensor) -> Result<(usize, [usize; 3]), ModelError> {
        match *tensor.shape() {
            [images, channels, height, width] if channels == self.channels => {
                Ok((images, [channels, height, width]))
            }
            _ => Err(ModelError::ImageTensor {
                network: self.name.clone(),
                channels: self.channels,
                got: tensor.desc().to_string(),
            }),
        }
    }

    /// The network up to the deepest of `taps`, each of which is an output under its own name.
    pub fn features(&self, batch: usize, input: [usize; 3], taps: &[Tap]) -> Result<Graph, ModelError> {
        let mut g = GraphBuilder::new(&self.name);
        let x = declare(&mut g, batch, input);
        let depth = taps.iter().map(|tap| tap.depth + 1).max().unwrap_or(0);
        let stages = self.build(&mut g, x, depth)?;
        for tap in taps {
            let stage = &stages[tap.depth];
            g.output(&tap.name, if tap.before { stage.before } else { stage.value });
        }
        Ok(g.finish())
    }

    /// Names, by torchvision, and shapes of all tensors that the network consists of.
    pub fn tensors(&self) -> Result<Vec<(String, Vec<usize>)>, ModelError> {
        Ok(constants(&self.graph(1, self.input())?))
    }

    /// Builds the first `depth` layers.
    fn build(&self, g: &mut GraphBuilder, x: Value, depth: usize) -> Result<Vec<Stage>, EngineError> {
        let trunk = self.trunk().first(depth);
        let mut stages = trunk.build(g, x, &|conv, part| match part {
            Part::Conv => format!("features.{}", conv.position),
            Part::Norm => format!("features.{}", conv.position + 1),
        })?;
        let head = depth.saturating_sub(self.trunk().layers().len());
        if head == 0 {
            return Ok(stages);
        }
        let pooled = stages.last().map_or(x, |stage| stage.value);
        let mut x = self.flat(g, pooled)?;
        let last = layer::FULLY_CONNECTED.len() - 1;
        for (index, name) in layer::FULLY_CONNECTED.into_iter().enumerate().take(head) {
            let stage = g.scope(name, |g| {
                let width = if index == last { self.classes } else { self.hidden };
                // In torchvision's `classifier` an activation and a dropout follow each but the last.
                let prefix = format!("classifier.{}", 3 * index);
                let depth = g.desc(x).last();
                let weight = g.constant(&format!("{prefix}.weight"), &[width, depth]);
                let bias = g.constant(&format!("{prefix}.bias"), &[width]);
                let before = g.linear(x, weight, Some(bias))?;
                let value = if index == last { before } else { g.relu(before)? };
                Ok::<_, EngineError>(Stage { name: name.to_owned(), before, value })
            })?;
            x = stage.value;
            stages.push(stage);
        }
        Ok(stages)
    }

    /// What `fc6` reads: `[batch][channels * grid * grid]`.
    fn flat(&self, g: &mut GraphBuilder, x: Value) -> Result<Value, EngineError> {
        let [batch, channels, height, width] = g.desc(x).shape[..] else {
            unreachable!("the trunk should make images")
        };
        let grid = self.grid;
        let x = if [height, width] == [grid, grid] {
            x
        } else {
            g.scope("avgpool", |g| g.adaptive_avg_pool2d(x, [grid, grid]))?
        };
        g.scope("flatten", |g| g.reshape(x, &[batch, channels * grid * grid]))
    }
}

/// The weight file in a model's directory.
pub fn weights_in(dir: &Path) -> PathBuf {
    dir.join(layout::WEIGHTS)
}

fn declare(g: &mut GraphBuilder, batch: usize, [channels, height, width]: [usize; 3]) -> Value {
    g.input(INPUT, &[batch, channels, height, width], DType::F32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(name: &str) -> Vec<usize> {
        VggConfig::by_name(name).unwrap().trunk().convs().map(|conv| conv.position).collect()
    }

    #[test]
    fn convolutions_stand_where_torchvision_has_them() {
        assert_eq!(positions("vgg11"), [0, 3, 6, 8, 11, 13, 16, 18]);
        assert_eq!(positions("vgg13"), [0, 2, 5, 7, 10, 12, 15, 17, 20, 22]);
        assert_eq!(positions("vgg16"), [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]);
        assert_eq!(positions("vgg19"), [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]);
        assert_eq!(positions("vgg11_bn"), [0, 4, 8, 11, 15, 18, 22, 25]);
        assert_eq!(positions("VGG16_BN"), [0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40]);
    }

    #[test]
    fn names_are_known_or_refused() {
        let names = VggConfig::names();
        assert_eq!(names.len(), 8);
        for name in &names {
            assert_eq!(VggConfig::by_name(name).unwrap().name, *name);
        }
        for name in ["vgg15", "vgg16_bn_bn", "_bn", ""] {
            let error = VggConfig::by_name(name).unwrap_err();
            assert!(error.is_input_error());
            assert!(error.to_string().contains("expected vgg11, vgg11_bn, vgg13, "), "{error}");
        }
    }

    #[test]
    fn paths_are_the_papers() {
        let graph = VggConfig::by_name("vgg16_bn").unwrap().graph(2, [3, 224, 224]).unwrap();
        let paths: Vec<&str> = graph.nodes().iter().map(|node| node.path.as_str()).collect();
        for path in ["vgg16_bn/conv1_1", "vgg16_bn/pool5", "vgg16_bn/fc6", "vgg16_bn/fc8", "vgg16_bn/softmax"]
        {
            assert!(paths.contains(&path), "{path}");
        }
        assert!(!paths.contains(&"vgg16_bn/avgpool"), "the grid fits at 224x224");
        assert_eq!(graph.inputs().next().unwrap().1.shape, [2, 3, 224, 224]);
        let shapes: Vec<&[usize]> =
            graph.outputs().iter().map(|(_, value)| graph.desc(*value).shape.as_slice()).collect();
        assert_eq!(shapes, [[2, 1000], [2, 1000]]);
    }

    #[test]
    fn images_of_other_sizes_are_pooled_or_refused() {
        let config = VggConfig::by_name("vgg11").unwrap();
        let graph = config.graph(1, [3, 256, 320]).unwrap();
        assert!(graph.nodes().iter().any(|node| node.path == "vgg11/avgpool"));
        let error = config.graph(1, [3, 31, 64]).unwrap_err().to_string();
        assert!(error.contains("\"vgg11/pool5\""), "{error}");
        let error = config.graph(1, [1, 224, 224]).unwrap_err().to_string();
        assert!(error.contains("\"vgg11/conv1_1\""), "{error}");
    }

    #[test]
    fn features_end_with_the_deepest_layer() {
        let config = VggConfig::by_name("vgg16").unwrap();
        let taps = ["pool1", "conv1_2.pre"].map(|name| config.tap(name).unwrap());
        let graph = config.features(1, [3, 32, 48], &taps).unwrap();
        assert_eq!(constants(&graph).len(), 4);
        let outputs: Vec<(&str, &[usize])> = graph
            .outputs()
            .iter()
            .map(|(name, value)| (name.as_str(), graph.desc(*value).shape.as_slice()))
            .collect();
        assert_eq!(outputs, [("pool1", &[1, 64, 16, 24][..]), ("conv1_2.pre", &[1, 64, 32, 48][..])]);
        let logits = ["fc8", "fc8.pre"].map(|name| config.tap(name).unwrap());
        let graph = config.features(1, config.input(), &logits).unwrap();
        assert_eq!(graph.outputs()[0].1, graph.outputs()[1].1);
        graph.check().unwrap();
    }
}
