//! What `-v` shows: the log of the library, on stderr.

use std::io::Write;

use log::LevelFilter;

use super::context::GlobalArgs;

/// Sends the log to stderr as the options ask: warnings of Kiln's own crates, more with `-v`.
pub(crate) fn start(args: &GlobalArgs) {
    let (ours, others) = match (args.quiet, args.verbose) {
        (true, _) => (LevelFilter::Off, LevelFilter::Off),
        (_, 0) => (LevelFilter::Warn, LevelFilter::Off),
        (_, 1) => (LevelFilter::Info, LevelFilter::Off),
        (_, 2) => (LevelFilter::Debug, LevelFilter::Warn),
        (_, _) => (LevelFilter::Trace, LevelFilter::Debug),
    };
    env_logger::Builder::new()
        .filter_level(others)
        // A prefix: it takes in kiln_gpu, kiln_engine and their like.
        .filter_module("kiln", ours)
        .format(|out, record| {
            let level = match record.level() {
                log::Level::Warn => "warning".to_owned(),
                level => level.as_str().to_lowercase(),
            };
            writeln!(out, "{level}: {}", record.args())
        })
        .init();
}
