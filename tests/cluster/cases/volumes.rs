//! Paths in, above and under volumes.

use serde_json::json;

use super::{APP, CODE};
use crate::suite::{
    App, Case, Desk, eventually,
    eventually::{LONG, SHORT, holds},
    ksync::Row,
};

pub(super) const CASES: &[Case] = &[
    Case::new("a_read_only_root_with_a_volume_at_the_path", read_only_root),
    Case::new("a_read_only_root_without_one", read_only),
    Case::new("a_path_inside_a_volume", inside),
    Case::new("a_volume_below_the_path", below),
    Case::new("a_single_file_mounted_below_the_path", single_file),
    Case::new("a_volume_that_two_containers_share", shared),
    Case::new("a_volume_that_is_full", full),
    Case::new("a_volume_goes_when_its_pod_goes", goes),
];

fn read_only_root(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let app = App::idle(desk).container("securityContext", json!({ "readOnlyRootFilesystem": true }));
    let containers = app.empty_dir("code", CODE).replicas(2).apply(desk).running(2);
    desk.sync(APP, CODE);
    desk.write("x/b.txt", "b\n");
    desk.arrives(&containers, CODE);
    let two_way = desk.two_way(&containers);
    two_way.sh(desk.cluster(), "echo c >/code/c.txt");
    eventually("what the container writes", SHORT, || desk.equal(two_way, CODE));
}

fn read_only(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let app = App::idle(desk).container("securityContext", json!({ "readOnlyRootFilesystem": true }));
    let container = app.apply(desk).only();
    let local = desk.local().display().to_string();
    assert_eq!(
        desk.ksync.refused(&["create", "--name", "main", "-l", "app=app", &local, "/tmp"]),
        format!(
            "error: `/tmp` can't be synced in pod `{}`: `/tmp` in the container is on a read-only file system\n",
            container.pod
        )
    );
    assert!(!desk.ksync.config_file().exists(), "nothing is written");
}

fn inside(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let containers = App::idle(desk).empty_dir("srv", "/srv").replicas(2).apply(desk).running(2);
    desk.sync(APP, "/srv/www/code");
    desk.write("b.txt", "b\n");
    desk.arrives(&containers, "/srv/www/code");
}

/// Both directions, through the mount.
fn below(desk: &Desk) {
    desk.write("a.txt", "a\n");
    desk.write("data/x/b.txt", "b\n");
    let app = App::idle(desk).empty_dir("data", "/code/data").empty_dir("deep", "/code/p/q/deep");
    let containers = app.replicas(2).apply(desk).running(2);
    desk.sync(APP, CODE);
    desk.write("data/x/b.txt", "edited\n");
    desk.write("p/q/deep/c.txt", "c\n");
    // Across the border of the volume.
    std::fs::rename(desk.path("a.txt"), desk.path("data/a.txt")).expect("rename");
    desk.arrives(&containers, CODE);
    let two_way = desk.two_way(&containers);
    two_way.sh(desk.cluster(), "echo d >/code/data/d.txt && mv /code/data/a.txt /code/a.txt");
    eventually("what the container does in its volume", SHORT, || desk.equal(two_way, CODE));
    let mounts = two_way.sh(desk.cluster(), "grep -c ' /code/' /proc/mounts");
    assert_eq!(mounts, "2\n", "the user's mounts are as they were");
}

/// A ConfigMap's file is not ours to write; everything beside it is synced.
fn single_file(desk: &Desk) {
    desk.kubectl().apply(&[json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings", "namespace": desk.namespace },
        "data": { "app.yml": "from the cluster\n" },
    })]);
    desk.write("config/other.yml", "other\n");
    let app = App::idle(desk).config_file("settings", "app.yml", "/code/config/app.yml");
    let containers = app.replicas(2).apply(desk).running(2);
    desk.sync(APP, CODE);
    let spec = desk.ksync.watching("main", 2, SHORT);
    let named = |row: &Row| row.excluded.iter().any(|path| path.contains("config/app.yml"));
    assert!(spec.containers.iter().all(named), "{spec:?}");
    let wide = desk.ksync.ok(&["get", "-o", "wide"]);
    assert!(wide.contains("config/app.yml"), "{wide}");
    // Here it may be something else; neither side gets the other's.
    desk.write("config/app.yml", "from here\n");
    desk.write("config/late.yml", "late\n");
    for container in &containers {
        eventually("the file beside it", SHORT, || {
            let there = container.read(desk.cluster(), "/code/config/late.yml")?;
            holds(there == "late\n", there)
        });
        let mounted = container.read(desk.cluster(), "/code/config/app.yml");
        assert_eq!(mounted.as_deref(), Ok("from the cluster\n"), "{container}");
    }
    assert_eq!(desk.text("config/app.yml").as_deref(), Ok("from here\n"));
    desk.ksync.watching("main", 2, SHORT);
}

fn shared(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let app = App::idle(desk).beside("second").empty_dir("code", CODE).apply(desk);
    let containers = app.running(1);
    assert_eq!(containers.len(), 2, "{containers:?}");
    desk.sync(&[APP, &["--container", "app"]].concat(), CODE);
    let local = desk.local().display().to_string();
    desk.ksync.ok(&["create", "--name", "two", "-l", "app=app", "-c", "second", "--wait", &local, CODE]);
    desk.write("b.txt", "b\n");
    desk.arrives(&containers, CODE);
    let roles: Vec<String> = ["main", "two"]
        .iter()
        .map(|name| desk.ksync.watching(name, 1, SHORT).containers[0].role.clone())
        .collect();
    assert_eq!(roles, ["lead", "alias"]);
    containers[1].sh(desk.cluster(), "echo c >/code/c.txt && rm /code/a.txt");
    eventually("what either container does", SHORT, || desk.equal(&containers[0], CODE));
    assert!(!desk.path("a.txt").exists());
}

/// What has no room is said; what has room arrives, and nothing that was begun stays. Two of the containers may share a
/// node, where one gets copies of the other's.
fn full(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let app = App::idle(desk).memory_dir("code", CODE, "1Mi").replicas(3);
    let containers = app.apply(desk).running(3);
    desk.sync(APP, CODE);
    desk.write("dir/big.bin", vec![b'b'; 3_000_000]);
    // Each of them would fit alone.
    for name in ["one.bin", "two.bin"] {
        desk.write(name, vec![b'x'; 600_000]);
    }
    let told = |row: &Row| {
        row.status == "error" && row.reason.contains("`: no space left on device in the container")
    };
    let begun = std::time::Instant::now();
    eventually("every container's row to say what has no room", SHORT, || {
        let spec = desk.ksync.spec("main")?;
        holds(spec.status == "error" && spec.containers.iter().all(told), format!("{spec:?}"))
    });
    println!("a full volume was told of after {:?}", begun.elapsed());
    let arrive = |edit: &str| {
        desk.write("a.txt", edit);
        for container in &containers {
            eventually("what there is room for", SHORT, || {
                let there = container.read(desk.cluster(), "/code/a.txt")?;
                holds(there == edit, format!("{} bytes in {container}", there.len()))
            });
        }
    };
    arrive("edited\n");
    // And so when everything is attached anew.
    desk.ksync.ok(&["stop"]);
    desk.ksync.ok(&["watch", "--daemon"]);
    arrive("edited again\n");
    eventually("it to be said again", SHORT, || {
        let spec = desk.ksync.spec("main")?;
        holds(spec.containers.len() == 3 && spec.containers.iter().all(told), format!("{spec:?}"))
    });
    for name in ["dir/big.bin", "two.bin"] {
        std::fs::remove_file(desk.path(name)).expect("remove");
    }
    desk.ksync.watching("main", 3, SHORT);
    desk.arrives(&containers, CODE);
    for container in &containers {
        let left = container.sh(desk.cluster(), "find /code -name '*.tmp'");
        assert_eq!(left, "", "{container}");
    }
}

/// The volume's files are removed by kubelet while they are still bound.
fn goes(desk: &Desk) {
    for number in 0..30 {
        desk.write(&format!("{number}.txt"), "content\n");
    }
    let app = App::idle(desk).empty_dir("code", CODE).apply(desk);
    let old = app.only();
    desk.sync(APP, CODE);
    let guard = crate::suite::guard::Guard::over(&desk.local());
    app.kill_pod(&old.pod);
    let new = eventually("another pod", LONG, || {
        let now = app.only();
        if now.id == old.id { Err("the old one".to_owned()) } else { Ok(now) }
    });
    desk.ksync.watching_ids("main", &[&new.id], LONG);
    desk.equal(&new, CODE).expect("equal trees");
    guard.intact();
}
