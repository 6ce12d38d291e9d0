//! A small disk of its own, which can be full, and taken out and put back with all that is on it.
//!
//! Invariant: it is unmounted at the end, whatever happens.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use crate::suite::{process, shell};

/// Fills what is left of a disk.
const FILLER: &str = "filler~";

/// What is written while a disk is made smaller is in the way so often at most.
const TRIES: usize = 50;

/// Memory, mounted at one place and bound to another: there it comes and goes.
pub(crate) struct Disk {
    memory: PathBuf,
    pub(crate) at: PathBuf,
    megabytes: u32,
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let said = shell::run(Command::new(program).args(args), None).ok();
    said.map(drop).map_err(|said| format!("{program} {}: {said}", args.join(" ")))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

impl Disk {
    pub(crate) fn mount(memory: PathBuf, at: PathBuf, megabytes: u32) -> Result<Self, String> {
        for dir in [&memory, &at] {
            fs::create_dir(dir).map_err(|error| format!("mkdir `{}`: {error}", dir.display()))?;
        }
        let size = format!("size={megabytes}m,mode=0755");
        run("mount", &["-t", "tmpfs", "-o", &size, "ksync-suite", &shown(&memory)])?;
        let disk = Self { memory, at, megabytes };
        disk.put_back()?;
        Ok(disk)
    }

    pub(crate) fn take_out(&self) -> Result<(), String> {
        run("umount", &["--lazy", &shown(&self.at)])
    }

    pub(crate) fn put_back(&self) -> Result<(), String> {
        run("mount", &["--bind", &shown(&self.memory), &shown(&self.at)])
    }

    /// As small as what is on it, at a moment at which nothing more comes.
    pub(crate) fn fill(&self) -> Result<(), String> {
        let failed = |error| format!("look at `{}`: {error}", self.memory.display());
        let mut said = String::new();
        for _ in 0..TRIES {
            let space = rustix::fs::statvfs(&self.memory).map_err(failed)?;
            let used = (space.f_blocks - space.f_bfree) * space.f_frsize;
            match self.resize(&used.max(space.f_frsize).to_string()) {
                Ok(()) => return Ok(()),
                Err(error) => said = error,
            }
        }
        Err(said)
    }

    pub(crate) fn free(&self) -> Result<(), String> {
        self.resize(&format!("{}m", self.megabytes))
    }

    fn resize(&self, size: &str) -> Result<(), String> {
        run("mount", &["-o", &format!("remount,size={size}"), &shown(&self.memory)])
    }
}

/// Writes below `dir` until nothing more fits, under a name that is not synced.
pub(crate) fn fill(dir: &Path) -> Result<(), String> {
    let filler = dir.join(FILLER);
    let mut file = File::create(&filler).map_err(|error| format!("make `{}`: {error}", filler.display()))?;
    for size in [1 << 20, 4096, 1] {
        let block = vec![0; size];
        while file.write_all(&block).is_ok() {}
    }
    Ok(())
}

pub(crate) fn free(dir: &Path) -> Result<(), String> {
    let filler = dir.join(FILLER);
    fs::remove_file(&filler).map_err(|error| format!("remove `{}`: {error}", filler.display()))
}

impl Drop for Disk {
    fn drop(&mut self) {
        for process in process::of_home(&self.at) {
            process::kill(process.pid);
        }
        for dir in [&self.at, &self.memory] {
            if let Err(said) = run("umount", &["--lazy", &shown(dir)]) {
                eprintln!("left behind: {said}");
            }
        }
    }
}
