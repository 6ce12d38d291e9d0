//! What waits for a person: a container's mass deletion and a large first pull, both answers of both, and that waiting
//! outlives the watcher. What was taken away here is put back.

use std::{fs, time::Duration};

use kubectl_ksync::kept;
use serde_json::json;

use super::{APP, CODE};
use crate::suite::{
    App, Case, Desk, Need,
    container::Container,
    eventually,
    eventually::{LONG, SHORT, holds, throughout},
    guard::Guard,
    ksync::Spec,
    process,
};

pub(super) const CASES: &[Case] = &[
    Case::new("a_mass_deletion_is_accepted", deletion_accepted),
    Case::new("a_mass_deletion_is_declined", deletion_declined),
    Case::new("a_mass_deletion_of_a_container_that_goes", deletion_moot),
    Case::new("a_large_first_pull_is_accepted", pull_accepted),
    Case::new("a_large_first_pull_is_declined", pull_declined),
    Case::new("what_a_container_deleted_is_restored", restored),
    Case::new("no_conflict_copy_reaches_a_container", conflict).needs(&[Need::Processes]),
    Case::new("what_loses_to_a_later_edit_is_kept", later).needs(&[Need::Processes]),
    Case::new("a_log_that_changes_all_the_time_does_not_fill_what_is_kept", log),
];

/// 40 files, of which a container deletes 39, with the two-way container.
fn mass_deletion(desk: &Desk, replicas: usize) -> (Container, Spec) {
    for number in 0..39 {
        desk.write(&format!("dir/{number}.txt"), format!("{number}\n"));
    }
    desk.write("left.txt", "left\n");
    let containers = App::idle(desk).replicas(replicas).apply(desk).running(replicas);
    desk.sync(APP, CODE);
    let culprit = desk.two_way(&containers);
    culprit.sh(desk.cluster(), "rm -rf /code/dir");
    let spec = desk.ksync.becomes("main", "paused", SHORT);
    assert_eq!(
        spec.reason,
        format!(
            "pod `{}` deleted 39 of 40 files within seconds; all of them are still here: `kubectl ksync accept main` \
             deletes them here too, `kubectl ksync decline main` puts them back into the container",
            culprit.pod
        )
    );
    let culprit = culprit.id.clone();
    let paused: Vec<_> = spec.containers.iter().filter(|row| row.status == "paused").collect();
    assert_eq!(paused.iter().map(|row| &row.container_id).collect::<Vec<_>>(), [&culprit]);
    let (culprit, others): (Vec<_>, Vec<_>) =
        containers.into_iter().partition(|container| container.id == culprit);
    for other in &others {
        eventually("the other container to have everything", SHORT, || desk.equal(other, CODE));
    }
    (culprit.into_iter().next().expect("the culprit"), spec)
}

/// Waits on with the same words, however the watcher goes and comes.
#[track_caller]
fn waits_on(desk: &Desk, before: &Spec) {
    desk.ksync.ok(&["stop"]);
    desk.ksync.ok(&["watch", "--daemon"]);
    let spec = desk.ksync.becomes("main", &before.status, LONG);
    assert_eq!(spec.reason, before.reason);
    process::kill(desk.ksync.watcher().expect("a watcher"));
    eventually("everything of the watcher to end", SHORT, || {
        let left = process::of_home(&desk.ksync.home);
        holds(left.is_empty(), format!("{left:?}"))
    });
    desk.ksync.ok(&["watch", "--daemon"]);
    let spec = desk.ksync.becomes("main", &before.status, LONG);
    assert_eq!(spec.reason, before.reason);
    let reason = before.reason.as_str();
    throughout("waiting", Duration::from_secs(2), || {
        let spec = desk.ksync.spec("main")?;
        holds(spec.reason == reason, format!("{spec:?}"))
    });
}

fn deletion_accepted(desk: &Desk) {
    let (culprit, spec) = mass_deletion(desk, 1);
    let guard = Guard::over(&desk.local());
    waits_on(desk, &spec);
    assert!(culprit.read(desk.cluster(), "/code/dir/0.txt").is_err(), "nothing is put back unasked");
    guard.intact();
    desk.write("dir/7.txt", "edited while it waits\n");
    assert_eq!(
        desk.ksync.ok(&["accept", "main"]),
        "spec `main`: 38 files deleted here too; `kubectl ksync restore main` lists what is kept\n"
    );
    desk.ksync.watching("main", 1, LONG);
    eventually("equal trees", SHORT, || desk.equal(&culprit, CODE));
    assert!(!desk.path("dir/0.txt").exists());
    assert_eq!(desk.text("dir/7.txt").as_deref(), Ok("edited while it waits\n"), "what was edited stays");
    assert_eq!(desk.text("left.txt").as_deref(), Ok("left\n"));
    assert_eq!(
        desk.ksync.refused(&["accept", "main"]),
        "error: spec `main` waits for no answer\nhint: `kubectl ksync get main` says how it stands\n"
    );
    // It goes on both ways, and what was accepted by mistake comes back.
    culprit.sh(desk.cluster(), "echo new >/code/new.txt");
    eventually("what the container writes", SHORT, || desk.equal(&culprit, CODE));
    let said = desk.ksync.ok(&["restore", "main", "--all"]);
    assert_eq!(said.lines().count(), 38, "{said}");
    assert_eq!(desk.text("dir/0.txt").as_deref(), Ok("0\n"));
    desk.arrives(&[culprit], CODE);
}

/// As if the watcher had been killed before it had put back what of the burst was applied already.
#[track_caller]
fn kill_before_putting_back(desk: &Desk, path: &str) {
    process::kill(desk.ksync.watcher().expect("a watcher"));
    let contexts: Vec<_> = fs::read_dir(desk.ksync.home.join("contexts")).expect("the contexts").collect();
    let context = contexts.into_iter().flatten().find(|dir| dir.path().join("waiting").exists());
    let context = context.expect("the context of what waits").path();
    let only = |dir: &str| {
        let mut entries = fs::read_dir(context.join(dir)).expect("a directory").flatten();
        entries.next().expect("what is in it").path()
    };
    let (waiting, kept) = (only("waiting"), kept::Kind::Deleted.moment(&only("kept")));
    fs::create_dir_all(kept.join(path).parent().expect("a directory")).expect("mkdir");
    fs::rename(desk.path(path), kept.join(path)).expect("take it out");
    let text = fs::read_to_string(&waiting).expect("what waits");
    let mut text: serde_json::Value = serde_json::from_str(&text).expect("what waits");
    text["owed"] = json!([{ "kept": kept, "paths": { path: null } }]);
    fs::write(&waiting, text.to_string()).expect("write");
    desk.ksync.ok(&["watch", "--daemon"]);
    eventually("what is owed", SHORT, || desk.text(path));
}

/// With other replicas, of which one follows the culprit by copies; they are put right without an answer.
fn deletion_declined(desk: &Desk) {
    let (culprit, spec) = mass_deletion(desk, 4);
    kill_before_putting_back(desk, "dir/3.txt");
    let guard = Guard::over(&desk.local());
    waits_on(desk, &spec);
    desk.write("meanwhile.txt", "meanwhile\n");
    assert_eq!(desk.ksync.ok(&["decline", "main"]), "spec `main`: 39 files put back into the container\n");
    desk.ksync.watching("main", 4, LONG);
    eventually("equal trees", SHORT, || desk.equal(&culprit, CODE));
    assert_eq!(culprit.read(desk.cluster(), "/code/meanwhile.txt").as_deref(), Ok("meanwhile\n"));
    guard.intact();
    // A deletion of a few files is one again.
    let spec = desk.ksync.watching("main", 4, SHORT);
    let two_way = spec.two_way().expect("a two-way container").pod.clone();
    desk.kubectl().ok(&["exec", "-n", &desk.namespace, &two_way, "--", "rm", "/code/dir/1.txt"]);
    eventually("a single deletion", SHORT, || holds(!desk.path("dir/1.txt").exists(), "it is still here"));
}

/// The container goes before anybody answers: its successor gets everything.
fn deletion_moot(desk: &Desk) {
    let (culprit, _) = mass_deletion(desk, 1);
    let guard = Guard::over(&desk.local());
    desk.kubectl().ok(&["delete", "pod", "-n", &desk.namespace, &culprit.pod, "--force", "--grace-period=0"]);
    eventually("the successor to be in sync", LONG, || {
        let spec = desk.ksync.spec("main")?;
        let fresh = spec.containers.iter().all(|row| row.container_id != culprit.id);
        holds(spec.status == "watching" && spec.containers.len() == 1 && fresh, format!("{spec:?}"))
    });
    guard.intact();
    let said = desk.ksync.refused(&["accept", "main"]);
    assert!(said.starts_with("error: spec `main` waits for no answer\n"), "{said}");
    assert_eq!(desk.ksync.ok(&["restore", "main", "-o", "name"]), "", "nothing was taken away");
}

/// An app with 1,200 files of its own below the path.
fn large(desk: &Desk) -> Container {
    let container = App::idle(desk).apply(desk).only();
    container.sh(
        desk.cluster(),
        "mkdir -p /code/node_modules/a && cd /code/node_modules/a && for i in $(seq 1199); do echo x >$i; done && \
         echo x >/code/own.txt",
    );
    desk.write("here.txt", "here\n");
    let local = desk.local().display().to_string();
    desk.ksync.ok(&["create", "--name", "main", "-l", "app=app", &local, CODE]);
    let spec = desk.ksync.becomes("main", "confirm", LONG);
    assert_eq!(
        spec.reason,
        format!(
            "1200 files (2.4 kB) exist only in pod `{}`: `kubectl ksync accept main` brings them here, `kubectl ksync \
             decline main` leaves them there",
            container.pod
        )
    );
    assert_eq!(desk.tree().expect("the local tree").len(), 1, "nothing came unasked");
    waits_on(desk, &spec);
    assert_eq!(desk.tree().expect("the local tree").len(), 1, "nothing came unasked");
    container
}

fn pull_accepted(desk: &Desk) {
    let container = large(desk);
    assert_eq!(desk.ksync.ok(&["accept", "main"]), "spec `main`: 1200 files (2.4 kB) brought here\n");
    desk.ksync.watching("main", 1, LONG);
    desk.equal(&container, CODE).expect("equal trees");
    assert_eq!(desk.text("node_modules/a/1199").as_deref(), Ok("x\n"));
    container.sh(desk.cluster(), "echo later >/code/node_modules/a/later");
    eventually("what the container writes", SHORT, || desk.equal(&container, CODE));
}

fn pull_declined(desk: &Desk) {
    let container = large(desk);
    assert_eq!(
        desk.ksync.ok(&["decline", "main"]),
        "spec `main`: 1200 files (2.4 kB) left in the container; ignored from now on, in ksync.yaml: /node_modules \
         /own.txt\n"
    );
    let config = fs::read_to_string(desk.ksync.config_file()).expect("ksync.yaml");
    assert!(config.contains("ignore: [\"/node_modules\", \"/own.txt\"]"), "{config}");
    desk.ksync.watching("main", 1, LONG);
    container.sh(desk.cluster(), "echo later >/code/node_modules/a/later && echo back >/code/back.txt");
    eventually("what the container writes elsewhere", SHORT, || {
        let here = desk.text("back.txt")?;
        holds(here == "back\n", here)
    });
    assert!(!desk.path("node_modules").exists() && !desk.path("own.txt").exists());
    assert_eq!(container.read(desk.cluster(), "/code/node_modules/a/1").as_deref(), Ok("x\n"));
    desk.write("there.txt", "there\n");
    eventually("what is written here", SHORT, || container.read(desk.cluster(), "/code/there.txt"));
}

/// With the watcher running and without one; what is in the way is kept in turn.
fn restored(desk: &Desk) {
    for name in ["a.txt", "b.txt", "c.txt"] {
        desk.write(name, format!("{name}\n"));
    }
    let container = App::idle(desk).apply(desk).only();
    desk.sync(APP, CODE);
    container.sh(desk.cluster(), "rm /code/a.txt /code/b.txt && echo theirs >/code/c.txt");
    eventually("the container's changes", SHORT, || {
        let gone = !desk.path("a.txt").exists() && !desk.path("b.txt").exists();
        holds(gone && desk.text("c.txt")? == "theirs\n", "not yet")
    });
    let listed = desk.ksync.ok(&["restore", "main", "-o", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let items = listed["items"].as_array().expect("a list");
    let seen: Vec<_> = items.iter().map(|item| (item["path"].as_str(), item["why"].as_str())).collect();
    let is = |path, why| (Some(path), Some(why));
    assert_eq!(seen, [is("a.txt", "deleted"), is("b.txt", "deleted"), is("c.txt", "replaced")]);
    assert_eq!(desk.ksync.ok(&["restore", "main", "a.txt"]), "`a.txt` is back\n");
    assert_eq!(
        desk.ksync.ok(&["restore", "main", "c.txt"]),
        "`c.txt` is back; what was here is kept instead\n"
    );
    desk.arrives(std::slice::from_ref(&container), CODE);
    assert_eq!(container.read(desk.cluster(), "/code/c.txt").as_deref(), Ok("c.txt\n"));
    desk.ksync.ok(&["stop"]);
    assert_eq!(desk.ksync.ok(&["restore", "main", "b.txt"]), "`b.txt` is back\n");
    desk.ksync.ok(&["watch", "--daemon"]);
    desk.ksync.watching("main", 1, LONG);
    desk.arrives(&[container], CODE);
    assert_eq!(desk.text("b.txt").as_deref(), Ok("b.txt\n"));
}

/// Both sides change a file while the local syncthing stands still, the container last: syncthing lets it win, and that
/// is turned round.
fn conflict(desk: &Desk) {
    for name in ["a.txt", "b.txt", "dir/c.txt"] {
        desk.write(name, "base\n");
    }
    let containers = App::idle(desk).replicas(2).apply(desk).running(2);
    desk.sync(APP, CODE);
    let two_way = desk.two_way(&containers);
    let syncthing = process::children(desk.ksync.watcher().expect("a watcher"));
    assert_eq!(syncthing.len(), 1, "{syncthing:?}");
    for round in 0..3 {
        process::stand_still(syncthing[0].pid, true);
        for name in ["a.txt", "dir/c.txt"] {
            desk.write(name, format!("here {round}\n"));
        }
        two_way.sh(
            desk.cluster(),
            &format!(
                "sleep 1; echo there, later {round} >/code/a.txt; echo there, later {round} >/code/dir/c.txt"
            ),
        );
        process::stand_still(syncthing[0].pid, false);
        let wanted = format!("here {round}\n");
        eventually("local content on both sides", SHORT, || {
            for container in &containers {
                let there = container.tree(desk.cluster(), CODE)?;
                let copy = there.entries().find(|(path, _)| path.contains("conflict"));
                assert!(copy.is_none(), "a conflict copy is in a container: {copy:?}");
                are_both(desk, container, &["a.txt", "dir/c.txt"], &wanted)?;
            }
            Ok(())
        });
    }
    let tree = desk.tree().expect("the local tree");
    assert!(!tree.entries().any(|(path, _)| path.contains("conflict")), "{tree:?}");
    let listed = desk.ksync.ok(&["conflicts", "main", "-o", "name"]);
    let of = |name: &str| listed.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!((of("a.txt@"), of("dir/c.txt@")), (3, 3), "{listed}");
    let kept = desk.ksync.kept();
    assert!(kept.iter().any(|content| content == "there, later 2\n"), "{kept:?}");
    let warned = desk.ksync.run(&["get", "main"]);
    let line = "warning: spec `main`: 6 conflicts, local content stays: see `kubectl ksync conflicts main`\n";
    assert_eq!((warned.status, warned.stderr.as_str()), (Some(0), line));
    let said = desk.ksync.ok(&["conflicts", "main", "--clear"]);
    assert_eq!(said, "6 conflicts dismissed; `kubectl ksync restore` has what was kept\n");
    assert_eq!(desk.ksync.run(&["get", "main"]).stderr, "");
}

/// Whether these files have the `wanted` content on both sides.
fn are_both(desk: &Desk, container: &Container, names: &[&str], wanted: &str) -> Result<(), String> {
    for name in names {
        let (here, there) = (desk.text(name)?, container.read(desk.cluster(), &format!("{CODE}/{name}"))?);
        holds(here == wanted && there == wanted, format!("{name}: {here:?}, {there:?}"))?;
    }
    Ok(())
}

/// As above, but the edit here is the last: syncthing lets it win, on the node, where nobody would miss the other.
fn later(desk: &Desk) {
    let names = ["a.txt", "dir/c.txt"];
    for name in names {
        desk.write(name, "base\n");
    }
    let containers = App::idle(desk).replicas(2).apply(desk).running(2);
    desk.sync(APP, CODE);
    let two_way = desk.two_way(&containers);
    let syncthing = process::children(desk.ksync.watcher().expect("a watcher"));
    for round in 0..3 {
        process::stand_still(syncthing[0].pid, true);
        let line = format!("echo there {round} | tee /code/a.txt >/code/dir/c.txt; sleep 1");
        two_way.sh(desk.cluster(), &line);
        for name in names {
            desk.write(name, format!("here, later {round}\n"));
        }
        process::stand_still(syncthing[0].pid, false);
        let count = 2 * (round + 1);
        eventually("local content everywhere, the other kept", SHORT, || {
            let wanted = format!("here, later {round}\n");
            for container in &containers {
                are_both(desk, container, &names, &wanted)?;
                let there = container.tree(desk.cluster(), CODE)?;
                let copy = there.entries().find(|(path, _)| path.contains("conflict"));
                holds(copy.is_none(), format!("a conflict copy is in a container: {copy:?}"))?;
            }
            let kept = desk.ksync.kept();
            let lost = kept.iter().filter(|content| content.starts_with("there ")).count();
            holds(lost == count, format!("{kept:?}"))
        });
    }
    let tree = desk.tree().expect("the local tree");
    assert!(!tree.entries().any(|(path, _)| path.contains("conflict")), "{tree:?}");
    let listed = desk.ksync.ok(&["conflicts", "main", "-o", "name"]);
    let of = |name: &str| listed.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!((of("a.txt@"), of("dir/c.txt@")), (3, 3), "{listed}");
    left_over(desk, &containers);
}

/// One that was made while nobody followed is found when somebody does again; another device's is none of ours.
fn left_over(desk: &Desk, containers: &[Container]) {
    desk.ksync.ok(&["stop"]);
    let log = desk.ksync.syncthing_log();
    let device = log.split("My ID: ").nth(1).and_then(|rest| rest.get(..7)).expect("a device id");
    for (device, content) in [(device, "left over"), ("AAAAAAA", "not ours")] {
        for container in containers {
            let line = format!("echo {content} >/code/dir/c.sync-conflict-20260101-000000-{device}.txt");
            container.sh(desk.cluster(), &line);
        }
    }
    desk.ksync.ok(&["watch", "--daemon"]);
    desk.ksync.watching("main", 2, LONG);
    eventually("what was left over is kept", SHORT, || {
        let kept = desk.ksync.kept();
        holds(kept.iter().any(|content| content == "left over\n"), format!("{kept:?}"))?;
        assert!(!kept.iter().any(|content| content == "not ours\n"), "{kept:?}");
        let two_way = desk.two_way(containers);
        let there = two_way.tree(desk.cluster(), CODE)?;
        let copies: Vec<&String> =
            there.entries().map(|(path, _)| path).filter(|path| path.contains("conflict")).collect();
        holds(copies == ["dir/c.sync-conflict-20260101-000000-AAAAAAA.txt"], format!("{copies:?}"))
    });
}

fn log(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let container = App::idle(desk).apply(desk).only();
    desk.sync(APP, CODE);
    container.sh(desk.cluster(), "for i in $(seq 60); do echo $i >>/code/app.log; sleep 0.1; done");
    desk.arrives(std::slice::from_ref(&container), CODE);
    let listed = desk.ksync.ok(&["restore", "main", "-o", "name"]);
    let copies = listed.lines().filter(|line| line.starts_with("app.log@")).count();
    assert!((1..=5).contains(&copies), "{copies} copies: {listed}");
}
