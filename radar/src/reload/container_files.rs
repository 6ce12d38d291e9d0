//! The container's files as its main process sees them.
//!
//! Invariant: everything in a container is hostile: a path is resolved below the process's root, symlinks included,
//! and what is opened is only read, up to a limit.

use std::{
    fs::File,
    io::Read,
    os::{fd::OwnedFd, unix::fs::FileExt},
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, StatVfsMountFlags, fstat, fstatvfs, openat, openat2},
    io::Errno,
};

/// As much of a text file as is read.
const LONGEST: u64 = 1 << 20;
/// The kernel follows so many interpreters of interpreters.
const INTERPRETERS: usize = 5;
/// As much of a script's first line as the kernel reads.
const FIRST_LINE: usize = 255;
/// Where programs are looked for when nobody says where.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a program can't be executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Nowhere in PATH.
    #[error("`{name}` is nowhere in the container's PATH")]
    NotFound {
        /// As it was recorded.
        name: String,
    },
    /// Not there, or not a plain file that may be executed.
    #[error("`{path}` in the container {what}")]
    Unfit {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// What it needs is not there.
    #[error("`{path}` in the container needs `{interpreter}`, which is not there")]
    NoInterpreter {
        /// The file.
        path: String,
        /// What its first line, or its header, names.
        interpreter: String,
    },
    /// It can't be looked at.
    #[error("look at `{path}` in the container: {reason}")]
    Look {
        /// The file.
        path: String,
        /// The kernel's word.
        reason: String,
    },
}

/// The user and groups with which a file is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) uid: u32,
    pub(super) gids: Vec<u32>,
    /// Whether the user is the container's root.
    pub(super) root: bool,
}

/// A process's root directory.
pub(super) struct ContainerFiles(OwnedFd);

impl ContainerFiles {
    /// Of a process or thread.
    pub(super) fn of(tid: i32) -> rustix::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, ksync_procfs::root_path(tid), flags, Mode::empty()).map(Self)
    }

    /// Of a directory, as if it were a container's root.
    #[cfg(test)]
    pub(super) fn at(root: &std::path::Path) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self(openat(CWD, root, flags, Mode::empty()).unwrap())
    }

    fn open(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    fn open_file(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        // A named pipe in the place of a file must not be waited for.
        self.open(path, OFlags::RDONLY | OFlags::NONBLOCK)
    }

    /// A text file; none where there is none.
    pub(super) fn read(&self, path: &str) -> Option<String> {
        let mut text = String::new();
        let file = File::from(self.open_file(path).ok()?);
        file.take(LONGEST).read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// Whether a directory is there.
    pub(super) fn has_directory(&self, path: &str) -> bool {
        self.open(path, OFlags::PATH | OFlags::DIRECTORY).is_ok()
    }

    /// The program `name` as a runtime finds it: relative to `cwd` when it has a slash, else in `path`.
    pub(super) fn find(
        &self,
        name: &str,
        cwd: &str,
        path: Option<&str>,
        credentials: &Credentials,
    ) -> Result<String, Error> {
        if name.contains('/') {
            self.check(&absolute(name, cwd), cwd, credentials, INTERPRETERS)?;
            return Ok(name.to_owned());
        }
        for dir in path.unwrap_or(PATH).split(':') {
            let dir = if dir.is_empty() { "." } else { dir };
            let candidate = format!("{}/{name}", dir.trim_end_matches('/'));
            if self.is_executable(&absolute(&candidate, cwd), credentials) {
                self.check(&absolute(&candidate, cwd), cwd, credentials, INTERPRETERS)?;
                return Ok(candidate);
            }
        }
        Err(Error::NotFound { name: name.to_owned() })
    }

    fn is_executable(&self, path: &str, credentials: &Credentials) -> bool {
        self.open_executable(path, credentials).is_ok()
    }

    fn open_executable(&self, path: &str, credentials: &Credentials) -> Result<File, Error> {
        let unfit = |what| Error::Unfit { path: path.to_owned(), what };
        let fd = self.open_file(path).map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR => unfit("is not there"),
            Errno::LOOP => unfit("is a symlink that leads nowhere"),
            errno => Error::Look { path: path.to_owned(), reason: errno.to_string() },
        })?;
        let look = |errno: Errno| Error::Look { path: path.to_owned(), reason: errno.to_string() };
        let stat = fstat(&fd).map_err(look)?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(unfit("is not a file"));
        }
        if !may_execute(stat.st_mode, stat.st_uid, stat.st_gid, credentials) {
            return Err(unfit("may not be executed by the container's user"));
        }
        if fstatvfs(&fd).map_err(look)?.f_flag.contains(StatVfsMountFlags::NOEXEC) {
            return Err(unfit("is on a file system from which nothing may be executed"));
        }
        Ok(fd.into())
    }

    /// Whether the kernel would execute a file, as far as that can be told from the file and what it names.
    fn check(&self, path: &str, cwd: &str, credentials: &Credentials, deeper: usize) -> Result<(), Error> {
        let file = self.open_executable(path, credentials)?;
        let unfit = |what| Error::Unfit { path: path.to_owned(), what };
        let head = bytes(&file, 0, FIRST_LINE)
            .map_err(|error| Error::Look { path: path.to_owned(), reason: error.to_string() })?;
        let needed = if let Some(rest) = head.strip_prefix(b"#!") {
            interpreter_of_script(rest).ok_or_else(|| unfit("has no interpreter in its first line"))?
        } else if !head.starts_with(b"\x7fELF") {
            return Err(unfit("is neither a program nor a script that begins with `#!`"));
        } else if let Some(loader) = loader_of_program(&file) {
            loader
        } else {
            return Ok(());
        };
        let missing = Error::NoInterpreter { path: path.to_owned(), interpreter: needed.clone() };
        let Some(deeper) = deeper.checked_sub(1) else { return Err(missing) };
        match self.check(&absolute(&needed, cwd), cwd, credentials, deeper) {
            Err(Error::Unfit { what: "is not there", .. }) => Err(missing),
            checked => checked,
        }
    }
}

fn absolute(path: &str, cwd: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", cwd.trim_end_matches('/')) }
}

/// Whether the mode lets somebody execute a file (path_resolution(7)).
fn may_execute(mode: u32, uid: u32, gid: u32, credentials: &Credentials) -> bool {
    let bit = match credentials {
        credentials if credentials.root => 0o111,
        credentials if credentials.uid == uid => 0o100,
        credentials if credentials.gids.contains(&gid) => 0o010,
        _ => 0o001,
    };
    mode & bit != 0
}

/// Up to `most` bytes from `offset` on.
fn bytes(file: &File, offset: u64, most: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; most];
    let mut length = 0;
    while length < most {
        match file.read_at(&mut bytes[length..], offset + length as u64)? {
            0 => break,
            more => length += more,
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// What the first line of a script names, after its `#!` (execve(2)).
fn interpreter_of_script(rest: &[u8]) -> Option<String> {
    let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let word = line.split(blank).find(|word| !word.is_empty());
    word.map(|word| String::from_utf8_lossy(word).into_owned())
}

/// What a dynamically linked program of 64 bits names as its loader (elf(5), PT_INTERP); none when it needs none.
fn loader_of_program(file: &File) -> Option<String> {
    const PT_INTERP: u32 = 3;
    let header = bytes(file, 0, 64).ok().filter(|header| header.len() == 64 && header[4] == 2)?;
    let half = |at: usize| Some(u16::from_ne_bytes(header.get(at..at + 2)?.try_into().ok()?));
    let table = u64::from_ne_bytes(header[32..40].try_into().ok()?);
    let (size, count) = (half(54)?, half(56)?);
    for index in 0..u64::from(count.min(256)) {
        let entry =
            bytes(file, table + index * u64::from(size), 56).ok().filter(|entry| entry.len() == 56)?;
        if u32::from_ne_bytes(entry[..4].try_into().ok()?) == PT_INTERP {
            let offset = u64::from_ne_bytes(entry[8..16].try_into().ok()?);
            let length = u64::from_ne_bytes(entry[32..40].try_into().ok()?).min(4096);
            let name = bytes(file, offset, usize::try_from(length).ok()?).ok()?;
            let name = name.split(|byte| *byte == 0).next()?;
            return Some(String::from_utf8_lossy(name).into_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
        path::Path,
    };

    use super::{ContainerFiles, Credentials, Error};

    fn put(root: &Path, path: &str, content: impl AsRef<[u8]>, mode: u32) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A static program, as far as its header goes.
    fn program() -> Vec<u8> {
        let mut header = vec![0; 64];
        header[..5].copy_from_slice(b"\x7fELF\x02");
        header
    }

    const ROOT: &Credentials = &Credentials { uid: 0, gids: Vec::new(), root: true };

    #[test]
    fn a_program_is_found_as_a_runtime_finds_it() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "bin/app", program(), 0o755);
        put(dir.path(), "usr/bin/app", program(), 0o644);
        put(dir.path(), "code/run", program(), 0o755);
        let files = ContainerFiles::at(dir.path());
        let find = |name: &str, path: Option<&str>| files.find(name, "/code", path, ROOT);
        assert_eq!(find("app", Some("/usr/bin:/bin/")).as_deref(), Ok("/bin/app"));
        assert_eq!(find("app", None).as_deref(), Ok("/bin/app"));
        assert_eq!(find("./run", None).as_deref(), Ok("./run"));
        assert_eq!(find("run", Some("/bin:")).as_deref(), Ok("./run"));
        assert_eq!(find("nope", None), Err(Error::NotFound { name: "nope".into() }));
        let error = find("/usr/bin/app", None).unwrap_err().to_string();
        assert_eq!(error, "`/usr/bin/app` in the container may not be executed by the container's user");
    }

    #[test]
    fn what_would_not_start_is_told_before_anything_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "bin/sh", program(), 0o755);
        put(dir.path(), "good", "#! /bin/sh -e\necho\n", 0o755);
        put(dir.path(), "windows", "#!/bin/sh\r\necho\r\n", 0o755);
        put(dir.path(), "bare", "echo\n", 0o755);
        put(dir.path(), "blank", "#!  \n", 0o755);
        put(dir.path(), "nested", "#!/good\n", 0o755);
        put(dir.path(), "itself", "#!/itself\n", 0o755);
        put(dir.path(), "other", "#!/bin/sh\n", 0o750);
        symlink("/bin/sh", dir.path().join("link")).unwrap();
        symlink("/etc/../../../bin/nowhere", dir.path().join("dangling")).unwrap();
        let files = ContainerFiles::at(dir.path());
        let check =
            |path: &str| files.find(path, "/", None, ROOT).map(drop).map_err(|error| error.to_string());
        for path in ["/good", "/link", "/nested", "good/../link"] {
            assert_eq!(check(path).is_ok(), !path.contains(".."), "{path}");
        }
        let cases = [
            ("/windows", "`/windows` in the container needs `/bin/sh\r`, which is not there"),
            ("/bare", "`/bare` in the container is neither a program nor a script that begins with `#!`"),
            ("/blank", "`/blank` in the container has no interpreter in its first line"),
            ("/itself", "`/itself` in the container needs `/itself`, which is not there"),
            ("/dangling", "`/dangling` in the container is not there"),
            ("/bin", "`/bin` in the container is not a file"),
        ];
        for (path, said) in cases {
            assert_eq!(check(path).unwrap_err(), said);
        }
        let user = Credentials { uid: 1000, gids: vec![1000], root: false };
        assert!(files.find("/other", "/", None, &user).is_err());
    }

    #[test]
    fn the_loader_of_a_program_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let me = fs::read(std::env::current_exe().unwrap()).unwrap();
        put(dir.path(), "me", &me[..me.len().min(1 << 16)], 0o755);
        match ContainerFiles::at(dir.path()).find("/me", "/", None, ROOT) {
            Err(Error::NoInterpreter { interpreter, .. }) => {
                put(dir.path(), interpreter.trim_start_matches('/'), program(), 0o755);
                assert!(ContainerFiles::at(dir.path()).find("/me", "/", None, ROOT).is_ok());
            }
            // Statically linked.
            found => assert!(found.is_ok(), "{found:?}"),
        }
    }
}
