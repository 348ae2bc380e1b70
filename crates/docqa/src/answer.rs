//! From passages to an answer.

mod extract;
mod words;

use std::time::Instant;

use serde::Serialize;

use crate::DocqaError;
use crate::embedder::Embedder;
use crate::index::Index;
use crate::retrieve::{self, retrieve};
use crate::store::{Filter, Hit};

/// How a question is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskOptions {
    /// How many passages to answer from, at least 1.
    pub contexts: usize,
    /// The most sentences to quote, at least 1. One that begins with a word such as `it` or `this` brings along
    /// the sentence before it, which does not count.
    pub sentences: usize,
    /// Which passages may be used.
    pub filter: Filter,
}

impl Default for AskOptions {
    fn default() -> Self {
        Self { contexts: 3, sentences: 3, filter: Filter::default() }
    }
}

impl AskOptions {
    /// Refuses a question that no index could answer with these options: an empty one, and one that may use
    /// no passage or no sentence. Worth asking before an index is built.
    pub fn check(&self, question: &str) -> Result<(), DocqaError> {
        retrieve::check(question, self.contexts)?;
        if self.sentences == 0 { Err(DocqaError::NoSentences) } else { Ok(()) }
    }
}

/// How an answer came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Method {
    /// Its sentences are quoted from the documents, word for word.
    Extractive,
}

/// An answer with what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The question as it was asked.
    pub question: String,
    /// The answer, with page numbers where the documents have pages.
    pub answer: String,
    /// How it came about.
    pub method: Method,
    /// How many passages it was made from.
    pub contexts_used: usize,
    /// The time from question to answer in seconds, loading and indexing not counted.
    pub processing_time: f64,
    /// Those passages, the closest first.
    pub sources: Vec<Source>,
    /// The sentences that make up the answer, in its order; empty where no sentence answers, and the answer
    /// then says so and shows the beginning of the closest passage.
    #[serde(skip)]
    pub quotes: Vec<Quote>,
}

/// A passage that an answer was made from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Source {
    /// The document's path as it was given.
    pub source: String,
    /// The page of its first character; `None` for text and Markdown.
    pub page: Option<u32>,
    /// The page of its last character, where that is another one.
    pub page_end: Option<u32>,
    /// Its number within its document, from 0.
    pub chunk_id: usize,
    /// Its distance from the question.
    pub distance: f32,
    /// The passage.
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

/// Answers a question from an index, in the documents' own words: of the sentences in the passages closest
/// to the question, those that the encoder finds closest to it, in reading order.
pub fn ask(
    index: &mut Index,
    embedder: &mut dyn Embedder,
    question: &str,
    options: &AskOptions,
) -> Result<Answer, DocqaError> {
    options.check(question)?;
    let started = Instant::now();
    let retrieved = retrieve(index, embedder, question, options.contexts, &options.filter)?;
    let (answer, quotes) = extract::extract(index, embedder, question, &retrieved, options.sentences)?;
    Ok(Answer {
        question: question.to_string(),
        answer,
        method: Method::Extractive,
        contexts_used: retrieved.hits.len(),
        processing_time: started.elapsed().as_secs_f64(),
        sources: retrieved.hits.into_iter().map(Source::from).collect(),
        quotes,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

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

    fn answer_of(text: &str, chunk_size: usize, question: &str) -> Answer {
        let (_folder, mut index) = index_of(text, chunk_size);
        ask(&mut index, &mut WordEmbedder::new(), question, &AskOptions::default()).unwrap()
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
            let error = ask(&mut index, &mut WordEmbedder::new(), question, &options).unwrap_err();
            assert!(error.is_input_error());
            error.to_string()
        };
        assert_eq!(ask("", 3), "the question is empty");
        assert_eq!(ask(" \n", 3), "the question is empty");
        assert_eq!(ask("Why?", 0), "0 contexts: expected at least 1");
        let none = AskOptions { sentences: 0, ..AskOptions::default() };
        assert_eq!(none.check("Why?").unwrap_err().to_string(), "0 sentences: expected at least 1");
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
            ask(&mut index, &mut embedder, "How long did the bowls cooled for?", &AskOptions::default())
                .unwrap();
        assert_eq!(answer.answer, "The fourth page says that the bowls cooled for two days. (p. 4)");
    }
}
