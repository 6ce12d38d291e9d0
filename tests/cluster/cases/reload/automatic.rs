//! Reload by itself: once for each edit, when it is there, and never for what containers do.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::Duration,
};

use super::{APP, CODE, STARTS, executable, inits, other_modes::WATCHER, python_app, restarts, says};
use crate::suite::{
    App, Case, Need, Sandbox,
    container::Container,
    eventually::{LONG, SHORT, eventually, holds, throughout},
    shell,
};

pub(in crate::cases) const CASES: &[Case] = &[
    Case::new("replicas_that_write_at_their_start", writers).needs(NEEDS),
    Case::new("a_burst_is_one_reload", burst).needs(NEEDS),
    // What comes between two steps of a save is not to be taken for the end of it, as it may where nothing has its turn.
    Case::new("each_way_to_save_is_one_reload", saves).alone().needs(NEEDS),
    Case::new("a_rollout_ends_on_the_local_code", rollout).needs(NEEDS),
    Case::new("a_crash_is_backed_off_and_healed", crash).on_each().needs(NEEDS),
    Case::new("one_after_another", turns).needs(NEEDS),
    Case::new("an_app_that_watches_is_left_alone", watches).needs(NEEDS),
];

const NEEDS: &[Need] = &[Need::Processes];

/// Long enough for a reload that should not be.
const QUIET: Duration = Duration::from_secs(1);

/// An app that notes each start with the version that it found, which its image brings along.
fn noting(sandbox: &Sandbox, more: &str) -> App {
    App::shell(
        sandbox,
        &format!(
            "mkdir -p /code; [ -e /code/version ] || echo image >/code/version; {more} \
             cat /code/version >>{STARTS}; exec sleep 1000000"
        ),
    )
}

/// What was started is this, and stays it.
#[track_caller]
fn started(sandbox: &Sandbox, containers: &[Container], starts: &str) {
    says(sandbox, containers, STARTS, starts);
    throughout(&format!("{starts:?} and no more"), QUIET, || {
        for container in containers {
            let seen = container.read(sandbox.cluster(), STARTS)?;
            holds(seen == starts, format!("{container}: {seen:?}"))?;
        }
        Ok(())
    });
}

/// What `get` says of each container's reloads.
#[track_caller]
fn counted(sandbox: &Sandbox, reloads: u64) {
    let spec = sandbox.ksync.spec("main").expect("the spec");
    for row in &spec.containers {
        assert_eq!((row.reloads, row.reload_note.as_str()), (reloads, ""), "{row:?}");
        assert_eq!(row.last_reload.is_some(), reloads > 0, "{row:?}");
    }
}

/// Their apps are reloaded once for each edit, though each start changes files in the synced directory, one of which comes
/// back here and goes to the others.
fn writers(sandbox: &Sandbox) {
    sandbox.write("version", "one\n");
    let app = noting(sandbox, "echo started >>/code/app.log; cp /proc/uptime /code/app.pid;");
    // One more than there are nodes: it follows another one by copies.
    let containers = app.replicas(sandbox.nodes.len() + 1).apply(sandbox).all();
    sandbox.sync(APP, CODE);
    started(sandbox, &containers, "image\none\n");
    sandbox.write("version", "two\n");
    started(sandbox, &containers, "image\none\ntwo\n");
    counted(sandbox, 2);
    for container in &containers {
        container.sh(
            sandbox.cluster(),
            "echo more >>/code/app.log; echo own >/code/own-$HOSTNAME; touch /code/version",
        );
    }
    let two_way = sandbox.two_way(&containers);
    let own = format!("own-{}", two_way.pod);
    eventually("what the two-way one wrote", SHORT, || sandbox.text(&own));
    two_way.sh(sandbox.cluster(), &format!("rm /code/{own}"));
    eventually("its deletion", SHORT, || holds(!sandbox.path(&own).exists(), "it is here still"));
    sandbox.watching(&containers, SHORT);
    started(sandbox, &containers, "image\none\ntwo\n");
    sandbox.write("version", "three\n");
    started(sandbox, &containers, "image\none\ntwo\nthree\n");
    for container in &containers {
        assert_eq!(restarts(sandbox, container), Ok(0), "{container}");
        let copies = container.sh(sandbox.cluster(), "find /code -name '*conflict*'");
        assert_eq!(copies, "", "{container}");
    }
    let here = sandbox.tree().expect("the local tree");
    assert!(!format!("{here:?}").contains("conflict"), "{here:?}");
}

fn burst(sandbox: &Sandbox) {
    sandbox.write("version", "one\n");
    let containers = noting(sandbox, "").everywhere().apply(sandbox).all();
    sandbox.sync(&[APP, &["--reload-on=version", "--reload-on=/src/", "--reload-on=!*.md"]].concat(), CODE);
    started(sandbox, &containers, "image\none\n");
    sandbox.write("notes.txt", "of no account\n");
    sandbox.write("src/notes.md", "neither\n");
    sandbox.arrives(&containers, CODE);
    started(sandbox, &containers, "image\none\n");
    for number in 0..500 {
        sandbox.write(&format!("src/{}/{number}", number % 7), format!("{number}\n"));
    }
    sandbox.write("version", "two\n");
    started(sandbox, &containers, "image\none\ntwo\n");
    sandbox.watching(&containers, SHORT);
    counted(sandbox, 2);
    // What is edited while the watcher is away is one more, what is not is none.
    sandbox.ksync.ok(&["stop"]);
    sandbox.write("version", "three\n");
    sandbox.ksync.ok(&["watch", "--daemon"]);
    started(sandbox, &containers, "image\none\ntwo\nthree\n");
    sandbox.watching(&containers, SHORT);
    sandbox.ksync.ok(&["stop"]);
    sandbox.ksync.ok(&["watch", "--daemon"]);
    sandbox.watching(&containers, LONG);
    started(sandbox, &containers, "image\none\ntwo\nthree\n");
}

/// Who saves, and how.
type Save<'a> = (&'a str, &'a dyn Fn(&str));

/// As editors and tools save a file; git and sed do it themselves.
fn saves(sandbox: &Sandbox) {
    let path = |name: &str| sandbox.path(name);
    let done = |result: std::io::Result<()>| result.expect("change a local file");
    let run = |program: &str, args: &[&str]| {
        let mut command = shell::command(Path::new(program));
        command.current_dir(sandbox.local()).env("GIT_CONFIG_GLOBAL", "/dev/null").args(args);
        shell::run(&mut command, None).ok().unwrap_or_else(|said| panic!("{program}: {said}"));
    };
    sandbox.write("version", "git\n");
    run("git", &["init", "--quiet"]);
    run("git", &["add", "version"]);
    let author = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
    run("git", &[&author[..], &["commit", "--quiet", "--message", "one"]].concat());
    sandbox.write("version", "one\n");
    let containers = noting(sandbox, "").everywhere().apply(sandbox).all();
    sandbox.sync(APP, CODE);
    let mut starts = "image\none\n".to_owned();
    started(sandbox, &containers, &starts);
    let saves: [Save<'_>; 7] = [
        ("nano", &|text| sandbox.write("version", text)),
        ("vim", &|text| {
            done(fs::rename(path("version"), path("version~")));
            sandbox.write("version", text);
            done(fs::set_permissions(path("version"), fs::Permissions::from_mode(0o644)));
            done(fs::remove_file(path("version~")));
        }),
        ("emacs", &|text| {
            done(symlink("me@here.1:2", path(".#version")));
            done(fs::rename(path("version"), path("version~")));
            sandbox.write("version", text);
            done(fs::remove_file(path(".#version")));
        }),
        ("idea", &|text| {
            sandbox.write("version___jb_tmp___", text);
            done(fs::rename(path("version"), path("version___jb_old___")));
            done(fs::rename(path("version___jb_tmp___"), path("version")));
            done(fs::remove_file(path("version___jb_old___")));
        }),
        ("rsync", &|text| {
            sandbox.write(".version.x7Yq2k", text);
            done(fs::set_permissions(path(".version.x7Yq2k"), fs::Permissions::from_mode(0o644)));
            done(fs::rename(path(".version.x7Yq2k"), path("version")));
        }),
        ("sed", &|_| run("sed", &["-i", "s/.*/sed/", "version"])),
        ("git", &|_| run("git", &["checkout", "--quiet", "--", "version"])),
    ];
    for (count, (who, save)) in (2..).zip(saves) {
        let text = format!("{who}\n");
        save(&text);
        starts += &text;
        started(sandbox, &containers, &starts);
        counted(sandbox, count);
    }
    // What they leave behind is here alone.
    for container in &containers {
        assert_eq!(container.sh(sandbox.cluster(), "ls -A /code").trim(), "version", "{container}");
    }
}

fn rollout(sandbox: &Sandbox) {
    sandbox.write("version", "one\n");
    let app = noting(sandbox, "").everywhere().apply(sandbox);
    let containers = app.all();
    sandbox.sync(APP, CODE);
    started(sandbox, &containers, "image\none\n");
    let containers = app.restart();
    sandbox.watching(&containers, LONG);
    // The sync may be there before the app's own start: then that is the only one.
    let begun: Vec<&str> = containers
        .iter()
        .map(|container| {
            eventually(&format!("{container} to end on the local code"), SHORT, || {
                let seen = container.read(sandbox.cluster(), STARTS)?;
                ["image\none\n", "one\n"].into_iter().find(|starts| *starts == seen).ok_or(seen)
            })
        })
        .collect();
    for (container, begun) in containers.iter().zip(&begun) {
        started(sandbox, std::slice::from_ref(container), begun);
    }
    sandbox.write("version", "image\n");
    for (container, begun) in containers.iter().zip(&begun) {
        started(sandbox, std::slice::from_ref(container), &format!("{begun}image\n"));
    }
    // Nothing differs then.
    let containers = app.restart();
    sandbox.watching(&containers, LONG);
    started(sandbox, &containers, "image\n");
    counted(sandbox, 0);
}

/// One container: kubelet takes its time with each.
fn crash(sandbox: &Sandbox) {
    let script = |name: &str, then: &str| format!("#!/bin/sh\necho {name} >>{STARTS}\n{then}\n");
    let image = script("image", "exec sleep 1000000").replace('\n', "\\n");
    let line = format!(
        "mkdir -p /code; [ -e /code/run ] || {{ printf '{image}' >/code/run; chmod +x /code/run; }}; exec /code/run"
    );
    executable(sandbox, "run", script("good", "exec sleep 1000000").as_bytes());
    let app = App::shell(sandbox, &line).apply(sandbox);
    let first = [app.only()];
    sandbox.sync(APP, CODE);
    started(sandbox, &first, "image\ngood\n");
    executable(sandbox, "run", script("bad", "exit 3").as_bytes());
    let next = eventually("kubelet to start it again", LONG, || {
        let next = app.only();
        holds(next.id != first[0].id, "it is the first one still")?;
        Ok([next])
    });
    let row = eventually("a word on the crash", LONG, || {
        let spec = sandbox.ksync.spec("main")?;
        let row = spec.containers.into_iter().find(|row| row.container_id == next[0].id);
        let row = row.ok_or_else(|| "it is not followed".to_owned())?;
        holds(row.status == "watching" && !row.reload_note.is_empty(), format!("{row:?}"))?;
        Ok(row)
    });
    assert!(row.reason.starts_with("not reloaded: its container ended "), "{row:?}");
    assert!(row.reason.ends_with("with the next edit, or in 10s"), "{row:?}");
    says(sandbox, &next, STARTS, "image\n");
    executable(sandbox, "run", script("mended", "exec sleep 1000000").as_bytes());
    started(sandbox, &next, "image\nmended\n");
    assert_eq!(restarts(sandbox, &next[0]), Ok(1));
    counted(sandbox, 1);
}

/// Each reload is given time before the next one, on whichever node.
fn turns(sandbox: &Sandbox) {
    let line = format!("mkdir -p /code; cut -d' ' -f1 /proc/uptime >>{STARTS}; exec sleep 1000000");
    let containers = App::shell(sandbox, &line).replicas(sandbox.nodes.len() + 1).apply(sandbox).all();
    sandbox.sync(&[APP, &["--reload-max-unavailable=1"]].concat(), CODE);
    sandbox.write("version", "two\n");
    let mut starts: Vec<f64> = containers
        .iter()
        .map(|container| {
            eventually("a second start", SHORT, || {
                let text = container.read(sandbox.cluster(), STARTS)?;
                let second = text.lines().nth(1).and_then(|line| line.parse().ok());
                second.ok_or(text)
            })
        })
        .collect();
    starts.sort_by(f64::total_cmp);
    let gaps: Vec<f64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| *gap >= 0.5), "{starts:?}");
}

fn watches(sandbox: &Sandbox) {
    sandbox.write("lib/empty", "");
    sandbox.write("app.py", WATCHER);
    let containers = python_app(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(APP, CODE);
    says(sandbox, &containers, "/run/ready", "");
    let before = inits(sandbox, &containers);
    sandbox.write("version", "two\n");
    eventually("it to be said", SHORT, || {
        let spec = sandbox.ksync.spec("main")?;
        let said = "left alone: the app watches `/code` itself (inotify, process 1 `python3`)";
        holds(spec.containers.iter().all(|row| row.reload_note == said), format!("{spec:?}"))
    });
    sandbox.arrives(&containers, CODE);
    assert_eq!(inits(sandbox, &containers), before);
}
