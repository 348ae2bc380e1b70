//! What the commands that answer questions share: the documents, the models, and how an answer is shown.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kiln::docqa::DocqaError;
use kiln::docqa::answer::{Answer, Answerer, AskOptions, Method, Source};
use kiln::docqa::index::Index;
use kiln::docqa::prompt::PromptTemplate;
use kiln::engine::Device;
use kiln::models::store::Place;
use kiln::models::{ModelError, SentenceEncoder, TextGenerator};

use super::context::Context;
use super::documents::{FilterArgs, SplitArgs, place};
use super::encoder::{EncoderArgs, store};
use super::error::CliError;
use super::generation::{DEFAULT_GENERATOR, GenerationArgs, PrecisionArg, load_generator};
use super::numbers::whole_number;
use super::output::Output;
use super::progress::Progress;
use super::stores::StoreArgs;
use super::table::write_table;

/// Which documents are asked, and how they answer.
#[derive(Debug, Args)]
pub(crate) struct AskingArgs {
    #[command(flatten)]
    store: StoreArgs,

    /// How many passages to answer from
    #[arg(short = 'k', long, value_name = "N", default_value_t = 3,
        value_parser = whole_number, allow_negative_numbers = true)]
    contexts: usize,

    /// How to answer: t5, written by a T5 model, which is fetched where it is nowhere on this machine; extract, in
    /// sentences quoted from the documents; auto, by T5 where it is on this machine, else in quoted sentences
    #[arg(long, value_name = "auto|t5|extract", value_enum, default_value_t, hide_possible_values = true)]
    answer: AnswerArg,

    /// The most sentences to quote in an extractive answer
    #[arg(long, value_name = "N", default_value_t = 3,
        value_parser = whole_number, allow_negative_numbers = true)]
    sentences: usize,

    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    split: SplitArgs,

    #[command(flatten)]
    encoder: EncoderArgs,

    #[command(flatten)]
    generator: GeneratorArgs,
}

/// What T5 is and how it writes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Generation")]
struct GeneratorArgs {
    /// The T5 model: a name from `kiln models list`, or a directory with its files [default: flan-t5-small]
    #[arg(long, value_name = "NAME|DIR")]
    generator: Option<String>,

    /// How its matrices are kept on the device; sums are f32 with either [default: f32]
    #[arg(long, value_name = "f32|f16", value_enum, hide_possible_values = true)]
    precision: Option<PrecisionArg>,

    /// A file with what T5 is asked: text with {question} and, where they belong, {context} and {history}
    #[arg(long, value_name = "FILE")]
    prompt_template: Option<PathBuf>,

    #[command(flatten)]
    generation: GenerationArgs,
}

/// Refuses what says how T5 answers, where it is not to. `given`: options, and whether they were given.
pub(crate) fn refuse_generation(
    given: &[(&'static str, bool)],
    generation: &GenerationArgs,
) -> Result<(), CliError> {
    let given = given.iter().find(|(_, is_given)| *is_given).map(|(option, _)| *option);
    match given.or(generation.given()) {
        Some(option) => {
            let message = format!("{option} says how T5 answers: expected --answer t5 or auto beside it");
            Err(CliError::Input(message))
        }
        None => Ok(()),
    }
}

/// What makes an answer of passages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum AnswerArg {
    #[default]
    Auto,
    T5,
    Extract,
}

/// Everything that answers take, loaded.
pub(crate) struct Asking {
    pub(crate) device: Device,
    pub(crate) encoder: SentenceEncoder,
    pub(crate) index: Index,
    generator: Option<TextGenerator>,
    /// Which of both ways was taken and why, where nobody said.
    chosen: Option<String>,
}

impl AskingArgs {
    /// Whether a store was named.
    pub(crate) fn has_store(&self) -> bool {
        self.store.is_given()
    }

    /// Refuses whatever can be refused before a model is loaded.
    pub(crate) fn options(&self, paths: &[PathBuf]) -> Result<AskOptions, CliError> {
        let GeneratorArgs { generator, precision, prompt_template, generation } = &self.generator;
        if self.answer == AnswerArg::Extract {
            let given = [
                ("--generator", generator.is_some()),
                ("--precision", precision.is_some()),
                ("--prompt-template", prompt_template.is_some()),
            ];
            refuse_generation(&given, generation)?;
        }
        let options = AskOptions {
            contexts: self.contexts,
            sentences: self.sentences,
            filter: self.filter.filter(),
            template: match prompt_template {
                Some(file) => PromptTemplate::read(file)?,
                None => PromptTemplate::default(),
            },
            generate: generation.options()?,
        };
        options.check()?;
        self.store.check(paths, &self.split, &self.filter)?;
        Ok(options)
    }

    /// Loads the models, those that are nowhere on this machine fetched, and opens or makes the index, once `check` has
    /// nothing against what is to be asked.
    pub(crate) fn open(
        &self,
        paths: &[PathBuf],
        context: &Context,
        check: impl FnOnce(&mut Answerer<'_>) -> Result<(), DocqaError>,
    ) -> Result<Asking, CliError> {
        let way = self.way()?;
        let (device, mut encoder) = self.encoder.load(context)?;
        let (mut generator, chosen) = self.load_generator(way, &device, context)?;
        check(&mut answerer(&mut generator))?;
        let index = self.store.index(paths, &self.split, &mut encoder, device.gpu(), context)?;
        index.check_model(&encoder)?;
        self.filter.check(index.records().iter().map(|record| record.source.as_str()))?;
        Ok(Asking { device, encoder, index, generator, chosen })
    }

    /// Which way answers come about, before anything is loaded for it. A model that was named and is none is an
    /// error; where none was named, one that is not there or damaged only means that it is not used.
    fn way(&self) -> Result<Way, CliError> {
        let named = self.generator.generator.as_deref();
        let name = named.unwrap_or(DEFAULT_GENERATOR);
        match (self.answer, store().locate(name)) {
            (AnswerArg::Extract, _) => Ok(Way::Extract { why: None }),
            // Fetching it is left for when everything else has proved sound.
            (AnswerArg::T5, Ok(_) | Err(ModelError::NotFound { .. })) => Ok(Way::Generate { place: None }),
            (AnswerArg::T5, Err(error)) => Err(error.into()),
            (AnswerArg::Auto, Ok(found)) => {
                let place = match found.place {
                    Place::Directory => found.path.display().to_string(),
                    place => place.to_string(),
                };
                Ok(Way::Generate { place: Some(place) })
            }
            (AnswerArg::Auto, Err(ModelError::NotFound { name, .. })) => {
                let why = format!("{name} is not on this machine (`kiln models fetch {name}` brings it)");
                Ok(Way::Extract { why: Some(why) })
            }
            (AnswerArg::Auto, Err(error)) if named.is_some() => Err(error.into()),
            (AnswerArg::Auto, Err(error)) => Ok(Way::Extract { why: Some(error.to_string()) }),
        }
    }

    /// The model, where there is to be one, and what there is to tell of the choice.
    fn load_generator(
        &self,
        way: Way,
        device: &Device,
        context: &Context,
    ) -> Result<(Option<TextGenerator>, Option<String>), CliError> {
        let place = match way {
            Way::Extract { why } => return Ok((None, why.map(|why| extractive(&why)))),
            Way::Generate { place } => place,
        };
        let GeneratorArgs { generator, precision, .. } = &self.generator;
        let name = generator.as_deref().unwrap_or(DEFAULT_GENERATOR);
        let precision = precision.unwrap_or_default().precision();
        let Some(place) = place else {
            return Ok((Some(load_generator(context, name, precision, device)?), None));
        };
        match load_generator(context, name, precision, device) {
            Ok(loaded) => {
                let chosen = format!("answering with {}, found in {place}", loaded.name());
                Ok((Some(loaded), Some(chosen)))
            }
            Err(CliError::Input(why)) if generator.is_none() => Ok((None, Some(extractive(&why)))),
            Err(error) => Err(error),
        }
    }

    /// Tells that no passage passed the filter.
    pub(crate) fn note_nothing(&self, context: &Context) {
        self.filter.note_nothing(context);
    }
}

/// The way that answers come about.
enum Way {
    Extract {
        /// Where nobody said: why not the other.
        why: Option<String>,
    },
    Generate {
        /// Where nobody said: the place that has the model.
        place: Option<String>,
    },
}

fn extractive(why: &str) -> String {
    format!("answering with sentences quoted from the documents: {why}")
}

impl Asking {
    /// Tells, before the first question, what is at work.
    pub(crate) fn announce(&self, context: &Context) {
        context.announce(self.device.gpu());
        self.index.notices().iter().for_each(|notice| context.note(notice));
        if let Some(chosen) = &self.chosen {
            context.note(chosen);
        }
    }

    /// What a question is asked with.
    pub(crate) fn parts(&mut self) -> (&mut Index, &mut SentenceEncoder, Answerer<'_>) {
        (&mut self.index, &mut self.encoder, answerer(&mut self.generator))
    }
}

fn answerer(generator: &mut Option<TextGenerator>) -> Answerer<'_> {
    match generator {
        Some(generator) => Answerer::Generative(generator),
        None => Answerer::Extractive,
    }
}

/// Shows an answer as it comes.
pub(crate) struct Stream<'a> {
    out: &'a mut Output,
    /// Until the first word comes.
    clock: Option<Progress>,
    failed: Option<io::Error>,
}

impl<'a> Stream<'a> {
    pub(crate) fn new(out: &'a mut Output, clock: Progress) -> Stream<'a> {
        Stream { out, clock: Some(clock), failed: None }
    }

    /// Shows a piece; stops where nobody reads on.
    pub(crate) fn push(&mut self, text: &str) -> ControlFlow<()> {
        if text.is_empty() {
            return ControlFlow::Continue(());
        }
        self.clock = None;
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    /// Ends the line, where nothing failed.
    pub(crate) fn finish(self) -> Result<(), CliError> {
        drop(self.clock);
        match self.failed {
            Some(error) => Err(error.into()),
            None => Ok(writeln!(self.out)?),
        }
    }
}

/// What is to be said of an answer, its words aside: how it came about, and what to bear in mind.
pub(crate) fn write_remarks(out: &mut Output, answer: &Answer) -> io::Result<()> {
    match (&answer.generator, answer.method) {
        (Some(generator), _) => {
            writeln!(out, "This answer was written by {generator} from these passages.\n")?
        }
        (None, Method::Extractive) if !answer.quotes.is_empty() => {
            writeln!(out, "This answer is extractive: its sentences are quoted from the documents.\n")?;
        }
        _ => {}
    }
    write_notices(out, answer)
}

/// What to bear in mind of an answer, a line each.
pub(crate) fn write_notices(out: &mut Output, answer: &Answer) -> io::Result<()> {
    for notice in &answer.notices {
        writeln!(out, "Note: {notice}.\n")?;
    }
    Ok(())
}

/// A table of passages, the closest first.
pub(crate) fn write_sources(out: &mut Output, sources: &[Source]) -> io::Result<()> {
    if sources.is_empty() {
        return Ok(());
    }
    writeln!(out, "Sources")?;
    let row = |(source, rank): (&Source, usize)| {
        [format!("  {rank}."), place_of(source), format!("distance {:.4}", source.distance)]
    };
    write_table(out, &sources.iter().zip(1..).map(row).collect::<Vec<_>>())?;
    writeln!(out)
}

/// Where a passage stands.
pub(crate) fn place_of(source: &Source) -> String {
    place(&source.source, source.page, source.page_end, source.chunk_id)
}
