//! Where the time of an edit went: the stages here, by this clock, and those on the node, by how long before its answer
//! they were.

use std::time::SystemTime;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::debug;

use crate::{local::LocalStages, node::StagesAgo, status::Edit};

/// When a node last got through its stages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stages {
    answered: Instant,
    index: Option<Instant>,
    finished: Option<Instant>,
    copied: Option<Instant>,
}

impl Stages {
    /// From an answer that came just now.
    pub(super) fn of(ago: &StagesAgo) -> Self {
        let answered = Instant::now();
        let at = |ago| answered.checked_sub(ago);
        Self {
            answered,
            index: ago.index.and_then(at),
            finished: ago.finished.and_then(at),
            copied: ago.copied.and_then(at),
        }
    }

    /// The whole way of what was noticed here; a stage that was last got through before then was not part of it.
    pub(super) fn edit(&self, local: &LocalStages) -> Option<Edit> {
        let after = |at: Instant| at.checked_duration_since(local.noticed);
        let settled = after(self.answered)?;
        let edit = Edit {
            at: Timestamp::try_from(SystemTime::now().checked_sub(settled)?).ok()?,
            posted: after(local.posted)?,
            scanned: after(local.scanned)?,
            index: self.index.and_then(after),
            finished: self.finished.and_then(after),
            copied: self.copied.and_then(after),
            settled,
        };
        debug!(
            posted = ?edit.posted,
            scanned = ?edit.scanned,
            index = ?edit.index,
            finished = ?edit.finished,
            copied = ?edit.copied,
            settled = ?edit.settled,
            "an edit is there; when since it was noticed"
        );
        Some(edit)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, advance};

    use super::Stages;
    use crate::{local::LocalStages, node::StagesAgo};

    #[tokio::test(start_paused = true)]
    async fn stages_are_told_since_the_edit_was_noticed() {
        let ms = Duration::from_millis;
        advance(ms(1000)).await;
        let noticed = Instant::now();
        let local = LocalStages { noticed, posted: noticed + ms(1), scanned: noticed + ms(3) };
        advance(ms(10)).await;
        let ago = StagesAgo { index: Some(ms(6)), finished: Some(ms(2)), copied: Some(ms(500)) };
        let edit = Stages::of(&ago).edit(&local).unwrap();
        assert_eq!((edit.posted, edit.scanned, edit.settled), (ms(1), ms(3), ms(10)));
        assert_eq!((edit.index, edit.finished), (Some(ms(4)), Some(ms(8))));
        assert_eq!(edit.copied, None, "the copies of an earlier edit");
    }
}
