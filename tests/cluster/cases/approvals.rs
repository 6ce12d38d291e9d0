//! What waits for a person: a container's mass deletion and a large first pull, both answers of both, and that waiting
//! outlives the watcher.

use std::{fs, time::Duration};

use super::{APP, CODE};
use crate::suite::{
    App, Case, Sandbox,
    container::Container,
    eventually,
    eventually::{LONG, SHORT, holds, throughout},
    ksync::Spec,
    process,
    witness::Witness,
};

pub(super) const CASES: &[Case] = &[
    Case::new("a_container_that_deletes_everything_is_not_believed", all_deleted).on_each(),
    Case::new("a_mass_deletion_is_accepted", deletion_accepted).on_each(),
    Case::new("a_mass_deletion_is_declined", deletion_declined),
    Case::new("a_mass_deletion_of_a_container_that_goes", deletion_moot).on_each(),
    Case::new("much_that_is_gone_here_is_asked_about", gone_here),
    Case::new("a_large_first_pull_is_accepted", pull_accepted).on_each(),
    Case::new("a_large_first_pull_is_declined", pull_declined).on_each(),
];

/// As after a disk was not mounted, or after `rm -rf` while nobody watched.
fn gone_here(sandbox: &Sandbox) {
    let containers = App::idle(sandbox).everywhere().apply(sandbox).all();
    for number in 0..30 {
        sandbox.write(&format!("dir/{number}.txt"), format!("{number}\n"));
    }
    sandbox.write("left.txt", "left\n");
    sandbox.sync(APP, CODE);
    let lose = || {
        sandbox.ksync.ok(&["stop"]);
        fs::remove_dir_all(sandbox.path("dir")).expect("remove");
        sandbox.ksync.ok(&["watch", "--daemon"]);
        eventually("what is gone to be asked about", LONG, || {
            let spec = sandbox.ksync.spec("main")?;
            let all = spec.containers.iter().all(|row| {
                row.status == "error"
                    && row.reason.contains("30 of 31 entries that were in sync are gone here")
            });
            holds(all && spec.containers.len() == containers.len(), format!("{spec:?}"))
        });
    };
    lose();
    throughout("the containers' files", Duration::from_secs(2), || {
        containers
            .iter()
            .try_for_each(|container| container.read(sandbox.cluster(), "/code/dir/7.txt").map(drop))
    });
    assert_eq!(sandbox.ksync.ok(&["decline", "main"]), "spec `main`: 30 files put back here\n");
    sandbox.watching(&containers, LONG);
    sandbox.arrives(&containers, CODE);
    assert_eq!(sandbox.text("dir/7.txt").as_deref(), Ok("7\n"));
    lose();
    assert_eq!(
        sandbox.ksync.ok(&["accept", "main"]),
        "spec `main`: 30 files deleted in the containers too\n"
    );
    sandbox.watching(&containers, LONG);
    sandbox.arrives(&containers, CODE);
    assert!(!sandbox.path("dir").exists());
}

/// 40 files, of which a container deletes 39, with the two-way container.
fn mass_deletion(sandbox: &Sandbox, app: App) -> (Container, Spec) {
    for number in 0..39 {
        sandbox.write(&format!("dir/{number}.txt"), format!("{number}\n"));
    }
    sandbox.write("left.txt", "left\n");
    let containers = app.apply(sandbox).all();
    sandbox.sync(APP, CODE);
    let culprit = sandbox.two_way(&containers);
    // All at once: one file after the other may be held up for so long that some are gone here before the question.
    culprit.sh(sandbox.cluster(), "mv /code/dir /tmp/dir");
    let spec = sandbox.ksync.becomes("main", "paused", SHORT);
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
        eventually("the other container to have everything", SHORT, || sandbox.equal(other, CODE));
    }
    (culprit.into_iter().next().expect("the culprit"), spec)
}

/// Waits on with the same words, however the watcher goes and comes.
#[track_caller]
fn waits_on(sandbox: &Sandbox, before: &Spec) {
    sandbox.ksync.ok(&["stop"]);
    sandbox.ksync.ok(&["watch", "--daemon"]);
    let spec = sandbox.ksync.becomes("main", &before.status, LONG);
    assert_eq!(spec.reason, before.reason);
    process::kill(sandbox.ksync.watcher().expect("a watcher"));
    eventually("everything of the watcher to end", SHORT, || {
        let left = process::of_home(&sandbox.ksync.home);
        holds(left.is_empty(), format!("{left:?}"))
    });
    sandbox.ksync.ok(&["watch", "--daemon"]);
    let spec = sandbox.ksync.becomes("main", &before.status, LONG);
    assert_eq!(spec.reason, before.reason);
    let reason = before.reason.as_str();
    throughout("waiting", Duration::from_secs(2), || {
        let spec = sandbox.ksync.spec("main")?;
        holds(spec.reason == reason, format!("{spec:?}"))
    });
}

/// More than half of a folder, deleted at once from inside, waits for a person.
fn all_deleted(sandbox: &Sandbox) {
    for number in 0..40 {
        sandbox.write(&format!("{number}.txt"), "content\n");
    }
    let container = App::web(sandbox).apply(sandbox).only();
    sandbox.sync(APP, CODE);
    let before = sandbox.tree().expect("the local tree");
    container.sh(sandbox.cluster(), "rm -rf /code/*");
    let spec = sandbox.ksync.becomes("main", "paused", SHORT);
    assert!(spec.reason.contains("deleted 41 of 41 files"), "{spec:?}");
    // What was gone here before it was seen that they are many is kept.
    throughout("every local file", Duration::from_secs(3), || {
        let kept = sandbox.ksync.ok(&["restore", "main", "-o", "name"]);
        let lost = before.lost(&sandbox.local());
        holds(lost.len() == kept.lines().count(), format!("lost {lost:?}, kept {kept}"))
    });
    sandbox.ksync.run(&["restore", "main", "--all"]);
    let lost = before.lost(&sandbox.local());
    assert!(lost.is_empty(), "{lost:?}");
}

fn deletion_accepted(sandbox: &Sandbox) {
    let (culprit, spec) = mass_deletion(sandbox, App::idle(sandbox));
    let witness = Witness::over(&sandbox.local());
    waits_on(sandbox, &spec);
    assert!(culprit.read(sandbox.cluster(), "/code/dir/0.txt").is_err(), "nothing is put back unasked");
    witness.intact();
    sandbox.write("dir/7.txt", "edited while it waits\n");
    assert_eq!(
        sandbox.ksync.ok(&["accept", "main"]),
        "spec `main`: 38 files deleted here too; `kubectl ksync restore main` lists what is kept\n"
    );
    sandbox.ksync.watching("main", 1, LONG);
    eventually("equal trees", SHORT, || sandbox.equal(&culprit, CODE));
    assert!(!sandbox.path("dir/0.txt").exists());
    assert_eq!(sandbox.text("dir/7.txt").as_deref(), Ok("edited while it waits\n"), "what was edited stays");
    assert_eq!(sandbox.text("left.txt").as_deref(), Ok("left\n"));
    assert_eq!(
        sandbox.ksync.refused(&["accept", "main"]),
        "error: spec `main` waits for no answer\nhint: `kubectl ksync get main` says how it stands\n"
    );
    // It goes on both ways, and what was accepted by mistake comes back.
    culprit.sh(sandbox.cluster(), "echo new >/code/new.txt");
    eventually("what the container writes", SHORT, || sandbox.equal(&culprit, CODE));
    let said = sandbox.ksync.ok(&["restore", "main", "--all"]);
    assert_eq!(said.lines().count(), 38, "{said}");
    assert_eq!(sandbox.text("dir/0.txt").as_deref(), Ok("0\n"));
    sandbox.arrives(&[culprit], CODE);
}

/// With other replicas, which are as they were.
fn deletion_declined(sandbox: &Sandbox) {
    let (culprit, spec) = mass_deletion(sandbox, App::idle(sandbox).twice_everywhere());
    let replicas = spec.containers.len();
    // What waits goes on waiting when the watcher is killed.
    process::kill(sandbox.ksync.watcher().expect("a watcher"));
    sandbox.ksync.ok(&["watch", "--daemon"]);
    let witness = Witness::over(&sandbox.local());
    waits_on(sandbox, &spec);
    sandbox.write("meanwhile.txt", "meanwhile\n");
    assert_eq!(sandbox.ksync.ok(&["decline", "main"]), "spec `main`: 39 files put back into the container\n");
    sandbox.ksync.watching("main", replicas, LONG);
    eventually("equal trees", SHORT, || sandbox.equal(&culprit, CODE));
    assert_eq!(culprit.read(sandbox.cluster(), "/code/meanwhile.txt").as_deref(), Ok("meanwhile\n"));
    witness.intact();
    // A deletion of a few files is one again.
    let spec = sandbox.ksync.watching("main", replicas, SHORT);
    let two_way = spec.two_way().expect("a two-way container").pod.clone();
    sandbox.kubectl().ok(&["exec", "-n", &sandbox.namespace, &two_way, "--", "rm", "/code/dir/1.txt"]);
    eventually("a single deletion", SHORT, || holds(!sandbox.path("dir/1.txt").exists(), "it is still here"));
}

/// The container goes before anybody answers: its successor gets everything.
fn deletion_moot(sandbox: &Sandbox) {
    let (culprit, _) = mass_deletion(sandbox, App::idle(sandbox));
    let witness = Witness::over(&sandbox.local());
    sandbox.kubectl().ok(&[
        "delete",
        "pod",
        "-n",
        &sandbox.namespace,
        &culprit.pod,
        "--force",
        "--grace-period=0",
    ]);
    eventually("the successor to be in sync", LONG, || {
        let spec = sandbox.ksync.spec("main")?;
        let fresh = spec.containers.iter().all(|row| row.container_id != culprit.id);
        holds(spec.status == "watching" && spec.containers.len() == 1 && fresh, format!("{spec:?}"))
    });
    witness.intact();
    let said = sandbox.ksync.refused(&["accept", "main"]);
    assert!(said.starts_with("error: spec `main` waits for no answer\n"), "{said}");
    assert_eq!(sandbox.ksync.ok(&["restore", "main", "-o", "name"]), "", "nothing was taken away");
}

/// An app with 1,200 files of its own below the path.
fn large(sandbox: &Sandbox) -> Container {
    let container = App::idle(sandbox).apply(sandbox).only();
    container.sh(
        sandbox.cluster(),
        "mkdir -p /code/node_modules/a && cd /code/node_modules/a && for i in $(seq 1199); do echo x >$i; done && \
         echo x >/code/own.txt",
    );
    sandbox.write("here.txt", "here\n");
    let local = sandbox.local().display().to_string();
    sandbox.ksync.ok(&["create", "--name", "main", "-l", "app=app", &local, CODE]);
    let spec = sandbox.ksync.becomes("main", "confirm", LONG);
    assert_eq!(
        spec.reason,
        format!(
            "1200 files (2.4 kB) exist only in pod `{}`: `kubectl ksync accept main` brings them here, `kubectl ksync \
             decline main` leaves them there",
            container.pod
        )
    );
    assert_eq!(sandbox.tree().expect("the local tree").len(), 1, "nothing came unasked");
    waits_on(sandbox, &spec);
    assert_eq!(sandbox.tree().expect("the local tree").len(), 1, "nothing came unasked");
    container
}

fn pull_accepted(sandbox: &Sandbox) {
    let container = large(sandbox);
    assert_eq!(sandbox.ksync.ok(&["accept", "main"]), "spec `main`: 1200 files (2.4 kB) brought here\n");
    sandbox.ksync.watching("main", 1, LONG);
    sandbox.equal(&container, CODE).expect("equal trees");
    assert_eq!(sandbox.text("node_modules/a/1199").as_deref(), Ok("x\n"));
    container.sh(sandbox.cluster(), "echo later >/code/node_modules/a/later");
    eventually("what the container writes", SHORT, || sandbox.equal(&container, CODE));
}

fn pull_declined(sandbox: &Sandbox) {
    let container = large(sandbox);
    assert_eq!(
        sandbox.ksync.ok(&["decline", "main"]),
        "spec `main`: 1200 files (2.4 kB) left in the container; ignored from now on, in ksync.yaml: /node_modules \
         /own.txt\n"
    );
    let config = fs::read_to_string(sandbox.ksync.config_file()).expect("ksync.yaml");
    assert!(config.contains("ignore: [\"/node_modules\", \"/own.txt\"]"), "{config}");
    sandbox.ksync.watching("main", 1, LONG);
    container.sh(sandbox.cluster(), "echo later >/code/node_modules/a/later && echo back >/code/back.txt");
    eventually("what the container writes elsewhere", SHORT, || {
        let here = sandbox.text("back.txt")?;
        holds(here == "back\n", here)
    });
    assert!(!sandbox.path("node_modules").exists() && !sandbox.path("own.txt").exists());
    assert_eq!(container.read(sandbox.cluster(), "/code/node_modules/a/1").as_deref(), Ok("x\n"));
    sandbox.write("there.txt", "there\n");
    eventually("what is written here", SHORT, || container.read(sandbox.cluster(), "/code/there.txt"));
}
