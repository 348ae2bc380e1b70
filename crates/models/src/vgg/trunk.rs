//! The convolutional part of VGG and of the networks that are built upon it.

use kiln_engine::ops::{ConvOptions, PoolOptions};
use kiln_engine::{EngineError, GraphBuilder, Padding, Value};

/// What torchvision adds to the variance.
const NORM_EPSILON: f32 = 1e-5;

/// A convolution of a trunk: 3x3, with a padding of 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conv {
    /// The paper's name, such as `conv1_2`.
    pub name: String,
    /// The block, counted from 1.
    pub block: usize,
    /// The place in the block, counted from 1.
    pub index: usize,
    /// The place in a sequence of convolutions, batch norms, activations and poolings, counted from 0: torchvision's
    /// `features`. A batch norm stands right behind its convolution.
    pub position: usize,
    /// The channels that it reads.
    pub input: usize,
    /// The channels that it makes.
    pub output: usize,
}

/// Whose tensors a name is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A convolution's `weight` and `bias`.
    Conv,
    /// The `weight`, `bias`, `running_mean` and `running_var` of the batch norm behind it.
    Norm,
}

/// A layer as it stands in a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The paper's name.
    pub name: String,
    /// Before the activation; `value` itself where the layer has none.
    pub before: Value,
    /// What the layer makes.
    pub value: Value,
}

#[derive(Debug, Clone)]
enum Layer {
    Conv(Conv),
    Pool(String),
}

impl Layer {
    fn name(&self) -> &str {
        match self {
            Layer::Conv(conv) => &conv.name,
            Layer::Pool(name) => name,
        }
    }
}

/// Blocks of convolutions, each block followed by a max pooling of 2x2 with stride 2.
#[derive(Debug, Clone)]
pub struct Trunk {
    layers: Vec<Layer>,
    batch_norm: bool,
    pooling: Padding<2>,
}

impl Trunk {
    /// A trunk that reads `channels`; `blocks` holds the channels that each convolution makes.
    pub fn new(channels: usize, blocks: &[Vec<usize>], batch_norm: bool) -> Trunk {
        let mut layers = vec![];
        let (mut input, mut position) = (channels, 0);
        for (block, outputs) in (1..).zip(blocks) {
            for (index, &output) in (1..).zip(outputs) {
                let name = format!("conv{block}_{index}");
                layers.push(Layer::Conv(Conv { name, block, index, position, input, output }));
                position += if batch_norm { 3 } else { 2 };
                input = output;
            }
            layers.push(Layer::Pool(format!("pool{block}")));
            position += 1;
        }
        Trunk { layers, batch_norm, pooling: Padding::Valid }
    }

    /// How the poolings pad: [`Padding::Valid`] drops an odd last row or column, as VGG does; [`Padding::Same`] keeps
    /// it, as Keras does where it is told to.
    pub fn pooling(mut self, padding: Padding<2>) -> Trunk {
        self.pooling = padding;
        self
    }

    /// The same without what comes behind the first `depth` layers.
    pub fn first(mut self, depth: usize) -> Trunk {
        self.layers.truncate(depth);
        self
    }

    /// The same without what comes behind the layer `name`; as it is where there is none of that name.
    pub fn up_to(self, name: &str) -> Trunk {
        let depth = self.layers.iter().position(|layer| layer.name() == name);
        match depth {
            Some(depth) => self.first(depth + 1),
            None => self,
        }
    }

    /// The names of all layers, in order.
    pub fn layers(&self) -> Vec<String> {
        self.layers.iter().map(|layer| layer.name().to_owned()).collect()
    }

    /// The convolutions, in order.
    pub fn convs(&self) -> impl Iterator<Item = &Conv> {
        self.layers.iter().filter_map(|layer| match layer {
            Layer::Conv(conv) => Some(conv),
            Layer::Pool(_) => None,
        })
    }

    /// Builds the layers over `x`, f32 `[N][channels][H][W]`, each in a scope of its name, and gives all of them.
    ///
    /// `names` says what the tensors of a convolution and of its batch norm are called up to the last dot: they are
    /// constants `[...].weight` and so on.
    pub fn build(
        &self,
        g: &mut GraphBuilder,
        x: Value,
        names: &dyn Fn(&Conv, Part) -> String,
    ) -> Result<Vec<Stage>, EngineError> {
        let mut stages: Vec<Stage> = Vec::with_capacity(self.layers.len());
        let mut x = x;
        for layer in &self.layers {
            let stage = g.scope(layer.name(), |g| match layer {
                Layer::Conv(conv) => self.conv(g, x, conv, names),
                Layer::Pool(name) => self.pool(g, x, name),
            })?;
            x = stage.value;
            stages.push(stage);
        }
        Ok(stages)
    }

    fn conv(
        &self,
        g: &mut GraphBuilder,
        x: Value,
        conv: &Conv,
        names: &dyn Fn(&Conv, Part) -> String,
    ) -> Result<Stage, EngineError> {
        let &Conv { input, output, .. } = conv;
        let prefix = names(conv, Part::Conv);
        let weight = g.constant(&format!("{prefix}.weight"), &[output, input, 3, 3]);
        let bias = g.constant(&format!("{prefix}.bias"), &[output]);
        let options = ConvOptions { padding: Padding::all(1), ..ConvOptions::default() };
        let mut before = g.conv2d(x, weight, Some(bias), options)?;
        if self.batch_norm {
            let prefix = names(conv, Part::Norm);
            let mut constant = |part: &str| g.constant(&format!("{prefix}.{part}"), &[output]);
            let (mean, variance) = (constant("running_mean"), constant("running_var"));
            let (weight, bias) = (constant("weight"), constant("bias"));
            before = g.batch_norm(before, mean, variance, weight, bias, NORM_EPSILON)?;
        }
        let value = g.relu(before)?;
        Ok(Stage { name: conv.name.clone(), before, value })
    }

    fn pool(&self, g: &mut GraphBuilder, x: Value, name: &str) -> Result<Stage, EngineError> {
        let options = PoolOptions { padding: self.pooling, ..PoolOptions::new([2, 2]) };
        let value = g.max_pool2d(x, options)?;
        Ok(Stage { name: name.to_owned(), before: value, value })
    }
}
