//! What is kept in a collection, and how: documents and passages as records, and back.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::chunk::Chunk;
use crate::hex;
use crate::load::{Document, PageStart, SkippedPage};
use crate::store::{About, Filter, Indexed, Record};

/// Keys of a passage's metadata.
pub(super) const SOURCE: &str = "source";
pub(super) const REVISION: &str = "revision";
const PAGE: &str = "page";
/// The page of the last character, also where that is the first one's.
const PAGE_END: &str = "page_end";
const CHUNK_ID: &str = "chunk_id";
const START: &str = "start";
const TIMESTAMP: &str = "timestamp";
/// The text between the passage before it and this one, where there is any.
const BEFORE: &str = "before";

/// Keys that only the first passage of a document has: how many there are, the SHA-256 of the file, the text after the
/// last one, and as JSON its pages and those that were left out.
pub(super) const PASSAGES: &str = "passages";
const SHA256: &str = "sha256";
const AFTER: &str = "after";
const PAGES: &str = "pages";
const SKIPPED: &str = "skipped";

/// Keys of a collection's metadata: the format, and everything else as JSON.
const FORMAT_KEY: &str = "kiln_format";
const FORMAT: &str = "kiln-collection/1";
const ABOUT: &str = "kiln_about";

/// A passage with what is kept of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Passage {
    pub(super) chunk: Chunk,
    /// Which version of its document it belongs to.
    pub(super) revision: String,
    before: String,
    head: Option<Head>,
}

#[derive(Debug, Clone, PartialEq)]
struct Head {
    record: Record,
    pages: Vec<PageStart>,
    after: String,
}

/// A record as the server gives it, without what was not asked for.
pub(super) struct Fetched {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) metadata: Map<String, Value>,
    pub(super) embedding: Vec<f32>,
}

/// Tells versions of a document apart.
pub(super) fn revision(record: &Record) -> &str {
    record.sha256.get(..16).unwrap_or(&record.sha256)
}

/// A collection's metadata.
pub(super) fn metadata_of(about: &About) -> Map<String, Value> {
    let about = serde_json::to_string(about).unwrap_or_default();
    Map::from_iter([(FORMAT_KEY.into(), FORMAT.into()), (ABOUT.into(), about.into())])
}

/// What a collection says of itself, or why it is none of Kiln's.
pub(super) fn about_of(metadata: &Option<Map<String, Value>>) -> Result<About, String> {
    let text = |key: &str| metadata.as_ref()?.get(key)?.as_str();
    match text(FORMAT_KEY) {
        Some(FORMAT) => {}
        Some(other) => return Err(format!("its format is {other:?}, expected {FORMAT:?}")),
        None => return Err(format!("its metadata has no {FORMAT_KEY}")),
    }
    serde_json::from_str(text(ABOUT).unwrap_or_default())
        .map_err(|error| format!("its metadata has no proper {ABOUT} ({error})"))
}

/// The passages of a document.
pub(super) fn passages(indexed: &Indexed) -> Vec<Passage> {
    let Indexed { record, document, chunks, .. } = indexed;
    let mut covered = 0;
    let mut passages: Vec<Passage> = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let before = document.text.get(covered..chunk.start).unwrap_or_default().to_string();
        covered = covered.max(chunk.end());
        passages.push(Passage {
            chunk: chunk.clone(),
            revision: revision(record).into(),
            before,
            head: None,
        });
    }
    if let Some(first) = passages.first_mut() {
        let after = document.text.get(covered..).unwrap_or_default().to_string();
        first.head = Some(Head { record: record.clone(), pages: document.pages.clone(), after });
    }
    passages
}

/// A document from its passages, which are in order.
pub(super) fn document(record: &Record, passages: &[Passage]) -> Result<Document, String> {
    let source = record.source.clone();
    let head = passages.first().and_then(|first| first.head.as_ref());
    let (Some(head), true) = (head, passages.len() == record.passages) else {
        return Err(format!("{source}: expected {} passages, got {}", record.passages, passages.len()));
    };
    let mut text = String::new();
    for Passage { chunk, before, .. } in passages {
        text.push_str(before);
        // Passages overlap: what the text has already is not added again.
        let new = text
            .len()
            .checked_sub(chunk.start)
            .and_then(|known| chunk.text.get(known.min(chunk.text.len())..));
        let new = new.ok_or_else(|| format!("{source}: passage {} is not at its place", chunk.chunk_id))?;
        text.push_str(new);
    }
    text.push_str(&head.after);
    Ok(Document { source, text, pages: head.pages.clone(), skipped: record.skipped.clone() })
}

impl Passage {
    /// The same for the same text at the same place of the same document, and for no other.
    pub(super) fn id(&self) -> String {
        let Chunk { source, start, text, .. } = &self.chunk;
        let mut hash = Sha256::new();
        hash.update((source.len() as u64).to_le_bytes());
        hash.update(source);
        hash.update((*start as u64).to_le_bytes());
        hash.update(text);
        hex::encode(&hash.finalize()[..16])
    }

    pub(super) fn metadata(&self) -> Value {
        let Self { chunk, revision, before, head } = self;
        let mut metadata = json!({
            SOURCE: chunk.source,
            CHUNK_ID: chunk.chunk_id,
            START: chunk.start,
            TIMESTAMP: chunk.timestamp,
            REVISION: revision,
        });
        if let Some(page) = chunk.page {
            metadata[PAGE] = page.into();
            metadata[PAGE_END] = chunk.page_end.unwrap_or(page).into();
        }
        if !before.is_empty() {
            metadata[BEFORE] = before.as_str().into();
        }
        if let Some(Head { record, pages, after }) = head {
            metadata[PASSAGES] = record.passages.into();
            metadata[SHA256] = record.sha256.as_str().into();
            let as_json = |value: serde_json::Result<String>| Value::from(value.unwrap_or_default());
            let pages: Vec<(u32, usize)> = pages.iter().map(|page| (page.number, page.start)).collect();
            metadata[PAGES] = as_json(serde_json::to_string(&pages));
            metadata[SKIPPED] = as_json(serde_json::to_string(&record.skipped));
            if !after.is_empty() {
                metadata[AFTER] = after.as_str().into();
            }
        }
        metadata
    }

    /// A passage as it was fetched, or what is wrong with it.
    pub(super) fn of(fetched: Fetched) -> Result<Self, String> {
        let Fetched { id, text, metadata, .. } = fetched;
        let fields = Fields { id: &id, metadata: &metadata };
        let page: Option<u32> = fields.number(PAGE)?;
        let page_end = fields.number(PAGE_END)?.filter(|&end| Some(end) != page);
        let chunk = Chunk {
            source: fields.text(SOURCE)?.into(),
            page,
            page_end,
            chunk_id: fields.needed(CHUNK_ID)?,
            chunk_size: text.chars().count(),
            timestamp: fields.text(TIMESTAMP)?.into(),
            start: fields.needed(START)?,
            text,
        };
        let head = if metadata.contains_key(PASSAGES) {
            let pages: Vec<(u32, usize)> = fields.json(PAGES)?;
            let pages = pages.into_iter().map(|(number, start)| PageStart { number, start }).collect();
            let after = fields.text_or_none(AFTER).into();
            Some(Head { record: fields.record()?, pages, after })
        } else {
            None
        };
        let (revision, before) = (fields.text(REVISION)?.into(), fields.text_or_none(BEFORE).into());
        Ok(Self { chunk, revision, before, head })
    }
}

/// What the first passage of a document says of it.
pub(super) fn record_of(id: &str, metadata: &Map<String, Value>) -> Result<Record, String> {
    Fields { id, metadata }.record()
}

/// The metadata of one record.
#[derive(Clone, Copy)]
struct Fields<'a> {
    id: &'a str,
    metadata: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn wrong(&self, key: &str) -> String {
        match self.metadata.get(key) {
            Some(value) => format!("passage {}: {key} cannot be {value}", self.id),
            None => format!("passage {}: there is no {key}", self.id),
        }
    }

    fn text(&self, key: &str) -> Result<&'a str, String> {
        self.metadata.get(key).and_then(Value::as_str).ok_or_else(|| self.wrong(key))
    }

    fn text_or_none(&self, key: &str) -> &'a str {
        self.metadata.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    fn number<T: TryFrom<u64>>(&self, key: &str) -> Result<Option<T>, String> {
        let Some(value) = self.metadata.get(key) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| T::try_from(number).ok());
        number.map(Some).ok_or_else(|| self.wrong(key))
    }

    fn needed(&self, key: &str) -> Result<usize, String> {
        self.number(key)?.ok_or_else(|| self.wrong(key))
    }

    fn json<T: DeserializeOwned>(&self, key: &str) -> Result<T, String> {
        serde_json::from_str(self.text(key)?).map_err(|_| self.wrong(key))
    }

    fn record(&self) -> Result<Record, String> {
        Ok(Record {
            source: self.text(SOURCE)?.into(),
            sha256: self.text(SHA256)?.into(),
            // So many, that a sum of these numbers cannot overflow.
            passages: self.number::<u32>(PASSAGES)?.ok_or_else(|| self.wrong(PASSAGES))? as usize,
            skipped: self.json::<Vec<SkippedPage>>(SKIPPED)?,
        })
    }
}

/// A filter in Chroma's language.
pub(super) fn condition_of(filter: &Filter) -> Option<Value> {
    let mut conditions = Vec::new();
    if let Some(source) = filter.only_source() {
        conditions.push(json!({ SOURCE: source }));
    }
    if let Some(pages) = filter.only_pages() {
        conditions.push(json!({ PAGE: { "$lte": pages.end() } }));
        conditions.push(json!({ PAGE_END: { "$gte": pages.start() } }));
    }
    match conditions.len() {
        0 | 1 => conditions.pop(),
        _ => Some(json!({ "$and": conditions })),
    }
}

/// The answer to `get`: columns, of which those that were not asked for are null.
pub(super) fn fetched(answer: Value) -> Result<Vec<Fetched>, String> {
    #[derive(Deserialize)]
    struct Columns {
        ids: Vec<String>,
        documents: Option<Vec<Option<String>>>,
        metadatas: Option<Vec<Option<Map<String, Value>>>>,
        embeddings: Option<Vec<Option<Vec<f32>>>>,
    }
    let Columns { ids, documents, metadatas, embeddings } =
        serde_json::from_value(answer).map_err(|error| format!("the answer is not understood: {error}"))?;
    let mut documents = column(documents, ids.len())?;
    let mut metadatas = column(metadatas, ids.len())?;
    let mut embeddings = column(embeddings, ids.len())?;
    let fetched = |(at, id): (usize, String)| Fetched {
        id,
        text: documents[at].take().unwrap_or_default(),
        metadata: metadatas[at].take().unwrap_or_default(),
        embedding: embeddings[at].take().unwrap_or_default(),
    };
    Ok(ids.into_iter().enumerate().map(fetched).collect())
}

/// The answer to `query` with one embedding.
pub(super) fn found(answer: Value) -> Result<Vec<(Fetched, f32)>, String> {
    let only = |key: &str| answer.get(key).and_then(|of_queries| of_queries.get(0)).cloned();
    let distances: Option<Vec<Option<f32>>> =
        only("distances").and_then(|distances| serde_json::from_value(distances).ok());
    let fetched = fetched(json!({
        "ids": only("ids"), "documents": only("documents"), "metadatas": only("metadatas"),
    }))?;
    let distances = column(distances, fetched.len())?;
    let distance = |distance: Option<f32>| distance.ok_or("the answer has no distance".to_string());
    fetched.into_iter().zip(distances).map(|(fetched, far)| Ok((fetched, distance(far)?))).collect()
}

fn column<T: Clone>(values: Option<Vec<Option<T>>>, count: usize) -> Result<Vec<Option<T>>, String> {
    let values = values.unwrap_or_else(|| vec![None; count]);
    if values.len() == count {
        Ok(values)
    } else {
        Err(format!("the answer has {} values for {count} records", values.len()))
    }
}
