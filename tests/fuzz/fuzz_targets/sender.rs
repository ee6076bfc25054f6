//! What is lost and what is sent again: acknowledgements that no container sends, selective ones of anything, and clocks
//! that jump. The sender stays sound and bounded, and mends everything once the container is honest.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| kelp::net::play_acknowledgements(bytes));
