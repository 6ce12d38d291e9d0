//! Replacements under seccomp filters: what they need is found to be forbidden before anything is touched.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use ksync_procfs::{Seccomp, Status};

use super::{
    replaced_by_a_shell, shell,
    victim::{Victim, compiled},
};
use crate::{
    action::Action,
    calls::{self, Needs},
    descendants,
    error::Error,
    replace::replace,
};

const KILL: u32 = 0x8000_0000;
const LOG: u32 = 0x7ffc_0000;
const FAIL: u32 = 0x0005_0026;
/// A system call that there is not.
const NOBODYS: libc::c_long = 9999;

/// Whether this test may read others' filters.
pub(super) fn reads_filters() -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    let me = Status::of(i32::try_from(std::process::id()).unwrap()).unwrap();
    me.permitted & SYS_ADMIN != 0 && me.seccomp == Seccomp::Off
}

/// A process whose filter answers so to one call.
fn filtered(kind: &str, number: libc::c_long, answer: u32) -> Victim {
    let mut command = Command::new(compiled("victim"));
    Victim::run(command.args([kind, &number.to_string(), &answer.to_string()]))
}

#[tokio::test]
async fn a_call_that_its_filters_forbid_is_named_and_the_process_runs_on() {
    if !reads_filters() {
        return ksync_skip::skipped("only root without filters of its own may read others'");
    }
    let all = Needs {
        length: 1,
        directory: true,
        umask: Some(0),
        ignored: vec![libc::SIGPIPE as u64],
        open: vec![3],
    };
    let mut calls = calls::needed(&all);
    calls.dedup_by_key(|call| call.number);
    for call in calls {
        for (answer, action) in [(KILL, Action::KillProcess), (FAIL, Action::Fail)] {
            let mut victim = filtered("", call.number, answer);
            match replace(victim.pid(), shell("true", Some("/".as_ref())), Duration::ZERO).await {
                Err(Error::Forbidden { name, action: found }) => {
                    assert_eq!((name, found), (call.name, action));
                }
                other => panic!("{}, {action:?}: {other:?}", call.name),
            }
            assert!(!victim.proc("maps").contains("rwxp"), "nothing was touched");
            victim.say("go on");
            victim.until("went on");
        }
    }
}

#[tokio::test]
async fn what_only_tells_or_can_be_done_otherwise_is_no_hindrance() {
    if !reads_filters() {
        return ksync_skip::skipped("only root without filters of its own may read others'");
    }
    for (number, answer) in
        [(libc::SYS_execve, LOG), (libc::SYS_close_range, KILL), (libc::SYS_close_range, FAIL)]
    {
        replaced_by_a_shell(filtered("", number, answer)).await;
    }
}

#[tokio::test]
async fn a_filter_that_ends_who_makes_no_call_is_seen_before_its_end_is_asked_for() {
    if !reads_filters() {
        return ksync_skip::skipped("only root without filters of its own may read others'");
    }
    let grace = Duration::from_secs(20);
    let mut victim = filtered("farewell", -1, KILL);
    match replace(victim.pid(), shell("true", None), grace).await {
        Err(Error::Held { action: Action::KillProcess }) => {}
        other => panic!("{other:?}"),
    }
    victim.say("go on");
    assert_eq!(victim.until("went on"), "", "it was asked to end");
    replace(victim.pid(), shell("true", None), Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn a_filtered_program_may_end_in_its_own_way_first() {
    if !reads_filters() {
        return ksync_skip::skipped("only root without filters of its own may read others'");
    }
    let mut victim = filtered("farewell", NOBODYS, KILL);
    replace(victim.pid(), shell("true", None), Duration::from_secs(20)).await.unwrap();
    assert_eq!(victim.until("farewell"), "");
}

#[tokio::test]
async fn the_parent_of_a_vfork_is_left_alone_where_its_filters_cannot_be_read() {
    if !reads_filters() {
        return ksync_skip::skipped("only root without filters of its own may read others'");
    }
    for grace in [Duration::ZERO, Duration::from_secs(1)] {
        let victim = filtered("vfork", NOBODYS, KILL);
        let begun = Instant::now();
        while !victim.proc("status").contains("State:\tD") {
            assert!(begun.elapsed() < Duration::from_secs(5), "{}", victim.proc("status"));
            std::thread::yield_now();
        }
        let children = descendants::of(victim.pid()).unwrap();
        let refused = replace(victim.pid(), shell("true", None), grace).await;
        assert!(matches!(refused, Err(Error::Unreadable)), "{refused:?}");
        assert_eq!(descendants::of(victim.pid()).unwrap(), children);
        descendants::end(victim.pid(), Instant::now() + Duration::from_secs(5)).unwrap();
    }
}
