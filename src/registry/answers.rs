//! What is parsed by hand of a registry's answers, as one calls it from outside: the doors of the fuzzers. None of it
//! decides anything.

use reqwest::Url;

use super::{challenge, http, pages};

/// How many challenges of known schemes a `WWW-Authenticate` holds.
pub fn challenges(header: &str) -> usize {
    challenge::parse(header).len()
}

/// What an error's body says, for the user.
pub fn explanation(body: &[u8]) -> String {
    http::explanation(body)
}

/// Where the `Link` of a page at `base` leads.
pub fn next_page(base: &str, link: &str) -> Option<String> {
    pages::next_page(&base.parse::<Url>().ok()?, link).map(Into::into)
}
