//! The sync stream, both ways.
#![no_main]

use ksync_proto::radar::{SyncReply, SyncRequest};
use ksync_wire::{ReplyDecoder, RequestDecoder};
use prost::Message as _;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = SyncRequest::decode(bytes) {
        let _ = RequestDecoder::default().decode(message);
    }
    if let Ok(message) = SyncReply::decode(bytes) {
        let _ = ReplyDecoder::default().decode(message);
    }
});
