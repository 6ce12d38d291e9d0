//! Paths in, above and under volumes.

use serde_json::json;

use super::{APP, CODE};
use crate::suite::{
    App, Case, Sandbox, eventually,
    eventually::{LONG, SHORT, holds},
    ksync::Row,
};

pub(super) const CASES: &[Case] = &[
    Case::new("a_read_only_root_with_a_volume_at_the_path", read_only_root),
    Case::new("a_read_only_root_without_one", read_only).on_each(),
    Case::new("a_path_inside_a_volume", inside),
    Case::new("a_volume_below_the_path", below),
    Case::new("a_single_file_mounted_below_the_path", single_file),
    Case::new("a_volume_that_two_containers_share", shared).on_each(),
    Case::new("a_volume_that_is_full", full),
    Case::new("a_volume_goes_when_its_pod_goes", goes).on_each(),
    Case::new("set_uid_and_set_gid_are_each_sides_own", fs_group).on_each(),
];

fn read_only_root(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let app = App::idle(sandbox).container("securityContext", json!({ "readOnlyRootFilesystem": true }));
    let containers = app.empty_dir("code", CODE).everywhere().apply(sandbox).all();
    sandbox.sync(APP, CODE);
    sandbox.write("x/b.txt", "b\n");
    sandbox.arrives(&containers, CODE);
    let two_way = sandbox.two_way(&containers);
    two_way.sh(sandbox.cluster(), "echo c >/code/c.txt");
    eventually("what the container writes", SHORT, || sandbox.equal(two_way, CODE));
}

fn read_only(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let app = App::idle(sandbox).container("securityContext", json!({ "readOnlyRootFilesystem": true }));
    let container = app.apply(sandbox).only();
    let local = sandbox.local().display().to_string();
    assert_eq!(
        sandbox.ksync.refused(&["create", "--name", "main", "-l", "app=app", &local, "/tmp"]),
        format!(
            "error: `/tmp` can't be synced in pod `{}`: `/tmp` in the container is on a read-only file system\n",
            container.pod
        )
    );
    assert!(!sandbox.ksync.config_file().exists(), "nothing is written");
}

fn inside(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let containers = App::idle(sandbox).empty_dir("srv", "/srv").everywhere().apply(sandbox).all();
    sandbox.sync(APP, "/srv/www/code");
    sandbox.write("b.txt", "b\n");
    sandbox.arrives(&containers, "/srv/www/code");
}

/// Both directions, through the mount.
fn below(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    sandbox.write("data/x/b.txt", "b\n");
    let app = App::idle(sandbox).empty_dir("data", "/code/data").empty_dir("deep", "/code/p/q/deep");
    let containers = app.everywhere().apply(sandbox).all();
    sandbox.sync(APP, CODE);
    sandbox.write("data/x/b.txt", "edited\n");
    sandbox.write("p/q/deep/c.txt", "c\n");
    // Across the border of the volume.
    std::fs::rename(sandbox.path("a.txt"), sandbox.path("data/a.txt")).expect("rename");
    sandbox.arrives(&containers, CODE);
    let two_way = sandbox.two_way(&containers);
    two_way.sh(sandbox.cluster(), "echo d >/code/data/d.txt && mv /code/data/a.txt /code/a.txt");
    eventually("what the container does in its volume", SHORT, || sandbox.equal(two_way, CODE));
    let mounts = two_way.sh(sandbox.cluster(), "grep -c ' /code/' /proc/mounts");
    assert_eq!(mounts, "2\n", "the user's mounts are as they were");
}

/// A ConfigMap's file is not ours to write; everything beside it is synced.
fn single_file(sandbox: &Sandbox) {
    sandbox.kubectl().apply(&[json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings", "namespace": sandbox.namespace },
        "data": { "app.yml": "from the cluster\n" },
    })]);
    sandbox.write("config/other.yml", "other\n");
    let app = App::idle(sandbox).config_file("settings", "app.yml", "/code/config/app.yml");
    let containers = app.everywhere().apply(sandbox).all();
    sandbox.sync(APP, CODE);
    let spec = sandbox.watching(&containers, SHORT);
    let named = |row: &Row| row.excluded.iter().any(|path| path.contains("config/app.yml"));
    assert!(spec.containers.iter().all(named), "{spec:?}");
    let wide = sandbox.ksync.ok(&["get", "-o", "wide"]);
    assert!(wide.contains("config/app.yml"), "{wide}");
    // Here it may be something else; neither side gets the other's.
    sandbox.write("config/app.yml", "from here\n");
    sandbox.write("config/late.yml", "late\n");
    for container in &containers {
        eventually("the file beside it", SHORT, || {
            let there = container.read(sandbox.cluster(), "/code/config/late.yml")?;
            holds(there == "late\n", there)
        });
        let mounted = container.read(sandbox.cluster(), "/code/config/app.yml");
        assert_eq!(mounted.as_deref(), Ok("from the cluster\n"), "{container}");
    }
    assert_eq!(sandbox.text("config/app.yml").as_deref(), Ok("from here\n"));
    sandbox.watching(&containers, SHORT);
}

fn shared(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let app = App::idle(sandbox).beside("second").empty_dir("code", CODE).apply(sandbox);
    let containers = app.all();
    assert_eq!(containers.len(), 2, "{containers:?}");
    sandbox.sync(&[APP, &["--container", "app"]].concat(), CODE);
    let local = sandbox.local().display().to_string();
    sandbox.ksync.ok(&["create", "--name", "two", "-l", "app=app", "-c", "second", "--wait", &local, CODE]);
    sandbox.write("b.txt", "b\n");
    sandbox.arrives(&containers, CODE);
    for name in ["main", "two"] {
        sandbox.ksync.watching(name, 1, SHORT);
    }
    containers[1].sh(sandbox.cluster(), "echo c >/code/c.txt && rm /code/a.txt");
    eventually("what either container does", SHORT, || sandbox.equal(&containers[0], CODE));
    assert!(!sandbox.path("a.txt").exists());
}

/// What has no room is said; what has room arrives, and nothing that was begun stays. Two of the containers may share a
/// node, where one gets copies of the other's.
fn full(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let app = App::idle(sandbox).memory_dir("code", CODE, "1Mi").replicas(sandbox.nodes.len() + 1);
    let containers = app.apply(sandbox).all();
    sandbox.sync(APP, CODE);
    sandbox.write("dir/big.bin", vec![b'b'; 3_000_000]);
    // Each of them would fit alone.
    for name in ["one.bin", "two.bin"] {
        sandbox.write(name, vec![b'x'; 600_000]);
    }
    let told = |row: &Row| {
        row.status == "error" && row.reason.contains("`: no space left on device in the container")
    };
    let begun = std::time::Instant::now();
    eventually("every container's row to say what has no room", SHORT, || {
        let spec = sandbox.ksync.spec("main")?;
        holds(spec.status == "error" && spec.containers.iter().all(told), format!("{spec:?}"))
    });
    println!("a full volume was told of after {:?}", begun.elapsed());
    let arrive = |edit: &str| {
        sandbox.write("a.txt", edit);
        for container in &containers {
            eventually("what there is room for", SHORT, || {
                let there = container.read(sandbox.cluster(), "/code/a.txt")?;
                holds(there == edit, format!("{} bytes in {container}", there.len()))
            });
        }
    };
    arrive("edited\n");
    // And so when everything is attached anew.
    sandbox.ksync.ok(&["stop"]);
    sandbox.ksync.ok(&["watch", "--daemon"]);
    arrive("edited again\n");
    eventually("it to be said again", SHORT, || {
        let spec = sandbox.ksync.spec("main")?;
        holds(
            spec.containers.len() == containers.len() && spec.containers.iter().all(told),
            format!("{spec:?}"),
        )
    });
    for name in ["dir/big.bin", "two.bin"] {
        std::fs::remove_file(sandbox.path(name)).expect("remove");
    }
    sandbox.watching(&containers, SHORT);
    sandbox.arrives(&containers, CODE);
    for container in &containers {
        let left = container.sh(sandbox.cluster(), "find /code -name '*.tmp'");
        assert_eq!(left, "", "{container}");
    }
}

/// The volume's files are removed by kubelet while they are still bound.
fn goes(sandbox: &Sandbox) {
    for number in 0..30 {
        sandbox.write(&format!("{number}.txt"), "content\n");
    }
    let app = App::idle(sandbox).empty_dir("code", CODE).apply(sandbox);
    let old = app.only();
    sandbox.sync(APP, CODE);
    let witness = crate::suite::witness::Witness::over(&sandbox.local());
    app.kill_pod(&old.pod);
    let new = eventually("another pod", LONG, || {
        let now = app.only();
        if now.id == old.id { Err("the old one".to_owned()) } else { Ok(now) }
    });
    sandbox.ksync.watching_ids("main", &[&new.id], LONG);
    sandbox.equal(&new, CODE).expect("equal trees");
    witness.intact();
}

/// Set-uid stays here, and set-gid is the volume's own.
fn fs_group(sandbox: &Sandbox) {
    use std::os::unix::fs::PermissionsExt;
    sandbox.write("dir/b.txt", "b\n");
    sandbox.write("tool", "tool\n");
    let mode = std::fs::Permissions::from_mode(0o4755);
    std::fs::set_permissions(sandbox.path("tool"), mode).expect("chmod");
    let who = json!({ "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 3000 });
    let app = App::idle(sandbox).pod("securityContext", who).empty_dir("code", CODE);
    let container = app.apply(sandbox).only();
    let local = sandbox.local().display().to_string();
    sandbox.ksync.ok(&["create", "--name", "main", "-l", "app=app", "--wait", &local, CODE]);
    sandbox.write("late/c.txt", "c\n");
    let sh = |line: &str| container.sh(sandbox.cluster(), &format!("cd {CODE} && {line}"));
    eventually("the new directory", SHORT, || {
        let there = container.read(sandbox.cluster(), "/code/late/c.txt")?;
        holds(there == "c\n", there)
    });
    let modes = sh("stat -c '%g %a %n' dir dir/b.txt tool late late/c.txt");
    let expected = "3000 2755 dir\n3000 644 dir/b.txt\n3000 755 tool\n3000 2755 late\n3000 644 late/c.txt\n";
    assert_eq!(modes, expected);
    let here = |name: &str| std::fs::metadata(sandbox.path(name)).expect("it is here").permissions().mode();
    assert_eq!([here("tool") & 0o7000, here("dir") & 0o7000], [0o4000, 0], "each side's own");
}
