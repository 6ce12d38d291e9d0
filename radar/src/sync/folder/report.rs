//! A folder's reports to the registry.

use std::{fmt, sync::Arc};

use ksync_proto::radar::{AttachmentEnd, Role};

use super::progress::Progress;

/// Something that the registry has to know.
#[derive(Debug)]
pub(crate) enum Report {
    /// An attachment has this role in its folder now.
    Joined {
        /// Attachment id.
        attachment: String,
        /// What it is there.
        role: Role,
    },
    /// The folder has ended, and these attachments with it.
    Over {
        /// Which.
        folder: Progress,
        /// All that were in it.
        attachments: Vec<Over>,
    },
}

/// An attachment that ended with its folder.
#[derive(Debug)]
pub(crate) struct Over {
    /// Its id.
    pub(crate) attachment: String,
    /// What its owner is told.
    pub(crate) why: AttachmentEnd,
    /// In a sentence.
    pub(crate) reason: String,
}

/// Where reports go. They keep their order among what else the registry hears.
#[derive(Clone)]
pub(crate) struct Reports(Arc<dyn Fn(Report) + Send + Sync>);

impl Reports {
    /// Each report is handed to `hear`, which must not block.
    pub(crate) fn heard_by(hear: impl Fn(Report) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hear))
    }

    /// Tells it.
    pub(super) fn tell(&self, report: Report) {
        (self.0)(report);
    }
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reports")
    }
}
