//! Documents that are made ready to be questioned.

use std::ops::ControlFlow;

use kiln_docqa::index::{Index, IndexOptions, Progress};
use kiln_docqa::load::SourceFile;
use kiln_docqa::similarity::GpuSimilarity;
use kiln_docqa::store::MemoryStore;
use kiln_gpu::Gpu;
use kiln_models::SentenceEncoder;

use super::read_upload;
use crate::service::{DocumentInfo, Failure, Job, Upload};

/// Brings an index up to date with these documents, and makes one where there is none. Only what is new is embedded.
pub(super) fn read(
    gpu: &Gpu,
    options: &IndexOptions,
    encoder: &mut SentenceEncoder,
    index: &mut Option<Index>,
    documents: &[Upload],
    job: &Job,
) -> Result<Vec<DocumentInfo>, Failure> {
    let files = documents
        .iter()
        .map(|upload| Ok(SourceFile::from_bytes(upload.name(), read_upload(upload)?)?))
        .collect::<Result<Vec<_>, Failure>>()?;
    // A new one is kept only when it is whole.
    let mut new = None;
    let target = match index {
        Some(index) => index,
        None => new.insert(Index::open(Box::new(MemoryStore::new(Box::new(GpuSimilarity::new(gpu)))))),
    };
    target.set_files(&files, options, encoder, &mut |step| {
        match step {
            Progress::Embedding { done, total } => job.progress("passages", done, total),
            _ => job.step("reading the document"),
        }
        job.check().map_or(ControlFlow::Break(()), ControlFlow::Continue)
    })?;
    let infos = documents.iter().map(|upload| info(target, upload.name())).collect();
    if new.is_some() {
        *index = new;
    }
    infos
}

fn info(index: &mut Index, name: &str) -> Result<DocumentInfo, Failure> {
    let document = index.document(name)?;
    let pages = document.map_or(0, |document| document.pages.len());
    let record = index.records().iter().find(|record| record.source == name);
    let notice = |page: &kiln_docqa::load::SkippedPage| {
        format!("page {} is left out, since it cannot be read: {}", page.number, page.reason)
    };
    Ok(DocumentInfo {
        name: name.to_owned(),
        pages: (pages > 0).then_some(pages),
        passages: record.map_or(0, |record| record.passages),
        notices: record.map_or_else(Vec::new, |record| record.skipped.iter().map(notice).collect()),
    })
}
