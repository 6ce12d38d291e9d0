//! Several replicas: each has everything, however many a node runs.

use super::{APP, CODE};
use crate::suite::{
    App, Case, Sandbox,
    eventually::{LONG, SHORT},
};

pub(super) const CASES: &[Case] = &[
    Case::new("two_replicas_on_each_node", fan_out),
    Case::new("scale_up_and_down", scale),
    Case::new("twenty_replicas_through_a_rollout", twenty).alone(),
];

fn fan_out(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    sandbox.write("dir/b.txt", "b\n");
    let containers = App::web(sandbox).twice_everywhere().apply(sandbox).all();
    sandbox.sync(APP, CODE);
    sandbox.watching(&containers, SHORT);
    for container in &containers {
        sandbox.equal(container, CODE).expect("equal trees");
    }
    sandbox.write("a.txt", "edited\n");
    sandbox.write("dir/new.txt", "new\n");
    std::fs::rename(sandbox.path("dir/b.txt"), sandbox.path("c.txt")).expect("rename");
    sandbox.arrives(&containers, CODE);
    // What the two-way one writes goes everywhere.
    sandbox.two_way(&containers).sh(sandbox.cluster(), "echo there >/code/there.txt && rm /code/c.txt");
    crate::suite::eventually("the container's change here", SHORT, || {
        if sandbox.path("c.txt").exists() {
            Err("c.txt is still here".to_owned())
        } else {
            sandbox.text("there.txt")
        }
    });
    sandbox.arrives(&containers, CODE);
}

fn scale(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let app = App::web(sandbox).replicas(1).apply(sandbox);
    sandbox.sync(APP, CODE);
    for replicas in [sandbox.nodes.len() + 1, 1, 2] {
        let containers = app.scale(replicas);
        let spec = sandbox.watching(&containers, LONG);
        assert_eq!(spec.containers.iter().filter(|row| row.two_way).count(), 1, "{spec:?}");
        sandbox.write("a.txt", format!("for {replicas}\n"));
        sandbox.arrives(&containers, CODE);
    }
    app.scale(0);
    sandbox.ksync.waiting("main", SHORT);
    sandbox.write("a.txt", "while nobody ran\n");
    let containers = app.scale(1);
    sandbox.ksync.watching("main", 1, LONG);
    sandbox.arrives(&containers, CODE);
}

/// Edits before, during and after a rollout of many: each container ends with what is here, and nothing else.
fn twenty(sandbox: &Sandbox) {
    for number in 0..50 {
        sandbox.write(&format!("src/{number}.txt"), format!("{number}\n"));
    }
    let app = App::web(sandbox).replicas(20).apply(sandbox);
    sandbox.sync(APP, CODE);
    let spec = sandbox.ksync.watching("main", 20, LONG);
    assert_eq!(spec.containers.iter().filter(|row| row.two_way).count(), 1, "{spec:?}");
    sandbox.write("src/0.txt", "before\n");
    std::fs::remove_file(sandbox.path("src/1.txt")).expect("remove");
    let containers = std::thread::scope(|scope| {
        let rollout = scope.spawn(|| app.restart());
        let mut edits = 0;
        while !rollout.is_finished() {
            sandbox.write("src/during.txt", format!("{edits}\n"));
            edits += 1;
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        rollout.join().expect("the rollout")
    });
    sandbox.write("src/2.txt", "after\n");
    let spec = sandbox.watching(&containers, LONG);
    assert_eq!(spec.containers.iter().filter(|row| row.two_way).count(), 1, "{spec:?}");
    sandbox.arrives(&containers, CODE);
    assert!(!sandbox.path("src/1.txt").exists(), "what was deleted has come back");
}
