//! The containers that follow a lead, as the folder and the worker share them.

use std::sync::{Arc, Mutex, PoisonError};

use crate::container::attachment::Attachment;

/// The containers that follow.
pub(crate) type Followers = Arc<Mutex<Vec<Arc<Attachment>>>>;

/// The followers of the moment.
pub(crate) fn snapshot(followers: &Followers) -> Vec<Arc<Attachment>> {
    followers.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
