//! A channel: the task that starts the endpoint of an attachment, feeds it, and ends it.
//!
//! Invariant: the directory is watched before it is listed. Whatever ends the channel, nothing is written in the directory
//! after its last reply.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ksync_common::{Drained, Marks};
use ksync_endpoint::{Content as JobContent, Depth, Driver, Endpoint, Input, Job, Options};
use ksync_tree::{Ignore, Owner, sweep_unfinished};
use ksync_wire::{Content, End, Ended, LARGEST, Open, Reply, Request};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    checks::RootLost,
    error::Error,
    host::{HINTED, LAST, LOOK, Lost, Telling},
    memory::Held,
    opened::Opened,
    replies::Replies,
    table::{Endpoints, PATIENCE, Seat},
};
use crate::container::{
    attachment::Attachment,
    watch::{self, Change, Idle, Watch},
};

/// How often the directory is looked after without any event.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long the last look at the directory of a container that has ended may take.
const LAST_LOOK: Duration = Duration::from_secs(3);
/// How long what it wrote last may be read after that.
const LINGER: Duration = Duration::from_secs(10);
/// Requests that may wait for the endpoint.
const WAITING: usize = 256;
/// Marks that may wait for the watch.
const MARKS: usize = 64;
/// Hints that go in together.
const TOGETHER: usize = 4096;

/// A request, and the memory that it takes until it is obeyed.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) request: Request,
    pub(crate) held: Option<Held>,
}

impl From<Request> for Ask {
    fn from(request: Request) -> Self {
        Self { request, held: None }
    }
}

/// Opens an attachment. Its requests go in; the channel ends when what is returned is dropped.
pub(crate) fn open(
    endpoints: Endpoints,
    attachment: Arc<Attachment>,
    open: Open,
    replies: Replies,
) -> mpsc::Sender<Ask> {
    let (requests_tx, requests_rx) = mpsc::channel(WAITING);
    tokio::spawn(live(endpoints, attachment, open, requests_rx, replies));
    requests_tx
}

/// Lives from the opening of an attachment to its end, and says why it ended.
async fn live(
    endpoints: Endpoints,
    attachment: Arc<Attachment>,
    open: Open,
    mut requests_rx: mpsc::Receiver<Ask>,
    replies: Replies,
) {
    let _in_use = Arc::clone(&attachment.in_use).read_owned().await;
    let ended = match endpoints.seat(&attachment).await {
        Ok(seat) => {
            let opened = Arc::clone(&seat.opened);
            let ended = match start(endpoints, seat, open, replies.clone()).await {
                Ok(started) => started.run(&mut requests_rx, &replies).await,
                Err(error) => refusal(&error),
            };
            if opened.has_exited() {
                return linger(&opened, ended, requests_rx, replies).await;
            }
            opened.end();
            if tokio::time::timeout(PATIENCE, opened.gone.cancelled()).await.is_err() {
                tracing::error!(
                    attachment = attachment.id,
                    "the endpoint does not end: its file system hangs"
                );
            }
            ended
        }
        Err(error) => refusal(&error),
    };
    tell(&attachment, ended, &replies).await;
}

async fn tell(attachment: &Attachment, ended: Ended, replies: &Replies) {
    tracing::info!(attachment = attachment.id, end = ?ended.end, reason = ended.reason, "sync ended");
    // The stream may be what has ended.
    drop(replies.replies_tx.send((replies.channel, Reply::Ended(ended))).await);
}

/// The container has ended, and what it wrote last was told. Its files can be read until the client closes the channel.
async fn linger(opened: &Opened, ended: Ended, mut requests_rx: mpsc::Receiver<Ask>, replies: Replies) {
    tell(&opened.attachment, ended, &replies).await;
    let closed = async { while requests_rx.recv().await.is_some() {} };
    tokio::select! {
        () = closed => {}
        () = opened.attachment.let_go.cancelled() => {}
        () = opened.stop.cancelled() => {}
        () = opened.gone.cancelled() => {}
        () = tokio::time::sleep(LINGER) => {
            tracing::info!(attachment = opened.attachment.id, limit = ?LINGER, "what is read still is read no more");
        }
    }
    opened.end();
}

struct Started {
    opened: Arc<Opened>,
    changes_rx: mpsc::Receiver<Change>,
    lost_rx: oneshot::Receiver<Lost>,
    hinted: Arc<Notify>,
    looked: Arc<Notify>,
    watch: Watch,
}

/// On a thread of its own: as many as are to be opened may hang, and keep nobody else's from being opened.
async fn start(endpoints: Endpoints, seat: Seat, open: Open, replies: Replies) -> Result<Started, Error> {
    let attachment = seat.opened.attachment.id.clone();
    let (started_tx, started_rx) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    let opening = std::thread::Builder::new().name("ksync-open".to_owned()).spawn(move || {
        // Who opens it may have gone: what has started ends with this then.
        drop(started_tx.send(start_blocking(&endpoints, seat, open, replies, runtime)));
    });
    opening.map_err(|source| Error::Thread { attachment: attachment.clone(), source })?;
    let ended = |_| Error::Start { attachment, reason: "its thread has ended".to_owned() };
    started_rx.await.map_err(ended)?
}

/// The threads that this one starts have its power.
fn start_blocking(
    endpoints: &Endpoints,
    seat: Seat,
    open: Open,
    replies: Replies,
    runtime: tokio::runtime::Handle,
) -> Result<Started, Error> {
    let opened = Arc::clone(&seat.opened);
    let attachment = &opened.attachment;
    let power = attachment.workers.power();
    let thread = |source| Error::Thread { attachment: attachment.id.clone(), source };
    power.take().map_err(thread)?;
    let ignore = Ignore::new(&open.ignore)?;
    attachment.set_ignore(Arc::new(ignore.clone()));
    let exclude = attachment.about.excluded();
    opened.checks.check()?;
    // What others have under way in a volume that they share is theirs.
    let alone = !endpoints.shares(attachment);
    if alone {
        let swept = sweep_unfinished(&attachment.root, &exclude, std::time::Duration::ZERO)?;
        tracing::debug!(attachment = attachment.id, swept, "unfinished files of earlier runs");
    }
    let (changes_tx, changes_rx) = mpsc::channel(watch::BACKLOG);
    let patterns = Arc::clone(attachment);
    let idle: Idle = Box::new(move |path| patterns.is_idle_at(path));
    let root = attachment.root.try_clone()?;
    let watch = Watch::start(root, exclude.clone(), idle, watch::share(), changes_tx)?;
    let options = Options {
        who: Some(power.who()),
        ignore,
        exclude,
        owner: Owner::FromParent,
        inline: open.inline.min(LARGEST as u64),
    };
    let purse = Arc::clone(&opened.purse);
    let mut endpoint = Endpoint::new(attachment.root.try_clone()?, options).metered(purse);
    if alone {
        let left = endpoint.adopt_displaced()?;
        if left > 0 {
            tracing::info!(attachment = attachment.id, left, "an earlier run has left displaced files");
        }
    }
    let (lost_tx, lost_rx) = oneshot::channel();
    let (hinted, looked) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let telling = Telling {
        opened: Arc::clone(&opened),
        replies,
        lost_tx: Some(lost_tx),
        hinted: Arc::clone(&hinted),
        looked: Arc::clone(&looked),
        runtime,
        _seat: seat,
    };
    let driver = Driver::start_with(endpoint, "ksync-endpoint", telling);
    let driver = driver.map_err(thread)?;
    opened.runs(driver);
    Ok(Started { opened, changes_rx, lost_rx, hinted, looked, watch })
}

impl Started {
    async fn run(mut self, requests_rx: &mut mpsc::Receiver<Ask>, replies: &Replies) -> Ended {
        let opened = Arc::clone(&self.opened);
        let exited = opened.checks.exited();
        let mut look = tokio::time::interval(LOOK_EVERY);
        let (mut hinting, mut marks) = (false, Marks::default());
        loop {
            tokio::select! {
                biased;
                () = exited.cancelled() => {
                    self.look_last(&opened).await;
                    return lost(RootLost::Exited);
                }
                lost_now = &mut self.lost_rx => {
                    return match lost_now {
                        Ok(Lost::Full) => ended(End::TooMuch, opened.purse.refusal().to_string()),
                        Ok(Lost::Root(why)) => {
                            if why == RootLost::Exited {
                                self.look_last(&opened).await;
                            }
                            lost(why)
                        }
                        Err(_) => ended(End::Closed, "its endpoint has ended"),
                    };
                }
                () = opened.attachment.let_go.cancelled() => {
                    return ended(End::Detached, "the attachment was let go of");
                }
                () = opened.stop.cancelled() => return ended(End::Closed, "it was opened anew"),
                () = opened.gone.cancelled() => return ended(End::Closed, "its endpoint has ended"),
                () = replies.replies_tx.closed() => return ended(End::Closed, "its stream has ended"),
                request = requests_rx.recv(), if opened.room.is_free() && marks.waiting() < MARKS => match request {
                    Some(Ask { request: Request::Mark(number), .. }) if number < LAST => {
                        if marks.ask(number) && let Err(error) = self.watch.drain() {
                            return ended(End::RootChanged, ksync_common::chain(&error));
                        }
                    }
                    Some(ask) => obey(&opened, ask),
                    None => return ended(End::Closed, "it was closed"),
                },
                () = opened.room.freed(), if !opened.room.is_free() => {}
                () = self.hinted.notified(), if hinting => hinting = false,
                change = self.changes_rx.recv(), if !hinting => {
                    let Some(change) = change else {
                        return ended(End::RootChanged, "file system events have ended");
                    };
                    let more = std::iter::from_fn(|| self.changes_rx.try_recv().ok()).take(TOGETHER);
                    match hint(&opened, std::iter::once(change).chain(more)) {
                        Ok(Hinted { any, drained }) => {
                            hinting = any;
                            if drained && let Err(error) = self.mark(&opened, &mut marks) {
                                return ended(End::RootChanged, ksync_common::chain(&error));
                            }
                        }
                        Err(reason) => return ended(End::RootChanged, reason),
                    }
                }
                _ = look.tick() => opened.send(Input::Mark(LOOK)),
            }
        }
    }
}

impl Started {
    /// The watch was drained: the marks that waited for that are set, and those that came since wait for the next time.
    fn mark(&self, opened: &Opened, marks: &mut Marks) -> Result<(), watch::Error> {
        let Drained { through, again } = marks.drained();
        for number in through {
            opened.send(Input::Mark(number));
        }
        if again { self.watch.drain() } else { Ok(()) }
    }

    /// What the container wrote just before it ended is told.
    async fn look_last(&self, opened: &Arc<Opened>) {
        opened.set_exited();
        let keeping = Arc::clone(opened);
        // Its directory may hang as the endpoint may.
        let kept = opened.workers().run(move || keeping.keep_last_files());
        drop(tokio::time::timeout(LAST_LOOK, kept).await);
        opened.send(Input::Everything);
        opened.send(Input::Mark(LAST));
        tokio::select! {
            () = self.looked.notified() => {}
            () = opened.attachment.let_go.cancelled() => {}
            () = opened.stop.cancelled() => {}
            () = opened.gone.cancelled() => {}
            () = tokio::time::sleep(LAST_LOOK) => {
                tracing::info!(attachment = opened.attachment.id, limit = ?LAST_LOOK, "the last look takes too long");
            }
        }
    }
}

fn obey(opened: &Opened, Ask { request, held }: Ask) {
    match request {
        Request::Job { number, path, old, new, content, keep } => {
            let size = if let Content::Whole(content, _) = &content { content.len() } else { 0 };
            opened.room.take(number, size, held);
            let content = match content {
                Content::None => JobContent::None,
                Content::Staged => opened
                    .staged
                    .take(number, &path, new.as_deref())
                    .map_or(JobContent::None, JobContent::Staged),
                Content::Whole(content, hash) => {
                    // The job of another content fails as one without.
                    if hash.is_some() && new.as_ref().is_none_or(|new| new.hash != hash) {
                        JobContent::None
                    } else {
                        JobContent::Whole(content)
                    }
                }
            };
            opened.send(Input::Job(number, Job { path, old, new, content, keep }));
        }
        // Marks go through the watch, but for the numbers that are this side's own.
        Request::Mark(_) | Request::Open(_) | Request::Close => {}
        Request::Release(number) => opened.send(Input::Release(number)),
        Request::JudgeAgain(number) => opened.send(Input::JudgeAgain(number)),
        Request::List => opened.send(Input::List),
    }
}

/// What came of changes.
struct Hinted {
    /// The endpoint has something to look at, and says when it has.
    any: bool,
    /// The watch is drained.
    drained: bool,
}

/// Has the endpoint look where something changed, and say when it has. What changes meanwhile is looked at after that, once,
/// however often it changes.
fn hint(opened: &Opened, changes: impl Iterator<Item = Change>) -> Result<Hinted, String> {
    let (mut hints, mut everything, mut drained) = (BTreeMap::new(), false, false);
    for change in changes {
        let (path, depth) = match change {
            Change::Path(path) => (path, Depth::Tree),
            Change::Directory(path) => (path, Depth::Entry),
            Change::All => {
                everything = true;
                continue;
            }
            Change::Limited => {
                tracing::warn!(
                    attachment = opened.attachment.id,
                    "more directories than its share of fs.inotify.max_user_watches: all is looked at every 10 s"
                );
                everything = true;
                continue;
            }
            Change::Drained => {
                drained = true;
                continue;
            }
            Change::Broken(reason) => return Err(reason),
        };
        let deepest = hints.entry(path).or_insert(depth);
        *deepest = depth.max(*deepest);
    }
    let any = everything || !hints.is_empty();
    if everything {
        opened.send(Input::Everything);
    } else {
        for (path, depth) in hints {
            opened.send(Input::Hint(path, depth));
        }
    }
    if any {
        opened.send(Input::Mark(HINTED));
    }
    Ok(Hinted { any, drained })
}

fn ended(end: End, reason: impl Into<String>) -> Ended {
    Ended { end, reason: reason.into() }
}

fn lost(lost: RootLost) -> Ended {
    let end = match lost {
        RootLost::Exited => End::ContainerExited,
        RootLost::Changed(_) => End::RootChanged,
    };
    ended(end, lost.to_string())
}

fn refusal(error: &Error) -> Ended {
    match error {
        Error::Lost(RootLost::Exited) => ended(End::ContainerExited, error.to_string()),
        Error::Lost(RootLost::Changed(_)) => ended(End::RootChanged, error.to_string()),
        _ => ended(End::Closed, ksync_common::chain(error)),
    }
}
