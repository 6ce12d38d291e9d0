//! syncthing's events and answers.
#![no_main]

use syncthing::{Event, FolderStatus, PullError};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for event in serde_json::from_slice::<Vec<Event>>(bytes).unwrap_or_default() {
        let _ = event.typed();
    }
    let _ = serde_json::from_slice::<FolderStatus>(bytes);
    let _ = serde_json::from_slice::<Vec<PullError>>(bytes);
});
