//! Moving many entries at once: listings and tar streams to and from radar.
//!
//! Packing and unpacking are blocking work in a thread of their own; the stream between it and the call is
//! a short queue, so memory stays bounded whatever the tree.

use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    sync::Arc,
};

use ksync_tree::{Entry, Kind, Listing, Root, UnpackOptions, copy_entry, move_entry, stat_entry};
use tokio::sync::mpsc;
use tracing::{debug, info};

use super::{interruption::Interruption, progress::Progress};
use crate::{
    blocking, kept,
    local::LocalFolder,
    node::{Attachment, CallError},
};

/// Bytes of one message.
const CHUNK: usize = 128 << 10;
/// Bytes of paths in one message, of which radar takes 64 MB.
const PATHS: usize = 4 << 20;
/// Messages under way.
const QUEUE: usize = 16;

/// Everything below the local path, with hashes.
pub(super) async fn list_local(
    local: &LocalFolder,
    exclude: &[String],
) -> Result<Arc<Listing>, Interruption> {
    let root = local.root();
    local.is_at(&root).map_err(Interruption::Root)?;
    let listing = local.listings.of(&root, &local.ignore, exclude).await?;
    // A listing says what is gone only if it is one of the right directory.
    local.is_at(&root).map_err(Interruption::Root)?;
    Ok(listing)
}

/// The conflict copies in the container that local content has won over.
pub(super) async fn list_beaten(attachment: &Attachment) -> Result<Vec<String>, Interruption> {
    let own_device_id = attachment.own_device_id();
    // Directories on the way there are listed, too.
    let mut entries = attachment.list_without(syncthing::conflict::only_lost_to(own_device_id)).await?;
    entries
        .retain(|entry| entry.kind == Kind::File && syncthing::conflict::lost_to(&entry.path, own_device_id));
    Ok(entries.into_iter().map(|entry| entry.path).collect())
}

/// Sends the named local entries into the container, which `progress` is of; returns those that it has no room for.
pub(super) async fn send(
    attachment: &Attachment,
    local: &Arc<LocalFolder>,
    paths: Vec<String>,
    progress: Arc<Progress>,
) -> Result<Vec<String>, Interruption> {
    let (tx, rx) = mpsc::channel::<Vec<u8>>(QUEUE);
    let folder = Arc::clone(local);
    let packing = tokio::task::spawn_blocking(move || {
        let out = io::BufWriter::with_capacity(CHUNK, Sink(tx));
        let paths = paths.iter().map(|path| {
            progress.next();
            path.as_str()
        });
        ksync_tree::pack(&folder.root(), paths, out)
    });
    let answer = attachment.send(rx).await;
    let packed = blocking::joined(packing).await;
    // radar's word comes first: when it hangs up, packing fails too, for no reason of its own.
    let no_room = answer?;
    packed?;
    if !no_room.is_empty() {
        info!(first = no_room.first(), files = no_room.len(), "no room in the container");
    }
    Ok(no_room)
}

/// Brings the named entries of the container here. What exists here by then is never replaced.
pub(super) async fn fetch(
    attachment: &Attachment,
    local: &Arc<LocalFolder>,
    entries: Vec<Entry>,
) -> Result<(), Interruption> {
    let root = local.root();
    // What grows while it is fetched is synced later, like any other change.
    let bytes: u64 = entries.iter().map(|entry| entry.size).sum();
    let paths: Vec<String> = entries.into_iter().map(|entry| entry.path).collect();
    local.own_writes.begin(&paths);
    let limit = Some(bytes.saturating_mul(2) + (1 << 20));
    let received = receive(attachment, Arc::clone(&root), paths.clone(), limit).await;
    local.own_writes.done(&root, &paths);
    received
}

/// Unpacks the named entries of the container into `root`, leaving what is there.
async fn receive(
    attachment: &Attachment,
    root: Arc<Root>,
    paths: Vec<String>,
    max_bytes: Option<u64>,
) -> Result<(), Interruption> {
    for some in portions(paths, PATHS) {
        receive_some(attachment, Arc::clone(&root), some, max_bytes).await?;
    }
    Ok(())
}

/// The paths in their order, in portions that a message takes: of `most` bytes, or a single path.
fn portions(paths: Vec<String>, most: usize) -> Vec<Vec<String>> {
    let mut portions: Vec<Vec<String>> = Vec::new();
    let mut bytes = most;
    for path in paths {
        // With what stands between two paths.
        let size = path.len() + 8;
        match portions.last_mut() {
            Some(portion) if bytes + size <= most => {
                portion.push(path);
                bytes += size;
            }
            _ => {
                portions.push(vec![path]);
                bytes = size;
            }
        }
    }
    portions
}

async fn receive_some(
    attachment: &Attachment,
    root: Arc<Root>,
    paths: Vec<String>,
    max_bytes: Option<u64>,
) -> Result<(), Interruption> {
    let asked: BTreeSet<String> = paths.iter().cloned().collect();
    let mut fetched = attachment.fetch(paths).await?;
    let (tx, rx) = mpsc::channel::<Vec<u8>>(QUEUE);
    let unpacking = tokio::task::spawn_blocking(move || {
        // What was not asked for is refused: the stream comes from where hostile code may run.
        let options = UnpackOptions { keep: true, max_bytes, only: Some(&asked), ..UnpackOptions::default() };
        ksync_tree::unpack(&root, Source { rx, chunk: io::Cursor::default() }, &options, |_| {})
    });
    let received = async {
        while let Some(chunk) = fetched.chunk().await? {
            if tx.send(chunk).await.is_err() {
                break;
            }
        }
        drop(tx);
        Ok::<_, CallError>(())
    };
    let received = received.await;
    let unpacked = blocking::joined(unpacking).await;
    received?;
    unpacked?;
    Ok(())
}

/// Removes the named entries of the container; returns the directories that hold something still.
pub(super) async fn remove(
    attachment: &Attachment,
    mut paths: Vec<String>,
) -> Result<Vec<String>, Interruption> {
    // What is below a directory goes before the directory, whichever portion it is in.
    paths.sort_unstable_by(|a, b| ksync_tree::compare(b, a));
    let mut left = Vec::new();
    for some in portions(paths, PATHS) {
        left.extend(attachment.remove(some).await?);
    }
    if !left.is_empty() {
        debug!(?left, "not empty in the container");
    }
    Ok(left)
}

/// Keeps the container's content of files that local content is about to replace there.
pub(super) async fn keep(
    attachment: &Attachment,
    local: &Arc<LocalFolder>,
    paths: Vec<String>,
    kind: kept::Kind,
) -> Result<(), Interruption> {
    let kept = make(kind.moment(&local.kept))?;
    info!(files = paths.len(), kept = %kept.display(), "local content wins; the container's is kept");
    receive(attachment, Arc::new(Root::open(&kept)?), paths, None).await
}

/// Keeps the container's content of a file that lost to local content, which lies there as `copy`, and takes it away there;
/// returns the path of the file, or none where nothing came, or another copy of this name is there by now.
pub(super) async fn keep_beaten(
    attachment: &Attachment,
    local: &Arc<LocalFolder>,
    copy: &str,
) -> Result<Option<String>, Interruption> {
    let Some(of) = syncthing::conflict::copy(copy) else { return Ok(None) };
    let moment = make(kept::Kind::Conflict.moment(&local.kept))?;
    let staging = tempfile::Builder::new()
        .prefix(ksync_tree::TEMP_PREFIX)
        .suffix(ksync_tree::TEMP_SUFFIX)
        .tempdir_in(&moment)
        .map_err(|source| Interruption::Kept { path: moment.clone(), source })?;
    let incoming = Arc::new(Root::open(staging.path())?);
    receive(attachment, Arc::clone(&incoming), vec![copy.to_owned()], Some(kept::SIZE)).await?;
    let (name, original) = (copy.to_owned(), of.original.clone());
    let came = blocking::run(move || {
        let came = stat_entry(&incoming, &name, false)?.filter(|entry| entry.kind == Kind::File);
        if came.is_some() {
            // It goes there next: what is kept has to be on the disk.
            let kept = std::fs::File::open(staging.path().join(&name)).and_then(|file| file.sync_all());
            kept.map_err(|source| Interruption::Kept { path: staging.path().join(&name), source })?;
            move_entry(&incoming, &name, &Root::open(&moment)?, &original)?;
        }
        drop(staging);
        Ok::<_, Interruption>(came)
    });
    let Some(came) = came.await? else { return Ok(None) };
    let left = attachment.remove_unchanged(&[came]).await?;
    Ok(left.is_empty().then_some(of.original))
}

/// Brings the container's newer content of files here. What is here goes to `kept` first, and the new content is
/// complete before it does. A file that is not the one that was listed (`entries`) any more is left as it is.
pub(super) async fn take(
    attachment: &Attachment,
    local: &Arc<LocalFolder>,
    entries: Vec<Entry>,
) -> Result<(), Interruption> {
    let kept = kept::Kind::ReplacedAtAttach.moment(&local.kept);
    let (staging, old) = (make(kept.join("incoming"))?, make(kept.join("old"))?);
    let incoming = Arc::new(Root::open(&staging)?);
    let paths = entries.iter().map(|entry| entry.path.clone()).collect();
    receive(attachment, Arc::clone(&incoming), paths, None).await?;
    let folder = Arc::clone(local);
    blocking::run(move || {
        let (old, root) = (Root::open(&old)?, folder.root());
        for entry in &entries {
            let path = entry.path.as_str();
            // A file that the container lost meanwhile did not come; what is here stays.
            if stat_entry(&incoming, path, false)?.is_none() {
                continue;
            }
            copy_entry(&root, &old, path)?;
            let now = stat_entry(&root, path, false)?;
            let listed =
                now.is_some_and(|now| now.difference(&Entry { hash: None, ..entry.clone() }).is_none());
            if !listed {
                continue;
            }
            let paths = [entry.path.clone()];
            folder.own_writes.begin(&paths);
            let moved = move_entry(&incoming, path, &root, path);
            folder.own_writes.done(&root, &paths);
            moved?;
        }
        Ok(())
    })
    .await
}

fn make(dir: PathBuf) -> Result<PathBuf, Interruption> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    made.map(|()| dir.clone()).map_err(|source| Interruption::Kept { path: dir, source })
}

/// The writing end of a tar stream.
struct Sink(mpsc::Sender<Vec<u8>>);

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the call has ended");
        self.0.blocking_send(data.to_vec()).map_err(gone)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The reading end of a tar stream.
struct Source {
    rx: mpsc::Receiver<Vec<u8>>,
    chunk: io::Cursor<Vec<u8>>,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.chunk.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            match self.rx.blocking_recv() {
                Some(data) => self.chunk = io::Cursor::new(data),
                None => return Ok(0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::portions;

    #[test]
    fn no_portion_of_paths_is_larger_than_a_message_takes() {
        let paths: Vec<String> = (0..100).map(|n| format!("{n:092}")).collect();
        for (most, sizes) in [(1000, vec![10; 10]), (999, [vec![9; 11], vec![1]].concat()), (1, vec![1; 100])]
        {
            let portions = portions(paths.clone(), most);
            assert_eq!(portions.iter().map(Vec::len).collect::<Vec<_>>(), sizes, "{most}");
            assert_eq!(portions.concat(), paths);
        }
        assert!(portions(Vec::new(), 1000).is_empty());
    }
}
