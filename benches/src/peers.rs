//! Kiln beside other engines: pairs of samples that take turns, and a table of their ratios.
//!
//! A folder holds the peers, built; `peers.toml` in it says how each is run, else the one that stands in `benches/peers`.
//! What is missing or fails becomes a line of the table.

mod kiln;
mod report;
mod spec;

use std::num::NonZero;
use std::path::{Path, PathBuf};

pub use kiln::{ROWS, open_row};
pub use report::{Outcome, Report, Spread};
pub use spec::{PeerSpec, Specs};

use crate::{Failure, Peer, ResidentPeer};

/// Something that Kiln does and others too.
pub struct Row<'a> {
    /// `VGG-16, batch 1`.
    pub title: String,
    /// How much one sample does, for a rate.
    pub amount: f64,
    /// What that is, with "a second" behind it: `GFLOP/s`.
    pub unit: &'static str,
    /// Milliseconds of one sample of Kiln's.
    pub sample: Sample<'a>,
    /// Yardsticks of Kiln's own, measured in the same way.
    pub references: Vec<Reference<'a>>,
    /// What `{name}` stands for in the commands of peers.
    pub words: Vec<(&'static str, String)>,
}

/// Measures once; gives milliseconds.
pub type Sample<'a> = Box<dyn FnMut() -> Result<f64, Failure> + 'a>;

/// A yardstick that runs in this process.
pub struct Reference<'a> {
    /// Its name in the table.
    pub name: String,
    /// Milliseconds that it takes for as much as Kiln's sample does.
    pub sample: Sample<'a>,
}

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of the peers.
    pub dir: PathBuf,
    /// Pairs of samples.
    pub rounds: usize,
    /// Rows and peers; all where there are none.
    pub only: Vec<String>,
}

impl Options {
    /// Whether a peer of a row was asked for: by the row's name, the peer's, or both (`vgg16/ncnn`).
    fn wants(&self, row: &str, peer: &str) -> bool {
        self.only.is_empty() || self.names(row) || self.names(peer) || self.names(&format!("{row}/{peer}"))
    }

    /// Whether Kiln's own yardsticks were asked for, which not every row has: without a word those of such that do.
    fn wants_own(&self, row: &str, has_some: bool) -> bool {
        self.names(row) || self.names(&format!("{row}/{KILN}")) || has_some && self.wants(row, KILN)
    }

    /// Refuses what is asked for and not there: nothing would be measured, and nobody would know why.
    ///
    /// # Errors
    /// For a name that is neither a row's nor a peer's, nor both.
    pub fn check(&self, specs: &Specs, rows: &[RowName]) -> Result<(), Failure> {
        let is_row = |name: &str| rows.iter().any(|(row, _)| *row == name);
        let is_peer = |name: &str| name == KILN || specs.peers().any(|peer| peer.name == name);
        let of_row = |row: &str, name: &str| {
            name == KILN || specs.peers().any(|peer| peer.row == row && peer.name == name)
        };
        let is_known = |name: &str| match name.split_once('/') {
            Some((row, peer)) => is_row(row) && of_row(row, peer),
            None => is_row(name) || is_peer(name),
        };
        match self.only.iter().find(|name| !is_known(name)) {
            Some(name) => {
                Err(format!("--only {name}: expected a row, a peer, or both as in vgg16/ncnn").into())
            }
            None => Ok(()),
        }
    }

    fn names(&self, name: &str) -> bool {
        self.only.iter().any(|known| known == name)
    }
}

/// Where the programs lie that measure peers and come with Kiln; what `{peers}` stands for in any command.
const HARNESSES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");

/// The name by which `--only` knows what a row brings with it.
const KILN: &str = "kiln";

/// A row's name, and whether its yardsticks are measured where nobody names it.
pub type RowName = (&'static str, bool);

/// Measures rows, which `open` makes ready, beside their peers. `tell` hears of each outcome as it comes.
pub fn run<'a>(
    specs: &Specs,
    rows: &[RowName],
    open: &mut dyn FnMut(&str) -> Result<Row<'a>, Failure>,
    options: &Options,
    tell: &mut dyn FnMut(&str),
) -> Vec<Outcome> {
    let mut outcomes = vec![];
    for &(name, has_yardsticks) in rows {
        let peers: Vec<&PeerSpec> =
            specs.peers().filter(|peer| peer.row == name && options.wants(name, &peer.name)).collect();
        let own = options.wants_own(name, has_yardsticks);
        let (peers, absent): (Vec<_>, Vec<_>) =
            peers.into_iter().partition(|peer| peer.folder(&options.dir).is_dir());
        outcomes.extend(absent.into_iter().map(|peer| {
            let folder = short(&peer.folder(&options.dir));
            Outcome::failed(name, &peer.title(), format!("there is no folder {folder}"))
        }));
        if peers.is_empty() && !own {
            continue;
        }
        tell(&format!("{name}: making ready"));
        let mut row = match open(name) {
            Ok(row) => row,
            Err(error) => {
                outcomes.push(Outcome::failed(name, KILN, error.to_string()));
                continue;
            }
        };
        let references = std::mem::take(&mut row.references);
        for mut reference in references.into_iter().filter(|_| own) {
            let outcome = beside(&mut row, &reference.name, options.rounds, None, tell, &mut || {
                Ok(vec![(reference.sample)()?])
            });
            outcomes.push(outcome);
        }
        for peer in peers {
            outcomes.push(beside_peer(&mut row, peer, options, tell));
        }
    }
    outcomes
}

fn beside_peer(row: &mut Row<'_>, spec: &PeerSpec, options: &Options, tell: &mut dyn FnMut(&str)) -> Outcome {
    let name = spec.title();
    let words = row.words.iter().map(|(word, text)| (*word, text.as_str()));
    let command = words
        .chain([("peers", HARNESSES)])
        .fold(spec.command.clone(), |command, (word, text)| command.replace(&format!("{{{word}}}"), text));
    let runs = spec.runs.map(NonZero::get);
    let peer = Peer::new(command).in_dir(spec.folder(&options.dir)).reading(spec.reading.clone());
    if spec.resident {
        match ResidentPeer::start_peer(peer) {
            Ok(mut peer) => beside(row, &name, options.rounds, runs, tell, &mut || Ok(peer.run()?)),
            Err(error) => Outcome::failed(&row.title, &name, error.to_string()),
        }
    } else {
        beside(row, &name, options.rounds, runs, tell, &mut || Ok(peer.run()?))
    }
}

/// The last two parts of a path: the table is to be shown to others.
fn short(path: &Path) -> String {
    let parts: Vec<_> = path.iter().rev().take(2).map(|part| part.to_string_lossy()).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// Pairs of samples after one of each that does not count. Who begins alternates. Of several times in a sample the
/// best counts, of Kiln's over as many runs, or over as many as are given.
fn beside(
    row: &mut Row<'_>,
    name: &str,
    rounds: usize,
    runs: Option<usize>,
    tell: &mut dyn FnMut(&str),
    peer: &mut dyn FnMut() -> Result<Vec<f64>, Failure>,
) -> Outcome {
    let best = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
    let title = row.title.clone();
    let (mut own, mut other) = (vec![], vec![]);
    let mut measure = || -> Result<(), Failure> {
        tell(&format!("{title}: {name} warms up"));
        let printed = peer()?.len();
        let runs = runs.unwrap_or(printed);
        (row.sample)()?;
        let mut kiln = || -> Result<f64, Failure> {
            Ok(best(&(0..runs).map(|_| (row.sample)()).collect::<Result<Vec<_>, _>>()?))
        };
        for round in 0..rounds {
            let pair = if round % 2 == 0 {
                let kiln = kiln()?;
                (kiln, best(&peer()?))
            } else {
                let peer = best(&peer()?);
                (kiln()?, peer)
            };
            let count = round + 1;
            tell(&format!("{title}: {count}/{rounds}: Kiln {:.1} ms, {name} {:.1} ms", pair.0, pair.1));
            own.push(pair.0);
            other.push(pair.1);
        }
        Ok(())
    };
    match measure() {
        Ok(()) => Outcome::measured(row, name, &own, &other),
        Err(error) => Outcome::failed(&title, name, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(title: &str, mut times: impl Iterator<Item = f64> + 'a) -> Row<'a> {
        Row {
            title: title.to_owned(),
            amount: 10.0,
            unit: "images/s",
            sample: Box::new(move || times.next().ok_or_else(|| "out of times".into())),
            references: vec![Reference { name: "yardstick".to_owned(), sample: Box::new(|| Ok(50.0)) }],
            words: vec![("model", "tiny".to_owned())],
        }
    }

    fn specs(text: &str) -> Specs {
        Specs::parse(text, &[("one", true), ("two", true)]).expect("it should be read")
    }

    fn options(dir: &Path, only: &[&str]) -> Options {
        let only = only.iter().map(|name| (*name).to_owned()).collect();
        Options { dir: dir.to_owned(), rounds: 3, only }
    }

    fn peers(dir: &Path) {
        for peer in ["fast", "broken"] {
            std::fs::create_dir(dir.join(peer)).expect("a folder should be made");
        }
    }

    const TOML: &str = r#"
        [[peer]]
        name = "fast"
        version = "1.0"
        row = "one"
        command = "echo {model}: [20.0, 10.0]"
        [[peer]]
        name = "broken"
        row = "one"
        command = "echo no device&& exit 1"
        [[peer]]
        name = "absent"
        row = "two"
        command = "echo 1"
        [[peer]]
        name = "fast"
        row = "two"
        command = "echo best 10"
        after = "best"
        runs = 3
    "#;

    #[test]
    fn pairs_give_ratios_and_failures_are_lines() {
        let dir = tempfile::tempdir().expect("a folder should be made");
        peers(dir.path());
        // A warm-up, three rounds against the yardstick, a warm-up, and three rounds of the best of two against the peer.
        let times = [99.0, 20.0, 25.0, 10.0, 99.0, 5.0, 9.0, 4.0, 9.0, 9.0, 2.5, 8.0, 7.5, 9.0];
        let mut said = vec![];
        let outcomes = run(
            &specs(TOML),
            &[("one", true), ("two", true)],
            &mut |name| Ok(row(name, times.into_iter())),
            &options(dir.path(), &[]),
            &mut |text| said.push(text.to_owned()),
        );
        let told: Vec<_> =
            outcomes.iter().map(|outcome| (outcome.row.as_str(), outcome.peer.as_str())).collect();
        let expected = [
            ("one", "yardstick"),
            ("one", "fast 1.0"),
            ("one", "broken"),
            ("two", "absent"),
            ("two", "yardstick"),
            ("two", "fast"),
        ];
        assert_eq!(told, expected);
        let spread =
            |index: usize| outcomes[index].result.as_ref().expect("it should be measured").times_as_fast;
        assert_eq!(spread(0), Spread { median: 2.5, least: 2.0, most: 5.0 });
        assert_eq!(spread(1), Spread { median: 2.5, least: 2.0, most: 4.0 });
        // The best of three runs in each round, of the same times in each row.
        assert_eq!(spread(5), Spread { median: 10.0 / 4.0, least: 10.0 / 7.5, most: 4.0 });
        let reason = |index: usize| outcomes[index].result.as_ref().expect_err("it should fail").clone();
        assert!(reason(2).contains("no device"), "{}", reason(2));
        assert!(reason(3).contains("there is no folder") && reason(3).ends_with("absent"), "{}", reason(3));
        assert!(said.iter().any(|text| text == "one: 3/3: Kiln 2.5 ms, fast 1.0 10.0 ms"), "{said:?}");
    }

    #[test]
    fn only_what_is_asked_for_is_made_ready() {
        let dir = tempfile::tempdir().expect("a folder should be made");
        peers(dir.path());
        for (only, expected) in [
            (&["one/fast"][..], &["fast 1.0"][..]),
            (&["one/broken"], &["broken"]),
            (&["one/kiln"], &["yardstick"]),
            (&["one"], &["yardstick", "fast 1.0", "broken"]),
            (&["kiln"], &["yardstick"]),
            (&["nobody"], &[]),
        ] {
            let mut opened = vec![];
            let outcomes = run(
                &specs(TOML),
                &[("one", true), ("two", false)],
                &mut |name| {
                    opened.push(name.to_owned());
                    Ok(row(name, std::iter::repeat(5.0)))
                },
                &options(dir.path(), only),
                &mut |_| {},
            );
            let told: Vec<_> = outcomes.iter().map(|outcome| outcome.peer.as_str()).collect();
            assert_eq!(told, expected, "{only:?}");
            assert!(opened.iter().all(|name| name == "one"), "{opened:?}");
        }
    }

    #[test]
    fn what_is_asked_for_has_to_be_there() {
        let (rows, specs) = ([("one", true), ("two", true)], specs(TOML));
        for (name, is_there) in [
            ("one", true),
            ("fast", true),
            ("kiln", true),
            ("two/absent", true),
            ("two/kiln", true),
            ("one/absent", false),
            ("three/fast", false),
            ("slow", false),
            ("", false),
        ] {
            let checked = options(Path::new("."), &["one", name]).check(&specs, &rows);
            assert_eq!(checked.is_ok(), is_there, "{name}: {checked:?}");
        }
    }

    #[test]
    fn what_kiln_cannot_do_is_a_line_too() {
        let dir = tempfile::tempdir().expect("a folder should be made");
        peers(dir.path());
        let outcomes = run(
            &specs(TOML),
            &[("one", true)],
            &mut |_| Err("no model".into()),
            &options(dir.path(), &[]),
            &mut |_| {},
        );
        assert_eq!(outcomes.len(), 1);
        assert_eq!(outcomes[0].result, Err("no model".to_owned()));
    }
}
