//! Image configs and `--change`: no panic, and what was read can be written and read again.
#![no_main]

use kelp::oci::{Change, ContainerConfig, ImageConfig};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(config) = ImageConfig::parse(bytes) {
        assert_eq!(ImageConfig::parse(config.to_json().as_bytes()), Ok(config));
    }
    if let Some(change) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<Change>().ok()) {
        let _ = change.apply(&mut ContainerConfig::default());
    }
});
