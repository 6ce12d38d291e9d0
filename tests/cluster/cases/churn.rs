//! Both sides change while something comes, goes or stands still. Whatever happens: both become equal, and what anybody wrote
//! and nobody undid is on both sides, or kept.

use std::{fs, path::PathBuf, thread, time::Duration};

use super::{APP, CODE, NO_RELOAD};
use crate::suite::{
    App, Case, Need, Sandbox,
    container::Container,
    eventually,
    eventually::{LONG, SHORT, holds},
    process,
};

pub(super) const CASES: &[Case] = &[
    Case::new("what_a_container_writes_while_the_watcher_comes_back", written_meanwhile).on_each(),
    Case::new("files_that_come_and_go_through_a_rollout", through_a_rollout),
    Case::new("a_directory_that_goes_while_the_watcher_comes_back", gone_at_the_start),
    Case::new("deletions_just_before_a_break_stay", deleted_before_a_break).needs(&[Need::Processes]),
    Case::new("deletions_in_a_directory_that_was_moved_away_stay", deleted_elsewhere)
        .needs(&[Need::Processes]),
    Case::new("a_container_removes_nested_directories", nested).on_each(),
    Case::new("a_directory_here_is_a_symlink_there", symlinked).on_each(),
    Case::new("names_nested_deeply", deep).on_each(),
    Case::new("a_directory_that_all_nodes_share", shared_by_nodes),
    Case::new("a_write_through_one_of_several_names", linked),
    Case::new("edits_while_apart_are_no_conflicts", apart).needs(&[Need::Processes]),
];

/// Starts `line` in a container, to be waited for with [`ended`].
fn begin(sandbox: &Sandbox, container: &Container, line: &str) {
    let line = format!("rm -f /ended; ({line}; echo >/ended) </dev/null >/dev/null 2>&1 &");
    container.sh(sandbox.cluster(), &line);
}

fn ended(sandbox: &Sandbox, container: &Container) {
    eventually("the container's work to end", LONG, || container.read(sandbox.cluster(), "/ended"));
}

fn written_meanwhile(sandbox: &Sandbox) {
    const FILES: usize = 40;
    for number in 0..FILES {
        sandbox.write(&format!("f{number}"), format!("here {number}\n"));
    }
    let container = App::idle(sandbox).apply(sandbox).only();
    sandbox.sync(APP, CODE);
    sandbox.ksync.ok(&["stop"]);
    begin(
        sandbox,
        &container,
        &format!("for i in $(seq 0 {}); do echo container $i >/code/f$i; sleep 0.06; done", FILES - 1),
    );
    sandbox.ksync.ok(&["watch", "--daemon"]);
    ended(sandbox, &container);
    let all = std::slice::from_ref(&container);
    sandbox.watching(all, LONG);
    sandbox.arrives(all, CODE);
    for number in 0..FILES {
        assert_eq!(sandbox.text(&format!("f{number}")), Ok(format!("container {number}\n")));
    }
    sandbox.ksync.no_conflicts();
}

/// A file is made each 50 ms, and the sixth-last one deleted, while all pods are replaced.
fn through_a_rollout(sandbox: &Sandbox) {
    const FILES: usize = 120;
    sandbox.write("stays.txt", "stays\n");
    let app = App::idle(sandbox).twice_everywhere().apply(sandbox);
    app.all();
    sandbox.sync(NO_RELOAD, CODE);
    let local: PathBuf = sandbox.local();
    let writer = thread::spawn(move || {
        for number in 0..FILES {
            let at = |number: usize| local.join(format!("f{number}"));
            fs::write(at(number), format!("{number}\n")).expect("write");
            if number >= 6 {
                fs::remove_file(at(number - 6)).expect("remove");
            }
            thread::sleep(Duration::from_millis(50));
        }
    });
    let containers = app.restart();
    writer.join().expect("the writer");
    sandbox.watching(&containers, LONG);
    sandbox.arrives(&containers, CODE);
    assert_eq!(sandbox.tree().expect("the local tree").len(), 7, "what was deleted has come back");
    sandbox.at_rest(&containers, CODE);
}

fn gone_at_the_start(sandbox: &Sandbox) {
    let containers = App::idle(sandbox).everywhere().apply(sandbox).all();
    sandbox.write("stays.txt", "stays\n");
    sandbox.sync(NO_RELOAD, CODE);
    for pause in [100, 300, 700, 1500] {
        for number in 0..10 {
            sandbox.write(&format!("d/f{number}"), format!("{number}\n"));
        }
        sandbox.arrives(&containers, CODE);
        sandbox.ksync.ok(&["stop"]);
        for number in 5..15 {
            sandbox.write(&format!("d/f{number}"), format!("edited {number}\n"));
        }
        sandbox.ksync.ok(&["watch", "--daemon"]);
        // Any moment of the attach is as good as another.
        thread::sleep(Duration::from_millis(pause));
        fs::remove_dir_all(sandbox.path("d")).expect("remove");
        sandbox.watching(&containers, LONG);
        sandbox.arrives(&containers, CODE);
        assert!(!sandbox.path("d").exists(), "what was removed has come back");
    }
    sandbox.ksync.no_conflicts();
}

fn deleted_before_a_break(sandbox: &Sandbox) {
    let containers = App::idle(sandbox).everywhere().apply(sandbox).all();
    for number in 0..40 {
        sandbox.write(&format!("d/f{number}"), format!("{number}\n"));
    }
    sandbox.sync(NO_RELOAD, CODE);
    let mut left = 40;
    let watcher = || sandbox.ksync.watcher().expect("a watcher");
    let breaks: [(&str, &dyn Fn()); 3] = [
        ("killed", &|| process::kill(watcher())),
        ("stopped", &|| drop(sandbox.ksync.ok(&["stop"]))),
        ("standing still", &|| {
            let watcher = watcher();
            process::stand_still(watcher, true);
            thread::sleep(Duration::from_secs(5));
            process::stand_still(watcher, false);
        }),
    ];
    for (what, breaks) in breaks {
        for _ in 0..8 {
            left -= 1;
            fs::remove_file(sandbox.path(&format!("d/f{left}"))).expect("remove");
        }
        breaks();
        sandbox.ksync.ok(&["watch", "--daemon"]);
        sandbox.watching(&containers, LONG);
        sandbox.arrives(&containers, CODE);
        let here = sandbox.tree().expect("the local tree");
        assert_eq!(here.len(), left + 1, "{what}: what was deleted has come back: {here:?}");
    }
}

fn deleted_elsewhere(sandbox: &Sandbox) {
    let containers = App::idle(sandbox).everywhere().apply(sandbox).all();
    for number in 0..20 {
        sandbox.write(&format!("f{number}"), format!("{number}\n"));
    }
    sandbox.sync(NO_RELOAD, CODE);
    let aside = sandbox.scratch("aside");
    fs::rename(sandbox.local(), &aside).expect("rename");
    process::kill(sandbox.ksync.watcher().expect("a watcher"));
    sandbox.ksync.ok(&["watch", "--daemon"]);
    for number in 0..5 {
        fs::remove_file(aside.join(format!("f{number}"))).expect("remove");
    }
    sandbox.ksync.becomes("main", "error", SHORT);
    assert!(!sandbox.local().exists(), "it was made again");
    fs::rename(&aside, sandbox.local()).expect("rename");
    sandbox.watching(&containers, LONG);
    sandbox.arrives(&containers, CODE);
    assert_eq!(sandbox.tree().expect("the local tree").len(), 15, "what was deleted has come back");
}

/// At once, and one by one with pauses, as a slow machine does.
fn nested(sandbox: &Sandbox) {
    sandbox.write("stays.txt", "stays\n");
    let container = App::idle(sandbox).apply(sandbox).only();
    sandbox.sync(NO_RELOAD, CODE);
    let all = std::slice::from_ref(&container);
    let slowly = "find /code/dist -depth | while read f; do if [ -d $f ]; then rmdir $f; else rm $f; fi || echo $f >>/failed; \
                  sleep 0.05; done";
    for round in 0..6 {
        for name in ["index.html", "js/chunks/a.js", "js/chunks/b.js", "css/a.css"] {
            sandbox.write(&format!("dist/{name}"), format!("{name} {round}\n"));
        }
        sandbox.arrives(all, CODE);
        container.sh(sandbox.cluster(), if round % 2 == 0 { "rm -rf /code/dist" } else { slowly });
        eventually("`dist` to be gone", SHORT, || {
            holds(!sandbox.path("dist").exists(), "it is still here")?;
            sandbox.equal(&container, CODE)
        });
        sandbox.watching(all, SHORT);
        sandbox.at_rest(all, CODE);
        assert!(!sandbox.path("dist").exists(), "round {round}: it is back");
        assert!(container.read(sandbox.cluster(), "/failed").is_err(), "a removal failed there");
    }
}

/// Local content wins there too, and nothing else waits for it.
fn symlinked(sandbox: &Sandbox) {
    sandbox.write("lib/a.txt", "a\n");
    sandbox.write("other.txt", "other\n");
    let line = "mkdir -p /base/lib /code && echo base >/base/lib/base.txt && ln -s /base/lib /code/lib";
    let container = App::idle(sandbox).apply(sandbox).only();
    container.sh(sandbox.cluster(), line);
    sandbox.sync(NO_RELOAD, CODE);
    sandbox.arrives(std::slice::from_ref(&container), CODE);
    assert_eq!(container.read(sandbox.cluster(), "/base/lib/base.txt").as_deref(), Ok("base\n"));
    assert_eq!(container.sh(sandbox.cluster(), "ls /base/lib"), "base.txt\n", "written through a symlink");
}

fn deep(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let container = App::idle(sandbox).apply(sandbox).only();
    sandbox.sync(NO_RELOAD, CODE);
    let all = std::slice::from_ref(&container);
    let deep = "d/".repeat(400) + "f";
    sandbox.write(&deep, "deep\n");
    sandbox.write("b.txt", "b\n");
    eventually("what is not deep", SHORT, || container.read(sandbox.cluster(), "/code/b.txt"));
    fs::remove_dir_all(sandbox.path("d")).expect("remove");
    // It is told as `syncing` meanwhile, and takes 5 to 60 s where some of it had arrived.
    sandbox.watching(all, LONG * 2);
    sandbox.arrives(all, CODE);
}

/// The system tells of the one name alone, on both sides.
fn linked(sandbox: &Sandbox) {
    const SOON: Duration = Duration::from_secs(3);
    sandbox.write("f", "here\n");
    fs::create_dir(sandbox.path("d")).expect("mkdir");
    fs::hard_link(sandbox.path("f"), sandbox.path("d/g")).expect("link");
    let containers = App::idle(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(NO_RELOAD, CODE);
    fs::write(sandbox.path("d/g"), "edited\n").expect("write");
    for container in &containers {
        eventually("the edit under both names", SOON, || {
            let read = |name: &str| container.read(sandbox.cluster(), &format!("{CODE}/{name}"));
            let both = (read("f")?, read("d/g")?);
            holds(both.0 == "edited\n" && both.1 == both.0, format!("{both:?}"))
        });
    }
    let two_way = sandbox.two_way(&containers);
    two_way.sh(sandbox.cluster(), "cd /code && echo one >x && ln x d/y");
    eventually("both names here", SOON, || holds(sandbox.text("x")? == sandbox.text("d/y")?, "not yet"));
    two_way.sh(sandbox.cluster(), "echo two >>/code/x");
    eventually("the container's write under both names", SOON, || {
        let both = (sandbox.text("x")?, sandbox.text("d/y")?);
        holds(both.0 == "one\ntwo\n" && both.1 == both.0, format!("{both:?}"))
    });
    sandbox.arrives(&containers, CODE);
}

/// As a volume that many nodes mount: each pod's files are every pod's.
fn shared_by_nodes(sandbox: &Sandbox) {
    let shared = sandbox.scratch("shared");
    fs::create_dir(&shared).expect("mkdir");
    for number in 0..40 {
        sandbox.write(&format!("d/f{number}"), format!("{number}\n"));
        sandbox.write(&format!("e/f{number}"), format!("{number}\n"));
    }
    let containers = App::idle(sandbox).host_dir(&shared, CODE).everywhere().apply(sandbox).all();
    sandbox.sync(NO_RELOAD, CODE);
    for round in 0..5 {
        for number in 0..20 {
            sandbox.write(&format!("e/f{number}"), format!("{round} {number}\n"));
        }
        containers[round % containers.len()]
            .sh(sandbox.cluster(), &format!("echo {round} >/code/there{round}"));
        eventually("what a container wrote", SHORT, || sandbox.text(&format!("there{round}")));
        sandbox.arrives(&containers, CODE);
    }
    fs::remove_dir_all(sandbox.path("d")).expect("remove");
    sandbox.watching(&containers, LONG);
    sandbox.arrives(&containers, CODE);
    assert!(!sandbox.path("d").exists(), "what was removed has come back");
    sandbox.ksync.no_conflicts();
    sandbox.at_rest(&containers, CODE);
}

fn apart(sandbox: &Sandbox) {
    let containers = App::idle(sandbox).everywhere().apply(sandbox).all();
    let edit = |round: usize| {
        for number in 0..100 {
            sandbox.write(&format!("d{}/f{number}", number % 7), format!("{round} {number}\n"));
        }
    };
    edit(0);
    sandbox.sync(NO_RELOAD, CODE);
    for round in 1..4 {
        if round % 2 == 0 {
            process::kill(sandbox.ksync.watcher().expect("a watcher"));
        } else {
            sandbox.ksync.ok(&["stop"]);
        }
        edit(round);
        sandbox.ksync.ok(&["watch", "--daemon"]);
        sandbox.watching(&containers, LONG);
        sandbox.arrives(&containers, CODE);
        sandbox.ksync.no_conflicts();
    }
    // An edit there, around an attach, is none either.
    let two_way = sandbox.two_way(&containers);
    sandbox.ksync.ok(&["stop"]);
    two_way.sh(sandbox.cluster(), "echo there >/code/d0/f0");
    sandbox.ksync.ok(&["watch", "--daemon"]);
    eventually("the edit there", SHORT, || {
        let text = sandbox.text("d0/f0")?;
        holds(text == "there\n", text)
    });
    sandbox.watching(&containers, LONG);
    sandbox.ksync.no_conflicts();
}
