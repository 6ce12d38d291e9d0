//! Containers of all sorts: nothing needs to be in the image, and nobody needs to be root.

use serde_json::json;

use super::{APP, CODE};
use crate::suite::{
    App, Case, Need, Sandbox,
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
    Case::new("a_path_that_is_a_file", path_is_a_file).on_each(),
    Case::new("one_container_of_several_on_a_node_failing_stops_no_other", one_fails),
];

/// What a container's web server says, through the API server: the app itself sees the file.
#[track_caller]
fn serves(sandbox: &Sandbox, container: &Container, file: &str, content: &str) {
    let url = format!("/api/v1/namespaces/{}/pods/{}:8080/proxy/{file}", container.namespace, container.pod);
    eventually(&format!("{container} to serve `{file}`"), SHORT, || {
        let text = sandbox.kubectl().try_ok(&["get", "--raw", &url])?;
        holds(text == content, text)
    });
}

fn from_scratch(sandbox: &Sandbox) {
    sandbox.write("page.txt", "from here\n");
    let containers = App::fixed(sandbox, CODE).everywhere().apply(sandbox).all();
    sandbox.sync(APP, CODE);
    for container in &containers {
        sandbox.equal(container, CODE).expect("equal trees");
        serves(sandbox, container, "page.txt", "from here\n");
    }
    sandbox.write("page.txt", "edited\n");
    sandbox.write("more/page.txt", "more\n");
    for container in &containers {
        serves(sandbox, container, "page.txt", "edited\n");
        serves(sandbox, container, "more/page.txt", "more\n");
    }
    sandbox.arrives(&containers, CODE);
}

const USER: u32 = 1000;

fn as_user(app: App) -> App {
    app.pod("securityContext", json!({ "runAsUser": USER, "runAsGroup": USER, "runAsNonRoot": true }))
}

/// Everything below the path is the user's own.
#[track_caller]
fn owned(sandbox: &Sandbox, container: &Container, path: &str) {
    let tree = container.tree(sandbox.cluster(), path).expect("the container's tree");
    assert!(tree.len() > 0);
    let others: Vec<_> = tree.entries().filter(|(_, node)| node.uid != USER).collect();
    assert!(others.is_empty(), "not the user's own: {others:?}");
}

fn non_root(sandbox: &Sandbox) {
    sandbox.write("index.html", "from here\n");
    sandbox.write("lib/a.txt", "a\n");
    let app = as_user(App::shell(
        sandbox,
        "mkdir -p /tmp/code/old && echo old >/tmp/code/old/file && exec sleep 1000000",
    ));
    let containers = app.everywhere().apply(sandbox).all();
    // Its app would make its own file again at each reload.
    sandbox.sync(&[APP, &["--reload=false"]].concat(), "/tmp/code");
    sandbox.write("new/b.txt", "b\n");
    sandbox.write("index.html", "edited\n");
    sandbox.arrives(&containers, "/tmp/code");
    // Before anybody writes: what comes from one of them is on its way to the other then.
    for container in &containers {
        owned(sandbox, container, "/tmp/code");
    }
    for container in &containers {
        // `-f`: the two-way one's deletion may be here first.
        container.sh(
            sandbox.cluster(),
            "cd /tmp/code && echo x >>index.html && echo x >>lib/a.txt && echo x >new/c.txt && rm -f new/b.txt",
        );
    }
    let two_way = sandbox.two_way(&containers);
    eventually("what the user writes in the two-way container", SHORT, || {
        sandbox.equal(two_way, "/tmp/code")
    });
    assert_eq!(sandbox.text("index.html").as_deref(), Ok("edited\nx\n"));
}

fn no_path(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let containers = App::idle(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(APP, "/srv/not/there/yet");
    sandbox.write("b.txt", "b\n");
    sandbox.arrives(&containers, "/srv/not/there/yet");
}

fn no_path_non_root(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let containers = as_user(App::idle(sandbox)).everywhere().apply(sandbox).all();
    sandbox.sync(APP, "/tmp/not/there/yet");
    for container in &containers {
        owned(sandbox, container, "/tmp/not");
        container.sh(sandbox.cluster(), "echo b >/tmp/not/there/yet/b.txt");
    }
    let two_way = sandbox.two_way(&containers);
    eventually("what the user writes", SHORT, || sandbox.equal(two_way, "/tmp/not/there/yet"));
}

fn symlinked(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let app =
        App::shell(sandbox, "mkdir -p /real/v2 /app && ln -sfn /real/v2 /app/current && exec sleep 1000000");
    let containers = app.everywhere().apply(sandbox).all();
    sandbox.sync(APP, "/app/current");
    sandbox.write("b.txt", "b\n");
    sandbox.arrives(&containers, "/real/v2");
    for container in &containers {
        let link = container.sh(sandbox.cluster(), "readlink /app/current");
        assert_eq!(link, "/real/v2\n");
    }
}

fn odd_path(sandbox: &Sandbox) {
    sandbox.write("a b/ü.txt", "a\n");
    let containers = App::idle(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(APP, "/my app/größe/x");
    for container in &containers {
        let there = container.tree(sandbox.cluster(), "/my app/größe/x").expect("the container's tree");
        assert!(matches!(there.get("a b/ü.txt").map(|node| &node.kind), Some(Kind::File { .. })));
    }
}

fn path_is_a_file(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let container = App::shell(sandbox, "echo mine >/code && exec sleep 1000000").apply(sandbox).only();
    let local = sandbox.local().display().to_string();
    assert_eq!(
        sandbox.ksync.refused(&["create", "--name", "main", "-l", "app=app", &local, CODE]),
        format!(
            "error: `{CODE}` can't be synced in pod `{}`: `{CODE}` in the container is not a directory\n",
            container.pod
        )
    );
    assert!(!sandbox.ksync.config_file().exists(), "nothing is written");
    let content = container.read(sandbox.cluster(), CODE).expect("the file");
    assert_eq!(content, "mine\n");
}

/// A spec that can't work beside one that does.
fn one_fails(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    std::fs::create_dir(sandbox.scratch("other")).expect("mkdir");
    let good = App::web(sandbox).everywhere().apply(sandbox).all();
    App::shell(sandbox, "echo mine >/code && exec sleep 1000000").named("bad").everywhere().apply(sandbox);
    sandbox.sync(APP, CODE);
    let other = sandbox.scratch("other").display().to_string();
    sandbox.ksync.run(&["create", "--name", "bad", "-l", "app=bad", &other, CODE]);
    if sandbox.ksync.spec("bad").is_ok() {
        sandbox.ksync.becomes("bad", "error", LONG);
    }
    sandbox.write("b.txt", "b\n");
    sandbox.arrives(&good, CODE);
    sandbox.watching(&good, SHORT);
}
