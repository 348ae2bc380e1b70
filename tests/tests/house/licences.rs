//! Each dependency may be used under a licence that suits a program under MIT OR Apache-2.0.

use spdx::{Expression, LicenseItem, LicenseReq, ParseMode};

use crate::{expect_none, expect_one, metadata};

/// Permissive licences, and two with a reach that ends at their own files: MPL-2.0, and CDLA-Permissive-2.0
/// for the list of root certificates.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

fn allowed(requirement: &LicenseReq) -> bool {
    // An exception to a licence (`Apache-2.0 WITH LLVM-exception`) only ever grants more.
    matches!(&requirement.license, LicenseItem::Spdx { id, .. } if ALLOWED.contains(&id.name))
}

/// Complaints about `(package, licence expression)` pairs.
fn unsuitable<'a>(packages: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Vec<String> {
    let judge = |(package, licence): (&str, Option<&str>)| {
        let Some(licence) = licence else {
            return Some(format!("{package} names no licence"));
        };
        // Older packages write `MIT/Apache-2.0` for `MIT OR Apache-2.0`.
        match Expression::parse_mode(licence, ParseMode::LAX) {
            Err(error) => Some(format!("{package}: can't read its licence {licence:?}: {}", error.reason)),
            Ok(expression) if !expression.evaluate(allowed) => {
                Some(format!("{package}: its licence {licence:?} is not one that we take"))
            }
            Ok(_) => None,
        }
    };
    packages.into_iter().filter_map(judge).collect()
}

#[test]
fn every_dependency_has_a_licence_that_we_take() {
    let packages = &metadata().packages;
    assert!(packages.len() > 50, "the dependencies should be read, not {} packages", packages.len());
    expect_none(unsuitable(
        packages.iter().map(|package| (package.name.as_str(), package.license.as_deref())),
    ));
}

mod complains_about {
    use super::*;

    #[test]
    fn copyleft() {
        expect_one(&unsuitable([("a", Some("GPL-3.0-only"))]), "GPL-3.0-only");
        expect_one(&unsuitable([("a", Some("MIT AND LGPL-2.1-or-later"))]), "LGPL");
    }

    #[test]
    fn no_licence() {
        expect_one(&unsuitable([("a", None)]), "names no licence");
    }

    #[test]
    fn a_licence_that_is_none() {
        expect_one(&unsuitable([("a", Some("do what you like"))]), "can't read");
    }

    #[test]
    fn nothing_that_is_right() {
        let right =
            ["MIT", "MIT/Apache-2.0", "GPL-2.0-only OR MIT", "Apache-2.0 WITH LLVM-exception", "MIT AND ISC"];
        expect_none(unsuitable(right.map(|licence| ("a", Some(licence)))));
    }
}
