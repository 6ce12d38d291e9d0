//! Several replicas: each has everything, however many a node runs.

use super::{APP, CODE};
use crate::suite::{
    App, Case, Desk, Need,
    eventually::{LONG, SHORT},
};

pub(super) const CASES: &[Case] = &[
    Case::new("two_replicas_on_each_node", fan_out).needs(&[Need::BothRuntimes]),
    Case::new("scale_up_and_down", scale),
    Case::new("twenty_replicas_through_a_rollout", twenty).alone(),
];

fn fan_out(desk: &Desk) {
    desk.write("a.txt", "a\n");
    desk.write("dir/b.txt", "b\n");
    let containers = App::web(desk).replicas(4).apply(desk).running(4);
    desk.sync(APP, CODE);
    let spec = desk.ksync.watching("main", 4, SHORT);
    let count = |role: &str| spec.containers.iter().filter(|row| row.role == role).count();
    assert_eq!((count("lead"), count("follower")), (2, 2), "{spec:?}");
    for container in &containers {
        desk.equal(container, CODE).expect("equal trees");
    }
    desk.write("a.txt", "edited\n");
    desk.write("dir/new.txt", "new\n");
    std::fs::rename(desk.path("dir/b.txt"), desk.path("c.txt")).expect("rename");
    desk.arrives(&containers, CODE);
    // What the two-way one writes goes everywhere.
    desk.two_way(&containers).sh(desk.cluster(), "echo there >/code/there.txt && rm /code/c.txt");
    crate::suite::eventually("the container's change here", SHORT, || {
        if desk.path("c.txt").exists() {
            Err("c.txt is still here".to_owned())
        } else {
            desk.text("there.txt")
        }
    });
    desk.arrives(&containers, CODE);
}

fn scale(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let app = App::web(desk).replicas(1).apply(desk);
    desk.sync(APP, CODE);
    for replicas in [3, 1, 2] {
        let containers = app.scale(replicas);
        let ids: Vec<&str> = containers.iter().map(|c| c.id.as_str()).collect();
        let spec = desk.ksync.watching_ids("main", &ids, LONG);
        assert_eq!(spec.containers.iter().filter(|row| row.two_way).count(), 1, "{spec:?}");
        desk.write("a.txt", format!("for {replicas}\n"));
        desk.arrives(&containers, CODE);
    }
    app.scale(0);
    desk.ksync.waiting("main", SHORT);
    desk.write("a.txt", "while nobody ran\n");
    let containers = app.scale(1);
    desk.ksync.watching("main", 1, LONG);
    desk.arrives(&containers, CODE);
}

/// Edits before, during and after a rollout of many: each container ends with what is here, and nothing else.
fn twenty(desk: &Desk) {
    for number in 0..50 {
        desk.write(&format!("src/{number}.txt"), format!("{number}\n"));
    }
    let app = App::web(desk).replicas(20).apply(desk);
    desk.sync(APP, CODE);
    let spec = desk.ksync.watching("main", 20, LONG);
    assert_eq!(spec.containers.iter().filter(|row| row.two_way).count(), 1, "{spec:?}");
    desk.write("src/0.txt", "before\n");
    std::fs::remove_file(desk.path("src/1.txt")).expect("remove");
    let containers = std::thread::scope(|scope| {
        let rollout = scope.spawn(|| app.restart(20));
        let mut edits = 0;
        while !rollout.is_finished() {
            desk.write("src/during.txt", format!("{edits}\n"));
            edits += 1;
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        rollout.join().expect("the rollout")
    });
    desk.write("src/2.txt", "after\n");
    let ids: Vec<&str> = containers.iter().map(|c| c.id.as_str()).collect();
    let spec = desk.ksync.watching_ids("main", &ids, LONG);
    assert_eq!(spec.containers.iter().filter(|row| row.two_way).count(), 1, "{spec:?}");
    desk.arrives(&containers, CODE);
    assert!(!desk.path("src/1.txt").exists(), "what was deleted has come back");
}
