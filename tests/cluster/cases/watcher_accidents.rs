//! Accidents in the watcher's life: started twice at once, killed, left over from before a reboot, in an odd home, on a
//! full disk.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use super::{APP, CODE};
use crate::suite::{
    App, Case, Need, Sandbox, eventually,
    eventually::{LONG, SHORT, holds},
    ksync::Ksync,
    process,
    witness::Witness,
};

pub(super) const CASES: &[Case] = &[
    Case::new("many_starts_at_once_make_one_watcher", many_starts),
    Case::new("many_creates_at_once_lose_no_spec", many_creates),
    Case::new("what_a_killed_watcher_left_is_no_watcher", left_over),
    Case::new("a_home_of_200_characters", long_home),
    Case::new("a_full_disk_under_the_home", full_disk).on_each().needs(&[Need::Processes]),
];

/// Runs all of them at once; what each said on stderr, in their order.
#[track_caller]
fn at_once(ksync: &Ksync, commands: &[Vec<String>]) -> Vec<String> {
    let outputs: Vec<_> = thread::scope(|scope| {
        let run = |args: &Vec<String>| {
            let args: Vec<String> = args.clone();
            scope.spawn(move || ksync.run(&args.iter().map(String::as_str).collect::<Vec<_>>()))
        };
        let threads: Vec<_> = commands.iter().map(run).collect();
        threads.into_iter().map(|thread| thread.join().expect("a command")).collect()
    });
    for output in &outputs {
        assert_eq!(output.status, Some(0), "{outputs:?}");
    }
    outputs.into_iter().map(|output| output.stderr).collect()
}

/// The watchers of a home: those of its processes that have a syncthing.
fn watchers(home: &Path) -> Vec<u32> {
    let all = process::of_home(home);
    all.iter().map(|process| process.pid).filter(|pid| !process::children(*pid).is_empty()).collect()
}

fn many_starts(sandbox: &Sandbox) {
    let start = || vec!["watch".to_owned(), "--daemon".to_owned()];
    let said = at_once(&sandbox.ksync, &[start(), start(), start(), start()]);
    let count = |part: &str| said.iter().filter(|text| text.contains(part)).count();
    assert_eq!((count("started the watcher"), count("runs already")), (1, 3), "{said:?}");
    assert_eq!(watchers(&sandbox.ksync.home), [sandbox.ksync.watcher().expect("a watcher")]);
}

fn many_creates(sandbox: &Sandbox) {
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    let names = ["one", "two", "three", "four"];
    let create = |name: &&str| {
        let local = sandbox.scratch(name);
        fs::create_dir(&local).expect("mkdir");
        fs::write(local.join("name"), name).expect("write");
        let args = ["create", "--name", name, "-l", "app=app", "--wait", &local.display().to_string()];
        args.into_iter().map(str::to_owned).chain([format!("/{name}")]).collect()
    };
    at_once(&sandbox.ksync, &names.iter().map(create).collect::<Vec<_>>());
    for name in names {
        for container in &containers {
            assert_eq!(container.read(sandbox.cluster(), &format!("/{name}/name")).as_deref(), Ok(name));
        }
    }
    assert_eq!(watchers(&sandbox.ksync.home).len(), 1);
}

/// The context's state directory.
fn context(ksync: &Ksync) -> PathBuf {
    let entries = fs::read_dir(ksync.home.join("contexts")).expect("the contexts");
    let dirs = entries.flatten().map(|entry| entry.path());
    dirs.into_iter().find(|dir| dir.join("lock").exists()).expect("a watcher's directory")
}

/// As after a reboot: lock and socket are there, and the lock's number is by now that of another process that lives.
fn kill_as_if_rebooted(sandbox: &Sandbox) {
    process::kill(sandbox.ksync.watcher().expect("a watcher"));
    eventually("its syncthing to end with it", Duration::from_secs(1), || {
        let left = process::of_home(&sandbox.ksync.home);
        holds(left.is_empty(), format!("{left:?}"))
    });
    let context = context(&sandbox.ksync);
    assert!(context.join("watch.sock").exists() && context.join("lock").exists());
    fs::write(context.join("lock"), format!("{}\n", std::process::id())).expect("write");
}

fn left_over(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(APP, CODE);
    let witness = Witness::over(&sandbox.local());
    kill_as_if_rebooted(sandbox);
    let stop = sandbox.ksync.run(&["stop"]);
    assert!(stop.status == Some(0) && stop.stderr.starts_with("no watcher runs"), "{stop:?}");
    sandbox.write("meanwhile.txt", "meanwhile\n");
    sandbox.ksync.ok(&["watch", "--daemon"]);
    sandbox.watching(&containers, LONG);
    for container in &containers {
        sandbox.equal(container, CODE).expect("equal trees");
    }
    witness.intact();
    // What a dead watcher left in the directory goes with the spec.
    kill_as_if_rebooted(sandbox);
    let deleted = sandbox.ksync.run(&["delete", "main"]);
    assert_eq!((deleted.status, deleted.stderr.as_str()), (Some(0), ""), "{deleted:?}");
    assert!(!sandbox.path(".stignore").exists(), "something of ours was left in the local directory");
}

/// A socket's path has room for about a hundred bytes.
fn long_home(sandbox: &Sandbox) {
    let short = sandbox.scratch("");
    let home = sandbox.scratch(&"h".repeat(200 - short.as_os_str().len()));
    fs::create_dir(&home).expect("mkdir");
    symlink(sandbox.run.programs(), home.join("bin")).expect("link the programs");
    let ksync = Ksync { home: home.clone(), ..sandbox.ksync.clone() };
    sandbox.write("a.txt", "a\n");
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    let local = sandbox.local().display().to_string();
    ksync.ok(&["create", "--name", "main", "--wait", "-l", "app=app", &local, CODE]);
    sandbox.write("b.txt", "b\n");
    sandbox.arrives(&containers, CODE);
    ksync.watching("main", containers.len(), SHORT);
    ksync.ok(&["stop"]);
    eventually("all processes to have ended", SHORT, || {
        let left = process::of_home(&home);
        holds(left.is_empty(), format!("{left:?}"))
    });
    ksync.ok(&["watch", "--daemon"]);
    ksync.watching("main", containers.len(), LONG);
    let context = context(&ksync);
    let hash = kubectl_ksync::short_hash(context.as_os_str().as_encoded_bytes());
    let sockets = || {
        let dirs = [Some(std::env::temp_dir()), std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)];
        let entries = dirs.into_iter().flatten().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(&hash)).count()
    };
    assert_eq!(sockets(), 1, "the sockets are elsewhere");
    ksync.ok(&["stop"]);
    assert_eq!(sockets(), 0, "the sockets' directory is left");
}

/// A small file system of its own, unmounted at the end whatever happens.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, megabytes: u32) -> Self {
        fs::create_dir(at).expect("mkdir");
        let size = format!("size={megabytes}m,mode=0700");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "ksync-suite"]).arg(at).status();
        assert!(mounted.expect("mount").success());
        Self(at.to_owned())
    }

    /// Writes until nothing more fits.
    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).expect("a file");
        for size in [1 << 20, 4096, 1] {
            while std::io::Write::write_all(&mut file, &vec![0; size]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).expect("remove");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for process in process::of_home(&self.0) {
            process::kill(process.pid);
        }
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || thread::panicking(), "umount");
    }
}

fn full_disk(sandbox: &Sandbox) {
    let home = sandbox.scratch("disk");
    let disk = Disk::mount(&home, 32);
    symlink(sandbox.run.programs(), home.join("bin")).expect("link the programs");
    let ksync = Ksync { home, ..sandbox.ksync.clone() };
    for number in 0..30 {
        sandbox.write(&format!("{number}.txt"), "content\n");
    }
    let container = App::web(sandbox).apply(sandbox).only();
    let local = sandbox.local().display().to_string();
    ksync.ok(&["create", "--name", "main", "--wait", "-l", "app=app", &local, CODE]);
    let before = fs::read_to_string(ksync.config_file()).expect("the file");
    let witness = Witness::over(&sandbox.local());
    disk.fill();
    sandbox.write("full.txt", "full\n");
    // What a container replaces and deletes could not be kept now.
    container.sh(sandbox.cluster(), "rm /code/0.txt; echo theirs >/code/1.txt; echo there >/code/there.txt");
    let spec = ksync.becomes("main", "error", SHORT);
    assert!(spec.containers[0].reason.contains("space"), "{spec:?}");
    witness.intact();
    disk.free();
    ksync.watching("main", 1, LONG);
    eventually("what the container did", SHORT, || {
        let gone = !sandbox.path("0.txt").exists();
        let now = (sandbox.text("1.txt")?, sandbox.text("there.txt")?);
        holds(gone && now == ("theirs\n".to_owned(), "there\n".to_owned()), format!("{gone} {now:?}"))
    });
    assert_eq!(ksync.kept(), ["content\n", "content\n"]);
    sandbox.write("after.txt", "after\n");
    sandbox.arrives(std::slice::from_ref(&container), CODE);
    // And from the beginning, on a disk that is full.
    let witness = Witness::over(&sandbox.local());
    disk.fill();
    ksync.ok(&["stop"]);
    // Full to the last byte: nothing that runs gives any of it back now.
    disk.fill();
    let other = sandbox.scratch("other");
    fs::create_dir(&other).expect("mkdir");
    let refused =
        ksync.refused(&["create", "--name", "other", "-l", "app=x", &other.display().to_string(), "/x"]);
    assert!(refused.starts_with("error: can't ") && refused.contains("No space left"), "{refused}");
    assert_eq!(fs::read_to_string(ksync.config_file()).expect("the file"), before, "half-written");
    let start = ksync.run(&["watch", "--daemon"]);
    assert!(start.status == Some(0) || start.stderr.starts_with("error: "), "{start:?}");
    disk.free();
    ksync.ok(&["watch", "--daemon"]);
    ksync.watching("main", 1, LONG);
    sandbox.equal(&container, CODE).expect("equal trees");
    witness.intact();
    ksync.ok(&["stop"]);
}
