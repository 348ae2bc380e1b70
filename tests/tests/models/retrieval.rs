//! What all-MiniLM-L6-v2 finds in the sample document for questions in other words than the document's
//! (`assets/sample/paraphrases.json`).

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;

use kiln_docqa::answer::{Answer, Answerer, AskOptions, ask};
use kiln_docqa::chunk::{self, Chunk};
use kiln_docqa::index::{Index, IndexOptions};
use kiln_docqa::load::{self, SourceFile};
use kiln_docqa::similarity::GpuSimilarity;
use kiln_docqa::split::SplitOptions;
use kiln_models::t5::Precision;
use kiln_models::{SentenceEncoder, TextGenerator};
use kiln_tests::t5::{Form, Geometry};
use kiln_tests::{device, golden};
use serde::Deserialize;

use crate::support::model;

/// A question and what answers it.
#[derive(Deserialize)]
struct Paraphrase {
    question: String,
    /// Where the answer stands.
    page: u32,
    /// A sentence of the passage that answers, whole within one passage.
    sentence: String,
}

fn paraphrases() -> Vec<Paraphrase> {
    let path = golden::root().join("assets/sample/paraphrases.json");
    let text = fs::read_to_string(&path).expect("there are paraphrases");
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn sample() -> Vec<SourceFile> {
    load::read(&[golden::root().join("assets/sample/convolutional-networks.pdf")]).expect("there is a sample")
}

/// With single spaces, since lines break elsewhere in a PDF.
fn collapsed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_on(page: u32, first: Option<u32>, last: Option<u32>) -> bool {
    first == Some(page) || last == Some(page)
}

/// Words that say nothing of what a sentence is about. In doubt a word is left out, so that it counts.
const STOP_WORDS: [&str; 77] = [
    "a", "about", "all", "also", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "can",
    "could", "did", "do", "does", "for", "from", "had", "has", "have", "how", "i", "if", "in", "into", "is",
    "it", "its", "just", "may", "me", "might", "more", "most", "my", "no", "not", "of", "on", "one", "only",
    "or", "our", "s", "should", "so", "than", "that", "the", "their", "them", "then", "there", "these",
    "they", "this", "those", "to", "was", "we", "were", "what", "when", "where", "which", "who", "why",
    "will", "with", "would", "yes", "you", "your",
];

fn content_words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .map(str::to_lowercase)
        .filter(|word| !word.is_empty() && !STOP_WORDS.contains(&word.as_str()))
        .collect()
}

/// Whether two words are forms of one: they begin alike and differ in no more than an ending (`layer` and `layers`,
/// `loaded` and `loading`). Some that only begin alike count too, which makes the rule below stricter.
fn are_forms_of_one(a: &str, b: &str) -> bool {
    let alike = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let (a, b) = (a.chars().count(), b.chars().count());
    let ending = a.max(b) - alike;
    if a.min(b) < 4 { alike == a.min(b) && ending <= 1 } else { alike >= 4 && ending <= alike }
}

/// The words of a question that a passage has in some form.
fn shared<'a>(question: &'a BTreeSet<String>, passage: &BTreeSet<String>) -> Vec<&'a str> {
    let is_shared = |word: &&String| passage.iter().any(|other| are_forms_of_one(word, other));
    question.iter().filter(is_shared).map(String::as_str).collect()
}

#[test]
fn shared_words_are_counted_whatever_their_endings() {
    let count =
        |question: &str, passage: &str| shared(&content_words(question), &content_words(passage)).len();
    assert_eq!(count("Which layers are loaded first?", "The first layer is loading."), 3);
    assert_eq!(count("Is the map large?", "Maps are larger."), 2);
    assert_eq!(count("Why is VGG-16 slow?", "VGG-16 and VGG-19."), 2);
    assert_eq!(count("Who runs?", "A RUN."), 1);
    assert_eq!(count("How are they?", "They are as they are."), 0);
    assert_eq!(count("Is a net a network?", "Networking, nettle, work."), 1);
    assert!(STOP_WORDS.is_sorted());
}

/// The questions are what they are called: on passages of the sample, and with at most two words of theirs.
#[test]
fn paraphrases_share_at_most_two_words_with_their_passage() {
    let paraphrases = paraphrases();
    assert_eq!(paraphrases.len(), 10);
    let documents = load::parse(&sample()).expect("the sample should be read").documents;
    let chunks = chunk::chunks(&documents, &SplitOptions::default()).expect("it should be split");
    for Paraphrase { question, page, sentence } in &paraphrases {
        let answers = |chunk: &&Chunk| collapsed(&chunk.text).contains(&collapsed(sentence));
        let passages: Vec<&Chunk> = chunks.iter().filter(answers).collect();
        assert!(!passages.is_empty(), "no passage has the sentence {sentence:?}");
        for passage in passages {
            assert!(
                is_on(*page, passage.page, passage.page_end),
                "{sentence:?} is on another page than {page}"
            );
            let (asked, there) = (content_words(question), content_words(&passage.text));
            assert!(asked.len() >= 2, "{question}: too short to say what it asks");
            let shared = shared(&asked, &there);
            assert!(shared.len() <= 2, "{question}: the passage has its words {shared:?}");
        }
    }
}

/// The sample, ready to be asked.
struct Asked {
    encoder: SentenceEncoder,
    index: Index,
}

impl Asked {
    /// `None`, and the test is reported as skipped, without an adapter or the model.
    #[track_caller]
    fn new() -> Option<Asked> {
        let (gpu, dir) = (device::gpu()?, model("all-MiniLM-L6-v2")?);
        let mut encoder = SentenceEncoder::load(gpu, &dir).expect("the model should load");
        let similarity = Box::new(GpuSimilarity::new(gpu));
        let index = Index::build(&sample(), &IndexOptions::default(), &mut encoder, similarity, &mut |_| {});
        Some(Asked { encoder, index: index.expect("the sample should be indexed") })
    }

    fn answer(&mut self, answerer: &mut Answerer<'_>, question: &str) -> Answer {
        let mut options = AskOptions::default();
        options.generate.max_new_tokens = 12;
        let on_text = &mut |_: &str| ControlFlow::Continue(());
        ask(&mut self.index, &mut self.encoder, answerer, question, &options, on_text)
            .expect("the question should be answered")
    }
}

/// At least nine of ten find their page among the three passages that an answer is made from. And the same question gets
/// the same answer, whatever was asked before it: quoted, and generated too, where nothing is drawn.
#[test]
fn paraphrases_find_their_page_and_are_answered_alike_each_time() {
    let (Some(gpu), Some(mut asked)) = (device::gpu(), Asked::new()) else { return };
    let paraphrases = paraphrases();
    let mut twice = |answerer: &mut Answerer<'_>| -> Vec<Answer> {
        let answers: Vec<Answer> =
            paraphrases.iter().map(|asking| asked.answer(answerer, &asking.question)).collect();
        for first in answers.iter().rev() {
            let again = asked.answer(answerer, &first.question);
            // All but the time that it took.
            assert_eq!(&Answer { processing_time: first.processing_time, ..again }, first);
            assert!(!first.answer.is_empty(), "{}", first.question);
        }
        let texts: BTreeSet<&str> = answers.iter().map(|answer| answer.answer.as_str()).collect();
        assert!(texts.len() >= 2, "all questions have the answer {texts:?}");
        answers
    };

    let mut missed = Vec::new();
    for (Paraphrase { question, page, .. }, answer) in
        paraphrases.iter().zip(twice(&mut Answerer::Extractive))
    {
        assert_eq!(answer.sources.len(), 3, "{question}");
        if !answer.sources.iter().any(|source| is_on(*page, source.page, source.page_end)) {
            let found: Vec<_> = answer.sources.iter().map(|source| source.page).collect();
            missed.push(format!("{question} is answered on page {page}, found are pages {found:?}"));
        }
    }
    assert!(missed.len() <= 1, "{} of {} missed: {missed:#?}", missed.len(), paraphrases.len());

    // What a T5 of no training writes makes no sense, but it is the same nonsense each time.
    let folder = tempfile::tempdir().expect("there should be room for a model");
    let geometry = Geometry { vocab_size: 1000, ..Geometry::V11 };
    geometry.write(folder.path(), Form::F32).expect("the model should be written");
    let generator = TextGenerator::load(gpu, folder.path(), Precision::F32);
    twice(&mut Answerer::Generative(&mut generator.expect("the model should load")));
}
