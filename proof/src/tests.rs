//! Real processes: a container, of two namespaces, and what was started in it, by its runtime (which this process stands for)
//! and by itself.

use std::{
    io::{BufRead, BufReader},
    os::{
        fd::OwnedFd,
        unix::{fs::MetadataExt, net::UnixStream},
    },
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{Proof, Refusal, judge, look};

/// What stands for the program that radar plants.
const PLANTED: &str = "/bin/cat";

fn planted() -> (u64, u64) {
    let file = std::fs::metadata(PLANTED).unwrap();
    (file.dev(), file.ino())
}

/// A container whose init waits for ever.
struct Container {
    unshare: Child,
    init: i32,
}

impl Container {
    /// None where there are no namespaces to be had.
    fn start() -> Option<Self> {
        let mut unshare = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "sh", "-c"])
            .arg("echo ready; sleep 1000; :")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut line = String::new();
        let read = BufReader::new(unshare.stdout.as_mut()?).read_line(&mut line).ok()?;
        let init = (read > 0).then(|| child_of(&unshare)).flatten();
        let Some(init) = init else {
            unshare.wait().ok()?;
            return None;
        };
        Some(Self { unshare, init })
    }

    /// As a runtime starts something in it: the process above stays outside.
    fn exec(&self, program: &[&str], stdin: Stdio) -> Exec {
        let child = Command::new("nsenter")
            .args([&format!("--target={}", self.init), "--mount", "--pid", "--"])
            .args(program)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Exec(child)
    }

    fn judged(&self, peer: i32) -> Result<Proof, Refusal> {
        judge(&look(peer, self.init).unwrap(), planted())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.unshare.kill().unwrap();
        self.unshare.wait().unwrap();
    }
}

/// Something that was started in a container.
struct Exec(Child);

impl Exec {
    /// The planted program among what was started, once it is that.
    fn peer(&self) -> i32 {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            let parents = ksync_procfs::parents().unwrap();
            let root = i32::try_from(self.0.id()).unwrap();
            let below = |mut pid: i32| {
                while let Some(parent) = parents.get(&pid) {
                    if *parent == root {
                        return true;
                    }
                    pid = *parent;
                }
                false
            };
            let is_peer = |pid: &&i32| {
                below(**pid) && ksync_procfs::executable_file(**pid).is_ok_and(|file| file == planted())
            };
            if let Some(peer) = parents.keys().find(is_peer) {
                return *peer;
            }
            std::thread::yield_now();
        }
        panic!("`{PLANTED}` was not started");
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        // What is below it ends with the container.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn child_of(parent: &Child) -> Option<i32> {
    let parent = i32::try_from(parent.id()).ok()?;
    ksync_procfs::parents().ok()?.into_iter().find(|(_, of)| *of == parent).map(|(pid, _)| pid)
}

#[test]
fn an_exec_with_stdin_is_a_proof_and_the_same_twice() {
    let Some(container) = Container::start() else { return ksync_skip::skipped("no namespaces here") };
    let exec = container.exec(&[PLANTED], Stdio::piped());
    let peer = exec.peer();
    let proof = container.judged(peer).unwrap();
    assert_eq!((proof.process.0, proof.init.0), (peer, container.init));
    assert_eq!(container.judged(peer), Ok(proof));
    // In another container it proves nothing.
    let other = Container::start().unwrap();
    assert_eq!(other.judged(peer), Err(Refusal::Elsewhere));
}

/// A runtime's own program ends as soon as it has started what it was to start, and the shim is the parent then: at any moment
/// of a look.
#[test]
fn an_exec_whose_starter_ends_is_a_proof() {
    let Some(container) = Container::start() else { return ksync_skip::skipped("no namespaces here") };
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    for round in 0..100 {
        let mut exec = container.exec(&[PLANTED], Stdio::piped());
        let (peer, _stdin) = (exec.peer(), exec.0.stdin.take());
        let after = Duration::from_micros(300 * round);
        let end = std::thread::spawn(move || {
            let begun = Instant::now();
            while begun.elapsed() < after {
                std::hint::spin_loop();
            }
            drop(exec);
        });
        let judged = container.judged(peer);
        end.join().unwrap();
        assert!(judged.is_ok(), "after {after:?}: {judged:?}");
        assert_eq!(container.judged(peer), judged);
    }
}

#[test]
fn an_exec_without_a_pipe_is_none() {
    let Some(container) = Container::start() else { return ksync_skip::skipped("no namespaces here") };
    let (socket, _far) = UnixStream::pair().unwrap();
    let exec = container.exec(&[PLANTED], OwnedFd::from(socket).into());
    assert_eq!(container.judged(exec.peer()), Err(Refusal::NoPipe));
}

/// The attack: a process of the container runs the program itself, with a pipe of its own.
#[test]
fn a_pipe_that_the_container_has_made_is_none() {
    let Some(container) = Container::start() else { return ksync_skip::skipped("no namespaces here") };
    let line = format!("sleep 1000 | {PLANTED}");
    let exec = container.exec(&["sh", "-c", &line], Stdio::piped());
    assert_eq!(container.judged(exec.peer()), Err(Refusal::WrittenInside));
}

/// The attack: a pipe from somebody outside, through a directory that both see, or hidden on its way.
#[test]
fn a_pipe_that_nobody_above_has_is_none() {
    let Some(container) = Container::start() else { return ksync_skip::skipped("no namespaces here") };
    let (reader, writer) = std::io::pipe().unwrap();
    let mut other = Command::new("sleep").arg("1000").stdout(writer).spawn().unwrap();
    let exec = container.exec(&[PLANTED], reader.into());
    let judged = container.judged(exec.peer());
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(judged, Err(Refusal::NobodyAbove));
}

/// The attack: the stdin of somebody's exec, which a process of the container opens for writing.
#[test]
fn an_execs_stdin_that_the_container_can_write_to_is_none() {
    let Some(container) = Container::start() else { return ksync_skip::skipped("no namespaces here") };
    let line = format!("exec 3>/proc/self/fd/0; sleep 1000 & exec {PLANTED} 3>&-");
    let exec = container.exec(&["sh", "-c", &line], Stdio::piped());
    assert_eq!(container.judged(exec.peer()), Err(Refusal::WrittenInside));
}

/// The attack: the stdin of somebody's exec, handed on to the program.
#[test]
fn a_program_that_the_container_has_started_is_none() {
    let Some(container) = Container::start() else { return ksync_skip::skipped("no namespaces here") };
    let exec = container.exec(&["sh", "-c", &format!("{PLANTED}; :")], Stdio::piped());
    assert_eq!(container.judged(exec.peer()), Err(Refusal::StartedInside));
}

#[test]
fn another_program_and_another_place_are_none() {
    let Some(container) = Container::start() else { return ksync_skip::skipped("no namespaces here") };
    let exec = container.exec(&[PLANTED], Stdio::piped());
    let seen = look(exec.peer(), container.init).unwrap();
    assert_eq!(judge(&seen, (0, 0)), Err(Refusal::Program));
    let mut outside = Command::new(PLANTED).stdin(Stdio::piped()).spawn().unwrap();
    let peer = i32::try_from(outside.id()).unwrap();
    let elsewhere = container.judged(peer);
    let of_the_node = judge(&look(peer, peer).unwrap(), planted());
    outside.kill().unwrap();
    outside.wait().unwrap();
    assert_eq!((elsewhere, of_the_node), (Err(Refusal::Elsewhere), Err(Refusal::HostPid)));
}
