//! Spells out glyph widths that are given as ranges.

use pdf_extract::{Document as Pdf, Object, ObjectId};

/// The most glyphs a font can have (glyph numbers have 16 bits): a range that says otherwise is a fault
/// in the file, and must not make us allocate for it.
const MAX_GLYPHS: i64 = 65_536;

/// Rewrites the `/W` array of each composite font from `first last width` to `first [width width …]`.
///
/// pdf-extract 0.12 misreads the first form (it is how Typst and others write), takes the glyphs to be
/// far too narrow or wide, and so loses line ends and inserts spaces. Arrays that do not follow the
/// standard are left as they are.
pub(super) fn spell_out(pdf: &mut Pdf) {
    // The array stands in the font or is an object of its own, to which the font refers.
    let mut elsewhere = Vec::new();
    for object in pdf.objects.values_mut() {
        visit(object, &mut elsewhere);
    }
    for id in elsewhere {
        if let Some(Object::Array(widths)) = pdf.objects.get_mut(&id) {
            rewrite(widths);
        }
    }
}

/// Looks for fonts in an object and in what stands within it: a font need not be an object of its own.
fn visit(object: &mut Object, elsewhere: &mut Vec<ObjectId>) {
    let dict = match object {
        Object::Dictionary(dict) => dict,
        Object::Array(items) => return items.iter_mut().for_each(|item| visit(item, elsewhere)),
        _ => return,
    };
    let is_composite = |name: &[u8]| name == b"CIDFontType0" || name == b"CIDFontType2";
    if dict.get(b"Subtype").and_then(Object::as_name).is_ok_and(is_composite) {
        match dict.get_mut(b"W") {
            Ok(Object::Array(widths)) => rewrite(widths),
            Ok(Object::Reference(id)) => elsewhere.push(*id),
            _ => {}
        }
    } else {
        dict.iter_mut().for_each(|(_, value)| visit(value, elsewhere));
    }
}

fn rewrite(widths: &mut Vec<Object>) {
    if let Some(spelled) = as_lists(widths) {
        *widths = spelled;
    }
}

fn as_lists(widths: &[Object]) -> Option<Vec<Object>> {
    let mut out = Vec::new();
    let mut rest = widths;
    while let [first, second, after @ ..] = rest {
        if let Object::Array(_) = second {
            out.extend([first.clone(), second.clone()]);
            rest = after;
            continue;
        }
        let (from, to) = (first.as_i64().ok()?, second.as_i64().ok()?);
        let [width, after @ ..] = after else { return None };
        if from < 0 || to < from || to >= MAX_GLYPHS || width.as_float().is_err() {
            return None;
        }
        let count = usize::try_from(to - from + 1).ok()?;
        out.extend([Object::Integer(from), Object::Array(vec![width.clone(); count])]);
        rest = after;
    }
    rest.is_empty().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pdf_extract::dictionary;

    fn numbers(values: &[i64]) -> Vec<Object> {
        values.iter().map(|&value| Object::Integer(value)).collect()
    }

    #[test]
    fn ranges_become_lists_and_lists_stay() {
        let mut mixed = numbers(&[3, 5, 250]);
        mixed.push(Object::Integer(9));
        mixed.push(Object::Array(vec![Object::Real(0.5), Object::Integer(7)]));
        mixed.extend(numbers(&[11, 11, 1]));
        let spelled = as_lists(&mixed).unwrap();
        assert_eq!(spelled.len(), 6);
        assert_eq!(spelled[1], Object::Array(numbers(&[250, 250, 250])));
        assert_eq!(spelled[2..4], mixed[3..5]);
        assert_eq!(spelled[5], Object::Array(numbers(&[1])));
        assert_eq!(as_lists(&[]), Some(Vec::new()));
    }

    #[test]
    fn arrays_against_the_standard_are_left_alone() {
        for values in [&[1][..], &[1, 2], &[5, 3, 100], &[0, 99_999_999_999, 1], &[-1, 3, 1]] {
            assert_eq!(as_lists(&numbers(values)), None, "{values:?}");
        }
    }

    #[test]
    fn fonts_are_found_wherever_they_stand() {
        let spelled = [Object::Integer(1), Object::Array(numbers(&[500, 500]))];
        let mut pdf = Pdf::with_version("1.7");
        let shared = pdf.add_object(Object::Array(numbers(&[1, 2, 500])));
        let refers = pdf.add_object(dictionary! { "Subtype" => "CIDFontType2", "W" => shared });
        let within = dictionary! { "Subtype" => "CIDFontType0", "W" => numbers(&[1, 2, 500]) };
        let outer = pdf.add_object(dictionary! { "DescendantFonts" => vec![Object::Dictionary(within)] });
        let simple = pdf.add_object(dictionary! { "Subtype" => "Type1", "W" => numbers(&[1, 2, 500]) });
        spell_out(&mut pdf);
        assert_eq!(pdf.get_object(shared).unwrap().as_array().unwrap().as_slice(), spelled);
        assert_eq!(pdf.get_dictionary(refers).unwrap().get(b"W").unwrap(), &Object::Reference(shared));
        let fonts = pdf.get_dictionary(outer).unwrap().get(b"DescendantFonts").unwrap().as_array().unwrap();
        assert_eq!(fonts[0].as_dict().unwrap().get(b"W").unwrap().as_array().unwrap().as_slice(), spelled);
        assert_eq!(pdf.get_dictionary(simple).unwrap().get(b"W").unwrap().as_array().unwrap().len(), 3);
    }
}
