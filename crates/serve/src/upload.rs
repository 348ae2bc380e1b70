//! Files as they come in: bounded, under names of our own, and of the kind that is expected.

use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode};
use futures_util::StreamExt;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use crate::api::Refusal;

/// What a file is expected to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    Document,
    Picture,
}

/// Characters of a name that is shown.
const LONGEST_NAME: usize = 100;

/// A name fit to be shown: its last part, without what does not show or turns the text around, and not too long.
pub(crate) fn shown_name(given: &str) -> String {
    let last = given.rsplit(['/', '\\']).next().unwrap_or_default();
    let shows = |c: &char| !c.is_control() && !turns_text(*c);
    let name: String = last.chars().filter(shows).collect();
    let name = name.trim();
    if name.trim_matches('.').is_empty() {
        return "unnamed".to_owned();
    }
    let length = name.chars().count();
    if length <= LONGEST_NAME {
        return name.to_owned();
    }
    // The end, which says what kind of file it is, stays.
    const END: usize = 12;
    let start: String = name.chars().take(LONGEST_NAME - END - 1).collect();
    let end: String = name.chars().skip(length - END).collect();
    format!("{start}…{end}")
}

/// Characters without a width, and those by which `fdp.exe` is shown as `exe.pdf`.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
}

/// Makes a name that is not among `taken`: `clay.pdf`, `clay (2).pdf`, ...
pub(crate) fn distinct_name(name: &str, taken: &[&str]) -> String {
    if !taken.contains(&name) {
        return name.to_owned();
    }
    let (stem, end) = match name.rfind('.') {
        Some(at) if at > 0 => name.split_at(at),
        _ => (name, ""),
    };
    let candidates = (2..).map(|number| format!("{stem} ({number}){end}"));
    candidates.into_iter().find(|name| !taken.contains(&name.as_str())).unwrap_or_else(|| name.to_owned())
}

/// An upload on its way to a file; the file goes again unless it is kept.
#[derive(Debug)]
pub(crate) struct Received {
    path: PathBuf,
    kept: bool,
}

impl Received {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the file where it is.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if !self.kept {
            remove(&self.path);
        }
    }
}

/// Removes an upload. Where that fails, the folder goes when the server ends.
pub(crate) fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        log::debug!("an upload stays until the server ends: {error}");
    }
}

/// Refuses what is announced as larger than `limit` bytes, before a byte of it is read.
pub(crate) fn check_length(headers: &HeaderMap, name: &str, limit: u64) -> Result<(), Refusal> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if length > limit => Err(too_large(name, Some(length), limit)),
        _ => Ok(()),
    }
}

/// Writes a body to a file. It is refused as soon as it is larger than `limit` bytes, or is seen to be of another kind.
pub(crate) async fn receive(
    body: Body,
    path: PathBuf,
    name: &str,
    expected: Expected,
    limit: u64,
) -> Result<Received, Refusal> {
    let failed = |error: std::io::Error| {
        log::error!("an upload cannot be written: {error}");
        Refusal::new(
            StatusCode::INSUFFICIENT_STORAGE,
            format!("{name}: the server cannot keep it ({})", error.kind()),
        )
    };
    let received = Received { path, kept: false };
    let mut file = File::create_new(&received.path).await.map_err(failed)?;
    let mut stream = body.into_data_stream();
    let mut start = Vec::with_capacity(MAGIC);
    let mut length = 0;
    let mut judged = false;
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| {
            Refusal::new(StatusCode::BAD_REQUEST, format!("{name}: the upload broke off: {error}"))
        })?;
        length += piece.len() as u64;
        if length > limit {
            return Err(too_large(name, None, limit));
        }
        if !judged {
            start.extend(piece.iter().take(MAGIC - start.len()));
            judged = start.len() == MAGIC;
            if judged {
                judge(name, &start, expected)?;
            }
        }
        file.write_all(&piece).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)?;
    if length == 0 {
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{name}: the file is empty")));
    }
    judge(name, &start, expected)?;
    Ok(received)
}

fn too_large(name: &str, length: Option<u64>, limit: u64) -> Refusal {
    let size = length.map(|length| format!(" with {}", megabytes(length))).unwrap_or_default();
    let limit = megabytes(limit);
    let message = format!("{name}: too large{size}; at most {limit} are taken (--max-upload)");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}

/// `50 MB`, `1.5 MB`.
fn megabytes(bytes: u64) -> String {
    let rounded = (bytes as f64 / 1e5).round() / 10.0;
    if bytes < 100_000 { format!("{bytes} bytes") } else { format!("{rounded} MB") }
}

/// So many bytes tell what kind a file is.
const MAGIC: usize = 12;

/// Kinds of pictures, told by how they begin.
fn picture_kind(start: &[u8]) -> Option<&'static str> {
    let is = |magic: &[u8]| start.starts_with(magic);
    let later = |magic: &[u8]| start.get(8..).is_some_and(|rest| rest.starts_with(magic));
    Some(match () {
        () if is(b"\xff\xd8\xff") => "JPEG",
        () if is(b"\x89PNG\r\n\x1a\n") => "PNG",
        () if is(b"RIFF") && later(b"WEBP") => "WebP",
        () if is(b"GIF8") => "GIF",
        () if is(b"II*\0") || is(b"MM\0*") => "TIFF",
        () if is(b"BM") && start.get(6..10) == Some(&[0; 4]) => "BMP",
        () if start.get(4..8) == Some(b"ftyp") && (later(b"heic") || later(b"mif1") || later(b"heix")) => {
            "HEIC"
        }
        () if start.get(4..8) == Some(b"ftyp") && later(b"avif") => "AVIF",
        () => return None,
    })
}

/// Refuses a file that begins like one of the other kind.
fn judge(name: &str, start: &[u8], expected: Expected) -> Result<(), Refusal> {
    let kind = picture_kind(start);
    let reason = match (expected, kind) {
        (Expected::Document, Some(kind)) => {
            format!("a picture ({kind}); expected a PDF, text or Markdown file to ask questions about")
        }
        (Expected::Picture, Some(kind)) if !["JPEG", "PNG", "WebP"].contains(&kind) => {
            format!("a picture of a kind that can't be read ({kind}); expected JPEG, PNG or WebP")
        }
        (Expected::Picture, None) if start.starts_with(b"%PDF-") => {
            "a PDF file; expected a picture: JPEG, PNG or WebP".to_owned()
        }
        (Expected::Picture, None) => "not a picture that can be read; expected JPEG, PNG or WebP".to_owned(),
        _ => return Ok(()),
    };
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("{name}: {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_names_are_harmless() {
        for (given, shown) in [
            ("clay.pdf", "clay.pdf"),
            ("../../etc/passwd", "passwd"),
            ("C:\\fakepath\\clay.pdf", "clay.pdf"),
            ("..", "unnamed"),
            ("", "unnamed"),
            ("a/", "unnamed"),
            (" \u{202e}fdp.exe\n", "fdp.exe"),
            ("a\0b\u{7f}\u{200b}c.md", "abc.md"),
            ("Töpfern – 陶芸.pdf", "Töpfern – 陶芸.pdf"),
            ("<b>.txt", "<b>.txt"),
        ] {
            assert_eq!(shown_name(given), shown);
        }
        let long = shown_name(&format!("{}.pdf", "ü".repeat(300)));
        assert_eq!(long.chars().count(), LONGEST_NAME);
        assert!(long.ends_with("ü.pdf") && long.contains('…'));
    }

    #[test]
    fn names_are_made_distinct() {
        assert_eq!(distinct_name("a.pdf", &["b.pdf"]), "a.pdf");
        assert_eq!(distinct_name("a.pdf", &["a.pdf"]), "a (2).pdf");
        assert_eq!(distinct_name("a.b.pdf", &["a.b.pdf", "a.b (2).pdf"]), "a.b (3).pdf");
        assert_eq!(distinct_name(".md", &[".md"]), ".md (2)");
        assert_eq!(distinct_name("notes", &["notes"]), "notes (2)");
    }

    fn judged(start: &[u8], expected: Expected) -> Option<String> {
        judge("x", start, expected).err().map(|refusal| refusal.message().to_owned())
    }

    #[test]
    fn kinds_are_told_apart() {
        use Expected::{Document, Picture};
        let jpeg = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01";
        assert_eq!(judged(b"%PDF-1.7\n%abc", Document), None);
        assert_eq!(judged(b"BMW is a mark", Document), None);
        assert_eq!(judged(b"a", Document), None);
        assert_eq!(judged(jpeg, Picture), None);
        assert_eq!(judged(b"RIFF\x10\0\0\0WEBPVP8 ", Picture), None);
        let message = judged(jpeg, Document).expect("a picture is no document");
        assert_eq!(
            message,
            "x: a picture (JPEG); expected a PDF, text or Markdown file to ask questions about"
        );
        assert!(judged(b"RIFF\x10\0\0\0WEBPVP8 ", Document).is_some_and(|text| text.contains("WebP")));
        assert!(judged(b"\0\0\0\x18ftypheic", Picture).is_some_and(|text| text.contains("HEIC")));
        assert!(judged(b"%PDF-1.7\n%abc", Picture).is_some_and(|text| text.contains("a PDF file")));
        assert!(judged(b"GIF89a", Picture).is_some_and(|text| text.contains("GIF")));
        assert!(judged(b"hello there", Picture).is_some_and(|text| text.contains("not a picture")));
    }

    #[test]
    fn announced_sizes_are_judged() {
        let mut headers = HeaderMap::new();
        assert!(check_length(&headers, "x", 1).is_ok());
        headers.insert(CONTENT_LENGTH, "1073741824".parse().expect("it is a header"));
        let refusal = check_length(&headers, "clay.pdf", 50_000_000).expect_err("it is too large");
        assert_eq!(
            refusal.message(),
            "clay.pdf: too large with 1073.7 MB; at most 50 MB are taken (--max-upload)"
        );
        assert!(check_length(&headers, "x", 1 << 30).is_ok());
    }
}
