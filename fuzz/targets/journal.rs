//! What a watcher knows of its containers, line by line.
#![no_main]

use ksync_merge::Record;

libfuzzer_sys::fuzz_target!(|line: &str| {
    if let Ok(record) = Record::read(line) {
        assert_eq!(Record::read(&record.line()).ok(), Some(record));
    }
});
