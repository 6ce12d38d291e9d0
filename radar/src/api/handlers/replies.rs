//! Types of the handlers' answers.

use std::pin::Pin;

use futures::Stream;
use tonic::{Response, Status};

/// One answer.
pub(super) type Reply<T> = Result<Response<T>, Status>;
/// A stream of answers.
pub(super) type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
