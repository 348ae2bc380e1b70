//! Who may speak with the server: no other site, through whatever trick.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::api::Refusal;

/// Checks where requests are meant to go and where they come from.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    /// Names of this server, beside loopback's and addresses.
    names: Vec<String>,
}

impl Guard {
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> Guard {
        Guard { names: names.into_iter().map(|name| name.to_ascii_lowercase()).collect() }
    }

    /// Refuses a request that names another host (a name that was made to point here, DNS rebinding) and one that another
    /// site's page has sent (CSRF).
    pub(crate) fn check(&self, path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = only(headers, &HOST)
            .ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "the request should name one host"))?;
        if !self.knows(host) {
            let message = format!(
                "this server is not {}; open it as localhost or by its address, or start it with --name",
                crate::upload::shown_name(host)
            );
            return Err(Refusal::new(StatusCode::FORBIDDEN, message));
        }
        let foreign = || Refusal::new(StatusCode::FORBIDDEN, "the request comes from another site's page");
        if headers.contains_key(ORIGIN) {
            let origin = only(headers, &ORIGIN).and_then(|origin| origin.split_once("://"));
            if !origin.is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host)) {
                return Err(foreign());
            }
        }
        // Browsers say by themselves where a request began; a link from another site may lead to the page, and to it alone.
        const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
        if path != "/" && headers.contains_key(&SITE) {
            let site = only(headers, &SITE);
            if !site.is_some_and(|site| ["same-origin", "none"].contains(&site)) {
                return Err(foreign());
            }
        }
        Ok(())
    }

    /// Whether a `Host` header means this server. Any port will do, since it may be reached through a tunnel; and any
    /// address, since what DNS rebinding abuses are names.
    fn knows(&self, host: &str) -> bool {
        let Some(name) = name_of(host) else { return false };
        let name = name.to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        // Names below localhost never leave the machine (RFC 6761).
        name == "localhost"
            || name.ends_with(".localhost")
            || name.parse::<Ipv4Addr>().is_ok()
            || is_ipv6(name)
            || self.names.iter().any(|known| known == name)
    }
}

fn is_ipv6(name: &str) -> bool {
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
}

/// The host without its port; an IPv6 address keeps its brackets.
fn name_of(host: &str) -> Option<&str> {
    let end = if host.starts_with('[') { host.find(']')? + 1 } else { host.find(':').unwrap_or(host.len()) };
    let (name, port) = host.split_at(end);
    let port_is_sound = port.is_empty()
        || port.strip_prefix(':').is_some_and(|port| {
            !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())
        });
    (!name.is_empty() && port_is_sound).then_some(name)
}

/// A header that is there once, as text.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok()
}

/// What goes with every answer: the page may use its own files and nothing else, and nobody may frame it.
pub(crate) const SAFETY: [(HeaderName, HeaderValue); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, headers: &[(&'static str, &'static str)]) -> bool {
        let guard = Guard::new(["Clay.example".to_owned()]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        guard.check(path, &map).is_ok()
    }

    #[test]
    fn names_of_this_server_pass() {
        for host in [
            "localhost",
            "localhost:7860",
            "LOCALHOST:1",
            "localhost.:7860",
            "kiln.localhost:7860",
            "127.0.0.1:7860",
            "192.168.0.7",
            "[::1]:7860",
            "[::1]",
            "clay.example:7860",
            "clay.EXAMPLE",
        ] {
            assert!(check("/api/about", &[("host", host)]), "{host}");
        }
    }

    #[test]
    fn other_names_do_not() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example",
            "127.0.0.1:7860@evil.example",
            "2130706433",
            "0x7f.1",
            "[::1",
            "[::1]x",
            "::1",
            "localhost:",
            "localhost:78601234",
            "localhost:a",
            "",
            "clay.example.evil",
        ] {
            assert!(!check("/", &[("host", host)]), "{host}");
        }
        assert!(!check("/", &[]));
        assert!(!check("/", &[("host", "localhost"), ("host", "localhost")]));
    }

    #[test]
    fn other_origins_do_not_pass() {
        let host = ("host", "localhost:7860");
        for origin in ["http://localhost:7860", "https://LOCALHOST:7860"] {
            assert!(check("/api/rooms", &[host, ("origin", origin)]), "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://localhost",
            "http://localhost:3000",
            "http://evil.example",
            "http://127.0.0.1:7860",
        ] {
            assert!(!check("/api/rooms", &[host, ("origin", origin)]), "{origin}");
        }
    }

    #[test]
    fn other_sites_reach_the_page_alone() {
        let host = ("host", "localhost:7860");
        for (site, page, api) in [
            ("same-origin", true, true),
            ("none", true, true),
            ("cross-site", true, false),
            ("same-site", true, false),
            ("x", true, false),
        ] {
            assert_eq!(check("/", &[host, ("sec-fetch-site", site)]), page, "{site}");
            assert_eq!(check("/api/about", &[host, ("sec-fetch-site", site)]), api, "{site}");
            assert_eq!(check("/app.js", &[host, ("sec-fetch-site", site)]), api, "{site}");
        }
    }
}
