//! How large the messages of each call may be.
//!
//! Invariant: a message is gathered in memory before a handler sees whose it is, so it may be no larger than its call needs.
//! Pieces of files and syncs alone are large, and radar counts those who send them.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use ksync_proto::radar::radar_server::{Radar, RadarServer};
use tonic::{
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::NamedService,
};

/// A question: some paths, each of which is 4 KiB at most.
const QUESTION: usize = 16 * 1024;
/// A piece of a file or of a syncthing's stream, with what is said about it: 400 of them may be gathered for one person.
const PIECE: usize = (256 + 64) * 1024;
/// What goes together in a message of a sync, and a content: far above the largest that a watcher makes.
const SYNC: usize = 1024 * 1024;

/// The calls, each with its limit.
#[derive(Debug)]
pub(crate) struct Calls<T> {
    questions: RadarServer<T>,
    pieces: RadarServer<T>,
    syncs: RadarServer<T>,
}

impl<T: Radar> Calls<T> {
    pub(crate) fn new(handlers: T) -> Self {
        let handlers = Arc::new(handlers);
        let up_to = |size| RadarServer::from_arc(Arc::clone(&handlers)).max_decoding_message_size(size);
        Self { questions: up_to(QUESTION), pieces: up_to(PIECE), syncs: up_to(SYNC) }
    }
}

impl<T> Clone for Calls<T> {
    fn clone(&self) -> Self {
        let Self { questions, pieces, syncs } = self;
        Self { questions: questions.clone(), pieces: pieces.clone(), syncs: syncs.clone() }
    }
}

impl<T> NamedService for Calls<T> {
    const NAME: &'static str = RadarServer::<T>::NAME;
}

impl<T: Radar> Service<http::Request<Body>> for Calls<T> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match request.uri().path().rsplit('/').next() {
            Some("Sync") => self.syncs.call(request),
            Some("Stage" | "Bep") => self.pieces.call(request),
            _ => self.questions.call(request),
        }
    }
}
