//! From passages to an answer.

mod extract;
mod generate;
mod generator;
mod trim;
mod words;

use std::ops::ControlFlow;
use std::time::Instant;

use kiln_models::generate::GenerateOptions;
use serde::{Deserialize, Serialize};

pub use generator::{Generation, Generator};

#[cfg(test)]
pub(crate) use generator::fake;

use crate::DocqaError;
use crate::embedder::Embedder;
use crate::index::Index;
use crate::prompt::PromptTemplate;
use crate::retrieve::{self, retrieve_after};
use crate::store::{Filter, Hit};
use trim::Material;

/// The most tokens of a generated answer, where no other number is asked for.
pub const MAX_NEW_TOKENS: usize = 200;

/// The temperature at which answers are drawn, where drawing is asked for and no other temperature is.
pub const TEMPERATURE: f64 = 0.7;

/// How a question is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct AskOptions {
    /// How many passages to answer from, at least 1.
    pub contexts: usize,
    /// The most sentences to quote, at least 1; of no meaning to generated answers. One that begins with a word such
    /// as `it` or `this` brings along the sentence before it, which does not count.
    pub sentences: usize,
    /// Which passages may be used.
    pub filter: Filter,
    /// What a generator is asked; of no meaning to extractive answers.
    pub template: PromptTemplate,
    /// How it chooses its words: greedily, and 200 tokens at most, unless said otherwise.
    pub generate: GenerateOptions,
}

impl Default for AskOptions {
    fn default() -> Self {
        Self {
            contexts: 3,
            sentences: 3,
            filter: Filter::default(),
            template: PromptTemplate::default(),
            generate: GenerateOptions { max_new_tokens: MAX_NEW_TOKENS, ..GenerateOptions::default() },
        }
    }
}

impl AskOptions {
    /// Refuses options with which no question can be answered: no passage or no sentence allowed, and options of
    /// generation out of range. Worth asking before an index is built, as is [`retrieve::check`].
    pub fn check(&self) -> Result<(), DocqaError> {
        if self.contexts == 0 {
            return Err(DocqaError::NoContexts);
        }
        if self.sentences == 0 {
            return Err(DocqaError::NoSentences);
        }
        Ok(self.generate.check()?)
    }
}

/// What answers a question once its passages are found.
pub enum Answerer<'a> {
    /// The documents' own words: of the sentences in the passages closest to the question, those that the encoder
    /// finds closest to it, in reading order.
    Extractive,
    /// A generator, from a prompt that holds those passages.
    Generative(&'a mut dyn Generator),
}

impl Answerer<'_> {
    /// Refuses a question that leaves no room for a passage, whatever the passages are. Worth asking before an index
    /// is built.
    pub fn check(&mut self, question: &str, options: &AskOptions) -> Result<(), DocqaError> {
        match self {
            Answerer::Extractive => Ok(()),
            Answerer::Generative(generator) => {
                trim::room(*generator, &options.template, question.trim()).map(drop)
            }
        }
    }

    /// How its answers come about.
    pub fn method(&self) -> Method {
        match self {
            Answerer::Extractive => Method::Extractive,
            Answerer::Generative(_) => Method::Generative,
        }
    }
}

/// How an answer came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Method {
    /// Its sentences are quoted from the documents, word for word.
    #[default]
    Extractive,
    /// It was written by a generator that read the passages.
    Generative,
}

/// An answer with what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The question as it was asked.
    pub question: String,
    /// The answer. An extractive one has page numbers, where the documents have pages.
    pub answer: String,
    /// How it came about.
    #[serde(default)]
    pub method: Method,
    /// What wrote it; `None` for an extractive one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<String>,
    /// How many passages it was made from.
    #[serde(default)]
    pub contexts_used: usize,
    /// The time from question to answer in seconds, loading and indexing not counted.
    #[serde(default)]
    pub processing_time: f64,
    /// Lines that say what to bear in mind about it: that sentences of the passages had to be left out, or that it
    /// was stopped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
    /// Those passages, the closest first.
    #[serde(default)]
    pub sources: Vec<Source>,
    /// The sentences that make up an extractive answer, in its order; empty where no sentence answers, and the
    /// answer then says so and shows the beginning of the closest passage.
    #[serde(skip)]
    pub quotes: Vec<Quote>,
}

/// A passage that an answer was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// The document's path as it was given.
    pub source: String,
    /// The page of its first character; `None` for text and Markdown.
    pub page: Option<u32>,
    /// The page of its last character, where that is another one.
    #[serde(default)]
    pub page_end: Option<u32>,
    /// Its number within its document, from 0.
    pub chunk_id: usize,
    /// Its distance from the question.
    pub distance: f32,
    /// The passage.
    #[serde(default)]
    pub text: String,
}

/// A sentence of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Quote {
    /// The sentence, on one line.
    pub text: String,
    /// The document's path as it was given.
    pub source: String,
    /// The page on which it begins; `None` for text and Markdown.
    pub page: Option<u32>,
    /// The cosine of the angle between it and the question (for one that was brought along, of the one that
    /// brought it).
    pub similarity: f32,
}

impl From<Hit> for Source {
    fn from(Hit { chunk, distance }: Hit) -> Self {
        Self {
            source: chunk.source,
            page: chunk.page,
            page_end: chunk.page_end,
            chunk_id: chunk.chunk_id,
            distance,
            text: chunk.text,
        }
    }
}

/// The answer where a filter or an empty index leaves no passage.
const NO_PASSAGE: &str = "There is no passage to answer from.";

/// What an answerer says.
struct Told {
    answer: String,
    /// The passages that it was made from, by their rank.
    passages: Vec<usize>,
    quotes: Vec<Quote>,
    notices: Vec<String>,
    /// What wrote it, if anything did.
    generator: Option<String>,
}

/// Answers a question from an index. `on_text` gets the answer piece by piece, as it comes; where it answers
/// `Break`, a generated answer ends there.
pub fn ask(
    index: &mut Index,
    embedder: &mut dyn Embedder,
    answerer: &mut Answerer<'_>,
    question: &str,
    options: &AskOptions,
    on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Answer, DocqaError> {
    ask_after(&[], index, embedder, answerer, question, options, on_text)
}

/// As [`ask`], after earlier questions and their answers.
pub(crate) fn ask_after(
    earlier: &[Answer],
    index: &mut Index,
    embedder: &mut dyn Embedder,
    answerer: &mut Answerer<'_>,
    question: &str,
    options: &AskOptions,
    on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Answer, DocqaError> {
    retrieve::check(question, options.contexts)?;
    options.check()?;
    let started = Instant::now();
    let history: Vec<(&str, &str)> =
        earlier.iter().map(|turn| (turn.question.trim(), turn.answer.as_str())).collect();
    let questions: Vec<&str> = history.iter().map(|(question, _)| *question).collect();
    let retrieved = retrieve_after(&questions, index, embedder, question, options.contexts, &options.filter)?;
    let told = match answerer {
        Answerer::Generative(generator) if !retrieved.hits.is_empty() => {
            let material = Material {
                template: &options.template,
                question: question.trim(),
                retrieved: &retrieved,
                history: &history,
            };
            generate::generate(&material, embedder, *generator, options, on_text)?
        }
        _ => {
            let (answer, quotes) =
                extract::extract(index, embedder, question, &retrieved, options.sentences)?;
            // It is there whole: nothing is left to stop.
            let _ = on_text(&answer);
            let passages = (0..retrieved.hits.len()).collect();
            Told { answer, passages, quotes, notices: Vec::new(), generator: None }
        }
    };
    let used = |(rank, hit): (usize, Hit)| told.passages.contains(&rank).then(|| Source::from(hit));
    Ok(Answer {
        question: question.to_string(),
        answer: told.answer,
        method: if told.generator.is_some() { Method::Generative } else { Method::Extractive },
        generator: told.generator,
        contexts_used: told.passages.len(),
        processing_time: started.elapsed().as_secs_f64(),
        notices: told.notices,
        sources: retrieved.hits.into_iter().enumerate().filter_map(used).collect(),
        quotes: told.quotes,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::fake::WordGenerator;
    use super::*;
    use crate::embedder::fake::WordEmbedder;
    use crate::index::IndexOptions;
    use crate::load;
    use crate::similarity::HostSimilarity;
    use crate::split::SplitOptions;

    const NOTES: &str = "# Copper glazes\n\n\
        Copper turns green when the kiln has plenty of air.  It turns\nred when there is little. \
        Does copper turn blue?\n\n\
        | copper | turns |\n| green | red |\n\n\
        Iron turns brown, e.g. in a kiln with plenty of air. Salt makes a skin like an orange.\n";

    fn index_of(text: &str, chunk_size: usize) -> (tempfile::TempDir, Index) {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("notes.md");
        std::fs::write(&path, text).unwrap();
        let split = SplitOptions { chunk_size, chunk_overlap: chunk_size / 5, ..SplitOptions::default() };
        let options = IndexOptions { split, ..IndexOptions::default() };
        let files = load::read(&[path]).unwrap();
        let index = Index::build(
            &files,
            &options,
            &mut WordEmbedder::new(),
            Box::new(HostSimilarity::default()),
            &mut |_| {},
        );
        (folder, index.unwrap())
    }

    fn extract(index: &mut Index, question: &str, options: &AskOptions) -> Result<Answer, DocqaError> {
        let (embedder, answerer) = (&mut WordEmbedder::new(), &mut Answerer::Extractive);
        let mut heard = String::new();
        let answer = ask(index, embedder, answerer, question, options, &mut |text| {
            heard.push_str(text);
            ControlFlow::Continue(())
        })?;
        assert_eq!(heard, answer.answer);
        Ok(answer)
    }

    fn answer_of(text: &str, chunk_size: usize, question: &str) -> Answer {
        let (_folder, mut index) = index_of(text, chunk_size);
        extract(&mut index, question, &AskOptions::default()).unwrap()
    }

    #[test]
    fn the_closest_sentences_answer_in_reading_order() {
        let answer = answer_of(NOTES, 500, "When does copper turns green in the kiln?");
        assert_eq!(answer.answer, "Copper turns green when the kiln has plenty of air.");
        assert_eq!(answer.quotes.len(), 1);
        assert!(answer.quotes[0].similarity > 0.5);
        assert_eq!((answer.contexts_used, answer.sources.len()), (1, 1));
        assert!(answer.processing_time > 0.0);
    }

    #[test]
    fn a_sentence_that_points_back_comes_with_the_one_before_it() {
        let answer = answer_of(NOTES, 500, "It turns red when there is little?");
        assert_eq!(
            answer.answer,
            "Copper turns green when the kiln has plenty of air. It turns red when there is little."
        );
        assert_eq!(answer.quotes.len(), 2);
    }

    #[test]
    fn sentences_cut_by_a_chunk_are_whole_and_overlaps_do_not_repeat() {
        for chunk_size in [30, 45, 60, 90] {
            let answer = answer_of(NOTES, chunk_size, "When does iron turns brown in the kiln?");
            assert!(
                answer.answer.contains("Iron turns brown, e.g. in a kiln with plenty of air."),
                "{chunk_size}: {}",
                answer.answer
            );
            assert_eq!(answer.answer.matches("Iron turns").count(), 1);
        }
    }

    #[test]
    fn a_question_about_something_else_gets_no_sentence() {
        let answer = answer_of(NOTES, 500, "Whose submarine sank yesterday?");
        let told = "No sentence of the documents comes close to this question. The nearest passage begins: \
                    # Copper glazes Copper turns green ";
        assert!(answer.answer.starts_with(told), "{}", answer.answer);
        assert!(answer.quotes.is_empty());
        assert_eq!(answer.sources.len(), 1);
    }

    #[test]
    fn where_there_are_no_sentences_the_passage_is_shown() {
        let answer = answer_of("bowls: 24\ncups:   11\n", 500, "How many bowls?");
        assert_eq!(answer.answer, "bowls: 24 cups: 11");
        assert!(answer.quotes.is_empty());
        let long = answer_of(&"bowls ".repeat(100), 1000, "How many bowls?").answer;
        assert!(long.ends_with("bowls …") && long.chars().count() <= 302, "{long}");
    }

    #[test]
    fn questions_that_are_none_are_refused() {
        let (_folder, mut index) = index_of(NOTES, 500);
        let mut ask = |question: &str, contexts: usize| {
            let options = AskOptions { contexts, ..AskOptions::default() };
            let error = extract(&mut index, question, &options).unwrap_err();
            assert!(error.is_input_error());
            error.to_string()
        };
        assert_eq!(ask("", 3), "the question is empty");
        assert_eq!(ask(" \n", 3), "the question is empty");
        assert_eq!(ask("Why?", 0), "0 contexts: expected at least 1");
        let none = AskOptions { sentences: 0, ..AskOptions::default() };
        assert_eq!(none.check().unwrap_err().to_string(), "0 sentences: expected at least 1");
    }

    #[test]
    fn json_has_the_fields_that_are_promised() {
        let answer = answer_of(NOTES, 500, "When does copper turn green?");
        let json = serde_json::to_value(&answer).unwrap();
        for field in ["question", "answer", "contexts_used", "processing_time", "sources"] {
            assert!(json.get(field).is_some(), "{field}");
        }
        assert_eq!(json["method"], "extractive");
        assert_eq!(json["contexts_used"], 1);
        let source = json["sources"][0].as_object().unwrap();
        for field in ["source", "page", "page_end", "chunk_id", "distance", "text"] {
            assert!(source.contains_key(field), "{field}");
        }
    }

    fn generate(index: &mut Index, question: &str, options: &AskOptions) -> (Answer, WordGenerator) {
        let (embedder, mut generator) = (&mut WordEmbedder::new(), WordGenerator::new(100));
        let on_text = &mut |_: &str| ControlFlow::Continue(());
        let mut answerer = Answerer::Generative(&mut generator);
        let answer = ask(index, embedder, &mut answerer, question, options, on_text).unwrap();
        (answer, generator)
    }

    #[test]
    fn a_generator_answers_from_the_passages() {
        let (_folder, mut index) = index_of(NOTES, 500);
        let options = AskOptions::default();
        let (answer, generator) = generate(&mut index, " When does copper turn green? ", &options);
        assert_eq!((answer.answer.as_str(), answer.contexts_used), ("With plenty of air.", 1));
        assert!(answer.quotes.is_empty() && answer.notices.is_empty());
        let [prompt] = &generator.prompts[..] else { panic!("one prompt expected") };
        assert!(
            prompt.starts_with(
                "Answer the question based on the context provided.\n\nContext: # Copper glazes"
            )
        );
        assert!(prompt.ends_with("like an orange.\n\nQuestion: When does copper turn green?\n\nAnswer:"));
        let json = serde_json::to_value(&answer).unwrap();
        assert_eq!((&json["method"], &json["generator"]), (&"generative".into(), &"words-t5".into()));
        assert!(json.get("notices").is_none());

        let short = GenerateOptions { max_new_tokens: 2, ..GenerateOptions::default() };
        let (answer, _) = generate(&mut index, "When?", &AskOptions { generate: short, ..options });
        assert_eq!(answer.answer, "With plenty");
        assert_eq!(
            answer.notices,
            ["the answer ends where it does because it has 2 tokens, the most allowed"]
        );
    }

    #[test]
    fn without_a_passage_nothing_is_generated() {
        let (_folder, mut index) = index_of(NOTES, 500);
        let options = AskOptions { filter: Filter::default().page(9), ..AskOptions::default() };
        let (answer, generator) = generate(&mut index, "When?", &options);
        assert_eq!((answer.answer.as_str(), answer.method), (NO_PASSAGE, Method::Extractive));
        assert!(generator.prompts.is_empty() && answer.generator.is_none() && answer.sources.is_empty());
    }

    #[test]
    fn a_question_beyond_the_window_is_refused_beforehand() {
        let (options, long) = (AskOptions::default(), "clay ".repeat(100));
        let mut generator = WordGenerator::new(100);
        let mut answerer = Answerer::Generative(&mut generator);
        answerer.check("Why?", &options).unwrap();
        assert!(matches!(
            answerer.check(&long, &options),
            Err(DocqaError::PromptTooLong { tokens: 112, window: 100, .. })
        ));
        Answerer::Extractive.check(&long, &options).unwrap();
    }

    #[test]
    fn options_of_generation_are_checked() {
        let none = GenerateOptions { beams: 0, ..GenerateOptions::default() };
        let error = AskOptions { generate: none, ..AskOptions::default() }.check().unwrap_err();
        assert!(error.is_input_error() && error.to_string().starts_with("beams: "), "{error}");
    }

    #[test]
    fn pages_are_named() {
        let pdf = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../assets/goldens/pdf/broken_page3.pdf");
        let options = IndexOptions::default();
        let files = load::read(&[pdf]).unwrap();
        let mut embedder = WordEmbedder::new();
        let mut index =
            Index::build(&files, &options, &mut embedder, Box::new(HostSimilarity::default()), &mut |_| {})
                .unwrap();
        let answer =
            extract(&mut index, "How long did the bowls cooled for?", &AskOptions::default()).unwrap();
        assert_eq!(answer.answer, "The fourth page says that the bowls cooled for two days. (p. 4)");
    }
}
