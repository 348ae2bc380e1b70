//! Descriptions as TOML.
//!
//! A description is a table of `name`, `input`, `objective`, a table `training` and a list `layers`. A layer is a table
//! with its word as `layer`, its `name` if it has one, and its options; or the word alone.

use toml::{Table, Value};

use super::fault::{Fault, meant};
use super::fields::{Codec, Fields, Reader, SIZE, Writer};
use super::layer::{Layer, LayerKind};
use super::training::{Objective, TrainingDefaults};

/// What stands in a file, before it is known whether it makes a network.
#[derive(Debug, Clone, Default)]
pub(super) struct Description {
    pub(super) name: Option<String>,
    pub(super) input: [usize; 3],
    pub(super) objective: Objective,
    pub(super) training: TrainingDefaults,
    pub(super) layers: Vec<Layer>,
}

/// The options of the file itself. Objective and training are read by hand, for messages of their own.
fn fields(description: &mut Description, fields: &mut impl Fields) {
    fields.absent("name", &NAME, &mut description.name);
    fields.required("input", &SIZE, &mut description.input);
    fields.layers("layers", true, &mut description.layers);
}

/// A network's name is part of paths.
const NAME: Codec<String> = Codec {
    expected: "letters, digits, _, - and .",
    read: |value| value.as_str().filter(|name| is_name(name)).map(str::to_owned),
    write: |name| Value::String(name.clone()),
};

/// Whether a network may be called so.
pub(super) fn is_name(name: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
    name.chars().all(is_plain) && name.contains(|letter: char| letter.is_ascii_alphanumeric())
}

/// Reads a whole text.
pub(super) fn parse(text: &str) -> Result<Description, Fault> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let at = error.span().map(|span| place(text, span.start)).unwrap_or_default();
        Fault::new(format!("{at}not TOML: {}", error.message().replace('\n', " ")))
    })?;
    read(table)
}

/// `line 3, column 5: `.
fn place(text: &str, byte: usize) -> String {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}: ")
}

/// Reads the table of a whole description.
pub(super) fn read(mut table: Table) -> Result<Description, Fault> {
    let mut description = Description::default();
    let objective = table.remove("objective");
    let training = table.remove("training");
    // A slip such as `layer = [...]` is an unknown key and a missing one: name what may be meant.
    let top = ["name", "input", "objective", "training", "layers"];
    if let Some(key) = table.keys().find(|key| !top.contains(&key.as_str())) {
        return Err(Fault::new(format!("unknown key {}{}", bare(key), meant(key, top))));
    }
    let mut reader = Reader::new(table);
    fields(&mut description, &mut reader);
    reader.finish("key")?;
    if let Some(value) = objective {
        let word = value.as_str().ok_or_else(|| {
            Fault::new(format!(
                "objective: expected a word such as \"classification\", got {}",
                short(&value)
            ))
        })?;
        description.objective = Objective::of_word(word).map_err(Fault::new)?;
    }
    match training {
        None => {}
        Some(Value::Table(table)) => {
            let within = |fault: Fault| fault.within("training".to_owned());
            let optimizer = table.get("optimizer").and_then(Value::as_str);
            description.training = optimizer.and_then(TrainingDefaults::of).unwrap_or_default();
            let mut reader = Reader::new(table);
            description.training.fields(&mut reader);
            reader.finish("option").map_err(within)?;
        }
        Some(other) => {
            return Err(Fault::new(format!("training: expected a table, got {}", short(&other))));
        }
    }
    Ok(description)
}

/// Reads the list of layers under the key `name`.
pub(super) fn layers(name: &str, value: Value) -> Result<Vec<Layer>, Fault> {
    let what = what(name);
    let Value::Array(values) = value else {
        return Err(Fault::new(format!("{name}: expected a list of layers, got {}", short(&value))));
    };
    let layer = |(position, value): (usize, Value)| {
        let table = match value {
            Value::String(word) => Table::from_iter([("layer".to_owned(), Value::String(word))]),
            Value::Table(table) => table,
            other => {
                let message = format!("expected a word or a table, got {}", short(&other));
                return Err(Fault::new(message).within(format!("{what} {position}")));
            }
        };
        let place = describe(&table);
        layer(table).map_err(|fault| fault.within(format!("{what} {position}{place}")))
    };
    (1..).zip(values).map(layer).collect()
}

/// What one layer of the list `layers`, `body` or `shortcut` is called in messages.
fn what(list: &str) -> String {
    if list == "layers" { "layer".to_owned() } else { format!("{list} layer") }
}

/// ` (conv2d "conv3")`, as far as it can be told.
fn describe(table: &Table) -> String {
    let word = table.get("layer").and_then(Value::as_str).filter(|word| LayerKind::WORDS.contains(word));
    let name = table.get("name").and_then(Value::as_str);
    match (word, name) {
        (Some(word), Some(name)) => format!(" ({word} {name:?})"),
        (Some(word), None) => format!(" ({word})"),
        (None, Some(name)) => format!(" ({name:?})"),
        (None, None) => String::new(),
    }
}

fn layer(mut table: Table) -> Result<Layer, Fault> {
    let word = match table.remove("layer") {
        Some(Value::String(word)) => word,
        Some(other) => return Err(Fault::new(format!("layer: expected a word, got {}", short(&other)))),
        None => return Err(Fault::new("layer is missing: expected a word such as \"conv2d\"")),
    };
    let name = match table.remove("name") {
        None => None,
        Some(Value::String(name)) => Some(name),
        Some(other) => return Err(Fault::new(format!("name: expected a text, got {}", short(&other)))),
    };
    let mut kind = LayerKind::blank(&word).ok_or_else(|| {
        let meant = meant(&word, LayerKind::WORDS.iter().copied());
        Fault::new(format!("unknown layer {word:?}{meant}"))
    })?;
    let mut reader = Reader::new(table);
    kind.fields(&mut reader);
    reader.finish("option")?;
    Ok(Layer { name, kind })
}

/// The table that [`read`] reads again.
pub(super) fn table(description: &Description) -> Table {
    let mut written = Writer::write(&mut Description::default(), &mut description.clone(), fields);
    let layers = written.remove("layers").unwrap_or(Value::Array(vec![]));
    written.insert("objective".to_owned(), Value::String(description.objective.word().to_owned()));
    written.insert("training".to_owned(), Value::Table(training_table(&description.training)));
    written.insert("layers".to_owned(), layers);
    written
}

/// All of the training defaults: whoever reads a file should not have to know what they are.
fn training_table(training: &TrainingDefaults) -> Table {
    let mut nothing = TrainingDefaults {
        optimizer: String::new(),
        lr: f64::NAN,
        momentum: f64::NAN,
        weight_decay: f64::NAN,
        schedule: String::new(),
    };
    Writer::write(&mut nothing, &mut training.clone(), TrainingDefaults::fields)
}

/// The table of one layer, with the options that differ from their defaults.
pub(super) fn layer_table(layer: &Layer) -> Table {
    let word = layer.kind.word();
    let mut blank = LayerKind::blank(word).expect("a layer's own word should be known");
    let options = Writer::write(&mut blank, &mut layer.kind.clone(), LayerKind::fields);
    let head = [("layer", Some(word)), ("name", layer.name.as_deref())];
    let head = head.into_iter().filter_map(|(key, text)| Some((key.to_owned(), Value::String(text?.into()))));
    head.chain(options).collect()
}

/// A description as a person would write it: one line a layer.
pub(super) fn print(description: &Description) -> String {
    let mut text = String::new();
    for (key, value) in table(description) {
        match value {
            Value::Table(table) => {
                text += &format!("\n[{key}]\n");
                for (key, value) in table {
                    text += &format!("{} = {value}\n", bare(&key));
                }
            }
            Value::Array(layers) if key == "layers" => {
                // Keys behind a table's header would belong to the table.
                let list = format!("layers = {}\n", print_layers(&layers, 0));
                let head = text.find("\n[").unwrap_or(text.len());
                text.insert_str(head, &list);
            }
            value => text += &format!("{} = {value}\n", bare(&key)),
        }
    }
    text
}

fn print_layers(layers: &[Value], depth: usize) -> String {
    let indent = "  ".repeat(depth + 1);
    let lines = layers.iter().map(|layer| format!("{indent}{},\n", print_layer(layer, depth)));
    format!("[\n{}{}]", lines.collect::<String>(), "  ".repeat(depth))
}

fn print_layer(layer: &Value, depth: usize) -> String {
    let Value::Table(table) = layer else { return layer.to_string() };
    if table.len() == 1
        && let Some(word) = table.get("layer")
    {
        return word.to_string();
    }
    let pairs = table.iter().map(|(key, value)| {
        let value = match value {
            Value::Array(layers) if layers.iter().any(Value::is_table) => print_layers(layers, depth + 1),
            value => value.to_string(),
        };
        format!("{} = {value}", bare(key))
    });
    format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
}

/// A key as it stands in a file: quoted where it has to be.
pub(super) fn bare(key: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if !key.is_empty() && key.chars().all(is_plain) { key.to_owned() } else { format!("{key:?}") }
}

/// A value for a message, on one line and not too long.
pub(super) fn short(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string().replace(['\n', '\r'], " ");
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
