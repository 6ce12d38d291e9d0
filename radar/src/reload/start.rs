//! What a container's main process shall execute: what its runtime recorded, or where it has dropped privileges since,
//! what runs now.
//!
//! Invariant: a program that could not be executed is refused here, before the process is touched.

use std::{
    ffi::{CString, OsString},
    io,
    os::unix::ffi::OsStrExt,
};

use ksync_procfs::{IdMaps, Status};
use ksync_reexec::Program;

use super::{
    accounts::{self, NoUser},
    container_files::{self, ContainerFiles, Credentials},
    privileges::{Beginning, Isolation, dropped},
};
use crate::container::runtime::record::Record;

/// Why there is nothing to execute.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The program can't be executed.
    #[error(transparent)]
    Files(#[from] container_files::Error),
    /// Its user is not known.
    #[error(transparent)]
    User(#[from] NoUser),
    /// Its directory is gone.
    #[error("the working directory `{path}` is not in the container any more")]
    NoDirectory {
        /// As it was recorded.
        path: String,
    },
    /// The arguments that it was given are not known any more.
    #[error(
        "the program has replaced its own arguments by a title (`{title}`), so it can't be executed anew"
    )]
    Title {
        /// What stands there instead.
        title: String,
    },
    /// A null byte, which no argument can hold.
    #[error("an argument or variable of the container holds a null byte")]
    Null,
    /// A file of the process can't be read.
    #[error(transparent)]
    Read(#[from] ksync_procfs::Error),
}

/// What to execute, and how it reads.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) program: Program,
    /// The command line, for a person.
    pub(super) shown: String,
    /// What the process has dropped since its start, so that what runs now is executed again.
    pub(super) dropped: Option<&'static str>,
}

/// Decides for the process of the living thread `tid`.
pub(super) fn plan(tid: i32, status: &Status, record: &Record) -> Result<Plan, Error> {
    let files = ContainerFiles::of(tid).map_err(|errno| ksync_procfs::Error {
        path: ksync_procfs::root_path(tid),
        source: io::Error::from(errno),
    })?;
    let isolation = Isolation::of(tid, status.parent)?;
    let (uid, gid) = accounts::ids(&files, &record.user)?;
    let filters = Status::of(status.parent)?.filters;
    let begun = Beginning { record, uid, gid, filters };
    let seen = IdMaps::of(tid)?.inside(status);
    let credentials = credentials(status, &seen);
    match dropped(&seen, &isolation, &begun) {
        None => recorded(&files, &credentials, record, uid),
        Some(what) => Ok(Plan { dropped: Some(what), ..current(&files, tid, &credentials, &isolation)? }),
    }
}

/// By the numbers that the files' owners are seen with from here. `seen` is the status with the container's own numbers.
fn credentials(status: &Status, seen: &Status) -> Credentials {
    let gids = [status.effective_gid()].into_iter().chain(status.groups.iter().copied()).collect();
    Credentials { uid: status.effective_uid(), gids, root: seen.effective_uid() == 0 }
}

fn recorded(
    files: &ContainerFiles,
    credentials: &Credentials,
    record: &Record,
    uid: u32,
) -> Result<Plan, Error> {
    let mut environment = record.env.clone();
    let value = |name: &str| {
        let set = record.env.iter().rev().find_map(|set| set.strip_prefix(name)?.strip_prefix('='));
        set.filter(|value| !value.is_empty())
    };
    if value("HOME").is_none() {
        environment.retain(|set| !set.starts_with("HOME="));
        environment.push(format!("HOME={}", accounts::home(files, uid)));
    }
    if !files.has_directory(&record.cwd) {
        return Err(Error::NoDirectory { path: record.cwd.clone() });
    }
    let name = record.args.first().map(String::as_str).unwrap_or_default();
    let path = files.find(name, &record.cwd, value("PATH"), credentials)?;
    let program = Program {
        path: text(path)?,
        arguments: record.args.iter().cloned().map(text).collect::<Result<_, _>>()?,
        environment: environment.into_iter().map(text).collect::<Result<_, _>>()?,
        directory: Some(text(record.cwd.clone())?),
        umask: Some(record.umask),
    };
    Ok(Plan { program, shown: record.args.join(" "), dropped: None })
}

fn text(text: impl Into<Vec<u8>>) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::Null)
}

/// What runs now: its file by name, so that a newer one in its place is what is executed.
fn current(
    files: &ContainerFiles,
    tid: i32,
    credentials: &Credentials,
    isolation: &Isolation,
) -> Result<Plan, Error> {
    let exe = ksync_procfs::executable(tid)?;
    let exe = below_root(&exe.to_string_lossy(), &isolation.root.to_string_lossy());
    let path = files.find(&exe, "/", None, credentials)?;
    let arguments = arguments(&ksync_procfs::command_line(tid)?)?;
    let shown: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
    let shown = shown.join(" ");
    let program = Program {
        path: text(path)?,
        arguments,
        environment: ksync_procfs::environment(tid)?,
        // Where it is and what it masks was arranged before it dropped its privileges.
        directory: None,
        umask: None,
    };
    Ok(Plan { program, shown, dropped: None })
}

/// A program's path as the process sees it, from how its mount namespace names it. A file that was replaced is marked.
fn below_root(exe: &str, root: &str) -> String {
    let exe = exe.strip_suffix(" (deleted)").unwrap_or(exe);
    match exe.strip_prefix(root.trim_end_matches('/')) {
        Some(below) if below.starts_with('/') => below.to_owned(),
        _ => exe.to_owned(),
    }
}

/// Reads a command line as the kernel gives it (proc_pid_cmdline(5)). A program that has written a title over it leaves
/// one long word, with nothing or only zeros after it.
fn arguments(cmdline: &[u8]) -> Result<Vec<CString>, Error> {
    let title = || {
        let end = cmdline.iter().position(|byte| *byte == 0).unwrap_or(cmdline.len());
        let title = OsString::from(std::ffi::OsStr::from_bytes(&cmdline[..end]));
        Error::Title { title: title.to_string_lossy().into_owned() }
    };
    let whole = cmdline.strip_suffix(&[0]).ok_or_else(title)?;
    let words: Vec<&[u8]> = whole.split(|byte| *byte == 0).collect();
    let (first, rest) = words.split_first().ok_or_else(title)?;
    let padded = !rest.is_empty() && rest.iter().all(|word| word.is_empty()) && first.contains(&b' ');
    if first.is_empty() || padded {
        return Err(title());
    }
    words.into_iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use ksync_procfs::Status;

    use super::{Error, arguments, below_root, plan};
    use crate::container::runtime::record::{Record, User};

    #[test]
    fn a_title_is_no_command_line() {
        let read = |text: &[u8]| {
            arguments(text)
                .map(|words| words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>())
        };
        assert_eq!(read(b"/app\0-x\0\0").unwrap(), ["/app", "-x", ""]);
        assert_eq!(read(b"/my app\0x\0").unwrap(), ["/my app", "x"]);
        for text in [&b"nginx: master process\0\0\0\0"[..], b"postgres: writer", b"", b"\0"] {
            assert!(matches!(read(text), Err(Error::Title { .. })), "{text:?}");
        }
        let Err(Error::Title { title }) = read(b"nginx: master\0\0\0") else { panic!() };
        assert_eq!(title, "nginx: master");
    }

    #[test]
    fn a_replaced_program_is_found_by_its_name() {
        assert_eq!(below_root("/code/app (deleted)", "/"), "/code/app");
        assert_eq!(below_root("/srv/bin/app", "/srv"), "/bin/app");
        assert_eq!(below_root("/srvx/app", "/srv"), "/srvx/app");
    }

    /// What runs this test, as a runtime would have recorded it.
    fn record(uid: u32, gid: u32) -> Record {
        Record {
            args: vec!["sh".into(), "-c".into(), "exec app".into()],
            env: vec!["PATH=/nowhere:/usr/bin:/bin".into(), "A=1".into()],
            cwd: "/".into(),
            umask: 0o022,
            user: User::Ids { uid, gid },
            groups: Vec::new(),
            bounding: Some(0),
            inheritable: 0,
            ambient: 0,
            no_new_privileges: true,
            filtered: true,
            users: Vec::new(),
        }
    }

    #[test]
    fn what_was_recorded_runs_again_unless_privileges_were_dropped() {
        let me = i32::try_from(std::process::id()).unwrap();
        let status = Status::of(me).unwrap();
        let (uid, gid) = (status.uids[0], status.gids[0]);
        let again = plan(me, &status, &record(uid, gid)).unwrap();
        assert_eq!(again.dropped, None);
        assert_eq!(again.shown, "sh -c exec app");
        assert!(again.program.path.to_str().unwrap().ends_with("/bin/sh"));
        assert!(again.program.environment.last().unwrap().to_str().unwrap().starts_with("HOME=/"));
        assert_eq!((again.program.directory.as_deref(), again.program.umask), (Some(c"/"), Some(0o022)));
        let dropped = plan(me, &status, &record(uid + 1, gid)).unwrap();
        assert_eq!(dropped.dropped, Some("its user"));
        let program = dropped.program.path.to_str().unwrap();
        assert_eq!(std::path::Path::new(program), std::env::current_exe().unwrap());
        assert_eq!(dropped.program.directory, None);
        let gone = Record { cwd: "/not/there".into(), ..record(uid, gid) };
        let error = plan(me, &status, &gone).unwrap_err().to_string();
        assert_eq!(error, "the working directory `/not/there` is not in the container any more");
    }
}
