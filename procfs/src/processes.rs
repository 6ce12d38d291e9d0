//! Which processes and threads there are, who their parents are and what they are doing: the directories `/proc` and
//! `/proc/PID/task`, and `stat` (proc_pid_stat(5)).

use std::collections::BTreeMap;

use crate::{error::Error, read, state::State, status::Status};

/// The numbers of all processes, those with them that have ended and were not yet waited for.
pub fn processes() -> Result<Vec<i32>, Error> {
    read::numbers("/proc")
}

/// The numbers of a process's threads.
pub fn threads(process: i32) -> Result<Vec<i32>, Error> {
    read::numbers(&format!("/proc/{process}/task"))
}

/// A thread of the process that lives: the first one, or another where that one has ended. None when all have.
pub fn living_thread(process: i32) -> Option<i32> {
    let lives = |tid: i32| Status::of(tid).is_ok_and(|status| !status.state.has_ended());
    if lives(process) {
        return Some(process);
    }
    threads(process).ok()?.into_iter().find(|tid| lives(*tid))
}

/// What one thread of a process is doing; none when there is no such thread.
pub fn thread_state(process: i32, tid: i32) -> Option<State> {
    Stat::parse(&read::text(&format!("/proc/{process}/task/{tid}/stat")).ok()?).map(|stat| stat.state)
}

/// When a process was started, in the kernel's ticks since its boot: with the number it names the process for good. None when
/// there is no such process.
pub fn started(process: i32) -> Option<u64> {
    stat(process).map(|stat| stat.started)
}

/// The parent of a process; none when there is no such process.
pub fn parent(process: i32) -> Option<i32> {
    stat(process).map(|stat| stat.parent)
}

fn stat(process: i32) -> Option<Stat> {
    Stat::parse(&read::text(&format!("/proc/{process}/stat")).ok()?)
}

/// The parent of each living process. Those that have ended are left out: what they started has other parents by now.
pub fn parents() -> Result<BTreeMap<i32, i32>, Error> {
    let living = |pid: i32| {
        let stat = stat(pid)?;
        (!stat.state.has_ended()).then_some((pid, stat.parent))
    };
    Ok(processes()?.into_iter().filter_map(living).collect())
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    state: State,
    parent: i32,
    started: u64,
}

impl Stat {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        // The name may hold anything, so what follows its last parenthesis counts.
        let mut fields = text.rsplit_once(") ")?.1.split(' ');
        let (state, parent) = (State::parse(fields.next()?), fields.next()?.parse().ok()?);
        // The 22nd of all, and the third and fourth are taken.
        Some(Self { state, parent, started: fields.nth(17)?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::{Stat, State};

    #[test]
    fn a_name_with_parentheses_does_not_hide_the_parent() {
        let found = Stat { state: State::Sleeping, parent: 3, started: 4711 };
        let text = "7 (a) Z 9) S 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 5 6";
        assert_eq!(Stat::parse(text), Some(found));
        assert_eq!(Stat::parse("7 (a) S 3 7"), None);
        assert_eq!(Stat::parse("7 (a"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_among_those_that_live() {
        use super::{living_thread, parents, processes, started, thread_state, threads};
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(processes().unwrap().contains(&me) && threads(me).unwrap().contains(&me));
        assert_eq!(living_thread(me), Some(me));
        assert!(started(me).unwrap() >= started(1).unwrap() && started(i32::MAX).is_none());
        assert!(thread_state(me, me).is_some_and(|state| !state.has_ended()));
        let parent = i32::try_from(std::os::unix::process::parent_id()).unwrap();
        assert_eq!(parents().unwrap().get(&me), Some(&parent));
    }

    #[test]
    fn no_text_breaks_it() {
        let text = "7 (a) Z 9) S 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 5 6";
        ksync_mangle::each_text(&[text], |text| {
            // A name can't stand for what is after it.
            let named = format!("7 ({text}) S 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 5 6");
            let found = Stat { state: State::Sleeping, parent: 3, started: 4711 };
            assert_eq!(Stat::parse(&named), Some(found));
            let _ = Stat::parse(text);
        });
    }
}
