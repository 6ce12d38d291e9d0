//! Running programs with a limit.

use std::{
    ffi::OsStr,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// Seconds that any one command may take; `create --wait` is the longest.
const LIMIT: &str = "150";

/// What a program said and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    /// None when a signal ended it.
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Stdout of a success.
    pub(crate) fn ok(self) -> Result<String, String> {
        if self.status == Some(0) {
            return Ok(self.stdout);
        }
        Err(format!("status {:?}\n{}{}", self.status, self.stdout, self.stderr))
    }
}

/// A command that ends by itself when it takes too long (with status 124, or 137).
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", LIMIT]).arg(program).stdin(Stdio::null());
    command
}

/// Runs it and reads everything.
pub(crate) fn run(command: &mut Command, input: Option<&[u8]>) -> Output {
    let shown = || command_line(command);
    let shown = shown();
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("run `{shown}`: {error}"));
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        // A program that does not read its input says why itself.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().unwrap_or_else(|error| panic!("run `{shown}`: {error}"));
    Output {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn command_line(command: &Command) -> String {
    let words: Vec<_> = command.get_args().skip(2).map(OsStr::to_string_lossy).collect();
    words.join(" ")
}
