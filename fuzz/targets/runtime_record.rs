//! A runtime's record of how a container was started. radar is a program and no library, so its file is part of this one.
#![no_main]

#[allow(dead_code, unreachable_pub)]
#[path = "../../radar/src/container/runtime/record.rs"]
mod record;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let record = serde_json::from_slice(bytes).ok().and_then(record::in_runtime_spec);
    assert!(record.is_none_or(|record| !record.args.is_empty()));
});
