//! Where indexes are kept: in the cache, in a folder that the user names, or on a Chroma server.

use std::path::PathBuf;

use clap::Args;
use kiln::docqa::DocqaError;
use kiln::docqa::index::{Index, IndexOptions};
use kiln::docqa::load::{self, FoundFile};
use kiln::docqa::similarity::{GpuSimilarity, Similarity};
use kiln::docqa::store::StoreLocation;
use kiln::gpu::Gpu;
use kiln::models::SentenceEncoder;

use super::context::Context;
use super::documents::{FilterArgs, SplitArgs, index_cache, index_progress};
use super::encoder::store;
use super::error::CliError;
use super::interrupt;

/// Which store is questioned.
#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    /// Keep the index of the documents there, or without documents, question what is there: a folder, or a
    /// collection on a Chroma server (chroma:http://localhost:8000/COLLECTION)
    #[arg(long, value_name = "STORE")]
    store: Option<StoreLocation>,
}

impl StoreArgs {
    /// Whether one was named.
    pub(crate) fn is_given(&self) -> bool {
        self.store.is_some()
    }

    /// Refuses whatever can be refused before a model is loaded.
    pub(crate) fn check(
        &self,
        paths: &[PathBuf],
        split: &SplitArgs,
        filter: &FilterArgs,
    ) -> Result<(), CliError> {
        if !paths.is_empty() {
            split.options()?;
            let names: Vec<String> = load::find(paths)?.iter().map(FoundFile::source).collect();
            filter.check(names.iter().map(String::as_str))?;
        } else if split.is_given() {
            let message = "--chunk-size, --chunk-overlap and --separator say how documents are split: expected \
                           documents beside --store, or none of these";
            return Err(CliError::Input(message.into()));
        }
        let Some(location) = &self.store else { return Ok(()) };
        match location.check_present() {
            Err(DocqaError::NoStore { .. } | DocqaError::NoCollection { .. }) if !paths.is_empty() => {
                Ok(location.check_target()?)
            }
            found => Ok(found?),
        }
    }

    /// The index of documents, brought up to date, or without documents, the one that is in the store.
    pub(crate) fn index(
        &self,
        paths: &[PathBuf],
        split: &SplitArgs,
        encoder: &mut SentenceEncoder,
        gpu: &Gpu,
        context: &Context,
    ) -> Result<Index, CliError> {
        let mut options = IndexOptions { split: split.options()?, ..IndexOptions::default() };
        let _saving = interrupt::saving();
        let progress = &mut index_progress(context, gpu);
        let index = match &self.store {
            None => {
                let (cache, similarity) = (index_cache()?, similarity(gpu));
                Index::open_or_build(paths, &options, encoder, &cache, similarity, progress)?
            }
            Some(location) if paths.is_empty() => open(location, gpu)?,
            Some(location) => {
                let store = location.open_or_create(similarity(gpu), progress_folder().as_deref())?;
                let mut index = Index::open(store);
                if index.store().about().is_some() {
                    index.check_model(encoder)?;
                    if !index.is_of(paths) {
                        return Err(made(location, "from other documents; ask it without naming any"));
                    }
                    if split.is_given() && options.split != index.options().split {
                        return Err(made(location, "with other split options; ask it without giving any"));
                    }
                    options = index.options();
                }
                index.update(paths, &options, encoder, progress)?;
                index
            }
        };
        let changes = index.changes().filter(|changes| changes.had_documents() && !changes.is_empty());
        if let Some(changes) = changes {
            context.note(format_args!("the index is up to date again: {changes}"));
        }
        Ok(index)
    }
}

/// A store is not what it is to be questioned as.
fn made(location: &StoreLocation, how: &str) -> CliError {
    CliError::Input(format!("{location}: this store was made {how}, or make it again with `kiln index`"))
}

/// Makes a store hold documents and no others.
pub(crate) fn update(
    location: &StoreLocation,
    paths: &[PathBuf],
    options: &IndexOptions,
    encoder: &mut SentenceEncoder,
    gpu: &Gpu,
    context: &Context,
) -> Result<Index, CliError> {
    let _saving = interrupt::saving();
    let mut index = Index::open(location.open_or_create(similarity(gpu), progress_folder().as_deref())?);
    index.update(paths, options, encoder, &mut index_progress(context, gpu))?;
    if index.changes().is_some_and(|changes| changes.remade) {
        context.note("the store was made with another model or other options, and was made again");
    }
    Ok(index)
}

/// Where the progress of indexing is kept for stores on a server.
fn progress_folder() -> Option<PathBuf> {
    Some(store().config().cache_dir.as_ref()?.join("progress"))
}

fn similarity(gpu: &Gpu) -> Box<dyn Similarity> {
    Box::new(GpuSimilarity::new(gpu))
}

/// Opens a store that is to be searched.
pub(crate) fn open(location: &StoreLocation, gpu: &Gpu) -> Result<Index, CliError> {
    Ok(Index::open(location.open(similarity(gpu), None)?))
}
