//! Entries between our own type and the wire's.

use std::sync::Arc;

use ksync_merge::State;
use ksync_proto::radar as proto;
use ksync_tree::{Entry, Kind};

use crate::error::Error;

/// With its path.
pub fn entry(entry: &Entry) -> proto::Entry {
    proto::Entry { path: entry.path.clone(), ..bare(entry) }
}

/// Without its path, which the message around it has.
pub(crate) fn bare(entry: &Entry) -> proto::Entry {
    let kind = match entry.kind {
        Kind::File => proto::EntryKind::File,
        Kind::Dir => proto::EntryKind::Dir,
        Kind::Symlink => proto::EntryKind::Symlink,
    };
    proto::Entry {
        path: String::new(),
        kind: kind.into(),
        size: entry.size,
        mtime_ns: entry.mtime_ns,
        mode: entry.mode,
        hash: entry.hash.map(Vec::from).unwrap_or_default(),
        target: entry.target.clone().unwrap_or_default(),
    }
}

pub(crate) fn state(state: &State) -> Option<proto::Entry> {
    state.as_deref().map(bare)
}

/// An entry that stands at `path`, whatever path it names itself.
pub fn entry_from(entry: proto::Entry, path: &str) -> Result<Entry, Error> {
    let kind = match entry.kind() {
        proto::EntryKind::File => Kind::File,
        proto::EntryKind::Dir => Kind::Dir,
        proto::EntryKind::Symlink => Kind::Symlink,
        proto::EntryKind::Unspecified => return Err(Error::Malformed("an entry without a kind")),
    };
    let hash = Some(entry.hash.as_slice()).filter(|bytes| !bytes.is_empty()).map(hash_from).transpose()?;
    let target = (kind == Kind::Symlink).then_some(entry.target);
    let (size, mtime_ns, mode) = (entry.size, entry.mtime_ns, entry.mode);
    Ok(Entry { path: path.to_owned(), kind, size, mtime_ns, mode, hash, target })
}

pub(crate) fn state_from(state: Option<proto::Entry>, path: &str) -> Result<State, Error> {
    Ok(state.map(|entry| entry_from(entry, path)).transpose()?.map(Arc::new))
}

pub(crate) fn hash_from(bytes: &[u8]) -> Result<[u8; 32], Error> {
    bytes.try_into().map_err(|_| Error::Malformed("a hash of odd length"))
}
