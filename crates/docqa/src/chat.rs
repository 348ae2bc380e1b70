//! Conversations: questions that may refer to earlier ones.

use std::ops::ControlFlow;
use std::path::Path;

use crate::answer::{self, Answer, Answerer, AskOptions, Source};
use crate::embedder::Embedder;
use crate::index::Index;
use crate::{DocqaError, atomic, history};

/// Questions and answers, one after the other.
///
/// Passages are looked for by a question and, at a smaller weight, by the same joined to the last three before it, so
/// that `Who introduced it?` finds what it is about and a change of subject its own passages. A generator also reads
/// the turns before, the newest first, as many as fit into a third of its window.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conversation {
    options: AskOptions,
    turns: Vec<Answer>,
}

impl Conversation {
    /// One that begins.
    pub fn new(options: AskOptions) -> Self {
        Self { options, turns: Vec::new() }
    }

    /// One that goes on from earlier answers, the oldest first.
    pub fn resume(options: AskOptions, turns: Vec<Answer>) -> Self {
        Self { options, turns }
    }

    /// One that goes on from a file that [`save`](Self::save) or [`history::append`] wrote; one that begins where
    /// there is no such file.
    pub fn load(path: &Path, options: AskOptions) -> Result<Self, DocqaError> {
        Ok(Self::resume(options, history::answers(path)?))
    }

    /// How its questions are answered.
    pub fn options(&self) -> &AskOptions {
        &self.options
    }

    /// Answers from so many passages from now on; at least 1.
    pub fn set_contexts(&mut self, contexts: usize) -> Result<(), DocqaError> {
        if contexts == 0 {
            return Err(DocqaError::NoContexts);
        }
        self.options.contexts = contexts;
        Ok(())
    }

    /// Its answers so far, the oldest first.
    pub fn turns(&self) -> &[Answer] {
        &self.turns
    }

    /// The passages that the last answer was made from.
    pub fn sources(&self) -> &[Source] {
        self.turns.last().map_or(&[], |turn| &turn.sources)
    }

    /// Forgets what was said; the options stay.
    pub fn reset(&mut self) {
        self.turns.clear();
    }

    /// Answers the next question, as [`answer::ask`] does. One that fails, or is stopped before the first word of
    /// its answer, is no part of the conversation.
    pub fn ask(
        &mut self,
        index: &mut Index,
        embedder: &mut dyn Embedder,
        answerer: &mut Answerer<'_>,
        question: &str,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Answer, DocqaError> {
        let answer =
            answer::ask_after(&self.turns, index, embedder, answerer, question, &self.options, on_text)?;
        if !answer.answer.is_empty() {
            self.turns.push(answer.clone());
        }
        Ok(answer)
    }

    /// Saves it as a JSON array of its answers, whole or not at all. A file that holds anything but such an array
    /// is left as it was.
    pub fn save(&self, path: &Path) -> Result<(), DocqaError> {
        history::read(path)?;
        let text = serde_json::to_string_pretty(&self.turns)
            .map_err(|error| DocqaError::writing(path, error.into()))?;
        atomic::write_file(path, format!("{text}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::answer::Method;
    use crate::answer::fake::WordGenerator;
    use crate::embedder::fake::WordEmbedder;
    use crate::index::IndexOptions;
    use crate::load;
    use crate::similarity::HostSimilarity;
    use crate::split::SplitOptions;

    const NOTES: &str = "Copper glazes turn green when the kiln has plenty of air.\n\n\
        Anna introduced copper glazes in the old workshop.\n\n\
        Berta introduced salt oranges for pleasure.\n\n\
        The shop opens at nine on weekdays.\n";

    struct Talk {
        _folder: tempfile::TempDir,
        index: Index,
        embedder: WordEmbedder,
        generator: WordGenerator,
        conversation: Conversation,
    }

    impl Talk {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("notes.md");
            fs::write(&path, NOTES).unwrap();
            let split = SplitOptions { chunk_size: 60, chunk_overlap: 0, ..SplitOptions::default() };
            let options = IndexOptions { split, ..IndexOptions::default() };
            let files = load::read(&[path]).unwrap();
            let mut embedder = WordEmbedder::new();
            let similarity = Box::new(HostSimilarity::default());
            let index = Index::build(&files, &options, &mut embedder, similarity, &mut |_| {}).unwrap();
            let conversation = Conversation::new(AskOptions { contexts: 1, ..AskOptions::default() });
            Self { _folder: folder, index, embedder, generator: WordGenerator::new(200), conversation }
        }

        fn extract(&mut self, question: &str) -> Answer {
            let Self { index, embedder, conversation, .. } = self;
            let on_text = &mut |_: &str| ControlFlow::Continue(());
            conversation.ask(index, embedder, &mut Answerer::Extractive, question, on_text).unwrap()
        }

        fn generate(
            &mut self,
            question: &str,
            on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
        ) -> Result<Answer, DocqaError> {
            let Self { index, embedder, generator, conversation, .. } = self;
            conversation.ask(index, embedder, &mut Answerer::Generative(generator), question, on_text)
        }
    }

    #[test]
    fn a_follow_up_finds_what_it_is_about() {
        let mut talk = Talk::new();
        let first = talk.extract("When do copper glazes turn green?");
        assert!(first.sources[0].text.starts_with("Copper"), "{first:?}");
        let second = talk.extract("Who introduced them?");
        assert!(second.sources[0].text.starts_with("Anna"), "{second:?}");
        assert_eq!(second.answer, "Anna introduced copper glazes in the old workshop.");
        assert_eq!(talk.conversation.sources(), second.sources);

        // Another subject is found for itself, and without the conversation the follow-up means little.
        let third = talk.extract("When does the shop open on weekdays?");
        assert!(third.sources[0].text.starts_with("The shop"), "{third:?}");
        talk.conversation.reset();
        assert!(talk.conversation.turns().is_empty() && talk.conversation.sources().is_empty());
        let alone = talk.extract("Who introduced them?");
        assert!(alone.sources[0].text.starts_with("Berta"), "{alone:?}");
    }

    #[test]
    fn the_generator_reads_the_turns_before() {
        let mut talk = Talk::new();
        let mut heard = String::new();
        let hear = &mut |text: &str| {
            heard.push_str(text);
            ControlFlow::Continue(())
        };
        let first = talk.generate("When do copper glazes turn green?", hear).unwrap();
        assert_eq!((heard.as_str(), first.answer.as_str()), ("With plenty of air.", "With plenty of air."));
        assert_eq!((first.method, first.generator.as_deref()), (Method::Generative, Some("words-t5")));
        talk.generate("Who introduced them?", &mut |_| ControlFlow::Continue(())).unwrap();
        let [alone, after] = &talk.generator.prompts[..] else { panic!("two prompts expected") };
        assert_eq!(
            alone,
            "Answer the question based on the context provided.\n\n\
             Context: Copper glazes turn green when the kiln has plenty of air.\n\n\
             Question: When do copper glazes turn green?\n\nAnswer:"
        );
        assert_eq!(
            after,
            "Answer the question based on the context provided.\n\n\
             Context: Anna introduced copper glazes in the old workshop.\n\n\
             Question: When do copper glazes turn green?\n\nAnswer: With plenty of air.\n\n\
             Question: Who introduced them?\n\nAnswer:"
        );
    }

    #[test]
    fn a_stopped_answer_says_so_and_one_without_a_word_is_none() {
        let mut talk = Talk::new();
        let answer = talk.generate("When?", &mut |_| ControlFlow::Break(())).unwrap();
        assert_eq!(answer.answer, "With");
        assert_eq!(answer.notices, ["the answer was stopped before its end"]);
        assert_eq!(talk.conversation.turns().len(), 1);
        talk.generator.text.clear();
        let answer = talk.generate("When?", &mut |_| ControlFlow::Break(())).unwrap();
        assert_eq!((answer.answer.as_str(), answer.notices.len()), ("", 1));
        assert_eq!(talk.conversation.turns().len(), 1);
        assert!(talk.generate(" ", &mut |_| ControlFlow::Break(())).is_err());
        assert_eq!(talk.conversation.turns().len(), 1);
    }

    #[test]
    fn the_number_of_passages_can_be_changed() {
        let mut talk = Talk::new();
        assert!(talk.conversation.set_contexts(0).unwrap_err().is_input_error());
        talk.conversation.set_contexts(2).unwrap();
        assert_eq!(talk.extract("When do copper glazes turn green?").contexts_used, 2);
        talk.conversation.reset();
        assert_eq!(talk.conversation.options().contexts, 2);
    }

    #[test]
    fn it_is_saved_whole_and_goes_on() {
        let mut talk = Talk::new();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.json");
        talk.extract("When do copper glazes turn green?");
        talk.generate("Who introduced them?", &mut |_| ControlFlow::Continue(())).unwrap();
        talk.conversation.save(&path).unwrap();
        talk.conversation.save(&path).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let turn = &json[1];
        assert_eq!(turn["answer"], "With plenty of air.");
        assert_eq!((&turn["contexts_used"], &turn["generator"]), (&1.into(), &"words-t5".into()));
        assert!(turn["processing_time"].as_f64() > Some(0.0));
        for field in ["source", "page", "chunk_id", "distance"] {
            assert!(turn["sources"][0].get(field).is_some(), "{field}: {turn}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        let mut resumed = Conversation::load(&path, talk.conversation.options().clone()).unwrap();
        resumed.turns.iter_mut().zip(&talk.conversation.turns).for_each(|(turn, kept)| {
            turn.quotes.clone_from(&kept.quotes); // not in the file
        });
        assert_eq!(resumed, talk.conversation);
        assert!(
            Conversation::load(&folder.path().join("none"), AskOptions::default()).unwrap().turns.is_empty()
        );

        fs::write(&path, "dear diary").unwrap();
        let error = talk.conversation.save(&path).unwrap_err();
        assert!(error.is_input_error() && error.to_string().contains("not a history file"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "dear diary");
    }
}
