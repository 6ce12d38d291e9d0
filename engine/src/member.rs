//! One attached container, as the engine holds it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};

use ksync_merge::{Keep, Policy, State};

use crate::{far::Far, gate::Gate, state::MemberState};

/// An attached container.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) far: Arc<dyn Far>,
    /// Tells it from earlier attachments of the same name.
    pub(crate) generation: u64,
    pub(crate) policy: Policy,
    /// What was told so far of a listing that is not complete.
    pub(crate) listing: Option<BTreeMap<Arc<str>, State>>,
    /// Why displaced files are to be kept, by their number.
    pub(crate) reasons: HashMap<u64, Keep>,
    /// When a mark was sent that has not come back.
    pub(crate) marked: Option<(u64, Instant)>,
    pub(crate) gate: Gate,
    pub(crate) failures: BTreeMap<String, String>,
    /// What can't be looked at there.
    pub(crate) skipped: BTreeMap<String, String>,
    pub(crate) in_flight: usize,
    pub(crate) state: MemberState,
}

impl Attached {
    pub(crate) fn new(far: Arc<dyn Far>, generation: u64, policy: Policy) -> Self {
        Self {
            far,
            generation,
            policy,
            listing: Some(BTreeMap::new()),
            reasons: HashMap::new(),
            marked: None,
            gate: Gate::Idle,
            failures: BTreeMap::new(),
            skipped: BTreeMap::new(),
            in_flight: 0,
            state: MemberState::default(),
        }
    }
}
