//! `kiln devices`.

use std::io::Write;

use clap::Args;
use kiln::gpu::{self, AdapterReport, Bytes, Chosen, Gpu};
use serde::Serialize;

use super::context::Context;
use super::error::CliError;
use super::output::Output;
use super::table::write_table;

/// List the adapters of this machine, and which one Kiln would use
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kiln devices
  kiln devices --json | jq '.adapters[].name'
  kiln --adapter llvmpipe devices")]
pub(crate) struct DevicesArgs {
    /// Print one JSON object instead of a table; sizes are in bytes
    #[arg(long)]
    json: bool,
}

/// Adapters stand side by side as long as a line stays this short.
const LINE: usize = 100;

impl DevicesArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let adapters = Gpu::adapters();
        let chosen = gpu::choose(&adapters, context.adapter())?;
        let mut output = Output::stdout();
        if self.json {
            output.json(&Listing::new(&adapters, &chosen))?;
        } else {
            write_listing(&mut output, &adapters, &chosen)?;
        }
        output.finish()
    }
}

fn write_listing(out: &mut Output, adapters: &[AdapterReport], chosen: &Chosen) -> Result<(), CliError> {
    let columns: Vec<Vec<String>> = adapters.iter().map(|adapter| column(adapter, chosen)).collect();
    let width = |cells: &[String]| cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0) + 2;
    let titles = TITLES.map(str::to_owned);
    let mut rest = columns.as_slice();
    while !rest.is_empty() {
        let mut room = LINE.saturating_sub(width(&titles));
        let fitting = rest.iter().take_while(|cells| {
            let fits = width(cells) <= room;
            room = room.saturating_sub(width(cells));
            fits
        });
        let (block, after) = rest.split_at(fitting.count().max(1));
        rest = after;
        let row = |line: usize| {
            let cells = block.iter().map(|cells| cells[line].clone());
            std::iter::once(titles[line].clone()).chain(cells).collect::<Vec<String>>()
        };
        write_table(out, &(0..TITLES.len()).map(row).collect::<Vec<_>>())?;
        writeln!(out)?;
    }
    for adapter in adapters {
        if let Some(why) = &adapter.unfit {
            writeln!(out, "Kiln cannot use adapter {}: {why}.", adapter.index)?;
        }
    }
    Ok(writeln!(out, "Kiln would use adapter {}: {}.", chosen.index, chosen.why)?)
}

const TITLES: [&str; 13] = [
    "adapter",
    "name",
    "type",
    "backend",
    "driver",
    "binding",
    "buffer",
    "workgroup memory",
    "threads",
    "f16",
    "int64",
    "subgroup",
    "timestamps",
];

/// What is to be known about an adapter, in the order of the titles.
fn column(adapter: &AdapterReport, chosen: &Chosen) -> Vec<String> {
    let profile = &adapter.profile;
    let limits = &profile.limits;
    let yes_or_no = |has: bool| if has { "yes" } else { "no" }.to_owned();
    let index = adapter.index;
    vec![
        if index == chosen.index { format!("{index} (chosen)") } else { index.to_string() },
        profile.name.clone(),
        profile.kind.to_string(),
        profile.backend.clone(),
        profile.driver.clone(),
        Bytes(limits.max_binding).to_string(),
        Bytes(limits.max_buffer).to_string(),
        Bytes(limits.workgroup_memory.into()).to_string(),
        limits.max_threads.to_string(),
        yes_or_no(profile.f16),
        yes_or_no(profile.int64),
        match profile.subgroup {
            (least, most) if least == most => least.to_string(),
            (least, most) => format!("{least} to {most}"),
        },
        yes_or_no(profile.timestamps),
    ]
}

#[derive(Serialize)]
struct Listing<'a> {
    adapters: Vec<Adapter<'a>>,
    chosen: usize,
    why: &'a str,
}

#[derive(Serialize)]
struct Adapter<'a> {
    index: usize,
    name: &'a str,
    #[serde(rename = "type")]
    kind: String,
    backend: &'a str,
    driver: &'a str,
    limits: Limits,
    f16: bool,
    int64: bool,
    subgroup: Subgroup,
    timestamps: bool,
    /// Why Kiln cannot use it; null where it can.
    unfit: Option<&'a str>,
}

#[derive(Serialize)]
struct Limits {
    binding: u64,
    buffer: u64,
    workgroup_memory: u32,
    threads: u32,
    workgroups: u32,
    storage_buffers: u32,
}

#[derive(Serialize)]
struct Subgroup {
    min: u32,
    max: u32,
}

impl<'a> Listing<'a> {
    fn new(adapters: &'a [AdapterReport], chosen: &'a Chosen) -> Listing<'a> {
        let adapter = |report: &'a AdapterReport| {
            let profile = &report.profile;
            Adapter {
                index: report.index,
                name: &profile.name,
                kind: profile.kind.to_string(),
                backend: &profile.backend,
                driver: &profile.driver,
                limits: Limits {
                    binding: profile.limits.max_binding,
                    buffer: profile.limits.max_buffer,
                    workgroup_memory: profile.limits.workgroup_memory,
                    threads: profile.limits.max_threads,
                    workgroups: profile.limits.max_workgroups,
                    storage_buffers: profile.limits.max_storage_buffers,
                },
                f16: profile.f16,
                int64: profile.int64,
                subgroup: Subgroup { min: profile.subgroup.0, max: profile.subgroup.1 },
                timestamps: profile.timestamps,
                unfit: report.unfit.as_deref(),
            }
        };
        Listing { adapters: adapters.iter().map(adapter).collect(), chosen: chosen.index, why: &chosen.why }
    }
}
