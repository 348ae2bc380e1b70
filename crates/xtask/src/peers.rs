use std::path::{Path, PathBuf};

use clap::Args;

use crate::command::Command;
use crate::error::Error;
use crate::workspace::Workspace;

#[derive(Args)]
pub(crate) struct PeersArgs {
    /// The folder of the engines
    dir: PathBuf,
    /// Pairs of samples
    #[arg(long, value_name = "N", default_value = "7", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only these rows, peers, or both as in vgg16/ncnn; kiln stands for Kiln's own yardsticks
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    only: Vec<String>,
    /// Write the table to a file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Builds the benchmark and runs it: all that measures lies there, so that this program stays small.
pub(crate) fn run(workspace: &Workspace, args: &PeersArgs) -> Result<(), Error> {
    let dir = args.dir.canonicalize().map_err(Error::file("find the engines in", &args.dir))?;
    let here = std::env::current_dir().map_err(Error::file("find the folder", "."))?;
    command(workspace, args, &dir, &here).run()
}

/// Cargo runs benchmarks in their package's folder, so both paths have to be whole.
fn command(workspace: &Workspace, args: &PeersArgs, dir: &Path, here: &Path) -> Command {
    let mut command = Command::cargo()
        .args(["bench", "--quiet", "--package", "kiln-benches", "--bench", "peers", "--"])
        .arg(dir)
        .args(["--rounds".to_owned(), args.rounds.to_string()])
        .dir(&workspace.root);
    if !args.only.is_empty() {
        command = command.args(["--only".to_owned(), args.only.join(",")]);
    }
    if let Some(output) = &args.output {
        command = command.arg("--output").arg(here.join(output));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        peers: PeersArgs,
    }

    fn shown(line: &[&str]) -> String {
        let workspace = Workspace { root: PathBuf::from("/kiln"), target: PathBuf::from("/target") };
        let Line { peers } =
            Line::try_parse_from([&["peers"], line].concat()).expect("it should be understood");
        command(&workspace, &peers, Path::new("/engines"), Path::new("/home")).to_string()
    }

    #[test]
    fn what_is_asked_for_is_handed_on() {
        let base = "cargo bench --quiet --package kiln-benches --bench peers -- /engines --rounds";
        assert_eq!(shown(&["engines"]), format!("{base} 7"));
        let more = ["engines", "--rounds", "9", "--only", "vgg16/ncnn,minilm", "-o", "table.md"];
        let output = Path::new("/home").join("table.md");
        assert_eq!(shown(&more), format!("{base} 9 --only vgg16/ncnn,minilm --output {}", output.display()));
    }

    #[test]
    fn no_folder_and_no_round_are_refused() {
        for line in [&["peers"][..], &["peers", "engines", "--rounds", "0"]] {
            assert!(Line::try_parse_from(line).is_err(), "{line:?}");
        }
        let workspace = Workspace::find().expect("the tests should run in the project");
        let Line { peers } =
            Line::try_parse_from(["peers", "no/such/folder"]).expect("it should be understood");
        let error = run(&workspace, &peers).expect_err("there is no such folder").to_string();
        assert!(error.starts_with("can't find the engines in no/such/folder"), "{error}");
    }
}
