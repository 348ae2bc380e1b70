//! `kiln eval`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use kiln::engine::{Optimizer, SgdOptions};
use kiln::models::cnn::Architecture;
use kiln::train::checkpoint::Trained;
use kiln::train::data::Part;
use kiln::train::loader::Loader;
use kiln::train::metrics::Confusion;
use kiln::train::run::{evaluation_data, fitted, looking};
use kiln::train::trainer::{Trainer, TrainerOptions};
use serde::Serialize;

use super::context::Context;
use super::error::CliError;
use super::numbers::{at_least_one, grouped};
use super::output::{Output, OutputArgs};
use super::table::{align_right, write_table};

/// Test a trained network: its error, class by class, and what it takes for what
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln eval --checkpoint runs/base/best.safetensors --data fashion-mnist
  kiln eval --checkpoint best.safetensors --data photos --json | jq .test_error
  kiln eval --checkpoint pytorch.safetensors --arch lenet --data mnist

A checkpoint of kiln train says itself which network it holds and how its images
are normalised. For a PyTorch state dict saved as safetensors, --arch names the
network, and images are normalised as those of the data's training part.")]
pub(crate) struct EvalArgs {
    /// The trained network: a .safetensors file
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,

    /// The data, as for kiln train; the test part is used
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// The network of a file that Kiln did not write: a name, or a TOML file
    #[arg(long, value_name = "NAME|FILE.toml")]
    arch: Option<String>,

    /// Images that go through the network at once
    #[arg(long, value_name = "N", default_value = "100", value_parser = at_least_one::<usize>,
        allow_negative_numbers = true)]
    batch_size: usize,

    /// Print one JSON object {network, adapter, examples, loss, test_error, classes: [{class, examples, right,
    /// recall, precision}], confusion: [[..]]}
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Report<'a> {
    network: &'a str,
    adapter: &'a str,
    examples: usize,
    loss: f64,
    /// The fraction that is wrong; absent where there is no right and wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    test_error: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    classes: Vec<Class<'a>>,
    /// `[class][taken for]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    confusion: Vec<Vec<u64>>,
}

#[derive(Serialize)]
struct Class<'a> {
    class: &'a str,
    examples: u64,
    right: u64,
    /// The part of the class's examples that is right.
    recall: Option<f64>,
    /// The part of what was taken for the class that is right.
    precision: Option<f64>,
}

impl EvalArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let network = self.arch.as_deref().map(|arch| self.network(arch)).transpose()?;
        let trained = Trained::open(&self.checkpoint, network.as_ref())?;
        let own = trained.normalization.as_ref();
        let (dataset, normalization) = evaluation_data(&self.data, Part::Test, &trained.network, own)?;
        let mut output = self.output.open()?;
        let gpu = context.open_gpu()?;
        context.announce(&gpu);
        let mut trainer =
            Trainer::new(&gpu, &trained.network, TrainerOptions::new(Optimizer::Sgd(SgdOptions::default())))?;
        trainer.restore(&trained.state)?;
        let evaluation = {
            let _clock = context.clock("testing");
            trainer.evaluate(Loader::start(&dataset, &normalization, &looking(self.batch_size), 0, 0)?)?
        };
        let names = trained.classes.as_deref().unwrap_or(dataset.classes());
        let confusion = &evaluation.confusion;
        let report = Report {
            network: trained.network.name(),
            adapter: &gpu.profile().name,
            examples: dataset.len(),
            loss: evaluation.loss,
            test_error: confusion.error(),
            classes: classes(confusion, names),
            confusion: (0..confusion.classes())
                .map(|class| (0..confusion.classes()).map(|taken| confusion.count(class, taken)).collect())
                .collect(),
        };
        if self.json {
            output.json(&report)?;
        } else {
            write_report(&mut output, &report)?;
        }
        output.finish()
    }

    /// A network known by name is fitted to the data, as in training.
    fn network(&self, arch: &str) -> Result<Architecture, CliError> {
        let network = Architecture::load(arch)?;
        Ok(if Architecture::is_file(arch) { network } else { fitted(&self.data, network)? })
    }
}

fn classes<'a>(confusion: &Confusion, names: &'a [String]) -> Vec<Class<'a>> {
    (0..confusion.classes())
        .map(|class| Class {
            class: names.get(class).map_or("?", String::as_str),
            examples: confusion.of_class(class),
            right: confusion.count(class, class),
            recall: confusion.recall(class),
            precision: confusion.precision(class),
        })
        .collect()
}

fn write_report(out: &mut Output, report: &Report<'_>) -> Result<(), CliError> {
    let Report { network, adapter, examples, loss, test_error, .. } = report;
    let examples = grouped(*examples as u64);
    match test_error {
        Some(error) => writeln!(out, "test error {:.2} %, loss {loss:.4}", error * 100.0)?,
        None => writeln!(out, "test loss {loss:.6}")?,
    }
    if !report.classes.is_empty() {
        let percent =
            |part: Option<f64>| part.map_or("-".to_owned(), |part| format!("{:.1} %", part * 100.0));
        let header = ["class", "examples", "right", "recall", "precision"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        rows.extend(report.classes.iter().map(|class| {
            vec![
                class.class.to_owned(),
                class.examples.to_string(),
                class.right.to_string(),
                percent(class.recall),
                percent(class.precision),
            ]
        }));
        align_right(&mut rows, 1..5);
        writeln!(out)?;
        write_table(out, &rows)?;
        writeln!(out, "\nclass (row) taken for (column)\n")?;
        write_table(out, &confusion_rows(report))?;
        writeln!(out)?;
    }
    Ok(writeln!(out, "{network} on {examples} examples, on {adapter}")?)
}

/// The confusion as a table whose columns have the classes' numbers.
fn confusion_rows(report: &Report<'_>) -> Vec<Vec<String>> {
    let numbers = (0..report.classes.len()).map(|number| number.to_string());
    let mut rows = vec![["", "class"].map(str::to_owned).into_iter().chain(numbers).collect::<Vec<_>>()];
    for (number, (class, counts)) in report.classes.iter().zip(&report.confusion).enumerate() {
        let counts = counts.iter().map(|count| if *count == 0 { "·".to_owned() } else { count.to_string() });
        rows.push([number.to_string(), class.class.to_owned()].into_iter().chain(counts).collect());
    }
    align_right(&mut rows, 2..2 + report.classes.len());
    align_right(&mut rows, 0..1);
    rows
}
