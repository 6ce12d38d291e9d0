//! ksync.yaml, and what is taken out of it.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| kubectl_ksync::fuzz_config(text));
