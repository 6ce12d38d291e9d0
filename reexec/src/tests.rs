//! The exec injection against children of the test itself.

use std::{
    ffi::CString,
    fs,
    io::BufRead,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

#[cfg(target_arch = "x86_64")]
mod changed;
mod seccomp;
mod victim;

pub(crate) use victim::compiled;

use victim::Victim;

use crate::{descendants, error::Error, program::Program, ptrace, replace::replace};

fn text(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// A shell that tells what it finds, and then waits to be ended.
fn shell(script: &str, dir: Option<&Path>) -> Program {
    let script = format!("{script}; echo done; read line");
    Program {
        path: text("/bin/sh"),
        arguments: ["sh", "-c", &script].map(text).to_vec(),
        environment: ["PATH=/bin:/usr/bin", "NEW=one"].map(text).to_vec(),
        directory: dir.map(|dir| text(dir.to_str().unwrap())),
        umask: Some(0o027),
    }
}

/// What a freshly executed shell has to find, whatever ran before. Its own signal mask is not to be read from outside:
/// it changes it for each command.
const LOOK: &str = "echo \"$$ $(pwd) $(umask) $NEW\"; ls -x /proc/$$/fd; \
    grep -E 'TracerPid|Threads|SigPnd|ShdPnd' /proc/$$/status; grep -E 'Sig(Blk|Ign)' /proc/self/status";

async fn replaced_by_a_shell(mut victim: Victim) {
    let dir = tempfile::tempdir().unwrap();
    let ended = replace(victim.pid(), shell(LOOK, Some(dir.path())), Duration::ZERO).await;
    let ended = ended.unwrap_or_else(|error| panic!("{}", ksync_common::chain(&error)));
    let said = {
        let mut said = Vec::new();
        loop {
            let mut line = String::new();
            victim.out.read_line(&mut line).unwrap();
            match line.trim_end() {
                "done" => break said,
                line => said.push(line.split_whitespace().collect::<Vec<_>>().join(" ")),
            }
        }
    };
    // What the old program had not yet written to the pipe may come first.
    let first = said.iter().position(|line| line.starts_with(&victim.pid().to_string())).unwrap();
    let path = fs::canonicalize(dir.path()).unwrap();
    assert_eq!(
        said[first..],
        [
            format!("{} {} 0027 one", victim.pid(), path.display()),
            "0 1 2".to_owned(),
            "TracerPid: 0".to_owned(),
            "Threads: 1".to_owned(),
            "SigPnd: 0000000000000000".to_owned(),
            "ShdPnd: 0000000000000000".to_owned(),
            "SigBlk: 0000000000000000".to_owned(),
            "SigIgn: 0000000000000000".to_owned(),
        ],
        "after {ended} children were ended"
    );
}

#[tokio::test]
async fn a_program_is_replaced_in_place() {
    replaced_by_a_shell(Victim::run(Command::new("sh").args(["-c", "echo ready; read line"]))).await;
}

#[tokio::test]
async fn a_busy_program_with_many_threads_is_replaced() {
    replaced_by_a_shell(Victim::start("busy")).await;
}

#[tokio::test]
async fn a_program_whose_first_thread_has_ended_is_replaced() {
    let victim = Victim::start("leaderless");
    let begun = Instant::now();
    while !victim.proc("status").contains("State:\tZ") {
        assert!(begun.elapsed() < Duration::from_secs(5), "{}", victim.proc("status"));
        std::thread::yield_now();
    }
    replaced_by_a_shell(victim).await;
}

#[tokio::test]
async fn the_parent_of_a_vfork_is_replaced() {
    let victim = Victim::start("vfork");
    replaced_by_a_shell(victim).await;
}

#[tokio::test]
async fn children_and_the_dead_among_them_are_not_inherited() {
    let mut command = Command::new("sh");
    let mut victim = Victim::run(
        command.args(["-c", "sleep 1000 & sleep 1000 & true & sh -c 'sleep 1000' & echo ready; read line"]),
    );
    let program =
        shell("sleep 0.1 & echo \"$(ls /proc/$$/task/$$/children) $(cat /proc/$$/task/$$/children)\"", None);
    let ended = replace(victim.pid(), program, Duration::ZERO).await.unwrap();
    assert!((3..=5).contains(&ended), "{ended}");
    let said = victim.until("done");
    assert_eq!(said, "");
    // Only what the new program has started.
    let children = descendants::of(victim.pid()).unwrap();
    assert!(children.len() <= 1, "{children:?}");
}

#[tokio::test]
async fn a_program_may_end_in_its_own_way_first() {
    for kind in ["farewell", "farewell-thread", "stubborn"] {
        let mut victim = Victim::start(kind);
        let (begun, grace) = (Instant::now(), Duration::from_secs(if kind == "stubborn" { 1 } else { 20 }));
        let ended = replace(victim.pid(), shell("echo \"$$\"", None), grace).await;
        ended.unwrap_or_else(|error| panic!("{kind}: {}", ksync_common::chain(&error)));
        let took = begun.elapsed();
        assert!(if kind == "stubborn" { took >= grace } else { took < grace }, "{kind}: {took:?}");
        let mut said = String::new();
        while !said.ends_with("done\n") {
            assert_ne!(victim.out.read_line(&mut said).unwrap(), 0, "{kind}: {said}");
        }
        let farewell = if kind == "stubborn" { "" } else { "farewell\n" };
        assert_eq!(said, format!("{farewell}{}\ndone\n", victim.pid()), "{kind}");
    }
}

#[tokio::test]
async fn what_fails_leaves_everything_as_it_was() {
    for kind in ["busy", "sleeper"] {
        let mut victim = Victim::start(kind);
        let seen = |victim: &Victim| {
            let status = victim.proc("status");
            // While a handler runs, its signal is blocked: the busy one may be seen in one.
            let mask = if kind == "busy" { "Umask" } else { "SigBlk" };
            let keep = ["Umask", mask, "SigIgn", "SigCgt", "TracerPid"];
            let kept = status.lines().filter(|line| keep.iter().any(|key| line.starts_with(key)));
            let cwd = fs::read_link(format!("/proc/{}/cwd", victim.pid())).unwrap();
            let mut open: Vec<_> = fs::read_dir(format!("/proc/{}/fdinfo", victim.pid()))
                .unwrap()
                .flatten()
                .map(|entry| {
                    let info = fs::read_to_string(entry.path()).unwrap_or_default();
                    let flags = info.lines().find(|line| line.starts_with("flags")).map(str::to_owned);
                    (entry.file_name(), flags)
                })
                .collect();
            open.sort();
            let maps = victim.proc("maps").lines().count();
            (kept.map(str::to_owned).collect::<Vec<_>>(), cwd, open, (kind == "sleeper").then_some(maps))
        };
        let before = seen(&victim);
        for _ in 0..20 {
            let program = Program { path: text("/nowhere/at/all"), ..shell("", Some(Path::new("/"))) };
            match replace(victim.pid(), program, Duration::ZERO).await.unwrap_err() {
                Error::Call { name: "execve", source } => {
                    assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
                }
                error => panic!("{}", ksync_common::chain(&error)),
            }
        }
        assert_eq!(seen(&victim), before, "{kind}");
        // It runs on, and what it was waiting for still comes.
        if kind == "sleeper" {
            assert_eq!(victim.until("slept 1"), "");
        }
        victim.say("go on");
        victim.until("went on");
    }
}

#[tokio::test]
async fn a_process_that_is_traced_already_is_refused() {
    let mut victim = Victim::run(Command::new("sh").args(["-c", "echo ready; read line; echo went on"]));
    let (held_tx, held_rx) = std::sync::mpsc::channel();
    let (done_tx, done_rx) = std::sync::mpsc::channel::<()>();
    let pid = victim.pid();
    let tracer = std::thread::spawn(move || {
        ptrace::seize(pid).unwrap();
        held_tx.send(()).unwrap();
        done_rx.recv().unwrap();
    });
    held_rx.recv().unwrap();
    assert!(matches!(replace(pid, shell("", None), Duration::ZERO).await, Err(Error::Refused)));
    done_tx.send(()).unwrap();
    tracer.join().unwrap();
    victim.say("");
    victim.until("went on");
}
