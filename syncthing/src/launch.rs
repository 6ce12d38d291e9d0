//! Starting syncthing as one process that cannot outlive its parent.
//!
//! `PR_SET_PDEATHSIG` is bound to the *thread* that forks, so the caller spawns from a thread that lives
//! as long as syncthing may. The signal is set by a step of our own binary between fork and exec
//! ([`become_syncthing`]), which needs no unsafe code.

use std::{
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

/// Bytes of the database that are kept in memory before they go to a table. syncthing's own 16 MB keep the marks of what
/// is not needed any more, one for each file that was pulled, and each pull goes through them all, twice: 15 ms an edit
/// after a burst of 4,000 files.
const WRITE_BUFFER: usize = 1 << 20;

/// The command line that runs syncthing on `home` as a single process, its log on stdout. 2.x has another database
/// and does not read the two variables of this one.
pub fn command(binary: &Path, home: &Path) -> Command {
    let mut command = Command::new(binary);
    command
        .arg("serve")
        .arg(format!("--home={}", home.display()))
        .args(["--no-browser", "--no-restart"])
        // Without this 1.x forks a monitor, whose death orphans the child that holds the home's lock.
        .env("STMONITORED", "yes")
        .env("STNOUPGRADE", "1")
        .env("STNODEFAULTFOLDER", "1")
        .env("STDEBUG_WriteBuffer", WRITE_BUFFER.to_string())
        // Each start makes the database anew, so none has to outlast the machine.
        .env("STDEBUG_NoSync", "1")
        .stdin(Stdio::null());
    command
}

/// The command that makes our own binary (`exe` with `step` as its hidden verb) turn into syncthing.
///
/// `step` must call [`become_syncthing`] with the three arguments that follow it.
pub fn through_own_binary(exe: &Path, step: &str, binary: &Path, home: &Path) -> Command {
    let mut command = Command::new(exe);
    command.arg(step).arg(std::process::id().to_string()).arg(binary).arg(home).stdin(Stdio::null());
    command
}

/// Turns this process into syncthing, killed by the kernel when `parent` ends. Returns only on failure.
pub fn become_syncthing(parent: u32, binary: &Path, home: &Path) -> io::Error {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
            return error.into();
        }
    }
    // The parent may have gone before the signal was asked for.
    let alive =
        rustix::process::getppid().is_some_and(|pid| pid.as_raw_nonzero().get().unsigned_abs() == parent);
    if !alive {
        return io::Error::other("the parent process has ended");
    }
    command(binary, home).process_group(0).exec()
}
