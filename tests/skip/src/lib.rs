//! For tests that can't run on every machine (mounts, namespaces, a program that is not there): such a test says so and
//! returns, and whoever runs it learns of it.
//!
//! Invariant: the harness, which hides the output of tests that pass, hides no skipped test: the line goes around its
//! capture, to the file named by [`FILE`] (`tests/unit` counts its lines) or else to standard error itself.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    panic::Location,
    path::Path,
    thread,
};

/// Names the file that each skipped test adds its line to.
pub const FILE: &str = "KSYNC_TEST_SKIPPED";

/// Says that the test which calls it is skipped, and why: `return skipped("mounts can't be cloned here")`.
///
/// # Panics
/// Where the line can't be written: a test must not pass in silence.
#[track_caller]
pub fn skipped(reason: &str) {
    let line = line(thread::current().name(), Location::caller(), reason);
    let file = std::env::var_os(FILE).filter(|name| !name.is_empty());
    let written = match &file {
        Some(file) => append(Path::new(file), &line),
        None => io::stderr().write_all(line.as_bytes()),
    };
    assert!(written.is_ok(), "say that a test is skipped: {written:?}: {line}");
}

/// Does `act` as somebody who may read and write no more than modes let him, whoever runs the test; what it starts may no more
/// either.
///
/// # Panics
/// Where `act` does, and where a thread can't give up what it may.
#[cfg(target_os = "linux")]
pub fn by_modes_alone<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let run = || {
        // capabilities(7): they are a thread's own, and those that it starts inherit them.
        let mut sets = capabilities(None).unwrap_or_else(|error| panic!("ask what this may: {error}"));
        sets.effective.remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
        set_capabilities(None, sets).unwrap_or_else(|error| panic!("give up what this may: {error}"));
        act()
    };
    thread::scope(|scope| {
        let name = thread::current().name().map(ToOwned::to_owned).unwrap_or_default();
        let acting = thread::Builder::new().name(name).spawn_scoped(scope, run);
        let acting = acting.unwrap_or_else(|error| panic!("begin a thread: {error}"));
        acting.join().unwrap_or_else(|why| std::panic::resume_unwind(why))
    })
}

/// The harness names a test's thread after the test, but with one thread for all, which is `main`.
fn line(thread: Option<&str>, at: &Location<'_>, reason: &str) -> String {
    let test = thread.filter(|name| *name != "main").map_or_else(
        || format!("the test at {}:{}", at.file(), at.line()),
        |name| format!("{name} ({})", at.file()),
    );
    format!("SKIPPED: {test}: {reason}\n")
}

/// One write: tests run side by side, in several processes.
fn append(file: &Path, line: &str) -> io::Result<()> {
    OpenOptions::new().create(true).append(true).open(file)?.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::{panic::Location, process::Command};

    use super::{FILE, line, skipped};

    const CHILD: &str = "KSYNC_SKIP_TEST_CHILD";

    /// This test in a harness of its own, where it does nothing but skip.
    fn run_skipping(file: &str) -> (String, String) {
        let mut harness = Command::new(std::env::current_exe().unwrap());
        harness.args(["--exact", "tests::a_skipped_test_is_heard_of_though_it_passes"]);
        let output = harness.env(CHILD, "1").env(FILE, file).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    #[test]
    fn a_skipped_test_is_heard_of_though_it_passes() {
        if std::env::var_os(CHILD).is_some() {
            return skipped("nothing of the sort is here");
        }
        let expected = "SKIPPED: tests::a_skipped_test_is_heard_of_though_it_passes (tests/skip/src/lib.rs): nothing \
                        of the sort is here\n";
        let (stdout, stderr) = run_skipping("");
        assert!(stdout.contains("1 passed") && !stdout.contains("SKIPPED"), "{stdout}");
        assert_eq!(stderr, expected);

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("skipped");
        for _ in 0..2 {
            assert_eq!(run_skipping(&file.display().to_string()).1, "");
        }
        assert_eq!(std::fs::read_to_string(file).unwrap(), expected.repeat(2));
    }

    #[test]
    fn without_a_name_of_its_own_the_place_names_it() {
        let at = Location::caller();
        let named = format!("SKIPPED: the test at {}:{}: why\n", at.file(), at.line());
        assert_eq!(line(Some("main"), at, "why"), named);
        assert_eq!(line(None, at, "why"), named);
    }
}
