//! Which pods and containers a spec means.

use super::{APP, CODE};
use crate::suite::{
    App, Case, Desk,
    eventually::{LONG, SHORT, holds, throughout},
};

pub(super) const CASES: &[Case] = &[
    Case::new("several_containers_need_a_choice", several),
    Case::new("one_pod_by_its_name", by_name),
    Case::new("a_selector_of_several_labels", set_based),
    Case::new("two_local_directories_in_one_container", two_specs),
    Case::new("one_local_directory_in_two_apps", two_apps),
    Case::new("pods_of_another_namespace_are_left_alone", namespaces),
];

fn several(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let app = App::web(desk).beside("helper").apply(desk);
    let containers = app.running(1);
    let pod = containers[0].pod.clone();
    let local = desk.local().display().to_string();
    let create = ["create", "--name", "main", "-l", "app=app", local.as_str(), CODE];
    assert_eq!(
        desk.ksync.refused(&create),
        format!("error: pod `{pod}` has several containers (app, helper): choose one with `--container`\n")
    );
    assert_eq!(
        desk.ksync.refused(&[&create[..], &["--container", "nobody"]].concat()),
        format!("error: pod `{pod}` has no container `nobody` (it has: app, helper)\n")
    );
    assert!(!desk.ksync.config_file().exists(), "nothing half-written");
    desk.ksync.ok(&[&create[..], &["--container", "helper", "--wait"]].concat());
    let (helper, other): (Vec<_>, Vec<_>) =
        containers.iter().partition(|container| container.name == "helper");
    desk.equal(helper[0], CODE).expect("equal trees");
    throughout("silence in the other container", std::time::Duration::from_secs(1), || {
        holds(other[0].read(desk.cluster(), "/code/a.txt").is_err(), "a.txt is there")
    });
}

fn by_name(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let app = App::web(desk).replicas(2).apply(desk);
    let containers = app.running(2);
    desk.sync(&["--pod", &containers[1].pod], CODE);
    let spec = desk.ksync.watching("main", 1, SHORT);
    assert_eq!(spec.containers[0].pod, containers[1].pod);
    assert!(containers[0].read(desk.cluster(), "/code/a.txt").is_err());
    app.kill_pod(&containers[1].pod);
    let spec = desk.ksync.waiting("main", LONG);
    assert_eq!(spec.reason, format!("no pod `{}` in namespace `{}`", containers[1].pod, desk.namespace));
}

fn set_based(desk: &Desk) {
    desk.write("a.txt", "a\n");
    for name in ["one", "two", "three"] {
        App::idle(desk).named(name).apply(desk);
    }
    desk.sync(&["--selector", "app in (one, two),app!=two"], CODE);
    let spec = desk.ksync.watching("main", 1, SHORT);
    assert!(spec.containers[0].pod.starts_with("one-"), "{spec:?}");
}

fn two_specs(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let other = desk.scratch("other");
    std::fs::create_dir(&other).expect("mkdir");
    std::fs::write(other.join("b.txt"), "b\n").expect("write");
    let container = App::web(desk).apply(desk).only();
    desk.sync(APP, CODE);
    let other = other.display().to_string();
    desk.ksync.ok(&["create", "--name", "other", "-l", "app=app", "--wait", &other, "/assets"]);
    desk.write("a.txt", "a again\n");
    std::fs::write(format!("{other}/b.txt"), "b again\n").expect("write");
    crate::suite::eventually("both directories", SHORT, || {
        let read = |path| container.read(desk.cluster(), path);
        let (a, b) = (read("/code/a.txt")?, read("/assets/b.txt")?);
        holds(a == "a again\n" && b == "b again\n", format!("{a:?} {b:?}"))
    });
    desk.ksync.ok(&["delete", "other"]);
    assert_eq!(std::fs::read_to_string(format!("{other}/b.txt")).expect("the file"), "b again\n");
    assert_eq!(container.read(desk.cluster(), "/assets/b.txt").as_deref(), Ok("b again\n"));
    desk.write("c.txt", "c\n");
    desk.arrives(&[container], CODE);
}

fn two_apps(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let web = App::web(desk).apply(desk).only();
    let worker = App::idle(desk).named("worker").apply(desk).only();
    desk.sync(APP, CODE);
    let local = desk.local().display().to_string();
    desk.ksync.ok(&["create", "--name", "worker", "-l", "app=worker", "--wait", &local, "/srv/code"]);
    desk.write("b.txt", "b\n");
    desk.arrives(std::slice::from_ref(&web), CODE);
    desk.arrives(std::slice::from_ref(&worker), "/srv/code");
    let two_way =
        |name| desk.ksync.watching(name, 1, SHORT).containers.iter().filter(|row| row.two_way).count();
    assert_eq!(two_way("main") + two_way("worker"), 1, "one container writes back, whatever number of specs");
    desk.ksync.ok(&["delete", "main"]);
    desk.write("c.txt", "c\n");
    desk.arrives(&[worker], "/srv/code");
    assert!(web.read(desk.cluster(), "/code/c.txt").is_err(), "the deleted spec goes on");
}

fn namespaces(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let other = format!("{}-other", desk.namespace);
    desk.run.make_namespace(&other);
    let elsewhere = App::web(desk).apply_in(desk, &other).only();
    let here = App::web(desk).apply(desk).only();
    desk.sync(APP, CODE);
    desk.equal(&here, CODE).expect("equal trees");
    assert_eq!(desk.ksync.watching("main", 1, SHORT).containers.len(), 1);
    assert!(elsewhere.read(desk.cluster(), "/code/a.txt").is_err());
    desk.kubectl().ok(&["delete", "namespace", &other, "--wait=false"]);
}
