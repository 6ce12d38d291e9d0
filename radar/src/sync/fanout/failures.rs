//! Copies and deletions that failed in followers.
//!
//! Invariant: a failure stands until a later try goes well or its follower leaves.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::job::Job;
use crate::container::attachment::Attachment;

/// What a follower lacks, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// For a person.
    pub(super) sentence: String,
    /// What would put it right.
    pub(super) again: Job,
}

/// All that failed and was not put right since, by attachment id and path.
#[derive(Debug, Clone, Default)]
pub(super) struct Failures(Arc<Mutex<BTreeMap<(String, String), Failure>>>);

impl Failures {
    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, String), Failure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, follower: &str, path: &str, sentence: String, again: Job) {
        self.lock().insert((follower.to_owned(), path.to_owned()), Failure { sentence, again });
    }

    pub(super) fn clear(&self, follower: &str, path: &str) {
        self.lock().remove(&(follower.to_owned(), path.to_owned()));
    }

    /// Forgets what concerns nobody any more.
    pub(super) fn retain(&self, followers: &[Arc<Attachment>]) {
        self.lock().retain(|(id, _), _| followers.iter().any(|follower| follower.id == *id));
    }

    /// Whether this is still what has to be done.
    pub(super) fn stands(&self, follower: &str, again: &Job) -> bool {
        let (Job::Copy { path, .. } | Job::Remove { path }) = again else { return true };
        let key = (follower.to_owned(), path.clone());
        self.lock().get(&key).is_some_and(|failure| failure.again == *again)
    }

    pub(super) fn again(&self) -> Vec<(String, Job)> {
        self.lock().iter().map(|((id, _), failure)| (id.clone(), failure.again.clone())).collect()
    }
}
