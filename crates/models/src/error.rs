//! What can go wrong with a model: one enum, one clear line each.

use std::fmt;
use std::path::{Path, PathBuf};

use kiln_engine::EngineError;
use kiln_gpu::Bytes;

/// Why a model could not be found, read, built or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file could not be opened, read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },

    /// A directory that should hold a model lacks files.
    #[error("{}: not a model directory: {} missing{hint}", dir.display(), list(missing))]
    MissingFiles {
        /// The directory that was looked into.
        dir: PathBuf,
        /// The files that are not there.
        missing: Vec<String>,
        /// More that helps, starting with its own separator, or nothing.
        hint: String,
    },

    /// A configuration file is not what it should be.
    #[error("{}: {message}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// A file asks for something that Kiln does not have.
    #[error("{}: {what} is not supported; {instead}", file.display())]
    Unsupported {
        /// The file.
        file: PathBuf,
        /// The option and its value.
        what: String,
        /// What is supported.
        instead: String,
    },

    /// A safetensors file has a header that cannot be right.
    #[error("{}: not a safetensors file: {message}", file.display())]
    WeightsHeader {
        /// The file.
        file: PathBuf,
        /// What is wrong with the header.
        message: String,
    },

    /// A file is not the HDF5 file that it should be.
    #[error("{}: not an HDF5 file with weights: {message}", file.display())]
    Hdf5 {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// A safetensors file ends before its tensors do.
    #[error("{}: truncated: tensor {tensor} ends at byte {expected}, the file has {actual} bytes", file.display())]
    TruncatedWeights {
        /// The file.
        file: PathBuf,
        /// The first tensor that is not whole.
        tensor: String,
        /// Where its last byte should be, counted from the start of the file.
        expected: u64,
        /// The length of the file, in bytes.
        actual: u64,
    },

    /// A file holds other tensors than the model needs.
    #[error("{}: wrong tensors for this model{}: {differences}", file.display(), differences.remark())]
    WrongTensors {
        /// The file.
        file: PathBuf,
        /// All that is missing, extra or has another shape.
        differences: Box<TensorDifferences>,
    },

    /// A tokenizer file cannot be read or belongs to another model.
    #[error("{}: {message}", file.display())]
    Tokenizer {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// No model has this name.
    #[error("unknown model {name:?}: expected {} or a directory that holds a model", known.join(", "))]
    UnknownModel {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },

    /// No network has this name.
    #[error("unknown network {name:?}{}: expected {}", meant(name, known), known.join(", "))]
    UnknownNetwork {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },

    /// A network's description is not one, or describes what cannot be built.
    #[error("{origin}: {message}")]
    Architecture {
        /// The file, or the network's name.
        origin: String,
        /// Which layer, what was expected and what came.
        message: String,
    },

    /// A network does not read examples of this size.
    #[error("{network}: input size {got}: expected {expected}, such as {example}")]
    InputSize {
        /// The network.
        network: String,
        /// What it reads.
        expected: String,
        /// A size that it takes.
        example: String,
        /// What came.
        got: String,
    },

    /// A network has no layer of this name.
    #[error("{network} has no layer {layer:?}; the nearest are {}", list(nearest))]
    UnknownLayer {
        /// The network.
        network: String,
        /// The name that was asked for.
        layer: String,
        /// Names of layers that differ little from it.
        nearest: Vec<String>,
    },

    /// What should be a batch of images has another shape.
    #[error("{network} reads images of f32[N, {channels}, height, width], got {got}")]
    ImageTensor {
        /// The network.
        network: String,
        /// The channels that it reads.
        channels: usize,
        /// What came.
        got: String,
    },

    /// A directory has no file of any model whose checksums Kiln knows.
    #[error("{}: not a model that Kiln knows: no file has the checksum of one of {}", dir.display(), known.join(" or "))]
    UnknownFiles {
        /// The directory that was to be verified.
        dir: PathBuf,
        /// The names of the models there are.
        known: Vec<String>,
    },

    /// The model is nowhere.
    #[error("model {name} not found: tried {}; {advice}", tried.join("; "))]
    NotFound {
        /// The model's name.
        name: String,
        /// Each place, and what was wrong with it.
        tried: Vec<String>,
        /// What to do.
        advice: String,
    },

    /// The model is not on this machine, and the hub did not give it.
    #[error("model {name} could not be fetched: {reason}; also tried {}; {advice}", tried.join("; "))]
    Fetch {
        /// The model's name.
        name: String,
        /// What went wrong with the download.
        reason: Box<ModelError>,
        /// Each other place, and what was wrong with it.
        tried: Vec<String>,
        /// What to do.
        advice: String,
    },

    /// A download failed.
    #[error("{url}: {message}")]
    Download {
        /// The address.
        url: String,
        /// What went wrong, and where it is known, what to do.
        message: String,
    },

    /// A file is not the one whose checksum Kiln knows.
    #[error("{file}: wrong checksum: expected sha256 {expected}, got {actual}")]
    Checksum {
        /// The file or its address.
        file: String,
        /// The pinned digest, in hexadecimal.
        expected: String,
        /// The digest found.
        actual: String,
    },

    /// A wheel does not hold a model that Kiln knows.
    #[error("{}: {message}", file.display())]
    Wheel {
        /// The wheel.
        file: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// A file is not an image that Kiln reads, or what should be made of it cannot be.
    #[error("{}: {message}", file.display())]
    Image {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// An image is larger than Kiln takes, or would become so.
    #[error("{}: {what} {width}x{height} is {} pixels, over the limit of {limit}", file.display(), u64::from(*width) * u64::from(*height))]
    ImageSize {
        /// The file.
        file: PathBuf,
        /// What has this size: `an image of`, `resized to`.
        what: String,
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// The most pixels that are taken.
        limit: u64,
    },

    /// A text came out as something that is not a number.
    #[error(
        "{model}: the embedding of text {index} has a value that is not finite (element {element} is {value})"
    )]
    NotFinite {
        /// The model's name.
        model: String,
        /// Which of the texts, counted from 0.
        index: usize,
        /// Which element of its embedding.
        element: usize,
        /// The value.
        value: f32,
    },

    /// A file of tensors does not hold what was asked for.
    #[error("{}: {message}", file.display())]
    TensorFile {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// A tensor could not be read; the text names file and tensor.
    #[error("{0}")]
    TensorRead(String),

    /// An image was classified as something that is not a number.
    #[error("{network}: the logit of class {class} for image {image} is {value}")]
    NotFiniteLogit {
        /// The network's name.
        network: String,
        /// Which image of the batch, counted from 0.
        image: usize,
        /// Which class, counted from 0.
        class: usize,
        /// The value.
        value: f32,
    },

    /// A layer's values for an image would be more than the device binds at once.
    #[error(
        "{}: at {width}x{height} the layer {layer} makes {}, the device binds {} at once; the longer side may be at \
         most {side}",
        file.display(), Bytes(*bytes), Bytes(*limit)
    )]
    LayerTooLarge {
        /// The image.
        file: PathBuf,
        /// The layer.
        layer: String,
        /// Columns of the image.
        width: u64,
        /// Rows of the image.
        height: u64,
        /// What the layer's values take.
        bytes: u64,
        /// What the device binds at once.
        limit: u64,
        /// The longer side, in pixels, of the largest image of this form that fits.
        side: u64,
    },

    /// A network found something that is not a number where an edge might be.
    #[error("{}: the network's value at column {x}, row {y} is {value}", file.display())]
    NotFiniteEdge {
        /// The image.
        file: PathBuf,
        /// Which column, counted from 0.
        x: usize,
        /// Which row, counted from 0.
        y: usize,
        /// The value.
        value: f32,
    },

    /// A prompt has more tokens than the model reads.
    #[error("prompt {}: it has {tokens} tokens, the model reads {window}; shorten it or have it cut (truncate)", index + 1)]
    PromptTooLong {
        /// Which of the prompts, counted from 0.
        index: usize,
        /// Its tokens, EOS included.
        tokens: usize,
        /// The most tokens that the model reads.
        window: usize,
    },

    /// An option of text generation is out of its range.
    #[error("{option}: expected {expected}, got {got}")]
    GenerateOption {
        /// The option.
        option: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        got: String,
    },

    /// A decoder's logits leave nothing to choose from.
    #[error("prompt {}: the logit of token {token} at step {step} is {value}", prompt + 1)]
    NotFiniteToken {
        /// Which of the prompts, counted from 0.
        prompt: usize,
        /// How many tokens there were before.
        step: usize,
        /// The id of the token.
        token: usize,
        /// The value.
        value: f32,
    },

    /// The engine refused the graph or failed to run it.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl ModelError {
    /// True where the user's input is at fault (exit code 2), false for a failure at run time (exit code 1).
    pub fn is_input_error(&self) -> bool {
        match self {
            ModelError::Io { source, .. } => matches!(
                source.kind(),
                std::io::ErrorKind::NotFound
                    | std::io::ErrorKind::PermissionDenied
                    | std::io::ErrorKind::NotADirectory
                    | std::io::ErrorKind::IsADirectory
            ),
            ModelError::MissingFiles { .. }
            | ModelError::Config { .. }
            | ModelError::Unsupported { .. }
            | ModelError::PromptTooLong { .. }
            | ModelError::GenerateOption { .. }
            | ModelError::WeightsHeader { .. }
            | ModelError::Hdf5 { .. }
            | ModelError::LayerTooLarge { .. }
            | ModelError::TruncatedWeights { .. }
            | ModelError::WrongTensors { .. }
            | ModelError::Tokenizer { .. }
            | ModelError::UnknownModel { .. }
            | ModelError::UnknownNetwork { .. }
            | ModelError::Architecture { .. }
            | ModelError::InputSize { .. }
            | ModelError::UnknownLayer { .. }
            | ModelError::ImageTensor { .. }
            | ModelError::TensorFile { .. }
            | ModelError::TensorRead(_)
            | ModelError::UnknownFiles { .. }
            | ModelError::NotFound { .. }
            | ModelError::Checksum { .. }
            | ModelError::Wheel { .. }
            | ModelError::Image { .. }
            | ModelError::ImageSize { .. } => true,
            ModelError::Fetch { .. }
            | ModelError::Download { .. }
            | ModelError::NotFinite { .. }
            | ModelError::NotFiniteEdge { .. }
            | ModelError::NotFiniteLogit { .. }
            | ModelError::NotFiniteToken { .. }
            | ModelError::Engine(_) => false,
        }
    }

    pub(crate) fn io(path: &Path, source: std::io::Error) -> ModelError {
        ModelError::Io { path: path.to_owned(), source }
    }

    pub(crate) fn image(file: &Path, message: impl Into<String>) -> ModelError {
        ModelError::Image { file: file.to_owned(), message: message.into() }
    }

    pub(crate) fn config(file: &Path, message: impl Into<String>) -> ModelError {
        ModelError::Config { file: file.to_owned(), message: message.into() }
    }
}

/// How the tensors of a file differ from those that a model needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TensorDifferences {
    /// Tensors that the model needs and the file does not have.
    pub missing: Vec<String>,
    /// Tensors that the file has and the model neither needs nor ignores.
    pub extra: Vec<String>,
    /// Tensors of another shape: name, expected shape, shape in the file.
    pub misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Tensors whose element type is not one that Kiln converts to f32: name, type in the file.
    pub mistyped: Vec<(String, String)>,
    /// Another model, whose tensors these are.
    pub fitting: Option<String>,
}

impl TensorDifferences {
    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.is_complete() && self.extra.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.missing.len() + self.extra.len() + self.misshapen.len() + self.mistyped.len()
    }

    /// True where all that the model needs is there and can be read, whatever else there is.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.misshapen.is_empty() && self.mistyped.is_empty()
    }

    /// `, but those of vgg19` where another model is known that they fit, else nothing.
    pub fn remark(&self) -> String {
        self.fitting.as_ref().map(|name| format!(", but those of {name}")).unwrap_or_default()
    }

    /// One line for each difference, at most `limit` lines: where there are more, the last one tells how many. Every
    /// kind of difference has its share.
    pub fn lines(&self, limit: usize) -> Vec<String> {
        let kinds = [
            self.misshapen.iter().map(misshapen).collect::<Vec<_>>(),
            self.mistyped.iter().map(mistyped).collect(),
            self.missing.iter().map(|name| format!("{name} is missing")).collect(),
            self.extra.iter().map(|name| format!("{name} is not known to the model")).collect(),
        ];
        let total = self.len();
        let mut room = if total > limit { limit.saturating_sub(1) } else { total };
        let more = total - room;
        let mut shares = [0; 4];
        while room > 0 {
            for (share, kind) in shares.iter_mut().zip(&kinds) {
                if *share < kind.len() && room > 0 {
                    *share += 1;
                    room -= 1;
                }
            }
        }
        let shown = shares.into_iter().zip(kinds).flat_map(|(share, kind)| kind.into_iter().take(share));
        shown.chain((more > 0).then(|| format!("and {more} more"))).collect()
    }
}

impl fmt::Display for TensorDifferences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.missing.is_empty() {
            parts.push(format!("missing {}", list(&self.missing)));
        }
        if !self.extra.is_empty() {
            parts.push(format!("not known to the model {}", list(&self.extra)));
        }
        parts.extend(self.misshapen.iter().map(misshapen));
        parts.extend(self.mistyped.iter().map(mistyped));
        f.write_str(&parts.join("; "))
    }
}

fn misshapen((name, expected, actual): &(String, Vec<usize>, Vec<usize>)) -> String {
    format!("{name} has shape {actual:?}, expected {expected:?}")
}

fn mistyped((name, dtype): &(String, String)) -> String {
    format!("{name} has elements of type {dtype}, expected F32, F16 or BF16")
}

/// `a`, `a and b`, `a, b and c`.
/// ` (did you mean base?)` where a known name is a slip away.
fn meant(name: &str, known: &[String]) -> String {
    let distance = |known: &String| strsim::damerau_levenshtein(&name.to_ascii_lowercase(), known);
    let near = known.iter().filter(|known| distance(known) * 3 < known.len());
    let nearest = near.min_by_key(|known| distance(known));
    nearest.map(|nearest| format!(" (did you mean {nearest}?)")).unwrap_or_default()
}

fn list(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn lists_read_as_prose() {
        assert_eq!(list(&names(&["a"])), "a");
        assert_eq!(list(&names(&["a", "b"])), "a and b");
        assert_eq!(list(&names(&["a", "b", "c"])), "a, b and c");
    }

    #[test]
    fn differences_name_everything() {
        let differences = TensorDifferences {
            missing: names(&["x", "y"]),
            extra: names(&["z"]),
            misshapen: vec![("w".to_owned(), vec![2, 3], vec![3, 2])],
            mistyped: vec![("v".to_owned(), "I8".to_owned())],
            fitting: None,
        };
        assert_eq!(
            differences.to_string(),
            "missing x and y; not known to the model z; w has shape [3, 2], expected [2, 3]; \
             v has elements of type I8, expected F32, F16 or BF16"
        );
    }

    #[test]
    fn a_few_lines_show_every_kind_of_difference() {
        let differences = TensorDifferences {
            missing: (0..20).map(|index| format!("m{index}")).collect(),
            extra: (0..20).map(|index| format!("x{index}")).collect(),
            misshapen: vec![("w".to_owned(), vec![2], vec![3])],
            ..TensorDifferences::default()
        };
        assert_eq!(
            differences.lines(6),
            [
                "w has shape [3], expected [2]",
                "m0 is missing",
                "m1 is missing",
                "x0 is not known to the model",
                "x1 is not known to the model",
                "and 36 more"
            ]
        );
        assert_eq!(differences.lines(41).len(), 41);
        assert_eq!(differences.lines(40).last().map(String::as_str), Some("and 2 more"));
        assert!(TensorDifferences::default().lines(3).is_empty());
    }

    #[test]
    fn a_slip_in_a_name_is_recognised() {
        let known = names(&["base", "lenet", "resnet8", "mobilenet-tiny"]);
        for (name, meant) in [
            ("bse", "base"),
            ("Lenet", "lenet"),
            ("resnet-8", "resnet8"),
            ("mobilnet-tiny", "mobilenet-tiny"),
        ] {
            let error = ModelError::UnknownNetwork { name: name.to_owned(), known: known.clone() };
            let expected =
                format!("unknown network {name:?} (did you mean {meant}?): expected base, lenet, ");
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
        let error = ModelError::UnknownNetwork { name: "alexnet".to_owned(), known };
        assert!(error.to_string().starts_with("unknown network \"alexnet\": expected base, "), "{error}");
    }

    #[test]
    fn input_errors_are_told_from_failures() {
        let missing = ModelError::MissingFiles {
            dir: "empty".into(),
            missing: names(&["config.json"]),
            hint: String::new(),
        };
        assert!(missing.is_input_error());
        assert_eq!(missing.to_string(), "empty: not a model directory: config.json missing");
        let download = ModelError::Download { url: "u".to_owned(), message: "m".to_owned() };
        assert!(!download.is_input_error());
    }
}
