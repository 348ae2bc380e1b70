//! Bounds the forms (reusable drawings, which hold text too) of a page before it is extracted.

use pdf_extract::{Dictionary, Document as Pdf, Object, ObjectId, Stream, content::Content};

/// Deeper than any program nests its drawings.
const MAX_DEPTH: usize = 24;
/// More drawings than any page holds; forms that draw forms grow exponentially.
const MAX_DRAWN: usize = 20_000;

/// Fails for a page whose forms draw themselves or too much: the extractor would recurse until the stack
/// overflows, which no `catch_unwind` catches.
pub(super) fn check(pdf: &Pdf, page: ObjectId) -> Result<(), String> {
    let Ok(dict) = pdf.get_dictionary(page) else { return Ok(()) };
    let resources = inherited_resources(pdf, dict);
    let Ok(content) = pdf.get_page_content(page) else { return Ok(()) };
    Walk { pdf, drawn: 0 }.visit(&content, resources, 0)
}

/// The resources of the page or of the nearest node above it that has any.
fn inherited_resources<'a>(pdf: &'a Pdf, page: &'a Dictionary) -> Option<&'a Dictionary> {
    let mut node = page;
    for _ in 0..MAX_DEPTH {
        if let Some(resources) = dict_at(pdf, node, b"Resources") {
            return Some(resources);
        }
        node = dict_at(pdf, node, b"Parent")?;
    }
    None
}

struct Walk<'a> {
    pdf: &'a Pdf,
    drawn: usize,
}

impl<'a> Walk<'a> {
    fn visit(
        &mut self,
        content: &[u8],
        resources: Option<&'a Dictionary>,
        depth: usize,
    ) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("its drawings are nested more than {MAX_DEPTH} deep, or without end"));
        }
        let Some(drawings) = resources.and_then(|resources| dict_at(self.pdf, resources, b"XObject")) else {
            return Ok(());
        };
        let Ok(content) = Content::decode(content) else { return Ok(()) };
        for operation in content.operations.iter().filter(|operation| operation.operator == "Do") {
            let name = operation.operands.first().and_then(|name| name.as_name().ok());
            let Some(form) = name.and_then(|name| form_at(self.pdf, drawings, name)) else { continue };
            self.drawn += 1;
            if self.drawn > MAX_DRAWN {
                return Err(format!("it holds more than {MAX_DRAWN} drawings"));
            }
            let content = form.decompressed_content().unwrap_or_else(|_| form.content.clone());
            let own = dict_at(self.pdf, &form.dict, b"Resources").or(resources);
            self.visit(&content, own, depth + 1)?;
        }
        Ok(())
    }
}

fn dict_at<'a>(pdf: &'a Pdf, dict: &'a Dictionary, key: &[u8]) -> Option<&'a Dictionary> {
    let (_, object) = pdf.dereference(dict.get(key).ok()?).ok()?;
    object.as_dict().ok()
}

/// A form by its name; pictures, which are drawn by the same command, are passed over.
fn form_at<'a>(pdf: &'a Pdf, drawings: &'a Dictionary, name: &[u8]) -> Option<&'a Stream> {
    let (_, object) = pdf.dereference(drawings.get(name).ok()?).ok()?;
    let stream = object.as_stream().ok()?;
    let is_picture = stream.dict.get(b"Subtype").and_then(Object::as_name).is_ok_and(|kind| kind == b"Image");
    (!is_picture).then_some(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pdf_extract::dictionary;

    /// One page that draws form `Outer`, whose content is given; no form has resources of its own.
    fn page_with_forms(forms: &[(&str, &str)]) -> (Pdf, ObjectId) {
        let mut pdf = Pdf::with_version("1.5");
        let mut drawings = Dictionary::new();
        for (name, content) in forms {
            let dict = dictionary! { "Type" => "XObject", "Subtype" => "Form" };
            let id = pdf.add_object(Stream::new(dict, content.as_bytes().to_vec()));
            drawings.set(*name, id);
        }
        let content = pdf.add_object(Stream::new(Dictionary::new(), b"/Outer Do".to_vec()));
        let resources = dictionary! { "XObject" => drawings };
        let page =
            pdf.add_object(dictionary! { "Type" => "Page", "Contents" => content, "Resources" => resources });
        (pdf, page)
    }

    #[test]
    fn sound_forms_pass() {
        let (pdf, page) = page_with_forms(&[("Outer", "/Inner Do /Inner Do"), ("Inner", "q Q")]);
        assert_eq!(check(&pdf, page), Ok(()));
    }

    #[test]
    fn a_form_that_draws_itself_is_refused() {
        let (pdf, page) = page_with_forms(&[("Outer", "/Inner Do"), ("Inner", "/Outer Do")]);
        assert!(check(&pdf, page).unwrap_err().contains("without end"));
    }

    #[test]
    fn forms_that_multiply_are_refused() {
        let names: Vec<String> =
            std::iter::once("Outer".to_string()).chain((1..20).map(|n| format!("F{n}"))).collect();
        let contents: Vec<String> =
            (1..=20).map(|n| format!("/F{n} Do ").repeat(if n < 20 { 8 } else { 0 })).collect();
        let forms: Vec<(&str, &str)> =
            names.iter().zip(&contents).map(|(n, c)| (n.as_str(), c.as_str())).collect();
        let (pdf, page) = page_with_forms(&forms);
        assert!(check(&pdf, page).unwrap_err().contains("more than 20000 drawings"));
    }
}
