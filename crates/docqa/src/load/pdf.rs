//! The text of a PDF file, page by page.

use std::path::Path;

use pdf_extract::{Dictionary, Document as Pdf, Object, ObjectId, PlainTextOutput, output_doc_page};

use super::{Document, SkippedPage, forms, quiet, widths};
use crate::{DocqaError, clean};

/// PDF readers allow the header to stand within the first kilobyte.
pub(super) const HEADER_WITHIN: u64 = 1024;

/// Whether a file that begins so is a PDF file.
pub(super) fn has_header(bytes: &[u8]) -> bool {
    bytes[..bytes.len().min(HEADER_WITHIN as usize)].windows(5).any(|window| window == b"%PDF-")
}

/// Parses a file that is not empty. A page on which the extractor fails is skipped and named, the others
/// are kept; it is an error where none is left or none has text.
pub(super) fn parse(path: &Path, source: String, bytes: &[u8]) -> Result<Document, DocqaError> {
    if !has_header(bytes) {
        return Err(DocqaError::NotPdf { path: path.to_path_buf() });
    }
    let corrupt = |reason: String| DocqaError::CorruptPdf { path: path.to_path_buf(), reason };
    let mut pdf = match quiet::catch(|| Pdf::load_mem(bytes)) {
        Ok(Ok(pdf)) => pdf,
        Ok(Err(pdf_extract::Error::InvalidPassword | pdf_extract::Error::Decryption(_))) => {
            return Err(DocqaError::Encrypted { path: path.to_path_buf() });
        }
        // Its message asks the reader to write to the parser's authors.
        Ok(Err(pdf_extract::Error::Unimplemented(what))) => {
            return Err(corrupt(format!("it needs what cannot be read: {what}")));
        }
        Ok(Err(error)) => return Err(corrupt(one_line(&error.to_string()))),
        Err(message) => return Err(corrupt(message)),
    };
    // Loading has already tried the empty password, with which a file is open to all; a file that still
    // counts as encrypted needs a real one.
    if pdf.is_encrypted() && !matches!(quiet::catch(|| pdf.decrypt("")), Ok(Ok(()))) {
        return Err(DocqaError::Encrypted { path: path.to_path_buf() });
    }
    let page_ids = quiet::catch(|| pdf.get_pages()).map_err(corrupt)?;
    if page_ids.is_empty() {
        let whole = quiet::catch(|| page_tree_is_empty(&pdf)).unwrap_or(false);
        return Err(if whole {
            DocqaError::NoPages { path: path.to_path_buf() }
        } else {
            corrupt("its page tree cannot be followed".to_string())
        });
    }
    let has_pictures = quiet::catch(|| drop_pictures(&mut pdf)).map_err(corrupt)?;
    quiet::catch(|| widths::spell_out(&mut pdf)).map_err(corrupt)?;

    let (mut numbers, mut texts, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    for (&number, &id) in &page_ids {
        match page_text(&pdf, number, id) {
            Ok(text) => {
                numbers.push(number);
                texts.push(text);
            }
            Err(reason) => skipped.push(SkippedPage { number, reason }),
        }
    }
    if texts.is_empty() {
        let first = skipped.first().map_or("", |page| page.reason.as_str());
        return Err(corrupt(format!("none of its {} page(s) can be read: {first}", skipped.len())));
    }
    if has_pictures && skipped.is_empty() && texts.iter().all(|text| text.trim().is_empty()) {
        return Err(DocqaError::Scanned { path: path.to_path_buf(), pages: texts.len() });
    }
    clean::mend(&mut texts);
    Ok(Document::from_pages(source, numbers.into_iter().zip(texts).collect(), skipped))
}

fn page_text(pdf: &Pdf, number: u32, id: ObjectId) -> Result<String, String> {
    let extracted = quiet::catch(|| {
        forms::check(pdf, id)?;
        let mut text = String::new();
        output_doc_page(pdf, &mut PlainTextOutput::new(&mut text), number)
            .map_err(|error| error.to_string())?;
        Ok(text)
    });
    match extracted {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(reason)) | Err(reason) => Err(one_line(&reason)),
    }
}

fn page_tree_is_empty(pdf: &Pdf) -> bool {
    let pages =
        pdf.catalog().and_then(|catalog| catalog.get(b"Pages")).and_then(|root| pdf.dereference(root));
    let kids = pages.and_then(|(_, root)| root.as_dict()).and_then(|root| root.get(b"Kids"));
    kids.and_then(|kids| pdf.dereference(kids)).and_then(|(_, kids)| kids.as_array()).is_ok_and(Vec::is_empty)
}

/// Empties all pictures, and says whether there were any. The extractor reads a picture's bytes as if
/// they were drawing commands, which is slow at best and a failed page at worst.
fn drop_pictures(pdf: &mut Pdf) -> bool {
    let is_picture =
        |dict: &Dictionary| dict.get(b"Subtype").and_then(Object::as_name).is_ok_and(|name| name == b"Image");
    let mut any = false;
    for object in pdf.objects.values_mut() {
        if let Object::Stream(stream) = object
            && is_picture(&stream.dict)
        {
            any = true;
            stream.dict.remove(b"Filter");
            stream.dict.remove(b"DecodeParms");
            stream.set_content(Vec::new());
        }
    }
    any
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
