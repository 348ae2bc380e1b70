//! The options of a layer, said once: each kind of layer walks over its fields, and a walk reads them from a table or
//! writes them into one.

use toml::{Table, Value};

use super::Layer;
use super::fault::{Fault, meant};
use super::text;

/// The largest extent, number of channels and so on that a description may hold: far above what any device takes, and
/// low enough that products of a few cannot overflow.
pub(super) const LARGEST: usize = 1 << 16;

/// How an option is written, and what it may be.
pub(super) struct Codec<T> {
    /// For messages: what a value of the right form is.
    pub(super) expected: &'static str,
    pub(super) read: fn(&Value) -> Option<T>,
    pub(super) write: fn(&T) -> Value,
}

/// A walk over the options of one layer.
pub(super) trait Fields {
    /// An option that has to be there.
    fn required<T: Clone>(&mut self, name: &'static str, codec: &Codec<T>, field: &mut T);
    /// An option that keeps its value where it is not there.
    fn optional<T: Clone>(&mut self, name: &'static str, codec: &Codec<T>, field: &mut T);
    /// An option that may be absent for good.
    fn absent<T: Clone>(&mut self, name: &'static str, codec: &Codec<T>, field: &mut Option<T>);
    /// A list of layers, `required` to be there or else empty.
    fn layers(&mut self, name: &'static str, required: bool, field: &mut Vec<Layer>);
}

/// A walk that takes the options out of a table.
pub(super) struct Reader {
    table: Table,
    known: Vec<&'static str>,
    fault: Option<Fault>,
}

impl Reader {
    pub(super) fn new(table: Table) -> Reader {
        Reader { table, known: vec![], fault: None }
    }

    /// What was wrong, `of` being what the options are called. An option that is not known comes first, since it may be
    /// the one that is missed.
    pub(super) fn finish(self, of: &str) -> Result<(), Fault> {
        match self.table.keys().next() {
            Some(key) => {
                let meant = meant(key, self.known.iter().copied());
                Err(Fault::new(format!("unknown {of} {}{meant}", text::bare(key))))
            }
            None => self.fault.map_or(Ok(()), Err),
        }
    }

    /// Notes the first thing that is wrong.
    fn complain(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    fn take<T>(&mut self, name: &'static str, codec: &Codec<T>) -> Option<T> {
        self.known.push(name);
        let value = self.table.remove(name)?;
        let read = (codec.read)(&value);
        if read.is_none() {
            let got = text::short(&value);
            self.complain(Fault::new(format!("{name}: expected {}, got {got}", codec.expected)));
        }
        read
    }

    fn is_there(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    fn missing(&mut self, name: &str, expected: &str) {
        self.complain(Fault::new(format!("{name} is missing: expected {expected}")));
    }
}

impl Fields for Reader {
    fn required<T: Clone>(&mut self, name: &'static str, codec: &Codec<T>, field: &mut T) {
        if !self.is_there(name) {
            self.missing(name, codec.expected);
        }
        self.optional(name, codec, field);
    }

    fn optional<T: Clone>(&mut self, name: &'static str, codec: &Codec<T>, field: &mut T) {
        if let Some(value) = self.take(name, codec) {
            *field = value;
        }
    }

    fn absent<T: Clone>(&mut self, name: &'static str, codec: &Codec<T>, field: &mut Option<T>) {
        *field = self.take(name, codec);
    }

    fn layers(&mut self, name: &'static str, required: bool, field: &mut Vec<Layer>) {
        self.known.push(name);
        let Some(value) = self.table.remove(name) else {
            if required {
                self.missing(name, "a list of layers");
            }
            return;
        };
        match text::layers(name, value) {
            Ok(layers) => *field = layers,
            Err(fault) => self.complain(fault),
        }
    }
}

/// A walk that puts the options into a table, those aside that have the value they would have anyhow.
#[derive(Default)]
pub(super) struct Writer {
    /// The options of a walk over a layer that has its defaults.
    defaults: Table,
    table: Table,
}

impl Writer {
    /// The table of what `walk` says of `value`, where `blank` is as without any option.
    pub(super) fn write<T>(blank: &mut T, value: &mut T, walk: impl Fn(&mut T, &mut Writer)) -> Table {
        let mut defaults = Writer::default();
        walk(blank, &mut defaults);
        let mut writer = Writer { defaults: defaults.table, table: Table::new() };
        walk(value, &mut writer);
        writer.table
    }

    fn put(&mut self, name: &str, value: Value) {
        self.table.insert(name.to_owned(), value);
    }
}

impl Fields for Writer {
    fn required<T: Clone>(&mut self, name: &'static str, codec: &Codec<T>, field: &mut T) {
        self.put(name, (codec.write)(field));
    }

    fn optional<T: Clone>(&mut self, name: &'static str, codec: &Codec<T>, field: &mut T) {
        let value = (codec.write)(field);
        if self.defaults.get(name) != Some(&value) {
            self.put(name, value);
        }
    }

    fn absent<T: Clone>(&mut self, name: &'static str, codec: &Codec<T>, field: &mut Option<T>) {
        if let Some(value) = field {
            self.put(name, (codec.write)(value));
        }
    }

    fn layers(&mut self, name: &'static str, required: bool, field: &mut Vec<Layer>) {
        if required || !field.is_empty() {
            self.put(name, Value::Array(field.iter().map(text::layer_table).map(Value::Table).collect()));
        }
    }
}

/// How many of something: channels, groups, elements.
pub(super) const COUNT: Codec<usize> =
    Codec { expected: "a whole number from 1 to 65536", read: |value| count(value, 1), write: |&n| whole(n) };

/// Height and width, or one number for both.
pub(super) const PAIR: Codec<[usize; 2]> = Codec {
    expected: "a whole number from 1 to 65536, or [height, width]",
    read: |value| pair(value, 1),
    write: write_pair,
};

/// Height and width that may be nothing.
pub(super) const PAIR_FROM_0: Codec<[usize; 2]> = Codec {
    expected: "a whole number from 0 to 65536, or [height, width]",
    read: |value| pair(value, 0),
    write: write_pair,
};

/// Channels, height and width.
pub(super) const SIZE: Codec<[usize; 3]> = Codec {
    expected: "[channels, height, width], each a whole number from 1 to 65536",
    read: |value| counts(value, 1),
    write: |size| write_all(size),
};

/// Left, right, top and bottom, or one number for all: the order of PyTorch's padding layers.
pub(super) const SIDES: Codec<[usize; 4]> = Codec {
    expected: "a whole number from 0 to 65536, or [left, right, top, bottom]",
    read: |value| count(value, 0).map(|n| [n; 4]).or_else(|| counts(value, 0)),
    write: |sides| if sides[1..] == [sides[0]; 3] { whole(sides[0]) } else { write_all(sides) },
};

/// Extents of any number of dimensions.
pub(super) const EXTENTS: Codec<Vec<usize>> = Codec {
    expected: "a list of whole numbers from 1 to 65536",
    read: |value| value.as_array()?.iter().map(|value| count(value, 1)).collect(),
    write: |extents| write_all(extents),
};

/// Yes or no.
pub(super) const FLAG: Codec<bool> =
    Codec { expected: "true or false", read: Value::as_bool, write: |&flag| Value::Boolean(flag) };

/// Any number that f32 has.
pub(super) const NUMBER: Codec<f64> =
    Codec { expected: "a finite number", read: |value| number(value, |_| true), write: write_number };

/// A number such as a rate.
pub(super) const ABOVE_0: Codec<f64> =
    Codec { expected: "a number above 0", read: |value| number(value, |n| n > 0.0), write: write_number };

/// A number such as an epsilon or a decay.
pub(super) const FROM_0: Codec<f64> =
    Codec { expected: "a number from 0", read: |value| number(value, |n| n >= 0.0), write: write_number };

/// How much of something.
pub(super) const SHARE: Codec<f64> = Codec {
    expected: "a number from 0 to 1",
    read: |value| number(value, |n| (0.0..=1.0).contains(&n)),
    write: write_number,
};

/// The probability of a dropout, which must leave something.
pub(super) const PROBABILITY: Codec<f64> = Codec {
    expected: "a number from 0, below 1",
    read: |value| number(value, |n| (0.0..1.0).contains(&n)),
    write: write_number,
};

/// Words of any kind.
pub(super) const WORDS: Codec<String> = Codec {
    expected: "a text of one line",
    read: |value| value.as_str().filter(|text| !text.contains(char::is_control)).map(str::to_owned),
    write: |text| Value::String(text.clone()),
};

fn count(value: &Value, least: usize) -> Option<usize> {
    let number = usize::try_from(value.as_integer()?).ok()?;
    (least..=LARGEST).contains(&number).then_some(number)
}

fn counts<const N: usize>(value: &Value, least: usize) -> Option<[usize; N]> {
    let values: Option<Vec<usize>> = value.as_array()?.iter().map(|value| count(value, least)).collect();
    values?.try_into().ok()
}

pub(super) fn pair(value: &Value, least: usize) -> Option<[usize; 2]> {
    count(value, least).map(|n| [n; 2]).or_else(|| counts(value, least))
}

fn number(value: &Value, fits: impl Fn(f64) -> bool) -> Option<f64> {
    let number = value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64))?;
    ((number as f32).is_finite() && fits(number)).then_some(number)
}

fn whole(n: usize) -> Value {
    Value::Integer(i64::try_from(n).unwrap_or(i64::MAX))
}

pub(super) fn write_pair(pair: &[usize; 2]) -> Value {
    if pair[0] == pair[1] { whole(pair[0]) } else { write_all(pair) }
}

fn write_all(all: &[usize]) -> Value {
    Value::Array(all.iter().map(|&n| whole(n)).collect())
}

fn write_number(number: &f64) -> Value {
    Value::Float(*number)
}
