//! Taking program and signature out of a release archive, with limits: what is in it is not trusted yet, so nothing
//! but these two files is written, and never under a name from the archive.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Component, Path},
};

use super::Error;

/// The program has about 30 MB.
const MAX_PROGRAM: u64 = 256 * 1024 * 1024;
const MAX_SIGNATURE: u64 = 16 * 1024;

/// What a release archive is looked through for.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Its signature, as it is in the archive.
    pub(super) signature: Option<Vec<u8>>,
    has_program: bool,
    other: Option<String>,
}

/// Reads `archive`, writes the program in it to `program`. `stem` is what the archive's one top directory must be.
pub(super) fn unpack(
    name: &str,
    stem: &str,
    archive: &mut File,
    program: &mut File,
) -> Result<Vec<u8>, Error> {
    let broken = |source| Error::Archive { archive: name.to_owned(), source };
    archive.seek(SeekFrom::Start(0)).map_err(broken)?;
    let mut found = Found::default();
    if Path::new(name).extension().is_some_and(|ending| ending == "zip") {
        let mut zip = zip::ZipArchive::new(archive).map_err(|e| broken(e.into()))?;
        for index in 0..zip.len() {
            let mut entry = zip.by_index(index).map_err(|e| broken(e.into()))?;
            if entry.is_file() {
                let path = entry.name().map_err(|e| broken(e.into()))?.into_owned();
                found.take(Path::new(&path), stem, &mut entry, program).map_err(|e| e.into_error(name))?;
            }
        }
    } else {
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(archive));
        for entry in tar.entries().map_err(broken)? {
            let mut entry = entry.map_err(broken)?;
            if entry.header().entry_type() == tar::EntryType::Regular {
                let path = entry.path().map_err(broken)?.into_owned();
                found.take(&path, stem, &mut entry, program).map_err(|e| e.into_error(name))?;
            }
        }
    }
    let archive = name.to_owned();
    if let Some(other) = found.other {
        return Err(Error::OtherRelease { archive, found: other });
    }
    if !found.has_program {
        return Err(Error::NoProgram { archive });
    }
    found.signature.ok_or(Error::NoSignature { archive })
}

enum Trouble {
    Io(io::Error),
    TooLarge(&'static str, u64),
}

impl Trouble {
    fn into_error(self, archive: &str) -> Error {
        match self {
            Self::Io(source) => Error::Archive { archive: archive.to_owned(), source },
            Self::TooLarge(what, limit) => Error::TooLarge { what, limit },
        }
    }
}

impl Found {
    fn take(
        &mut self,
        path: &Path,
        stem: &str,
        content: &mut impl Read,
        program: &mut File,
    ) -> Result<(), Trouble> {
        let mut names = path.components().filter(|part| *part != Component::CurDir);
        let (Some(Component::Normal(top)), Some(Component::Normal(file)), None) =
            (names.next(), names.next(), names.next())
        else {
            return Ok(());
        };
        let wanted = file == "syncthing" || file == "release.sig";
        if wanted && top != stem {
            self.other.get_or_insert(top.to_string_lossy().into_owned());
        } else if file == "syncthing" && !self.has_program {
            copy_limited(content, program, MAX_PROGRAM, "the program in the archive")?;
            self.has_program = true;
        } else if file == "release.sig" && self.signature.is_none() {
            let mut signature = Vec::new();
            copy_limited(content, &mut signature, MAX_SIGNATURE, "its signature")?;
            self.signature = Some(signature);
        }
        Ok(())
    }
}

fn copy_limited(
    from: &mut impl Read,
    to: &mut impl Write,
    limit: u64,
    what: &'static str,
) -> Result<(), Trouble> {
    let copied = io::copy(&mut from.take(limit + 1), to).map_err(Trouble::Io)?;
    if copied > limit { Err(Trouble::TooLarge(what, limit)) } else { Ok(()) }
}
