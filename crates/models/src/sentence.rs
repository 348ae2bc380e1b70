//! Texts to embeddings: a BERT encoder with its tokenizer, pooling and normalisation.

mod recipe;

use std::fmt;
use std::path::Path;

use kiln_engine::{DType, Device, EngineError, Graph, GraphBuilder, Pending, PlanId, Session, Tensor};

use crate::bert::{Bert, BertConfig, BertInputs};
use crate::error::ModelError;
use crate::layout;
use crate::pack::{self, Budget, Pack};
use crate::store::digest;
use crate::tokenizer::TextTokenizer;
use crate::weights::Weights;
pub use recipe::Pooling;
pub(crate) use recipe::Recipe;

/// The smallest length that an embedding is divided by, as PyTorch's `normalize` has it.
const NORM_EPSILON: f32 = 1e-12;

/// A sentence encoder in the layout of the sentence-transformers library, such as all-MiniLM-L6-v2.
///
/// Texts are packed without padding into runs of a few sizes. Each size has a plan, loaded when it is first needed;
/// the plans share their weights.
pub struct SentenceEncoder {
    name: String,
    fingerprint: String,
    recipe: Recipe,
    bert: Bert,
    tokenizer: TextTokenizer,
    weights: Weights,
    session: Session,
    budgets: Vec<Budget>,
    /// One for each budget, once it is loaded.
    plans: Vec<Option<PlanId>>,
}

impl SentenceEncoder {
    /// Reads the model of a directory: `config.json`, `model.safetensors`, `tokenizer.json`, and where they are
    /// there `modules.json`, the pooling's configuration and `sentence_bert_config.json`.
    ///
    /// All files are checked here; weights go to the device with the first text.
    pub fn load(device: impl Into<Device>, dir: &Path) -> Result<SentenceEncoder, ModelError> {
        layout::require(dir)?;
        let recipe = Recipe::open(dir)?;
        let config = BertConfig::open(&dir.join(layout::CONFIG))?;
        let mut max_length = config.max_position_embeddings;
        if let Some(length) = recipe.max_seq_length {
            if length > max_length {
                log::warn!("{}: max_seq_length {length} is cut to the {max_length} positions", dir.display());
            }
            max_length = max_length.min(length);
        }
        let weights = Weights::open(&dir.join(layout::WEIGHTS))?;
        let tokenizer = TextTokenizer::open(&dir.join(layout::TOKENIZER), config.vocab_size, max_length)?
            .lower_case(recipe.lower_case);
        let bert = Bert::new(config, &weights)?;
        let budgets = pack::budgets(max_length);
        Ok(SentenceEncoder {
            name: name_of(dir),
            fingerprint: fingerprint(dir, &recipe)?,
            recipe,
            bert,
            tokenizer,
            weights,
            session: Session::new(device),
            plans: vec![None; budgets.len()],
            budgets,
        })
    }

    /// The model's name: its directory's, or its repository's in a Hugging Face cache.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A hash of the model's files: equal for equal files, wherever they lie.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The number of elements of an embedding.
    pub fn dim(&self) -> usize {
        self.bert.config().hidden_size
    }

    /// The most tokens of a text, `[CLS]` and `[SEP]` included; what is longer is cut.
    pub fn max_seq_length(&self) -> usize {
        self.tokenizer.max_length()
    }

    /// How token states become an embedding.
    pub fn pooling(&self) -> Pooling {
        self.recipe.pooling
    }

    /// Whether [`encode`](Self::encode) gives embeddings of length 1 (L2 norm).
    ///
    /// False for a model whose `modules.json` has no `Normalize` module: its embeddings are as long as the pooling
    /// leaves them, as with the sentence-transformers library. Who needs unit vectors then divides by the length.
    pub fn is_normalized(&self) -> bool {
        self.recipe.normalize
    }

    /// The number of tokens that the encoder sees of a text, `[CLS]` and `[SEP]` included.
    pub fn tokens(&self, text: &str) -> Result<usize, ModelError> {
        self.tokenizer.count(text)
    }

    /// The embedding of each text, in the order given: `dim` elements, of length 1 where the model says so.
    ///
    /// An empty text has an embedding too, that of `[CLS] [SEP]`. `progress` gets the number of texts that are done.
    pub fn encode(
        &mut self,
        texts: &[&str],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let sequences = self.tokenizer.encode(texts)?;
        let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
        let mut embeddings = vec![Vec::new(); texts.len()];
        let mut done = 0;
        // The device has the next pack before the results of this one are fetched: it never waits for the host.
        let mut under_way = None;
        for pack in pack::pack(&lengths, &self.budgets).into_iter().map(Some).chain([None]) {
            let next =
                pack.map(|pack| Ok::<_, ModelError>((self.start(&pack, &sequences)?, pack))).transpose()?;
            let Some((pending, pack)) = std::mem::replace(&mut under_way, next) else { continue };
            let rows = embeddings_of(pending)?;
            for (index, row) in pack.sequences.iter().zip(rows.chunks_exact(self.dim())) {
                if let Some(element) = row.iter().position(|value| !value.is_finite()) {
                    let (model, value) = (self.name.clone(), row[element]);
                    return Err(ModelError::NotFinite { model, index: *index, element, value });
                }
                embeddings[*index] = row.to_vec();
            }
            done += pack.sequences.len();
            progress(done);
        }
        Ok(embeddings)
    }

    /// Sets the device to a pack.
    fn start(&mut self, pack: &Pack, sequences: &[Vec<u32>]) -> Result<Pending, ModelError> {
        let plan = self.plan(pack.budget)?;
        let pooling = self.recipe.pooling;
        let inputs = inputs(pack, sequences, self.budgets[pack.budget], pooling)?;
        let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
        Ok(self.session.submit(plan, &inputs)?)
    }

    fn plan(&mut self, budget: usize) -> Result<PlanId, ModelError> {
        if let Some(plan) = self.plans[budget] {
            return Ok(plan);
        }
        let graph = graph(&self.name, &self.bert, &self.recipe, self.budgets[budget])?;
        let plan = self.session.load(&graph, &self.weights)?;
        self.plans[budget] = Some(plan);
        Ok(plan)
    }
}

impl fmt::Debug for SentenceEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentenceEncoder")
            .field("name", &self.name)
            .field("dim", &self.dim())
            .finish_non_exhaustive()
    }
}

const EMBEDDINGS: &str = "embeddings";

/// The embeddings of a pack's sequences, one row each, then rows that mean nothing.
fn embeddings_of(pending: Pending) -> Result<Vec<f32>, ModelError> {
    let embeddings = pending.wait()?.take(EMBEDDINGS).expect("the graph should have this output");
    Ok(embeddings.into_f32()?)
}

/// The name of the input that tells the pooling where sequences lie.
fn pooling_input(pooling: Pooling) -> &'static str {
    match pooling {
        Pooling::Mean => "offsets",
        Pooling::Cls => "first_rows",
    }
}

/// Tokens to embeddings, for packs of one budget.
fn graph(name: &str, bert: &Bert, recipe: &Recipe, budget: Budget) -> Result<Graph, EngineError> {
    let mut g = GraphBuilder::new(name);
    let inputs = BertInputs::declare(&mut g, budget.tokens);
    let states = bert.hidden_states(&mut g, inputs)?;
    let last = *states.last().expect("the states of the embeddings should be there");
    let place = pooling_input(recipe.pooling);
    let mut pooled = g.scope("pooling", |g| match recipe.pooling {
        Pooling::Mean => {
            let offsets = g.input(place, &[budget.sequences + 1], DType::U32);
            g.segment_mean(last, offsets)
        }
        Pooling::Cls => {
            let rows = g.input(place, &[budget.sequences], DType::U32);
            g.index_select(last, 0, rows)
        }
    })?;
    if recipe.normalize {
        pooled = g.scope("normalize", |g| g.l2_normalize(pooled, NORM_EPSILON))?;
    }
    g.output(EMBEDDINGS, pooled);
    Ok(g.finish())
}

/// The inputs of [`graph`]: sequences one behind the other from row 0 on.
///
/// Rows past the last token are token 0 at position 0 with an empty span; sequences past the last one are empty.
fn inputs(
    pack: &Pack,
    sequences: &[Vec<u32>],
    budget: Budget,
    pooling: Pooling,
) -> Result<Vec<(&'static str, Tensor)>, EngineError> {
    let mut token_ids = Vec::with_capacity(budget.tokens);
    let mut position_ids = Vec::with_capacity(budget.tokens);
    let mut spans = Vec::with_capacity(budget.tokens * 2);
    let mut starts = Vec::with_capacity(budget.sequences + 1);
    for index in &pack.sequences {
        let ids = &sequences[*index];
        let (start, end) = (token_ids.len() as u32, (token_ids.len() + ids.len()) as u32);
        starts.push(start);
        token_ids.extend_from_slice(ids);
        position_ids.extend(0..ids.len() as u32);
        spans.extend(ids.iter().flat_map(|_| [start, end]));
    }
    let end = token_ids.len() as u32;
    token_ids.resize(budget.tokens, 0);
    position_ids.resize(budget.tokens, 0);
    spans.resize(budget.tokens * 2, 0);
    match pooling {
        Pooling::Mean => starts.resize(budget.sequences + 1, end),
        Pooling::Cls => starts.resize(budget.sequences, 0),
    }
    Ok(vec![
        ("token_ids", Tensor::u32([budget.tokens], token_ids)?),
        ("position_ids", Tensor::u32([budget.tokens], position_ids)?),
        ("spans", Tensor::u32([budget.tokens, 2], spans)?),
        (pooling_input(pooling), Tensor::u32([starts.len()], starts)?),
    ])
}

/// The graph of an encoder over `texts` texts of `tokens` tokens each, for looking at it and for measurements.
pub(crate) fn example_graph(
    name: &str,
    config: &BertConfig,
    recipe: &Recipe,
    texts: usize,
    tokens: usize,
) -> Result<Graph, ModelError> {
    let budget = Budget { tokens: texts.saturating_mul(tokens), sequences: texts };
    Ok(graph(name, &bare(name, config)?, recipe, budget)?)
}

/// The graphs that a [`SentenceEncoder`] of this kind loads when it needs them: one for each size of packs.
pub(crate) fn program_graphs(
    name: &str,
    config: &BertConfig,
    recipe: &Recipe,
) -> Result<Vec<Graph>, ModelError> {
    let bert = bare(name, config)?;
    let longest = recipe.max_seq_length.unwrap_or(usize::MAX).min(config.max_position_embeddings);
    let budgets = pack::budgets(longest).into_iter();
    budgets.map(|budget| Ok(graph(name, &bert, recipe, budget)?)).collect()
}

fn bare(name: &str, config: &BertConfig) -> Result<Bert, ModelError> {
    Bert::without_weights(config.clone()).ok_or_else(|| ModelError::Unsupported {
        file: name.into(),
        what: format!("hidden_act {:?}", config.hidden_act),
        instead: "see BertConfig::open".to_owned(),
    })
}

/// Inputs of [`example_graph`]: tokens from all over the vocabulary.
pub(crate) fn example_inputs(
    config: &BertConfig,
    recipe: &Recipe,
    texts: usize,
    tokens: usize,
) -> Result<Vec<(String, Tensor)>, ModelError> {
    const STEP: usize = 7919; // a prime, so that neighbours are far apart
    let id = |index: usize| (index.wrapping_mul(STEP) % config.vocab_size) as u32;
    let sequences: Vec<Vec<u32>> =
        (0..texts).map(|text| (0..tokens).map(|token| id(text * tokens + token)).collect()).collect();
    let pack = Pack { budget: 0, sequences: (0..texts).collect() };
    let budget = Budget { tokens: texts * tokens, sequences: texts };
    let inputs = inputs(&pack, &sequences, budget, recipe.pooling)?;
    Ok(inputs.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect())
}

/// The name of a model's directory; `org--name` in a Hugging Face cache, where the directory is a revision.
pub(crate) fn name_of(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let name =
        |path: Option<&Path>| path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let repository = match dir.parent() {
        Some(snapshots) if snapshots.ends_with("snapshots") => name(snapshots.parent()),
        _ => None,
    };
    repository
        .and_then(|folder| folder.rsplit("--").next().map(str::to_owned))
        .or_else(|| name(Some(&dir)))
        .unwrap_or_else(|| "model".to_owned())
}

/// A digest of everything that has a say in the embeddings: three files, and what the others come to.
fn fingerprint(dir: &Path, recipe: &Recipe) -> Result<String, ModelError> {
    let mut text = format!("{recipe:?}\n");
    for file in layout::REQUIRED {
        text.push_str(&format!("{} {file}\n", digest::of_file(&dir.join(file))?));
    }
    Ok(digest::of_bytes(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(tensor: &Tensor) -> &[u32] {
        tensor.as_u32().unwrap()
    }

    #[test]
    fn sequences_lie_one_behind_the_other() {
        let sequences = [vec![2, 9, 3], vec![], vec![2, 3]].map(Vec::from);
        let pack = Pack { budget: 0, sequences: vec![2, 0] };
        let budget = Budget { tokens: 7, sequences: 4 };
        let inputs = inputs(&pack, &sequences, budget, Pooling::Mean).unwrap();
        assert_eq!(numbers(&inputs[0].1), [2, 3, 2, 9, 3, 0, 0]);
        assert_eq!(numbers(&inputs[1].1), [0, 1, 0, 1, 2, 0, 0]);
        assert_eq!(numbers(&inputs[2].1), [0, 2, 0, 2, 2, 5, 2, 5, 2, 5, 0, 0, 0, 0]);
        assert_eq!((inputs[3].0, numbers(&inputs[3].1)), ("offsets", &[0, 2, 5, 5, 5][..]));
        let inputs = super::inputs(&pack, &sequences, budget, Pooling::Cls).unwrap();
        assert_eq!((inputs[3].0, numbers(&inputs[3].1)), ("first_rows", &[0, 2, 0, 0][..]));
    }

    #[test]
    fn names_come_from_directories() {
        assert_eq!(name_of(Path::new("/models/all-MiniLM-L6-v2")), "all-MiniLM-L6-v2");
        assert_eq!(name_of(Path::new("/hub/models--org--my-model/snapshots/0abc")), "my-model");
    }

    #[test]
    fn the_fingerprint_is_that_of_the_content() {
        let recipe =
            Recipe { max_seq_length: None, lower_case: false, pooling: Pooling::Mean, normalize: true };
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for dir in &dirs {
            layout::REQUIRED.iter().for_each(|file| std::fs::write(dir.path().join(file), file).unwrap());
            std::fs::write(dir.path().join("README.md"), dir.path().to_str().unwrap()).unwrap();
        }
        let of = |dir: usize, recipe: &Recipe| fingerprint(dirs[dir].path(), recipe).unwrap();
        assert_eq!(of(0, &recipe), of(1, &recipe));
        assert_ne!(of(0, &recipe), of(0, &Recipe { pooling: Pooling::Cls, ..recipe }));
        std::fs::write(dirs[1].path().join(layout::TOKENIZER), "{}").unwrap();
        assert_ne!(of(0, &recipe), of(1, &recipe));
    }
}
