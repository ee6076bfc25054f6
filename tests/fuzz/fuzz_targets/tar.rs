//! Tar archives: no panic, no endless loop, and no entry whose content is longer than the archive.
#![no_main]

use kelp::image::unpack::Reader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut reader = Reader::new(bytes);
    while let Ok(Some(entry)) = reader.next_entry() {
        let mut read = 0;
        while let Ok(piece) = reader.content() {
            let length = piece.len();
            if length == 0 {
                assert_eq!(read, entry.stored_size);
                break;
            }
            reader.consume(length);
            read += length as u64;
        }
        assert!(read <= bytes.len() as u64);
    }
});
