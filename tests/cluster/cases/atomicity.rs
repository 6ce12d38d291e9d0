//! What somebody sees who reads in a container while files change here.

use std::{
    fs, io,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{CODE, NO_RELOAD};
use crate::suite::{
    App, Case, Need, Sandbox,
    container::Container,
    eventually::{LONG, eventually, holds},
};

pub(super) const CASES: &[Case] = &[
    Case::new("a_reader_never_sees_half_a_file", readers).needs(NEEDS),
    Case::new("two_edits_of_equal_size_within_a_second_both_arrive", equal_sizes).needs(NEEDS),
];

const NEEDS: &[Need] = &[Need::Processes];
const PAGE: &str = "page.html";

/// On each node one that syncthing writes to, and one that radar copies to.
#[track_caller]
fn two_on_each(sandbox: &Sandbox, content: &str) -> Vec<(Container, PathBuf)> {
    sandbox.write(PAGE, content);
    let containers = App::web(sandbox).twice_everywhere().apply(sandbox).all();
    sandbox.sync(NO_RELOAD, CODE);
    let inside = |container: Container| {
        let pid = container.pid(sandbox.cluster()).expect("its process");
        (container, PathBuf::from(format!("/proc/{pid}/root{CODE}/{PAGE}")))
    };
    containers.into_iter().map(inside).collect()
}

#[track_caller]
fn arrives(there: &[(Container, PathBuf)], content: &str) {
    for (container, path) in there {
        eventually(&format!("{} bytes in {container}", content.len()), LONG, || {
            let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
            holds(text == content, format!("{} bytes", text.len()))
        });
    }
}

fn readers(sandbox: &Sandbox) {
    // More than one block of syncthing's.
    let contents = ["a".repeat(300_000), "b".repeat(200_000)];
    let there = two_on_each(sandbox, &contents[0]);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reads = |path: &PathBuf| -> Result<[u32; 2], String> {
            let mut seen = [0, 0];
            while !over.load(Ordering::SeqCst) {
                match fs::read_to_string(path) {
                    Ok(text) => {
                        let which = contents.iter().position(|content| *content == text);
                        let which = which.ok_or_else(|| format!("{} bytes are neither", text.len()))?;
                        seen[which] += 1;
                    }
                    // syncthing takes the old name away right before it gives it to the new file.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error.to_string()),
                }
                thread::sleep(Duration::from_micros(200));
            }
            Ok(seen)
        };
        let threads: Vec<_> =
            there.iter().map(|(container, path)| (container, scope.spawn(move || reads(path)))).collect();
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 1..=12 {
                // Written in place, and waited for.
                sandbox.write(PAGE, &contents[round % 2]);
                arrives(&there, &contents[round % 2]);
            }
            for round in 1..=60 {
                // One after the other, each whole.
                let new = sandbox.scratch("new");
                fs::write(&new, &contents[round % 2]).expect("write");
                fs::rename(&new, sandbox.path(PAGE)).expect("rename");
                thread::sleep(Duration::from_millis(15));
            }
            arrives(&there, &contents[0]);
        }));
        over.store(true, Ordering::SeqCst);
        let seen: Vec<_> =
            threads.into_iter().map(|(of, thread)| (of, thread.join().expect("the reader"))).collect();
        let torn = seen.iter().filter(|(_, seen)| seen.is_err()).map(|(of, seen)| format!("{of}: {seen:?}"));
        let torn: Vec<String> = torn.collect();
        assert!(torn.is_empty(), "{torn:?}");
        done.unwrap_or_else(|why| std::panic::resume_unwind(why));
        for (container, seen) in seen {
            assert!(
                seen.as_ref().is_ok_and(|seen| seen.iter().all(|times| *times > 0)),
                "{container}: {seen:?}"
            );
        }
    });
}

fn equal_sizes(sandbox: &Sandbox) {
    let there = two_on_each(sandbox, "edit 0a\n");
    let mut within = 0;
    for pair in 1..=20 {
        let begun = Instant::now();
        sandbox.write(PAGE, format!("edit {pair}a\n"));
        arrives(&there, &format!("edit {pair}a\n"));
        sandbox.write(PAGE, format!("edit {pair}b\n"));
        let apart = begun.elapsed();
        arrives(&there, &format!("edit {pair}b\n"));
        // A busy machine may be too slow for some of them.
        within += u32::from(apart < Duration::from_secs(1));
        if within == 5 {
            return;
        }
    }
    panic!("{within} of 20 pairs of edits were within a second");
}
