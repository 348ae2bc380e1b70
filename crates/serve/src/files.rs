//! The page's own files, which are part of the binary.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! file {
    ($path:literal, $name:literal, $kind:expr) => {
        ($path, $kind, include_str!(concat!("../web/", $name)))
    };
}

/// Path, type and text of each.
pub(crate) const FILES: &[(&str, &str, &str)] = &[
    file!("/", "index.html", HTML),
    file!("/style.css", "style.css", CSS),
    file!("/app.js", "app.js", SCRIPT),
    file!("/server.js", "server.js", SCRIPT),
    file!("/view.js", "view.js", SCRIPT),
    file!("/icon.svg", "icon.svg", SVG),
];

pub(crate) fn route<S: Clone + Send + Sync + 'static>(
    kind: &'static str,
    text: &'static str,
) -> MethodRouter<S> {
    get(async move || -> Response {
        // A newer Kiln on the same port has newer files.
        ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")], text).into_response()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_from_elsewhere() {
        for (path, _, text) in FILES {
            for scheme in ["http:", "https:", "src=\"//", "href=\"//", "url(//"] {
                let text = text.replace("http://www.w3.org/2000/svg", "");
                assert!(!text.contains(scheme), "{path} contains {scheme}");
            }
        }
    }

    #[test]
    fn what_the_page_names_is_there() {
        let html = FILES[0].2;
        let names = html.split('"').filter(|text| text.starts_with('/') && text.contains('.'));
        let mut count = 0;
        for name in names {
            assert!(FILES.iter().any(|(path, ..)| *path == name), "{name}");
            count += 1;
        }
        assert!(count >= 3, "there should be a style, a script and an icon, not {count} files");
    }

    /// The policy forbids both, so a page that had them would be broken.
    #[test]
    fn there_are_no_inline_scripts_and_styles() {
        let html = FILES[0].2;
        for inline in ["<style", " style=", " onclick=", " onload=", "<script>", "javascript:"] {
            assert!(!html.contains(inline), "{inline}");
        }
    }
}
