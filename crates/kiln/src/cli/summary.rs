//! `kiln summary`.

use std::io::Write;

use clap::Args;
use kiln::gpu::Bytes;
use kiln::models::summary::{Layer, Summary, summarize};

use super::context::Context;
use super::error::CliError;
use super::network::{NetworkArgs, Size, building};
use super::numbers::{grouped, scaled};
use super::output::{Output, OutputArgs};
use super::table::{align_right, write_table};

/// Show the layers of a network: sizes, costs, and how much of the input each one sees
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln summary vgg16
  kiln summary vgg11_bn --input 3x225x225
  kiln summary vgg16 --json | jq '.layers[] | select(.kind == \"conv2d\") | .receptive_field'

No device and no weights are needed.")]
pub(crate) struct SummaryArgs {
    #[command(flatten)]
    network: NetworkArgs,

    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl SummaryArgs {
    pub(crate) fn run(self, _: &Context) -> Result<(), CliError> {
        let (network, input) = self.network.resolve()?;
        let summary = summarize(&network.graph(1, &input.0).map_err(building)?);
        let mut output = self.output.open()?;
        if self.json {
            output.json(&summary)?;
        } else {
            write_summary(&mut output, &summary, &input)?;
        }
        output.finish()
    }
}

fn write_summary(out: &mut Output, summary: &Summary, input: &Size) -> Result<(), CliError> {
    writeln!(out, "{}, input {input}\n", summary.model)?;
    write_table(out, &table(summary))?;

    let totals = &summary.totals;
    writeln!(out)?;
    write_table(
        out,
        &[
            ["parameters", &grouped(totals.parameters)],
            ["multiply-adds", &scaled(totals.multiply_adds)],
            ["weights", &Bytes(totals.weight_bytes).to_string()],
            ["outputs", &Bytes(totals.output_bytes).to_string()],
        ],
    )?;
    if sees(summary) {
        writeln!(out)?;
        writeln!(
            out,
            "sees: how much of the input one element of the layer's output is computed from, padding"
        )?;
        writeln!(out, "included. jump: how far apart in the input this is for neighbouring elements.")?;
    }
    if let Some(pool) = &summary.last_pool {
        writeln!(
            out,
            "{pool} sees: how much of the layer's own input one element of {pool} is computed from."
        )?;
    }
    if !summary.notes.is_empty() {
        writeln!(out)?;
    }
    summary.notes.iter().try_for_each(|note| writeln!(out, "note: {note}"))?;
    Ok(())
}

/// Whether it makes sense to ask how far a layer sees: the input has height and width.
fn sees(summary: &Summary) -> bool {
    summary.layers.iter().any(|layer| layer.receptive_field.is_some())
}

/// A column for what at least one layer has.
fn table(summary: &Summary) -> Vec<Vec<String>> {
    let layers = || summary.layers.iter();
    let mut columns: Vec<Vec<String>> = vec![];
    let mut add = |title: &str, on_the_right: bool, cell: &dyn Fn(&Layer) -> String| {
        let mut cells: Vec<Vec<String>> =
            std::iter::once(title.to_owned()).chain(layers().map(cell)).map(|cell| vec![cell]).collect();
        if cells.iter().skip(1).any(|cell| !cell[0].is_empty()) {
            align_right(&mut cells, 0..usize::from(on_the_right));
            columns.push(cells.concat());
        }
    };
    add("#", true, &|layer| layer.index.to_string());
    add("layer", false, &|layer| layer.name.clone());
    add("kind", false, &|layer| layer.kind.clone());
    add("window", false, &|layer| layer.window.clone());
    add("output", false, &|layer| one_example(&layer.output_shape));
    add("parameters", true, &|layer| if_any(layer.parameters, grouped));
    add("multiply-adds", true, &|layer| if_any(layer.multiply_adds, scaled));
    add("memory", true, &|layer| Bytes(layer.output_bytes.saturating_add(layer.weight_bytes)).to_string());
    add("sees", true, &|layer| by_axis(layer.receptive_field.as_deref()));
    add("jump", true, &|layer| by_axis(layer.jump.as_deref().map(rounded).as_deref()));
    if let Some(pool) = &summary.last_pool {
        add(&format!("{pool} sees"), true, &|layer| by_axis(layer.last_pool_extent.as_deref()));
    }
    (0..=summary.layers.len()).map(|row| columns.iter().map(|column| column[row].clone()).collect()).collect()
}

/// A shape without the batch: a summary is of one example.
fn one_example(shape: &[usize]) -> String {
    let example = match shape {
        [1, rest @ ..] if !rest.is_empty() => rest,
        shape => shape,
    };
    Size(example.to_vec()).to_string()
}

fn if_any(number: u64, show: fn(u64) -> String) -> String {
    if number == 0 { String::new() } else { show(number) }
}

/// To two decimals.
fn rounded(numbers: &[f64]) -> Vec<f64> {
    numbers.iter().map(|number| (number * 100.0).round() / 100.0).collect()
}

/// One number where the axes agree, else `3x5`.
fn by_axis<T: ToString + PartialEq>(sizes: Option<&[T]>) -> String {
    let sizes = sizes.unwrap_or_default();
    let shown =
        if sizes.windows(2).all(|pair| pair[0] == pair[1]) { &sizes[..sizes.len().min(1)] } else { sizes };
    shown.iter().map(T::to_string).collect::<Vec<_>>().join("x")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_that_agree_are_one_number() {
        assert_eq!(by_axis(Some(&[7, 7])), "7");
        assert_eq!(by_axis(Some(&[7, 5])), "7x5");
        assert_eq!(by_axis(Some(&[0.5, 0.5])), "0.5");
        assert_eq!(by_axis::<usize>(None), "");
    }
}
