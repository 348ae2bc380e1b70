//! Where a collection on a Chroma server is.

use std::fmt;
use std::str::FromStr;

use ureq::http::Uri;

use crate::DocqaError;

/// A collection on a Chroma server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChromaAddress {
    /// The server: `http://localhost:8000`, without a slash at its end.
    pub server: String,
    /// The tenant to whom the database belongs.
    pub tenant: String,
    /// The database with the collection.
    pub database: String,
    /// The collection.
    pub collection: String,
}

/// What Chroma calls the tenant and the database that it makes by itself.
const DEFAULT_TENANT: &str = "default_tenant";
const DEFAULT_DATABASE: &str = "default_database";

const EXPECTED: &str = "expected http://HOST:PORT/COLLECTION, with ?tenant=NAME&database=NAME where they are not the \
                        default ones";

impl FromStr for ChromaAddress {
    type Err = DocqaError;

    /// Reads `http://localhost:8000/papers` or `https://host/prefix/papers?tenant=a&database=b`: the last part of the
    /// path names the collection.
    fn from_str(text: &str) -> Result<Self, DocqaError> {
        let refused = |reason: String| DocqaError::Address { given: text.into(), reason };
        let uri: Uri = text.parse().map_err(|_| refused(format!("not an address; {EXPECTED}")))?;
        let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.authority()) else {
            return Err(refused(format!("not an address; {EXPECTED}")));
        };
        if !["http", "https"].contains(&scheme) {
            return Err(refused(format!("{scheme} is not spoken here; {EXPECTED}")));
        }
        let (prefix, collection) = uri.path().trim_end_matches('/').rsplit_once('/').unwrap_or_default();
        if collection.is_empty() {
            return Err(refused(format!("no collection is named; {EXPECTED}")));
        }
        if !is_name(collection) {
            return Err(refused(format!(
                "{collection:?} cannot be a collection; expected 3 to 512 letters, digits, dots, hyphens and underscores, \
                 a letter or digit first and last"
            )));
        }
        let mut address = Self {
            server: format!("{scheme}://{host}{prefix}"),
            tenant: DEFAULT_TENANT.into(),
            database: DEFAULT_DATABASE.into(),
            collection: collection.into(),
        };
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("tenant", name)) if is_name(name) => address.tenant = name.into(),
                Some(("database", name)) if is_name(name) => address.database = name.into(),
                _ => return Err(refused(format!("{pair} is not understood; {EXPECTED}"))),
            }
        }
        Ok(address)
    }
}

/// Chroma's rule for names.
fn is_name(text: &str) -> bool {
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    (3..=512).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        && is_end(text.chars().next())
        && is_end(text.chars().next_back())
}

impl fmt::Display for ChromaAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, tenant, database, collection } = self;
        write!(f, "{server}/{collection}")?;
        let named = [("tenant", tenant, DEFAULT_TENANT), ("database", database, DEFAULT_DATABASE)];
        let mut before = '?';
        for (key, name, default) in named {
            if name != default {
                write!(f, "{before}{key}={name}")?;
                before = '&';
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        let read = |text: &str| text.parse::<ChromaAddress>().unwrap();
        let address = read("http://localhost:8000/papers");
        assert_eq!(
            (address.server.as_str(), address.collection.as_str()),
            ("http://localhost:8000", "papers")
        );
        assert_eq!((address.tenant.as_str(), address.database.as_str()), (DEFAULT_TENANT, DEFAULT_DATABASE));
        assert_eq!(read("https://host/behind/a/papers/").server, "https://host/behind/a");
        let full = "http://[::1]:8000/my.papers-2?tenant=group&database=library";
        assert_eq!(read(full).to_string(), full);
        assert_eq!(read(full).database, "library");
        assert_eq!(address.to_string(), "http://localhost:8000/papers");
    }

    #[test]
    fn what_is_no_address_is_refused_in_a_line() {
        for (text, reason) in [
            ("localhost:8000/papers", "not an address"),
            ("papers", "not an address"),
            ("", "not an address"),
            ("ftp://host/papers", "ftp is not spoken here"),
            ("http://localhost:8000", "no collection is named"),
            ("http://localhost:8000/", "no collection is named"),
            ("http://localhost:8000/ab", "\"ab\" cannot be a collection"),
            ("http://localhost:8000/_papers", "cannot be a collection"),
            ("http://localhost:8000/papers?user=me", "user=me is not understood"),
            ("http://localhost:8000/papers?tenant=", "tenant= is not understood"),
        ] {
            let error = text.parse::<ChromaAddress>().unwrap_err();
            assert!(error.is_input_error());
            let message = error.to_string();
            assert!(message.contains(reason) && !message.contains('\n'), "{text}: {message}");
        }
    }
}
