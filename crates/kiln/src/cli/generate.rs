//! `kiln generate`.

use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::time::Instant;

use clap::Args;
use kiln::models::ModelError;
use kiln::models::generate::Finish;
use kiln::models::text_generator::Generated;
use serde::Serialize;

use super::context::Context;
use super::error::CliError;
use super::generation::{DEFAULT_GENERATOR, GenerationArgs, PrecisionArg, load_generator};
use super::numbers::counted;
use super::output::OutputArgs;

/// Write text with a T5 model: answer, translate, sum up what the prompt asks for
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln generate \"translate English to German: The kiln is hot.\"
  kiln generate --beams 4 --max-new-tokens 60 - < prompt.txt
  kiln generate --sample --temperature 0.7 --seed 7 --json \"Write a headline about clay.\"

One prompt's text is printed as it comes, several prompts' texts a line each at the end.")]
pub(crate) struct GenerateArgs {
    /// What the model is asked; - reads it from standard input
    #[arg(value_name = "PROMPT", required = true)]
    prompts: Vec<String>,

    /// The model: a name from `kiln models list`, or a directory with its files
    #[arg(long, value_name = "NAME|DIR", default_value = DEFAULT_GENERATOR)]
    model: String,

    /// How the matrices are kept on the device; sums are f32 with either
    #[arg(long, value_enum, default_value_t)]
    precision: PrecisionArg,

    /// Cut prompts that are longer than the model reads, instead of refusing them
    #[arg(long)]
    truncate: bool,

    #[command(flatten)]
    generation: GenerationArgs,

    /// Print one JSON object {model, precision, texts: [{prompt, prompt_tokens, text, ids, finish, score}],
    /// processing_time (seconds), adapter}; score is there for --beams above 1
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    precision: &'static str,
    texts: Vec<Text<'a>>,
    processing_time: f64,
    adapter: &'a str,
}

#[derive(Serialize)]
struct Text<'a> {
    prompt: &'a str,
    prompt_tokens: usize,
    text: &'a str,
    ids: &'a [u32],
    finish: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f32>,
}

impl<'a> Text<'a> {
    fn new(prompt: &'a str, generated: &'a Generated) -> Text<'a> {
        let Generated { ids, text, finish, score, prompt_tokens } = generated;
        let finish = match finish {
            Finish::Eos => "eos",
            Finish::Length => "length",
            Finish::Stopped => "stopped",
        };
        Text { prompt, prompt_tokens: *prompt_tokens, text, ids, finish, score: *score }
    }
}

impl GenerateArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let mut options = self.generation.options()?;
        options.truncate = self.truncate;
        options.check()?;
        let prompts = read_prompts(&self.prompts, &mut io::stdin())?;
        let mut output = self.output.open()?;
        let device = context.open_device()?;
        let mut generator = load_generator(context, &self.model, self.precision.precision(), &device)?;
        let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
        let streams = prompts.len() == 1 && !self.json;
        let started = Instant::now();
        // Until the first word comes, weights go to the device and the prompt is read.
        let mut clock = Some(context.clock(if streams { "reading" } else { "generating" }));
        let mut failed = None;
        let texts = generator.generate(&prompts, &options, &mut |_, text| {
            if !streams || text.is_empty() {
                return ControlFlow::Continue(());
            }
            clock = None;
            context.announce(device.gpu());
            match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
                Ok(()) => ControlFlow::Continue(()),
                // A closed pipe, as a rule: nobody reads on.
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        let texts = texts.map_err(named_as_typed)?;
        drop(clock);
        context.announce(device.gpu());
        if let Some(error) = failed {
            return Err(error.into());
        }
        let seconds = started.elapsed().as_secs_f64();
        let adapter = device.profile().name.as_str();
        if self.json {
            output.json(&Report {
                model: generator.name(),
                precision: self.precision.name(),
                texts: texts.iter().zip(&prompts).map(|(text, prompt)| Text::new(prompt, text)).collect(),
                processing_time: seconds,
                adapter,
            })?;
        } else if streams {
            writeln!(output)?;
        } else {
            for text in &texts {
                writeln!(output, "{}", text.text)?;
            }
        }
        output.finish()?;
        if !self.json {
            let tokens = texts.iter().map(|text| text.ids.len()).sum();
            let speed = tokens as f64 / seconds;
            let (tokens, cut) = (counted(tokens, "token"), cut_off(&texts, options.max_new_tokens));
            context.note(format_args!("{tokens} in {seconds:.2} s ({speed:.1} a second) on {adapter}{cut}"));
        }
        Ok(())
    }
}

/// A prompt that is too long can be cut, here by an option.
fn named_as_typed(error: ModelError) -> CliError {
    match error {
        ModelError::PromptTooLong { index, tokens, window } => CliError::Input(format!(
            "prompt {}: it has {tokens} tokens, the model reads {window}; shorten it, or let --truncate cut it",
            index + 1
        )),
        error => error.into(),
    }
}

/// Every `-` is what standard input holds, without the line end that editors and `echo` add.
fn read_prompts(prompts: &[String], stdin: &mut dyn Read) -> Result<Vec<String>, CliError> {
    if prompts.iter().filter(|prompt| *prompt == "-").count() > 1 {
        return Err(CliError::Input("standard input can be one prompt: expected one -, got several".into()));
    }
    let read = |prompt: &String| {
        if prompt != "-" {
            return Ok(prompt.clone());
        }
        let mut bytes = vec![];
        stdin
            .read_to_end(&mut bytes)
            .map_err(|error| CliError::Runtime(format!("standard input: {error}")))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            CliError::Input(format!("standard input: not UTF-8 text (byte {offset})"))
        })?;
        Ok(text
            .strip_suffix('\n')
            .map(|text| text.strip_suffix('\r').unwrap_or(text))
            .unwrap_or(&text)
            .to_owned())
    };
    let prompts: Vec<String> = prompts.iter().map(read).collect::<Result<_, CliError>>()?;
    match prompts.iter().position(|prompt| prompt.trim().is_empty()) {
        Some(index) => Err(CliError::Input(format!("prompt {}: it is empty", index + 1))),
        None => Ok(prompts),
    }
}

/// Tells of texts that would have gone on.
fn cut_off(texts: &[Generated], most: usize) -> String {
    match texts.iter().filter(|text| text.finish == Finish::Length).count() {
        0 => String::new(),
        _ if texts.len() == 1 => format!("; it ended at --max-new-tokens {most}"),
        cut => format!("; {cut} of {} ended at --max-new-tokens {most}", texts.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(prompts: &[&str], mut stdin: &[u8]) -> Result<Vec<String>, String> {
        let prompts: Vec<String> = prompts.iter().map(|prompt| prompt.to_string()).collect();
        read_prompts(&prompts, &mut stdin).map_err(|error| match error {
            CliError::Input(message) | CliError::Runtime(message) => message,
            _ => "another error".into(),
        })
    }

    #[test]
    fn a_dash_is_standard_input() {
        assert_eq!(read(&["a", "-"], b"two\nlines\r\n"), Ok(vec!["a".into(), "two\nlines".into()]));
        assert_eq!(read(&["-"], b"no end"), Ok(vec!["no end".into()]));
        assert!(read(&["-", "-"], b"a").unwrap_err().contains("expected one -"));
        assert_eq!(read(&["a", "-"], b" \n"), Err("prompt 2: it is empty".into()));
        assert_eq!(read(&["-"], b"ab\xff"), Err("standard input: not UTF-8 text (byte 2)".into()));
        assert_eq!(read(&[""], b""), Err("prompt 1: it is empty".into()));
    }
}
