//! What is traced: a child that says when it is ready.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Mutex, PoisonError},
};

/// A child of this test.
pub(super) struct Victim {
    child: Child,
    pub(super) out: BufReader<ChildStdout>,
}

/// The C program of this name beside this file, compiled once; whoever links Rust programs has a C compiler.
pub(crate) fn compiled(name: &str) -> PathBuf {
    static TURN: Mutex<Vec<String>> = Mutex::new(Vec::new());
    // Beside this test program, in the target directory; in one step, for others may run it now.
    let dir = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let program = dir.join(format!("ksync-reexec-{name}"));
    let mut done = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if !done.iter().any(|done| done == name) {
        let fresh = tempfile::tempdir_in(&dir).unwrap();
        let source = format!("{}/src/tests/{name}.c", env!("CARGO_MANIFEST_DIR"));
        let mut compile = Command::new("cc");
        compile.args(["-O1", "-pthread", "-Wall", "-Wextra", "-o"]).arg(fresh.path().join(name)).arg(source);
        assert!(compile.status().unwrap().success());
        fs::rename(fresh.path().join(name), &program).unwrap();
        done.push(name.to_owned());
    }
    program
}

impl Victim {
    pub(super) fn start(kind: &str) -> Self {
        Self::run(Command::new(compiled("victim")).arg(kind))
    }

    pub(super) fn run(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut victim = Self { child, out };
        victim.until("ready");
        victim
    }

    pub(super) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Reads lines until one ends in `word`; what it says before.
    pub(super) fn until(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.out.read_line(&mut line).unwrap(), 0, "the victim ended before it said `{word}`");
            if let Some(said) = line.trim_end().strip_suffix(word) {
                return said.to_owned();
            }
        }
    }

    /// Says a line to it.
    pub(super) fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The file of this process in /proc.
    pub(super) fn proc(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.pid())).unwrap()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
