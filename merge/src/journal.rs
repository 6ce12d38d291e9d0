//! What is known, as lines of text that are only ever added to: read again after a stop, a kill or a sleep, nothing that was
//! known is forgotten.
//!
//! A line is a JSON array, whose first element says of which kind it is. What was cut off at the end is left out; a line in the
//! middle that can't be read is an error, for what follows it would be understood wrongly.

use std::sync::Arc;

use ksync_tree::{Entry, Kind};
use serde::{Deserialize, Serialize};

use crate::state::{Keep, Known, Past, State};

/// One thing that has become known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// This is here from now on.
    Here {
        /// At which path.
        path: Arc<str>,
        /// None where nothing is.
        state: State,
    },
    /// A container has been compared with what is here: it agrees but for the records of paths that follow, of which there
    /// are `exceptions`.
    Compared {
        /// Its name, which tells it from its successors.
        member: Arc<str>,
        /// How many.
        exceptions: usize,
    },
    /// This is known of a path of a container from now on.
    Known {
        /// The container's name.
        member: Arc<str>,
        /// At which path.
        path: Arc<str>,
        /// None where both sides agree in what is here.
        known: Option<Known>,
    },
    /// This was in sync once, and was deleted here since.
    Gone {
        /// At which path.
        path: Arc<str>,
    },
    /// All containers of a kind were in sync for the first time.
    Synced {
        /// The kind's name.
        kind: Arc<str>,
    },
    /// What a container writes comes here from now on, and what the one before it writes does not.
    TwoWay {
        /// The container's name.
        member: Arc<str>,
    },
    /// A container is no more.
    Forgotten {
        /// Its name.
        member: Arc<str>,
    },
}

/// A line that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("read the record `{line}`")]
pub struct BadRecord {
    /// As far as it is short.
    pub line: String,
    /// What is wrong with it.
    pub source: serde_json::Error,
}

#[derive(Serialize, Deserialize)]
enum Line<'a> {
    #[serde(rename = "h")]
    Here(#[serde(borrow)] std::borrow::Cow<'a, str>, Option<Stored>),
    #[serde(rename = "c")]
    Compared(#[serde(borrow)] std::borrow::Cow<'a, str>, usize),
    #[serde(rename = "k")]
    Known(
        #[serde(borrow)] std::borrow::Cow<'a, str>,
        #[serde(borrow)] std::borrow::Cow<'a, str>,
        Option<StoredKnown>,
    ),
    #[serde(rename = "g")]
    Gone(#[serde(borrow)] std::borrow::Cow<'a, str>),
    #[serde(rename = "s")]
    Synced(#[serde(borrow)] std::borrow::Cow<'a, str>),
    #[serde(rename = "w")]
    TwoWay(#[serde(borrow)] std::borrow::Cow<'a, str>),
    #[serde(rename = "f")]
    Forgotten(#[serde(borrow)] std::borrow::Cow<'a, str>),
}

/// Kind, size, mtime, mode, hash or target in hexadecimal.
#[derive(Serialize, Deserialize)]
struct Stored(char, u64, i64, u32, String);

#[derive(Serialize, Deserialize)]
enum StoredKnown {
    #[serde(rename = "n")]
    Never(bool),
    #[serde(rename = "i")]
    Fresh(bool, Option<Stored>),
    #[serde(rename = "a")]
    Agreed(Option<Stored>, Option<Stored>),
    #[serde(rename = "s")]
    Sending(Option<Stored>, Option<Stored>, Option<char>),
    #[serde(rename = "t")]
    Taking(Option<Stored>, Option<Stored>),
}

impl Record {
    /// As a line without its end.
    pub fn line(&self) -> String {
        let line = match self {
            Self::Here { path, state } => Line::Here((&**path).into(), store(state)),
            Self::Compared { member, exceptions } => Line::Compared((&**member).into(), *exceptions),
            Self::Known { member, path, known } => {
                Line::Known((&**member).into(), (&**path).into(), known.as_ref().map(store_known))
            }
            Self::Gone { path } => Line::Gone((&**path).into()),
            Self::Synced { kind } => Line::Synced((&**kind).into()),
            Self::TwoWay { member } => Line::TwoWay((&**member).into()),
            Self::Forgotten { member } => Line::Forgotten((&**member).into()),
        };
        // Strings and numbers alone: there is nothing that could not be written.
        serde_json::to_string(&line).unwrap_or_default()
    }

    /// Reads a line.
    pub fn read(line: &str) -> Result<Self, BadRecord> {
        let bad = |source| BadRecord { line: line.chars().take(100).collect(), source };
        let line: Line<'_> = serde_json::from_str(line).map_err(bad)?;
        Ok(match line {
            Line::Here(path, state) => Self::Here { path: path.into(), state: restore(state) },
            Line::Compared(member, exceptions) => Self::Compared { member: member.into(), exceptions },
            Line::Known(member, path, known) => {
                Self::Known { member: member.into(), path: path.into(), known: known.map(restore_known) }
            }
            Line::Gone(path) => Self::Gone { path: path.into() },
            Line::Synced(kind) => Self::Synced { kind: kind.into() },
            Line::TwoWay(member) => Self::TwoWay { member: member.into() },
            Line::Forgotten(member) => Self::Forgotten { member: member.into() },
        })
    }
}

fn store(state: &State) -> Option<Stored> {
    let entry = state.as_ref()?;
    let (kind, bytes): (_, &[u8]) = match entry.kind {
        Kind::File => ('f', entry.hash.as_ref().map_or(&[], |hash| hash.as_slice())),
        Kind::Dir => ('d', &[]),
        Kind::Symlink => ('l', entry.target.as_deref().unwrap_or_default()),
    };
    Some(Stored(kind, entry.size, entry.mtime_ns, entry.mode, to_hex(bytes)))
}

fn restore(stored: Option<Stored>) -> State {
    let Stored(kind, size, mtime_ns, mode, hex) = stored?;
    let bytes = from_hex(&hex);
    let (kind, hash, target) = match kind {
        'd' => (Kind::Dir, None, None),
        'l' => (Kind::Symlink, None, Some(bytes)),
        _ => (Kind::File, bytes.try_into().ok(), None),
    };
    Some(Arc::new(Entry { path: String::new(), kind, size, mtime_ns, mode, hash, target }))
}

fn store_known(known: &Known) -> StoredKnown {
    match known {
        Known::Never(past) => StoredKnown::Never(*past == Past::Synced),
        Known::Fresh { past, image } => StoredKnown::Fresh(*past == Past::Synced, store(image)),
        Known::Agreed { here, there } => StoredKnown::Agreed(store(here), store(there)),
        Known::Sending { old, new, keep } => {
            let keep = keep.map(|keep| match keep {
                Keep::First => 'f',
                Keep::Conflict => 'c',
                Keep::Taken => 't',
                Keep::Deleted => 'd',
                Keep::Accepted => 'a',
            });
            StoredKnown::Sending(store(old), store(new), keep)
        }
        Known::Taking { old, new } => StoredKnown::Taking(store(old), store(new)),
    }
}

fn past(synced: bool) -> Past {
    if synced { Past::Synced } else { Past::None }
}

fn restore_known(stored: StoredKnown) -> Known {
    match stored {
        StoredKnown::Never(synced) => Known::Never(past(synced)),
        StoredKnown::Fresh(synced, image) => Known::Fresh { past: past(synced), image: restore(image) },
        StoredKnown::Agreed(here, there) => Known::Agreed { here: restore(here), there: restore(there) },
        StoredKnown::Sending(old, new, keep) => {
            let keep = keep.map(|keep| match keep {
                'f' => Keep::First,
                't' => Keep::Taken,
                'd' => Keep::Deleted,
                'a' => Keep::Accepted,
                _ => Keep::Conflict,
            });
            Known::Sending { old: restore(old), new: restore(new), keep }
        }
        StoredKnown::Taking(old, new) => Known::Taking { old: restore(old), new: restore(new) },
    }
}

fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut hex = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // A string takes everything.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default();
    hex.as_bytes()
        .chunks_exact(2)
        .map(|pair| u8::try_from(digit(pair[0]) << 4 | digit(pair[1])).unwrap_or_default())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written() {
        let entry = |kind| Entry {
            path: String::new(),
            kind,
            size: 7,
            mtime_ns: -5,
            mode: 0o644,
            hash: (kind == Kind::File).then_some([0xab; 32]),
            target: (kind == Kind::Symlink).then(|| b"a\xff\"".to_vec()),
        };
        let states: Vec<State> =
            [Kind::File, Kind::Dir, Kind::Symlink].map(|kind| Some(Arc::new(entry(kind)))).to_vec();
        let (path, member): (Arc<str>, Arc<str>) = ("d/ü \"\\\n".into(), "containerd://1".into());
        let mut all = vec![
            Record::Compared { member: Arc::clone(&member), exceptions: 3 },
            Record::Forgotten { member: Arc::clone(&member) },
            Record::Synced { kind: Arc::clone(&path) },
            Record::TwoWay { member: Arc::clone(&member) },
            Record::Gone { path: Arc::clone(&path) },
        ];
        for state in states.iter().cloned().chain([None]) {
            all.push(Record::Here { path: Arc::clone(&path), state: state.clone() });
            let old = states[0].clone();
            for known in [
                None,
                Some(Known::Never(Past::Synced)),
                Some(Known::Fresh { past: Past::Synced, image: state.clone() }),
                Some(Known::Agreed { here: state.clone(), there: old.clone() }),
                Some(Known::Sending { old: old.clone(), new: state.clone(), keep: Some(Keep::First) }),
                Some(Known::Sending { old: None, new: state.clone(), keep: None }),
                Some(Known::Taking { old, new: state.clone() }),
            ] {
                all.push(Record::Known { member: Arc::clone(&member), path: Arc::clone(&path), known });
            }
        }
        for record in all {
            let line = record.line();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(Record::read(&line).unwrap(), record, "{line}");
        }
        assert!(Record::read("{\"h\":[\"a\"").is_err());
    }

    #[test]
    fn a_damaged_line_is_none_or_a_record_that_is_written_alike() {
        let (member, path): (Arc<str>, Arc<str>) = (Arc::from("docker://a kind"), Arc::from("d/f"));
        let hash = Some([0xab; 32]);
        let entry = Entry {
            path: String::new(),
            kind: Kind::File,
            size: 7,
            mtime_ns: -5,
            mode: 0o644,
            hash,
            target: None,
        };
        let state: State = Some(Arc::new(entry));
        let agreed = Known::Agreed { here: state.clone(), there: None };
        let records = [
            Record::Here { path: Arc::clone(&path), state },
            Record::Compared { member: Arc::clone(&member), exceptions: 3 },
            Record::Known { member, path: Arc::clone(&path), known: Some(agreed) },
            Record::Gone { path: Arc::clone(&path) },
            Record::Synced { kind: path },
        ];
        let lines = records.each_ref().map(Record::line);
        let samples = lines.each_ref().map(String::as_str);
        ksync_mangle::each_text(&samples, |text| {
            if let Ok(record) = Record::read(text) {
                assert_eq!(Record::read(&record.line()).unwrap(), record);
            }
        });
    }
}
