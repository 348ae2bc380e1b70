//! `kiln embed`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use kiln::docqa::DocqaError;
use serde::Serialize;

use super::context::Context;
use super::encoder::EncoderArgs;
use super::error::CliError;
use super::output::{Output, OutputArgs};

/// Turn texts into embeddings: vectors that stand close together where texts mean similar things
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln embed \"Machine learning is amazing\"
  kiln embed --json \"one text\" \"another\" | jq '.[0].embedding | length'
  kiln embed --file lines.txt --json --output embeddings.json")]
pub(crate) struct EmbedArgs {
    /// The texts
    #[arg(value_name = "TEXT", required_unless_present = "file")]
    texts: Vec<String>,

    /// Take the lines of a file as further texts, blank ones aside; `-` is stdin
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Print an array of {text, embedding} instead of a summary
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    encoder: EncoderArgs,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Row<'a> {
    text: &'a str,
    embedding: &'a [f32],
}

impl EmbedArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        if let Some(blank) = self.texts.iter().position(|text| text.trim().is_empty()) {
            let which = if self.texts.len() == 1 { "the text".into() } else { format!("text {}", blank + 1) };
            return Err(CliError::Input(format!("{which} is empty")));
        }
        let mut output = self.output.open()?;
        let mut texts = self.texts;
        if let Some(path) = &self.file {
            texts.extend(read_lines(path)?);
        }
        let (device, mut encoder) = self.encoder.load(context)?;
        context.announce(device.gpu());
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let embeddings = {
            let progress = context.progress("embedding", texts.len());
            encoder.encode(&texts, &mut |done| progress.set(done as u64))?
        };
        let rows = texts.iter().zip(&embeddings).map(|(text, embedding)| Row { text, embedding });
        if self.json {
            output.json_rows(rows)?;
        } else {
            rows.into_iter().try_for_each(|row| write_summary(&mut output, &row))?;
        }
        output.finish()
    }
}

fn read_lines(path: &Path) -> Result<Vec<String>, CliError> {
    let from_stdin = path == Path::new("-");
    let path = if from_stdin { Path::new("stdin") } else { path }.to_path_buf();
    let mut bytes = Vec::new();
    let read = if from_stdin {
        io::stdin().read_to_end(&mut bytes)
    } else {
        File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(DocqaError::Missing { path }.into());
        }
        Err(source) => return Err(DocqaError::Unreadable { path, source }.into()),
    }
    let text = match str::from_utf8(&bytes) {
        Ok(text) => text,
        Err(error) => return Err(DocqaError::NotUtf8 { path, offset: error.valid_up_to() }.into()),
    };
    // A byte order mark belongs to the file, not to its first line.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<String> = text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    if lines.is_empty() {
        return Err(DocqaError::Blank { path }.into());
    }
    Ok(lines)
}

/// The text, the size of its embedding, and the values at both ends.
fn write_summary(out: &mut Output, row: &Row<'_>) -> io::Result<()> {
    const SHOWN: usize = 3;
    let join = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(", ");
    let values = row.embedding;
    writeln!(out, "{}", row.text)?;
    if values.len() > 2 * SHOWN {
        let (first, last) = (&values[..SHOWN], &values[values.len() - SHOWN..]);
        writeln!(out, "  {} values: [{}, …, {}]", values.len(), join(first), join(last))
    } else {
        writeln!(out, "  {} values: [{}]", values.len(), join(values))
    }
}
