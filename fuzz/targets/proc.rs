//! The files of `/proc/PID`.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| ksync_procfs::fuzz(text));
