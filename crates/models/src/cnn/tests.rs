//! What the whole of it does. Here is what both halves of the tests need, and that the documentation's tables are true.

mod files;
mod networks;

use super::fields::{Codec, Fields};
use super::*;

/// The documentation above the module.
const DOCUMENTATION: &str = include_str!("../cnn.rs");

fn named(name: &str) -> Architecture {
    Architecture::by_name(name).unwrap()
}

fn parameters(architecture: &Architecture) -> usize {
    let learned = architecture.tensors().into_iter().filter(|tensor| tensor.trainable);
    learned.map(|tensor| tensor.shape.iter().product::<usize>()).sum()
}

/// The lines of a table in the documentation, from the one that begins with `start` to the first that is no row.
fn documented(start: &str) -> Vec<&'static str> {
    let lines = DOCUMENTATION.lines().map(|line| line.trim_start_matches("//!").trim());
    let rows = lines.skip_while(|line| !line.starts_with(start)).take_while(|line| line.starts_with('|'));
    rows.skip(2).collect()
}

#[test]
fn the_table_of_networks_is_true() {
    let row = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = documented("| name |").into_iter().map(row).collect();
    let listed = rows.iter().map(|row| row[1].trim_matches('`').to_owned()).collect::<Vec<_>>();
    assert_eq!(listed, Architecture::names());
    for row in rows {
        let network = named(row[1].trim_matches('`'));
        let training = network.training();
        let expected = [
            extents(&network.input()),
            grouped(parameters(&network)),
            row[4].clone(),
            training.optimizer.clone(),
            training.lr.to_string(),
            training.momentum.to_string(),
            training.weight_decay.to_string(),
            format!("`{}`", training.schedule),
        ];
        assert_eq!(row[2..10], expected, "{}", network.name());
    }
}

/// `431,080`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}

/// A walk that notes every option with what it is where it is not given.
#[derive(Default)]
struct Lister(Vec<String>);

impl Fields for Lister {
    fn required<T: Clone>(&mut self, name: &'static str, _: &Codec<T>, _: &mut T) {
        self.0.push(format!("**`{name}`**"));
    }

    fn optional<T: Clone>(&mut self, name: &'static str, codec: &Codec<T>, field: &mut T) {
        self.0.push(format!("`{name}` ({})", (codec.write)(field)));
    }

    fn absent<T: Clone>(&mut self, name: &'static str, _: &Codec<T>, _: &mut Option<T>) {
        self.0.push(format!("`{name}`"));
    }

    fn layers(&mut self, name: &'static str, required: bool, _: &mut Vec<Layer>) {
        self.0.push(if required { format!("**`{name}`**") } else { format!("`{name}`") });
    }
}

#[test]
fn the_table_of_layers_is_true() {
    let row = |word: &&str| {
        let mut lister = Lister::default();
        LayerKind::blank(word).unwrap().fields(&mut lister);
        format!("| `{word}` | {} |", lister.0.join(", ")).replace("  ", " ")
    };
    let expected: Vec<String> = LayerKind::WORDS.iter().map(row).collect();
    assert_eq!(documented("| word |"), expected, "the table should be\n//! {}", expected.join("\n//! "));
}

/// `path kind shape` of each layer.
fn outline(network: &Architecture) -> Vec<String> {
    let summary = crate::summary::summarize(&network.graph(1).unwrap());
    let line = |layer: crate::summary::Layer| {
        format!("{} {} {:?}", layer.name, layer.kind, &layer.output_shape[1..])
    };
    summary.layers.into_iter().map(line).collect()
}

/// A file of the given layers over `[1, 8, 8]`.
fn little(layers: &str) -> String {
    format!("input = [1, 8, 8]\nlayers = [{layers}]")
}
