//! Containers of all sorts: nothing needs to be in the image, and nobody needs to be root.

use serde_json::json;

use super::{APP, CODE};
use crate::suite::{
    App, Case, Desk, Need,
    container::Container,
    eventually,
    eventually::{LONG, SHORT, holds},
    tree::Kind,
};

pub(super) const CASES: &[Case] = &[
    Case::new("an_image_with_one_static_program", from_scratch).needs(&[Need::StaticImage]),
    Case::new("a_container_of_another_user", non_root),
    Case::new("a_path_that_does_not_exist", no_path),
    Case::new("a_path_made_for_another_user", no_path_non_root),
    Case::new("a_path_that_is_a_symlink", symlinked),
    Case::new("a_working_directory_with_spaces", odd_path),
    Case::new("a_path_that_is_a_file", path_is_a_file),
    Case::new("one_container_of_several_on_a_node_failing_stops_no_other", one_fails),
];

/// What a container's web server says, through the API server: the app itself sees the file.
#[track_caller]
fn serves(desk: &Desk, container: &Container, file: &str, content: &str) {
    let url = format!("/api/v1/namespaces/{}/pods/{}:8080/proxy/{file}", container.namespace, container.pod);
    eventually(&format!("{container} to serve `{file}`"), SHORT, || {
        let text = desk.kubectl().try_ok(&["get", "--raw", &url])?;
        holds(text == content, text)
    });
}

fn from_scratch(desk: &Desk) {
    desk.write("page.txt", "from here\n");
    let containers = App::fixed(desk, CODE).replicas(2).apply(desk).running(2);
    desk.sync(APP, CODE);
    for container in &containers {
        desk.equal(container, CODE).expect("equal trees");
        serves(desk, container, "page.txt", "from here\n");
    }
    desk.write("page.txt", "edited\n");
    desk.write("more/page.txt", "more\n");
    for container in &containers {
        serves(desk, container, "page.txt", "edited\n");
        serves(desk, container, "more/page.txt", "more\n");
    }
    desk.arrives(&containers, CODE);
}

const USER: u32 = 1000;

fn as_user(app: App) -> App {
    app.pod("securityContext", json!({ "runAsUser": USER, "runAsGroup": USER, "runAsNonRoot": true }))
}

/// Everything below the path is the user's own.
#[track_caller]
fn owned(desk: &Desk, container: &Container, path: &str) {
    let tree = container.tree(desk.cluster(), path).expect("the container's tree");
    assert!(tree.len() > 0);
    let others: Vec<_> = tree.entries().filter(|(_, node)| node.uid != USER).collect();
    assert!(others.is_empty(), "not the user's own: {others:?}");
}

fn non_root(desk: &Desk) {
    desk.write("index.html", "from here\n");
    desk.write("lib/a.txt", "a\n");
    let app = as_user(App::shell(
        desk,
        "mkdir -p /tmp/code/old && echo old >/tmp/code/old/file && exec sleep 1000000",
    ));
    let containers = app.replicas(2).apply(desk).running(2);
    desk.sync(APP, "/tmp/code");
    desk.write("new/b.txt", "b\n");
    desk.write("index.html", "edited\n");
    desk.arrives(&containers, "/tmp/code");
    // Before anybody writes: what comes from one of them is on its way to the other then.
    for container in &containers {
        owned(desk, container, "/tmp/code");
    }
    for container in &containers {
        // `-f`: the two-way one's deletion may be here first.
        container.sh(
            desk.cluster(),
            "cd /tmp/code && echo x >>index.html && echo x >>lib/a.txt && echo x >new/c.txt && rm -f new/b.txt",
        );
    }
    let two_way = desk.two_way(&containers);
    eventually("what the user writes in the two-way container", SHORT, || desk.equal(two_way, "/tmp/code"));
    assert_eq!(desk.text("index.html").as_deref(), Ok("edited\nx\n"));
}

fn no_path(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let containers = App::idle(desk).replicas(2).apply(desk).running(2);
    desk.sync(APP, "/srv/not/there/yet");
    desk.write("b.txt", "b\n");
    desk.arrives(&containers, "/srv/not/there/yet");
}

fn no_path_non_root(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let container = as_user(App::idle(desk)).apply(desk).only();
    desk.sync(APP, "/tmp/not/there/yet");
    owned(desk, &container, "/tmp/not");
    container.sh(desk.cluster(), "echo b >/tmp/not/there/yet/b.txt");
    eventually("what the user writes", SHORT, || desk.equal(&container, "/tmp/not/there/yet"));
}

fn symlinked(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let app =
        App::shell(desk, "mkdir -p /real/v2 /app && ln -sfn /real/v2 /app/current && exec sleep 1000000");
    let container = app.apply(desk).only();
    desk.sync(APP, "/app/current");
    desk.write("b.txt", "b\n");
    desk.arrives(std::slice::from_ref(&container), "/real/v2");
    let link = container.sh(desk.cluster(), "readlink /app/current");
    assert_eq!(link, "/real/v2\n");
}

fn odd_path(desk: &Desk) {
    desk.write("a b/ü.txt", "a\n");
    let container = App::idle(desk).apply(desk).only();
    desk.sync(APP, "/my app/größe/x");
    let there = container.tree(desk.cluster(), "/my app/größe/x").expect("the container's tree");
    assert!(matches!(there.get("a b/ü.txt").map(|node| &node.kind), Some(Kind::File { .. })));
}

fn path_is_a_file(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let container = App::shell(desk, "echo mine >/code && exec sleep 1000000").apply(desk).only();
    let local = desk.local().display().to_string();
    assert_eq!(
        desk.ksync.refused(&["create", "--name", "main", "-l", "app=app", &local, CODE]),
        format!(
            "error: `{CODE}` can't be synced in pod `{}`: `{CODE}` in the container is not a directory\n",
            container.pod
        )
    );
    assert!(!desk.ksync.config_file().exists(), "nothing is written");
    let content = container.read(desk.cluster(), CODE).expect("the file");
    assert_eq!(content, "mine\n");
}

/// A spec that can't work beside one that does.
fn one_fails(desk: &Desk) {
    desk.write("a.txt", "a\n");
    std::fs::create_dir(desk.scratch("other")).expect("mkdir");
    let good = App::web(desk).apply(desk).only();
    App::shell(desk, "echo mine >/code && exec sleep 1000000").named("bad").apply(desk);
    desk.sync(APP, CODE);
    let other = desk.scratch("other").display().to_string();
    desk.ksync.run(&["create", "--name", "bad", "-l", "app=bad", &other, CODE]);
    if desk.ksync.spec("bad").is_ok() {
        desk.ksync.becomes("bad", "error", LONG);
    }
    desk.write("b.txt", "b\n");
    desk.arrives(&[good], CODE);
    desk.ksync.watching("main", 1, SHORT);
}
