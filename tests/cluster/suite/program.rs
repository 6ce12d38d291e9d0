//! Small C programs of the suite's own, to be run in containers.

use std::{fs, path::Path, process::Command};

use super::Sandbox;

/// A static program from a C source of this workspace, whose path begins at its root.
#[track_caller]
pub(crate) fn compiled(sandbox: &Sandbox, source: &str) -> Vec<u8> {
    let (source, program) = (Path::new(env!("CARGO_MANIFEST_DIR")).join(source), sandbox.scratch("compiled"));
    let mut compile = Command::new("cc");
    compile.args(["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program).arg(&source);
    assert!(compile.status().expect("run cc").success(), "compile `{}`", source.display());
    fs::read(&program).expect("read the program")
}
