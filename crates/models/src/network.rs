//! Networks by name: their graphs and something to run them on, without weights and without a device.

use std::path::Path;

use kiln_engine::{DType, Graph, GraphBuilder, Tensor, WeightSource};

use crate::bert::{Bert, BertConfig};
use crate::cnn::{self, Architecture};
use crate::error::ModelError;
use crate::hed;
use crate::layout;
use crate::seeded::{self, SeededWeights};
use crate::sentence::{self, Recipe};
use crate::vgg::{self, VggConfig, VggWeights};
use crate::weights::Weights;

/// A network that can be built from its name alone.
///
/// ```
/// use kiln_models::network::Network;
/// use kiln_models::summary::summarize;
///
/// # fn main() -> Result<(), kiln_models::ModelError> {
/// let network = Network::by_name("vgg16")?;
/// let summary = summarize(&network.graph(1, &network.input())?);
/// assert_eq!(summary.totals.parameters, 138_357_544);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub enum Network {
    /// A VGG, which reads images.
    Vgg(VggConfig),
    /// The edge detector, which reads images of any size.
    Hed,
    /// A sentence encoder, which reads tokens.
    Encoder(Encoder),
    /// A small network that can be trained, which reads images.
    Cnn(Architecture),
}

/// The architecture of a sentence encoder.
#[derive(Debug, Clone)]
pub struct Encoder {
    name: String,
    config: BertConfig,
    recipe: Recipe,
}

/// The photographs that the edge detector was trained on, lying.
const HED_INPUT: [usize; 3] = [3, 321, 481];

/// What an image's size is.
const CHANNELS_FIRST: &str = "channels x height x width";

/// The encoder that is known without its files.
const MINILM: &str = "all-MiniLM-L6-v2";

impl Network {
    /// A network by its name: `vgg11` to `vgg19`, with or without `_bn`, `hed`, `all-MiniLM-L6-v2`, or one of the small
    /// networks of [`Architecture::by_name`]. A directory stands for the sentence encoder whose configuration lies in it,
    /// a file in `.toml` for the small network that it describes.
    pub fn by_name(name: &str) -> Result<Network, ModelError> {
        let dir = Path::new(name);
        if [MINILM, "minilm"].iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return Ok(Network::Encoder(Encoder::minilm()));
        }
        if name.eq_ignore_ascii_case(hed::NAME) {
            return Ok(Network::Hed);
        }
        if let Ok(config) = VggConfig::by_name(name) {
            return Ok(Network::Vgg(config));
        }
        match Architecture::load(name) {
            Err(ModelError::UnknownNetwork { .. }) if dir.is_dir() => {
                Ok(Network::Encoder(Encoder::open(dir)?))
            }
            Err(ModelError::UnknownNetwork { name, .. }) => {
                Err(ModelError::UnknownNetwork { name, known: Network::names() })
            }
            network => network.map(Network::Cnn),
        }
    }

    /// The names that [`by_name`](Self::by_name) knows.
    pub fn names() -> Vec<String> {
        let others = [hed::NAME, MINILM].map(str::to_owned);
        VggConfig::names().into_iter().chain(others).chain(Architecture::names()).collect()
    }

    /// The network's own name.
    pub fn name(&self) -> &str {
        match self {
            Network::Vgg(config) => &config.name,
            Network::Hed => hed::NAME,
            Network::Encoder(encoder) => &encoder.name,
            Network::Cnn(architecture) => architecture.name(),
        }
    }

    /// The size of one example: `[channels, height, width]` as the network was trained with, or `[tokens]`.
    pub fn input(&self) -> Vec<usize> {
        match self {
            Network::Vgg(config) => config.input().to_vec(),
            Network::Hed => HED_INPUT.to_vec(),
            Network::Encoder(encoder) => vec![encoder.config.max_position_embeddings.min(128)],
            Network::Cnn(architecture) => architecture.input().to_vec(),
        }
    }

    /// The graph over a batch of examples of one size.
    ///
    /// The error names the layer that cannot work on such an input, or the number of extents that was expected.
    pub fn graph(&self, batch: usize, input: &[usize]) -> Result<Graph, ModelError> {
        match self {
            Network::Vgg(config) => config.graph(batch, self.image_size(input)?),
            Network::Hed => {
                let [channels, height, width] = self.image_size(input)?;
                let mut g = GraphBuilder::new(hed::NAME);
                let x = g.input(hed::INPUT, &[batch, channels, height, width], DType::F32);
                let values = hed::build(&mut g, x)?;
                g.output(hed::FUSED, values.fused.value);
                Ok(g.finish())
            }
            Network::Encoder(encoder) => {
                let tokens = encoder.tokens(self.extents(input, "a number of tokens")?)?;
                Ok(sentence::example_graph(&encoder.name, &encoder.config, &encoder.recipe, batch, tokens)?)
            }
            Network::Cnn(architecture) => {
                architecture.clone().with_input(self.extents(input, CHANNELS_FIRST)?)?.graph(batch)
            }
        }
    }

    /// The graphs that programs load. For a network that reads images, the one over a batch of them; for a sentence encoder
    /// where nothing is said of its input, those of all sizes that texts are packed in.
    ///
    /// # Errors
    /// Those of [`graph`](Self::graph).
    pub fn programs(&self, batch: usize, input: Option<&[usize]>) -> Result<Vec<Graph>, ModelError> {
        match (self, input) {
            (Network::Encoder(Encoder { name, config, recipe }), None) if batch == 1 => {
                sentence::program_graphs(name, config, recipe)
            }
            (_, input) => {
                Ok(vec![self.graph(batch, &input.map_or_else(|| self.input(), <[usize]>::to_vec))?])
            }
        }
    }

    /// Something to give to the [`graph`](Self::graph) of the same size: noise as an image, or tokens from all over the
    /// vocabulary. Names of inputs with their tensors, the same in every run.
    pub fn example(&self, batch: usize, input: &[usize]) -> Result<Vec<(String, Tensor)>, ModelError> {
        match self {
            Network::Vgg(_) => Ok(vec![(vgg::INPUT.to_owned(), self.noise(batch, input)?)]),
            Network::Hed => Ok(vec![(hed::INPUT.to_owned(), self.noise(batch, input)?)]),
            Network::Encoder(encoder) => {
                let tokens = encoder.tokens(self.extents(input, "a number of tokens")?)?;
                Ok(sentence::example_inputs(&encoder.config, &encoder.recipe, batch, tokens)?)
            }
            Network::Cnn(_) => {
                let [channels, height, width] = self.extents(input, CHANNELS_FIRST)?;
                let image = seeded::image([batch, channels, height, width])?;
                Ok(vec![(cnn::INPUT.to_owned(), image)])
            }
        }
    }

    /// Weights for the network: from a file, whose tensors are checked, or from a formula where there is no file.
    pub fn weights(&self, file: Option<&Path>) -> Result<Box<dyn WeightSource>, ModelError> {
        Ok(match (self, file) {
            (_, None) => Box::new(SeededWeights::of(&self.graph(1, &self.input())?)),
            (Network::Hed, Some(file)) => Box::new(hed::open_weights(file)?),
            (Network::Vgg(config), Some(file)) => Box::new(VggWeights::open(file, config)?),
            (Network::Cnn(architecture), Some(file)) => Box::new(architecture.open_weights(file)?),
            (Network::Encoder(encoder), Some(file)) => {
                let weights = Weights::open(file)?;
                Bert::new(encoder.config.clone(), &weights)?;
                Box::new(weights)
            }
        })
    }

    fn noise(&self, batch: usize, input: &[usize]) -> Result<Tensor, ModelError> {
        let [channels, height, width] = self.image_size(input)?;
        Ok(seeded::image([batch, channels, height, width])?)
    }

    /// An image's `[channels, height, width]`, of as many channels as the network reads.
    fn image_size(&self, input: &[usize]) -> Result<[usize; 3], ModelError> {
        let size = self.extents(input, CHANNELS_FIRST)?;
        let channels = self.input()[0];
        if size[0] == channels {
            return Ok(size);
        }
        Err(self.wrong_size(input, &format!("{channels} channels")))
    }

    fn extents<const N: usize>(&self, input: &[usize], expected: &str) -> Result<[usize; N], ModelError> {
        <[usize; N]>::try_from(input).map_err(|_| self.wrong_size(input, expected))
    }

    fn wrong_size(&self, input: &[usize], expected: &str) -> ModelError {
        ModelError::InputSize {
            network: self.name().to_owned(),
            expected: expected.to_owned(),
            example: size(&self.input()),
            got: size(input),
        }
    }
}

/// `3x224x224`.
fn size(extents: &[usize]) -> String {
    extents.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

impl Encoder {
    /// all-MiniLM-L6-v2 as its `config.json` has it.
    fn minilm() -> Encoder {
        let config = BertConfig {
            hidden_size: 384,
            num_hidden_layers: 6,
            num_attention_heads: 12,
            intermediate_size: 1536,
            vocab_size: 30522,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            hidden_act: "gelu".to_owned(),
            model_type: "bert".to_owned(),
            position_embedding_type: "absolute".to_owned(),
            is_decoder: false,
        };
        Encoder { name: MINILM.to_owned(), config, recipe: Recipe::default() }
    }

    fn open(dir: &Path) -> Result<Encoder, ModelError> {
        let config = BertConfig::open(&dir.join(layout::CONFIG))?;
        Ok(Encoder { name: sentence::name_of(dir), config, recipe: Recipe::open(dir)? })
    }

    fn tokens(&self, [tokens]: [usize; 1]) -> Result<usize, ModelError> {
        let most = self.config.max_position_embeddings;
        if (1..=most).contains(&tokens) {
            return Ok(tokens);
        }
        Err(ModelError::InputSize {
            network: self.name.clone(),
            expected: "no more tokens than it has positions".to_owned(),
            example: most.to_string(),
            got: tokens.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::{Summary, summarize};

    fn summary(name: &str) -> Summary {
        let network = Network::by_name(name).unwrap();
        summarize(&network.graph(1, &network.input()).unwrap())
    }

    #[test]
    fn parameters_are_those_of_the_papers_and_torchvision() {
        let parameters = |name: &str| summary(name).totals.parameters;
        assert_eq!(parameters("vgg11"), 132_863_336);
        assert_eq!(parameters("vgg13"), 133_047_848);
        assert_eq!(parameters("vgg16"), 138_357_544);
        assert_eq!(parameters("vgg19"), 143_667_240);
        assert_eq!(parameters("vgg11_bn"), 132_868_840);
        assert_eq!(parameters("vgg13_bn"), 133_053_736);
        assert_eq!(parameters("vgg16_bn"), 138_365_992);
        assert_eq!(parameters("VGG19_BN"), 143_678_248);
        // The convolutions of VGG-16, five planes out of them, and their mixture.
        assert_eq!(parameters("hed"), 14_714_688 + (64 + 128 + 256 + 512 + 512 + 5) + (5 + 1));
        // That of transformers without its pooler, which a sentence encoder does not use.
        assert_eq!(parameters("all-MiniLM-L6-v2"), 22_713_216 - 384 * 384 - 384);
    }

    #[test]
    fn small_networks_are_known_too() {
        for name in Architecture::names() {
            let network = Network::by_name(&name).unwrap();
            assert_eq!(network.name(), name);
            let graph = network.graph(2, &network.input()).unwrap();
            let example = network.example(2, &network.input()).unwrap();
            let inputs: Vec<_> = graph.inputs().map(|(name, desc)| (name, desc.shape.as_slice())).collect();
            assert_eq!(inputs, [(example[0].0.as_str(), example[0].1.shape())], "{name}");
            assert!(network.weights(None).is_ok());
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("flat.toml");
        std::fs::write(&file, "input = [1, 2, 2]\nlayers = [\"flatten\"]").unwrap();
        assert_eq!(Network::by_name(file.to_str().unwrap()).unwrap().name(), "flat");
        let resnet8 = Network::by_name("resnet8").unwrap();
        assert!(resnet8.graph(1, &[1, 24, 40]).is_ok());
    }

    #[test]
    fn an_encoder_is_read_from_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let config = r#"{"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 10}"#;
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        let network = Network::by_name(dir.path().to_str().unwrap()).unwrap();
        assert!(network.graph(3, &[7]).is_ok());
        let names: Vec<String> =
            network.example(3, &[7]).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["token_ids", "position_ids", "spans", "offsets"]);
    }

    #[test]
    fn wrong_names_and_sizes_are_input_errors() {
        let message = |result: Result<Graph, ModelError>| {
            let error = result.unwrap_err();
            assert!(error.is_input_error(), "{error}");
            error.to_string()
        };
        let unknown = Network::by_name("alexnet").map(|_| ()).unwrap_err();
        assert!(unknown.is_input_error() && unknown.to_string().contains("vgg16, vgg16_bn"), "{unknown}");
        let vgg = Network::by_name("vgg16").unwrap();
        assert_eq!(
            message(vgg.graph(1, &[224, 224])),
            "vgg16: input size 224x224: expected channels x height x width, such as 3x224x224"
        );
        assert_eq!(
            message(Network::Hed.graph(1, &[1, 64, 64])),
            "hed: input size 1x64x64: expected 3 channels, such as 3x321x481"
        );
        let base = Network::by_name("base").unwrap();
        assert_eq!(
            message(base.graph(1, &[784])),
            "base: input size 784: expected channels x height x width, such as 1x28x28"
        );
        assert!(
            message(base.graph(1, &[1, 32, 32]))
                .contains("expected an output for each of 10 classes, got 40")
        );
        let minilm = Network::by_name("minilm").unwrap();
        assert_eq!(
            message(minilm.graph(1, &[513])),
            "all-MiniLM-L6-v2: input size 513: expected no more tokens than it has positions, such as 512"
        );
    }
}
