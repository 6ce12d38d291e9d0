//! Patterns of what is not synced.
#![no_main]

use ksync_tree::{Ignore, pattern_of};

libfuzzer_sys::fuzz_target!(|text: &str| {
    // A path has none.
    assert!(text.contains('\0') || Ignore::new(&[pattern_of(text)]).is_ok());
    let patterns: Vec<String> = text.lines().map(str::to_owned).collect();
    if let Ok(ignore) = Ignore::with_defaults(&patterns) {
        let _ = (ignore.matches("a/b.log"), ignore.goes_with_its_directory("a/__pycache__"));
    }
});
