//! Where it was measured.

use std::{fs, process::Command};

use crate::suite::{ksync::Ksync, run::Run, shell};

/// What and which, for the head of the table.
pub(crate) fn read(run: &Run) -> Vec<(String, String)> {
    let nodes: Vec<String> = run.nodes.iter().map(ToString::to_string).collect();
    let version = shell::run(shell::command(Ksync::program()).arg("--version"), None).ok();
    let syncthing = shell::run(shell::command(&run.programs().join("syncthing")).arg("--version"), None).ok();
    let word = |text: Result<String, String>, number: usize| {
        text.map_or_else(
            |said| said,
            |text| text.split_whitespace().nth(number).unwrap_or_default().to_owned(),
        )
    };
    [
        ("date", now()),
        ("cores", std::thread::available_parallelism().map_or_else(|e| e.to_string(), |n| n.to_string())),
        ("processor", processor()),
        ("kernel", rustix::system::uname().release().to_string_lossy().into_owned()),
        (
            "load before",
            fs::read_to_string("/proc/loadavg").map_or_else(|e| e.to_string(), |t| first_words(&t, 3)),
        ),
        ("kubectl-ksync", format!("{}, {}{}", word(version, 2), build(), commit())),
        ("syncthing", word(syncthing, 1)),
        ("nodes", nodes.join("; ")),
    ]
    .map(|(what, which)| (what.to_owned(), which))
    .to_vec()
}

fn first_words(text: &str, count: usize) -> String {
    text.split_whitespace().take(count).collect::<Vec<_>>().join(" ")
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%F %H:%M UTC").to_string()
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    line.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned())
}

/// How the measured program was built.
fn build() -> &'static str {
    if Ksync::program().starts_with(env!("CARGO_BIN_EXE_kubectl-ksync")) {
        "not optimised"
    } else {
        "release without link-time optimisation"
    }
}

/// Where the source is a git clone.
fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return String::new() };
    let changed = git(&["status", "--porcelain"]).is_some_and(|text| !text.is_empty());
    format!(", commit {commit}{}", if changed { " and changes" } else { "" })
}
