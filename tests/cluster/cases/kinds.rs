//! Native sidecars and ephemeral containers are containers like others; an init container that ends is none. One of each
//! on every node.

use serde_json::{Value, json};

use super::{APP, CODE};
use crate::suite::{
    App, Case, Need, Sandbox,
    app::Deployed,
    container::Container,
    eventually::{LONG, SHORT, eventually, holds},
    init::Init,
    process,
    witness::Witness,
};

pub(super) const CASES: &[Case] = &[
    Case::new("a_native_sidecar", sidecar).needs(&[Need::Processes]),
    Case::new("an_ephemeral_container", ephemeral).needs(&[Need::Processes]),
    Case::new("what_is_added_to_a_pod_makes_no_choice_necessary", no_choice),
    Case::new("an_init_container_that_ends_is_refused", plain_init).on_each(),
    Case::new("a_pod_with_a_user_namespace", user_namespace)
        .needs(&[Need::Processes, Need::UserNamespaces])
        .on_each(),
];

/// What the containers below run: each start is noted with the version that it finds.
const LINE: &str = "mkdir -p /code; cat /code/version >>/run/starts 2>/dev/null; exec sleep 1000000";

fn busybox(sandbox: &Sandbox, name: &str, line: &str) -> Value {
    let cluster = sandbox.cluster();
    json!({
        "name": name, "image": cluster.app_image(), "imagePullPolicy": cluster.pull_policy(),
        "command": ["/bin/sh", "-c", line],
    })
}

/// A web server on each node, with a sidecar `proxy` that has a /code of its own.
fn beside_a_sidecar(sandbox: &Sandbox) -> Deployed<'_> {
    let mut proxy = busybox(sandbox, "proxy", LINE);
    proxy["restartPolicy"] = "Always".into();
    App::web(sandbox).everywhere().pod("initContainers", json!([proxy])).apply(sandbox)
}

/// Waits until each pod's container `name` runs, and none of the `past`; they are in `statuses`.
#[track_caller]
fn running(sandbox: &Sandbox, statuses: &str, name: &str, past: &[Container]) -> Vec<Container> {
    eventually(&format!("`{name}` in every pod"), LONG, || {
        let pods = sandbox.kubectl().json(&["get", "pods", "-n", &sandbox.namespace])?;
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let all = pods.iter().flat_map(|pod| Container::of_statuses(pod, statuses));
        let found: Vec<_> = all
            .filter(|found| found.name == name && past.iter().all(|before| before.id != found.id))
            .collect();
        if found.len() == pods.len() { Ok(found) } else { Err(format!("{found:?}")) }
    })
}

/// Waits until the last start found this version.
#[track_caller]
fn started_with(sandbox: &Sandbox, container: &Container, version: &str) {
    eventually(&format!("{container} to start with {version:?}"), SHORT, || {
        let starts = container.read(sandbox.cluster(), "/run/starts")?;
        holds(starts.ends_with(version), starts)
    });
}

/// In sync both ways, and reloaded; nothing of it is seen in the pods' apps.
#[track_caller]
fn like_any_other(sandbox: &Sandbox, containers: &[Container], apps: &[Container]) {
    sandbox.watching(containers, LONG);
    sandbox.write("version", "two\n");
    sandbox.arrives(containers, CODE);
    sandbox.two_way(containers).sh(sandbox.cluster(), "echo from there >/code/there.txt");
    eventually("the container's file", SHORT, || {
        let text = sandbox.text("there.txt")?;
        holds(text == "from there\n", text)
    });
    let inits = |all: &[Container]| -> Vec<Init> {
        all.iter().map(|one| Init::of(sandbox.cluster(), one).expect("its process")).collect()
    };
    let (before, beside) = (inits(containers), inits(apps));
    let said = sandbox.ksync.ok(&["reload", "main", "--mode", "process"]);
    assert_eq!(said.lines().count(), containers.len(), "{said}");
    for (container, before) in containers.iter().zip(&before) {
        started_with(sandbox, container, "two\n");
        let after = Init::of(sandbox.cluster(), container).expect("its process");
        assert!(before.was_replaced_by(&after), "{container}: {before:?} became {after:?}");
    }
    assert_eq!(inits(apps), beside, "the pods' apps run on");
    for app in apps {
        assert!(app.read(sandbox.cluster(), "/code/version").is_err(), "{app} is synced too");
    }
    sandbox.watching(containers, LONG);
}

fn sidecar(sandbox: &Sandbox) {
    sandbox.write("version", "one\n");
    let app = beside_a_sidecar(sandbox);
    let apps = app.all();
    let proxies = running(sandbox, "initContainerStatuses", "proxy", &[]);
    sandbox.sync(&[APP, &["--container", "proxy", "--reload=false"]].concat(), CODE);
    like_any_other(sandbox, &proxies, &apps);
    let witness = Witness::over(&sandbox.local());
    for proxy in &proxies {
        process::kill(proxy.pid(sandbox.cluster()).expect("its process"));
    }
    let again = running(sandbox, "initContainerStatuses", "proxy", &proxies);
    sandbox.watching(&again, LONG);
    witness.intact();
    sandbox.write("version", "three\n");
    sandbox.arrives(&again, CODE);
}

/// Adds an ephemeral container to each pod, as `kubectl debug` does.
#[track_caller]
fn debug(sandbox: &Sandbox, apps: &[Container]) -> Vec<Container> {
    let (image, policy) = (sandbox.cluster().app_image(), sandbox.cluster().pull_policy());
    let (image, policy) = (format!("--image={image}"), format!("--image-pull-policy={policy}"));
    for app in apps {
        let args = ["debug", "-n", &app.namespace, &app.pod, &image, &policy, "--container=debugger"];
        sandbox.kubectl().ok(&[&args[..], &["--profile=general", "--", "/bin/sh", "-c", LINE]].concat());
    }
    running(sandbox, "ephemeralContainerStatuses", "debugger", &[])
}

fn ephemeral(sandbox: &Sandbox) {
    sandbox.write("version", "one\n");
    let app = App::web(sandbox).everywhere().apply(sandbox);
    let apps = app.all();
    let debuggers = debug(sandbox, &apps);
    // One after the other: the next comes when the last is ready, which nobody but ksync says of these.
    let in_turn = ["--container", "debugger", "--reload=process", "--reload-max-unavailable=1"];
    sandbox.sync(&[APP, &in_turn[..]].concat(), CODE);
    sandbox.write("version", "one again\n");
    for debugger in &debuggers {
        started_with(sandbox, debugger, "one again\n");
    }
    like_any_other(sandbox, &debuggers, &apps);
    let witness = Witness::over(&sandbox.local());
    for debugger in &debuggers {
        process::kill(debugger.pid(sandbox.cluster()).expect("its process"));
    }
    let spec = sandbox.ksync.waiting("main", LONG);
    let told = |pod: &str| {
        format!("ephemeral container `debugger` of pod `{pod}` has ended, and is never started again")
    };
    assert!(apps.iter().any(|app| spec.reason == told(&app.pod)), "{spec:?}");
    witness.intact();
}

fn no_choice(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let app = beside_a_sidecar(sandbox);
    let apps = app.all();
    debug(sandbox, &apps);
    sandbox.sync(APP, CODE);
    sandbox.watching(&apps, LONG);
    for app in &apps {
        sandbox.equal(app, CODE).expect("equal trees");
    }
    let others = [("initContainerStatuses", "proxy"), ("ephemeralContainerStatuses", "debugger")];
    for other in others.into_iter().flat_map(|(list, name)| running(sandbox, list, name, &[])) {
        assert!(other.read(sandbox.cluster(), "/code/a.txt").is_err(), "{other} is synced too");
    }
}

fn plain_init(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let local = sandbox.local().display().to_string();
    let create = |name| ["create", "--name", name, "-l", "app=app", "--container", "setup", &local, CODE];
    // One that waits for its pods hears of it later, and in `get`.
    sandbox.ksync.ok(&create("early"));
    let setup = busybox(sandbox, "setup", "true");
    let app = App::web(sandbox).pod("initContainers", json!([setup])).apply(sandbox).only();
    let sentence = format!(
        "container `setup` of pod `{}` is an init container without `restartPolicy: Always`: it ends before the app \
         starts, so it can't be synced",
        app.pod
    );
    assert_eq!(sandbox.ksync.becomes("early", "error", SHORT).reason, sentence);
    let other = sandbox.scratch("other");
    std::fs::create_dir(&other).expect("make a directory");
    let other = other.display().to_string();
    let late = ["create", "-l", "app=app", "--container", "setup", &other, "/srv"];
    assert_eq!(sandbox.ksync.refused(&late), format!("error: {sentence}\n"));
}

/// On the root file system and on a volume, whose user ids differ on the disk.
fn user_namespace(sandbox: &Sandbox) {
    sandbox.write("version", "one\n");
    let app =
        App::shell(sandbox, LINE).pod("hostUsers", false.into()).empty_dir("data", "/data").apply(sandbox);
    let containers = app.all();
    let container = &containers[0];
    let cluster = sandbox.cluster();
    let map = container.sh(cluster, "cat /proc/self/uid_map");
    assert!(map.split_whitespace().nth(1).is_some_and(|outside| outside != "0"), "{map}");
    let owner = |path: &str| container.sh(cluster, &format!("stat -c %u:%g {path}"));
    sandbox.sync(&[APP, &["--reload=false"]].concat(), CODE);
    like_any_other(sandbox, &containers, &[]);
    assert_eq!(owner("/code/version").trim(), "0:0", "as the container counts");
    container.sh(cluster, "chown 1000:1000 /data");
    let other = sandbox.scratch("other");
    std::fs::create_dir(&other).expect("make a directory");
    std::fs::write(other.join("a.txt"), "a\n").expect("write a file");
    let local = other.display().to_string();
    sandbox.ksync.ok(&[
        "create",
        "--name",
        "data",
        "-l",
        "app=app",
        "--reload=false",
        "--wait",
        &local,
        "/data/deep/er",
    ]);
    assert_eq!(container.read(cluster, "/data/deep/er/a.txt"), Ok("a\n".to_owned()));
    assert_eq!(owner("/data").trim(), "1000:1000");
    for path in ["/data/deep", "/data/deep/er", "/data/deep/er/a.txt"] {
        assert_eq!(owner(path).trim(), "0:0", "{path}: of the main process's user");
    }
    container.sh(cluster, "echo b >/data/deep/er/b.txt");
    eventually("what the container wrote on the volume", SHORT, || {
        let text = std::fs::read_to_string(other.join("b.txt")).map_err(|error| error.to_string())?;
        holds(text == "b\n", text)
    });
}
