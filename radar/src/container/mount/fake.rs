//! A process in a mount namespace of its own, which stands for a container in tests.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Its root file system is that of this machine.
pub(crate) struct Namespace(Child);

impl Namespace {
    /// One in which `script` has run; none where this machine lets nobody make one.
    pub(crate) fn with(script: &str) -> Option<Self> {
        let script = format!("{script}\necho ready\nexec sleep 1000");
        let mut child = Command::new("unshare")
            .args(["--mount", "sh", "-ec", &script])
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take()?).read_line(&mut line).ok()?;
        if line == "ready\n" {
            return Some(Self(child));
        }
        child.wait().ok()?;
        None
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    /// What a line of a shell in it says.
    pub(crate) fn says(&self, line: &str) -> String {
        let target = format!("--target={}", self.pid());
        let said = Command::new("nsenter").args([&target, "--mount", "--", "sh", "-c", line]).output();
        String::from_utf8(said.unwrap().stdout).unwrap().trim_end().to_owned()
    }

    pub(crate) fn sees(&self, path: &Path) -> PathBuf {
        format!("/proc/{}/root{}", self.pid(), path.display()).into()
    }

    pub(crate) fn mounts(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/mountinfo", self.pid())).unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}
