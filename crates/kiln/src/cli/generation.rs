//! Text generation: the options that say how, and the model that does it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kiln::docqa::answer::{MAX_NEW_TOKENS, TEMPERATURE};
use kiln::engine::Device;
use kiln::models::generate::{GenerateOptions, Sampling};
use kiln::models::t5::Precision;
use kiln::models::{ModelError, TextGenerator};

use super::context::Context;
use super::encoder::store;
use super::error::CliError;
use super::numbers::{number, whole_number};

/// The model that generates where none is named.
pub(crate) const DEFAULT_GENERATOR: &str = "flan-t5-small";

/// How text is generated. Without any of them: greedily.
#[derive(Debug, Args)]
#[command(next_help_heading = "Generation")]
pub(crate) struct GenerationArgs {
    /// The most tokens to generate, up to 4096 [default: 200]
    #[arg(long, value_name = "N", value_parser = whole_number, allow_negative_numbers = true)]
    max_new_tokens: Option<usize>,

    /// Draw tokens by chance instead of taking the likeliest; the same seed draws the same text
    #[arg(long)]
    sample: bool,

    /// With --sample, how far: below 1 likely tokens become likelier [default: 0.7]
    #[arg(long, value_name = "X", value_parser = number, allow_negative_numbers = true)]
    temperature: Option<f64>,

    /// With --sample, draw from so many tokens, the likeliest; 0 for all [default: 50]
    #[arg(long, value_name = "N", value_parser = whole_number, allow_negative_numbers = true)]
    top_k: Option<usize>,

    /// With --sample, draw from the fewest tokens that have this probability together [default: 1]
    #[arg(long, value_name = "X", value_parser = number, allow_negative_numbers = true)]
    top_p: Option<f64>,

    /// With --sample, what the chance begins with [default: 0]
    #[arg(long, value_name = "N", value_parser = seed, allow_negative_numbers = true)]
    seed: Option<u64>,

    /// Follow so many texts at once and take the best (beam search) [default: 1]
    #[arg(long, value_name = "N", value_parser = whole_number, allow_negative_numbers = true)]
    beams: Option<usize>,

    /// With --beams, above 0 for longer texts, below 0 for shorter ones [default: 1]
    #[arg(long, value_name = "X", value_parser = number, allow_negative_numbers = true)]
    length_penalty: Option<f64>,

    /// With --beams, stop as soon as so many texts have ended
    #[arg(long)]
    early_stopping: bool,

    /// Above 1, make tokens that have been written less likely [default: 1]
    #[arg(long, value_name = "X", value_parser = number, allow_negative_numbers = true)]
    repetition_penalty: Option<f64>,

    /// Write no run of so many tokens twice; 0 for no such rule [default: 0]
    #[arg(long, value_name = "N", value_parser = whole_number, allow_negative_numbers = true)]
    no_repeat_ngram: Option<usize>,

    /// Do not end before so many tokens, the one that every text starts from included [default: 0]
    #[arg(long, value_name = "N", value_parser = whole_number, allow_negative_numbers = true)]
    min_length: Option<usize>,
}

impl GenerationArgs {
    /// The options, checked.
    pub(crate) fn options(&self) -> Result<GenerateOptions, CliError> {
        let usual = GenerateOptions::default();
        let drawn = Sampling { temperature: TEMPERATURE, ..Sampling::default() };
        let sampling = Sampling {
            temperature: self.temperature.unwrap_or(drawn.temperature),
            top_k: self.top_k.unwrap_or(drawn.top_k),
            top_p: self.top_p.unwrap_or(drawn.top_p),
            seed: self.seed.unwrap_or(drawn.seed),
        };
        let mut options = GenerateOptions {
            max_new_tokens: self.max_new_tokens.unwrap_or(MAX_NEW_TOKENS),
            min_length: self.min_length.unwrap_or(usual.min_length),
            sampling: Some(sampling),
            beams: self.beams.unwrap_or(usual.beams),
            length_penalty: self.length_penalty.unwrap_or(usual.length_penalty),
            early_stopping: self.early_stopping,
            repetition_penalty: self.repetition_penalty.unwrap_or(usual.repetition_penalty),
            no_repeat_ngram_size: self.no_repeat_ngram.unwrap_or(usual.no_repeat_ngram_size),
            truncate: usual.truncate,
        };
        // A value out of its range is told first: naming the other option would not help.
        options.check().map_err(named_as_typed)?;
        let (least, most) = (options.min_length, options.max_new_tokens);
        if least > most {
            let message =
                format!("--min-length: expected at most --max-new-tokens, which is {most}, got {least}");
            return Err(CliError::Input(message));
        }
        if !self.sample {
            refuse_first(&self.of_sampling(), "--sample")?;
            options.sampling = None;
        }
        if options.beams == 1 {
            refuse_first(&self.of_beams(), "--beams 2 or more")?;
        }
        Ok(options)
    }

    /// The first option that was given, if any was.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let own = [
            ("--max-new-tokens", self.max_new_tokens.is_some()),
            ("--sample", self.sample),
            ("--beams", self.beams.is_some()),
            ("--repetition-penalty", self.repetition_penalty.is_some()),
            ("--no-repeat-ngram", self.no_repeat_ngram.is_some()),
            ("--min-length", self.min_length.is_some()),
        ];
        first(&own).or(first(&self.of_sampling())).or(first(&self.of_beams()))
    }

    /// Options that mean something with --sample alone, and whether they were given.
    fn of_sampling(&self) -> [(&'static str, bool); 4] {
        [
            ("--temperature", self.temperature.is_some()),
            ("--top-k", self.top_k.is_some()),
            ("--top-p", self.top_p.is_some()),
            ("--seed", self.seed.is_some()),
        ]
    }

    fn of_beams(&self) -> [(&'static str, bool); 2] {
        [("--length-penalty", self.length_penalty.is_some()), ("--early-stopping", self.early_stopping)]
    }
}

fn first(options: &[(&'static str, bool)]) -> Option<&'static str> {
    options.iter().find(|(_, is_given)| *is_given).map(|(option, _)| *option)
}

fn refuse_first(options: &[(&'static str, bool)], other: &str) -> Result<(), CliError> {
    match first(options) {
        Some(option) => Err(CliError::Input(format!("{option} needs {other}"))),
        None => Ok(()),
    }
}

/// `max_new_tokens` is `--max-new-tokens` here.
fn named_as_typed(error: ModelError) -> CliError {
    match error {
        ModelError::GenerateOption { option, expected, got } => {
            CliError::Input(format!("--{}: expected {expected}, got {got}", option.replace('_', "-")))
        }
        error => error.into(),
    }
}

fn seed(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "expected a whole number")
}

/// How a model's matrices are kept on the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrecisionArg {
    /// 32 bits a number
    #[default]
    F32,
    /// 16 bits a number: half the memory
    F16,
}

impl PrecisionArg {
    pub(crate) fn precision(self) -> Precision {
        match self {
            PrecisionArg::F32 => Precision::F32,
            PrecisionArg::F16 => Precision::F16,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            PrecisionArg::F32 => "f32",
            PrecisionArg::F16 => "f16",
        }
    }
}

/// Finds a generator, fetches it where it is nowhere on this machine, and opens it.
pub(crate) fn load_generator(
    context: &Context,
    name_or_dir: &str,
    precision: Precision,
    device: &Device,
) -> Result<TextGenerator, CliError> {
    Ok(TextGenerator::load(device, &find_generator(context, name_or_dir)?, precision)?)
}

/// Finds a generator's directory, and fetches it where it is nowhere on this machine.
pub(crate) fn find_generator(context: &Context, name_or_dir: &str) -> Result<PathBuf, CliError> {
    let progress = context.download();
    Ok(store().fetch(name_or_dir, &mut |step| progress.set_all(step.file, step.done, step.total))?)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        generation: GenerationArgs,
    }

    fn parse(args: &[&str]) -> GenerationArgs {
        Line::try_parse_from([&["kiln"], args].concat()).expect("the options should parse").generation
    }

    fn refused(args: &[&str]) -> String {
        match parse(args).options() {
            Err(CliError::Input(message)) => message,
            other => panic!("{args:?} should be refused, got {other:?}"),
        }
    }

    #[test]
    fn text_is_greedy_unless_sampling_is_asked_for() {
        let options = parse(&[]).options().expect("no option is fine");
        assert_eq!((options.max_new_tokens, options.sampling), (200, None));
        assert_eq!(parse(&[]).given(), None);
        let sampling = parse(&["--sample"]).options().expect("it is fine").sampling;
        assert_eq!(sampling, Some(Sampling { temperature: 0.7, ..Sampling::default() }));
        let all = [
            "--sample --temperature 1.5 --top-k 0 --top-p 0.9 --seed 7 --max-new-tokens 9 --min-length 2",
            "--repetition-penalty 1.2 --no-repeat-ngram 3",
        ];
        let args: Vec<&str> = all.iter().flat_map(|part| part.split(' ')).collect();
        let options = parse(&args).options().expect("they are fine");
        assert_eq!(options.sampling, Some(Sampling { temperature: 1.5, top_k: 0, top_p: 0.9, seed: 7 }));
        assert_eq!((options.max_new_tokens, options.min_length, options.no_repeat_ngram_size), (9, 2, 3));
        let beams = parse(&["--beams", "4", "--length-penalty", "-1", "--early-stopping"]);
        let options = beams.options().expect("they are fine");
        assert_eq!((options.beams, options.length_penalty, options.early_stopping), (4, -1.0, true));
        assert_eq!(beams.given(), Some("--beams"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_name() {
        assert_eq!(refused(&["--beams", "0"]), "--beams: expected at least 1 and at most 64, got 0");
        let limits = "--max-new-tokens: expected at least 1 and at most 4096, got";
        assert_eq!(refused(&["--max-new-tokens", "0"]), format!("{limits} 0"));
        assert_eq!(refused(&["--max-new-tokens", "1000000000"]), format!("{limits} 1000000000"));
        for args in [&["--temperature", "-1"][..], &["--sample", "--temperature", "-1"]] {
            assert!(refused(args).starts_with("--temperature: expected a number above 0"));
        }
        for option in ["--temperature", "--top-k", "--top-p", "--seed"] {
            assert_eq!(refused(&[option, "1"]), format!("{option} needs --sample"));
            assert_eq!(parse(&[option, "1"]).given(), Some(option));
        }
        assert_eq!(
            refused(&["--min-length", "300"]),
            "--min-length: expected at most --max-new-tokens, which is 200, got 300"
        );
        assert_eq!(refused(&["--length-penalty", "2"]), "--length-penalty needs --beams 2 or more");
        assert_eq!(refused(&["--early-stopping"]), "--early-stopping needs --beams 2 or more");
    }
}
