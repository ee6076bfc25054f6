//! T-fuzz-manifest: manifests, indexes and docker's archive manifests: no panic, and what was read can be written and
//! read again.
#![no_main]

use kelp::oci::{Document, parse_archive_manifest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Document::Manifest(manifest)) = Document::parse(bytes, None) {
        let again = Document::parse(manifest.to_json().as_bytes(), None);
        assert_eq!(again, Ok(Document::Manifest(manifest)));
    }
    let _ = parse_archive_manifest(bytes);
});
