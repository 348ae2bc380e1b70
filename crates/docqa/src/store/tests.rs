//! Made-up documents for the tests of stores.

use std::sync::Arc;

use super::*;
use crate::load::PageStart;

pub(super) fn about(metric: Metric) -> About {
    About {
        model: "model".into(),
        dim: 2,
        options: IndexOptions { metric, ..IndexOptions::default() },
        reading: 1,
        created: "2026-01-02T03:04:05Z".into(),
        roots: vec!["/docs".into()],
        skipped: vec![SkippedFile { source: "x.pdf".into(), reason: "x.pdf: the file is empty".into() }],
        unfinished: false,
    }
}

/// A vector of length 1.
pub(super) fn unit(angle: f32) -> Vec<f32> {
    vec![angle.cos(), angle.sin()]
}

/// Documents with so many passages, each on a page of its own; embeddings turn by 0.3 from one to the next, through all
/// documents.
pub(super) fn documents(named: &[(&str, usize)]) -> Vec<Indexed> {
    let mut angles = (0..).map(|number| unit(number as f32 * 0.3));
    named.iter().map(|&(source, count)| document(source, count, &mut angles)).collect()
}

fn document(source: &str, count: usize, embeddings: &mut dyn Iterator<Item = Vec<f32>>) -> Indexed {
    let (mut text, mut chunks, mut pages) = (String::from("\n "), Vec::new(), Vec::new());
    for chunk_id in 0..count {
        let (passage, page) = (format!("passage {chunk_id} of {source}"), chunk_id as u32 + 1);
        pages.push(PageStart { number: page, start: text.len() });
        chunks.push(Chunk {
            text: passage.clone(),
            source: source.into(),
            page: Some(page),
            page_end: None,
            chunk_id,
            chunk_size: passage.chars().count(),
            timestamp: "2026-01-02T03:04:05Z".into(),
            start: text.len(),
        });
        text.push_str(&passage);
        text.push_str(" \n\n");
    }
    let skipped = vec![SkippedPage { number: 99, reason: "torn".into() }];
    let sha256 = format!("{:0>64}", format!("{count}{source}"));
    Indexed {
        record: Record { source: source.into(), sha256, passages: count, skipped: skipped.clone() },
        document: Arc::new(Document { source: source.into(), text, pages, skipped }),
        chunks,
        embeddings: embeddings.take(count).collect(),
    }
}

/// What was found, as source and number.
pub(super) fn ids(hits: &[Hit]) -> Vec<String> {
    hits.iter().map(|hit| format!("{}{}", hit.chunk.source, hit.chunk.chunk_id)).collect()
}
