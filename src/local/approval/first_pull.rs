//! The question whether many files that only a container has are brought here.
//!
//! Invariant: one question at a time, of the container that would become two-way, and no answer outlives its question. To
//! leave the files in the container for good is a matter of the spec's patterns.

use tokio::sync::watch;

use super::container::ContainerRef;

/// Files that only a container has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FirstPull {
    /// The container.
    pub source: ContainerRef,
    /// Files and symlinks.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Paths that hold all of these files and nothing that is here; each stands for all below it.
    pub tops: Vec<String>,
    /// Whether the answer was to bring them.
    pub accepted: bool,
}

impl FirstPull {
    /// A sentence: how many files there are, and both answers.
    pub(crate) fn reason(&self) -> String {
        let Self { source, files, bytes, .. } = self;
        format!(
            "{files} files ({}) exist only in pod `{}`: `kubectl ksync accept {spec}` brings them here, `kubectl ksync \
             decline {spec}` leaves them there",
            crate::printer::size(*bytes),
            source.pod,
            spec = source.spec
        )
    }
}

/// Where the question of one local folder is asked and answered.
#[derive(Debug)]
pub(crate) struct FirstPullApproval(watch::Sender<Option<FirstPull>>);

impl Default for FirstPullApproval {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl FirstPullApproval {
    /// Asks. The question stands while the returned value lives.
    pub(crate) fn ask(&self, pull: FirstPull) -> FirstPullQuestion {
        let reason = pull.reason();
        self.0.send_replace(Some(pull));
        FirstPullQuestion { question: self.0.clone(), reason }
    }

    /// The question that stands now.
    pub(crate) fn open(&self) -> Option<FirstPull> {
        self.0.borrow().clone().filter(|pull| !pull.accepted)
    }

    /// Answers that the files are brought. Returns the question; none where none stands.
    pub(crate) fn accept(&self) -> Option<FirstPull> {
        let mut asked = None;
        self.0.send_if_modified(|pull| match pull {
            Some(pull) if !pull.accepted => {
                asked = Some(pull.clone());
                pull.accepted = true;
                true
            }
            _ => false,
        });
        asked
    }
}

/// A question that stands.
#[derive(Debug)]
pub(crate) struct FirstPullQuestion {
    question: watch::Sender<Option<FirstPull>>,
    /// As a sentence.
    pub reason: String,
}

impl FirstPullQuestion {
    /// Waits for the answer that the files are brought.
    pub(crate) async fn accepted(&self) {
        let mut answer = self.question.subscribe();
        // The sender is in `self`, so this ends with a change.
        let _ = answer.wait_for(|pull| pull.as_ref().is_some_and(|pull| pull.accepted)).await;
    }
}

impl Drop for FirstPullQuestion {
    fn drop(&mut self) {
        self.question.send_replace(None);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::{ContainerRef, FirstPull, FirstPullApproval};

    fn pull() -> FirstPull {
        let source = ContainerRef { spec: "main".into(), container: "c".into(), pod: "app-1".into() };
        FirstPull { source, files: 1200, bytes: 3 << 20, tops: vec!["node_modules".into()], accepted: false }
    }

    #[tokio::test]
    async fn an_answer_is_for_what_is_asked_and_for_once() {
        let approval = FirstPullApproval::default();
        assert_eq!((approval.open(), approval.accept()), (None, None));
        let asked = approval.ask(pull());
        assert!(asked.accepted().now_or_never().is_none());
        assert_eq!(approval.open(), Some(pull()));
        assert_eq!(approval.accept(), Some(pull()));
        asked.accepted().await;
        assert_eq!((approval.open(), approval.accept()), (None, None));
        drop(asked);
        let again = approval.ask(pull());
        assert!(again.accepted().now_or_never().is_none(), "an old answer is not one to a new question");
        drop(again);
        assert_eq!(approval.open(), None);
    }

    #[test]
    fn it_says_how_much_and_both_answers() {
        assert_eq!(
            pull().reason(),
            "1200 files (3.1 MB) exist only in pod `app-1`: `kubectl ksync accept main` brings them here, `kubectl \
             ksync decline main` leaves them there"
        );
    }
}
