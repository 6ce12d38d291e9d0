//! Which pods and containers a spec means.

use super::{APP, CODE};
use crate::suite::{
    App, Case, Sandbox,
    eventually::{LONG, SHORT, holds, throughout},
};

pub(super) const CASES: &[Case] = &[
    Case::new("several_containers_need_a_choice", several).on_each(),
    Case::new("one_pod_by_its_name", by_name).on_each(),
    Case::new("a_selector_of_several_labels", set_based),
    Case::new("two_local_directories_in_one_container", two_specs),
    Case::new("one_local_directory_in_two_apps", two_apps),
    Case::new("pods_of_another_namespace_are_left_alone", namespaces),
];

fn several(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let app = App::web(sandbox).beside("helper").apply(sandbox);
    let containers = app.all();
    let pod = containers[0].pod.clone();
    let local = sandbox.local().display().to_string();
    let create = ["create", "--name", "main", "-l", "app=app", local.as_str(), CODE];
    assert_eq!(
        sandbox.ksync.refused(&create),
        format!("error: pod `{pod}` has several containers (app, helper): choose one with `--container`\n")
    );
    assert_eq!(
        sandbox.ksync.refused(&[&create[..], &["--container", "nobody"]].concat()),
        format!("error: pod `{pod}` has no container `nobody` (it has: app, helper)\n")
    );
    assert!(!sandbox.ksync.config_file().exists(), "nothing half-written");
    sandbox.ksync.ok(&[&create[..], &["--container", "helper", "--wait"]].concat());
    let (helper, other): (Vec<_>, Vec<_>) =
        containers.iter().partition(|container| container.name == "helper");
    sandbox.equal(helper[0], CODE).expect("equal trees");
    throughout("silence in the other container", std::time::Duration::from_secs(1), || {
        holds(other[0].read(sandbox.cluster(), "/code/a.txt").is_err(), "a.txt is there")
    });
}

fn by_name(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let app = App::web(sandbox).replicas(2).apply(sandbox);
    let containers = app.all();
    sandbox.sync(&["--pod", &containers[1].pod], CODE);
    let spec = sandbox.ksync.watching("main", 1, SHORT);
    assert_eq!(spec.containers[0].pod, containers[1].pod);
    assert!(containers[0].read(sandbox.cluster(), "/code/a.txt").is_err());
    app.kill_pod(&containers[1].pod);
    let spec = sandbox.ksync.waiting("main", LONG);
    assert_eq!(spec.reason, format!("no pod `{}` in namespace `{}`", containers[1].pod, sandbox.namespace));
}

fn set_based(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    for name in ["one", "two", "three"] {
        App::idle(sandbox).named(name).everywhere().apply(sandbox);
    }
    sandbox.sync(&["--selector", "app in (one, two),app!=two"], CODE);
    let spec = sandbox.ksync.watching("main", sandbox.nodes.len().max(2), SHORT);
    assert!(spec.containers.iter().all(|row| row.pod.starts_with("one-")), "{spec:?}");
}

fn two_specs(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let other = sandbox.scratch("other");
    std::fs::create_dir(&other).expect("mkdir");
    std::fs::write(other.join("b.txt"), "b\n").expect("write");
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(APP, CODE);
    let other = other.display().to_string();
    sandbox.ksync.ok(&["create", "--name", "other", "-l", "app=app", "--wait", &other, "/assets"]);
    sandbox.write("a.txt", "a again\n");
    std::fs::write(format!("{other}/b.txt"), "b again\n").expect("write");
    for container in &containers {
        crate::suite::eventually("both directories", SHORT, || {
            let read = |path| container.read(sandbox.cluster(), path);
            let (a, b) = (read("/code/a.txt")?, read("/assets/b.txt")?);
            holds(a == "a again\n" && b == "b again\n", format!("{a:?} {b:?}"))
        });
    }
    sandbox.ksync.ok(&["delete", "other"]);
    assert_eq!(std::fs::read_to_string(format!("{other}/b.txt")).expect("the file"), "b again\n");
    for container in &containers {
        assert_eq!(container.read(sandbox.cluster(), "/assets/b.txt").as_deref(), Ok("b again\n"));
    }
    sandbox.write("c.txt", "c\n");
    sandbox.arrives(&containers, CODE);
}

fn two_apps(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let web = App::web(sandbox).everywhere().apply(sandbox).all();
    let worker = App::idle(sandbox).named("worker").everywhere().apply(sandbox).all();
    sandbox.sync(APP, CODE);
    let local = sandbox.local().display().to_string();
    sandbox.ksync.ok(&["create", "--name", "worker", "-l", "app=worker", "--wait", &local, "/srv/code"]);
    sandbox.write("b.txt", "b\n");
    sandbox.arrives(&web, CODE);
    sandbox.arrives(&worker, "/srv/code");
    let two_way = |name| {
        sandbox.ksync.watching(name, web.len(), SHORT).containers.iter().filter(|row| row.two_way).count()
    };
    assert_eq!(two_way("main") + two_way("worker"), 1, "one container writes back, whatever number of specs");
    sandbox.ksync.ok(&["delete", "main"]);
    sandbox.write("c.txt", "c\n");
    sandbox.arrives(&worker, "/srv/code");
    for container in &web {
        assert!(container.read(sandbox.cluster(), "/code/c.txt").is_err(), "the deleted spec goes on");
    }
}

fn namespaces(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let other = format!("{}-other", sandbox.namespace);
    sandbox.run.make_namespace(&other);
    let elsewhere = App::web(sandbox).everywhere().apply_in(sandbox, &other).all();
    let here = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(APP, CODE);
    for container in &here {
        sandbox.equal(container, CODE).expect("equal trees");
    }
    sandbox.watching(&here, SHORT);
    for container in &elsewhere {
        assert!(container.read(sandbox.cluster(), "/code/a.txt").is_err());
    }
    sandbox.kubectl().ok(&["delete", "namespace", &other, "--wait=false"]);
}
