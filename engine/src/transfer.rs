//! Contents on their way, on blocking threads: out of the local directory, into it, and into safe places.

use std::{ops::ControlFlow, os::fd::AsFd, path::Path, sync::Arc};

use ksync_common::{Room, SPARE_PERCENT};
use ksync_endpoint::{Driver, Input};
use ksync_tree::{
    Entry, Error, Exact, Kind, Known, Old, Owner, Root, Staging, Swapped, content_of, make_parents,
    move_entry, put_symlink, read,
};
use tokio::sync::mpsc;

use crate::far::Pieces;

/// All of a small file.
type Content = Arc<[u8]>;

/// Pieces that are on their way at once.
const AHEAD: usize = 16;

/// Reads the small local files that are still what they were; a sentence for each that is not.
pub(crate) fn read_small<J>(
    root: &Root,
    wanted: Vec<(J, Arc<str>, Arc<Entry>)>,
    inline: u64,
) -> Vec<(J, Result<Content, String>)> {
    let one = |path: &str, entry: &Entry| match read(root, path, inline) {
        Ok(Some(read)) if read.entry.hash == entry.hash => read.content.map(Arc::from).ok_or_else(changed),
        Ok(_) => Err(changed()),
        Err(error) => Err(ksync_common::chain(&error)),
    };
    wanted.into_iter().map(|(job, path, entry)| (job, one(&path, &entry))).collect()
}

fn changed() -> String {
    "it changed while it was read".to_owned()
}

/// The content of a large local file, in pieces, while it is `entry`.
pub(crate) fn read_large(root: Arc<Root>, here: &Driver, path: &Arc<str>, entry: &Arc<Entry>) -> Pieces {
    let (pieces_tx, pieces_rx) = mpsc::channel(AHEAD);
    let (here, path, entry) = (here.clone(), Arc::clone(path), Arc::clone(entry));
    tokio::task::spawn_blocking(move || {
        let sent = exact(&here, &path).filter(|(now, _)| now.hash == entry.hash).map(|(_, exact)| {
            content_of(&root, &path, &exact, |piece| match pieces_tx.blocking_send(Ok(piece.to_vec())) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            })
        });
        let reason = match sent {
            Some(Ok(true)) => return,
            Some(Ok(false)) | None => changed(),
            Some(Err(error)) => ksync_common::chain(&error),
        };
        // Whoever takes the pieces may have given up.
        let _ = pieces_tx.blocking_send(Err(reason));
    });
    pieces_rx
}

fn exact(here: &Driver, path: &str) -> Option<(Arc<Entry>, Exact)> {
    let (reply_tx, reply_rx) = std::sync::mpsc::sync_channel(1);
    here.send(Input::Exact(path.to_owned(), reply_tx));
    reply_rx.recv().ok()?
}

/// Writes `pieces` beside the place of `path`, whose content must be that of `entry`.
pub(crate) fn stage(root: &Root, path: &str, entry: &Entry, pieces: &mut Pieces) -> Result<Staging, String> {
    let sentence = |error: Error| ksync_common::chain(&error);
    let mut staging = Staging::new(root, path).map_err(sentence)?;
    let (mut hasher, mut left) = (blake3::Hasher::new(), entry.size);
    while let Some(piece) = pieces.blocking_recv() {
        let piece = piece?;
        // Whatever grows meanwhile is another content.
        left = left.checked_sub(piece.len() as u64).ok_or_else(changed)?;
        hasher.update(&piece);
        staging.add(&piece).map_err(sentence)?;
    }
    let hash = *hasher.finalize().as_bytes();
    if entry.hash.is_some_and(|wanted| wanted != hash) { Err(changed()) } else { Ok(staging) }
}

/// Moves a displaced local file to `place`, where it has the name `path`.
pub(crate) fn keep_here(root: &Root, at: &str, place: &Path, path: &str) -> Result<(), Error> {
    move_entry(root, at, &Root::open(place)?, path)
}

/// Writes a container's displaced file to `place`, where it has the name `path`; on the disk when this returns.
pub(crate) fn keep_there(place: &Path, path: &str, entry: &Entry, pieces: &mut Pieces) -> Result<(), String> {
    let sentence = |error: Error| ksync_common::chain(&error);
    let root = Root::open(place).map_err(sentence)?;
    if Room::of(root.as_fd()).is_ok_and(|room| !room.leaves(entry.size, SPARE_PERCENT)) {
        return Err(format!("less than {SPARE_PERCENT} % of the disk would stay free"));
    }
    make_parents(&root, path).map_err(sentence)?;
    let (owner, known, old) = (Owner::AsIs, Known::Nothing, Old::Held);
    let placed = if entry.kind == Kind::Symlink {
        put_symlink(&root, path, entry, owner, known, old).map_err(sentence)?
    } else {
        let staging = stage(&root, path, entry, pieces)?;
        staging.sync().map_err(sentence)?;
        staging.place(entry, owner, known, old).map_err(sentence)?.0
    };
    match placed {
        Swapped::Done => Ok(()),
        Swapped::Refused | Swapped::Held(_) => Err("something else has its name".to_owned()),
    }
}
