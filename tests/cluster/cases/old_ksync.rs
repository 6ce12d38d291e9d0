//! The old ksync's file, verbatim: it loads, runs, and is rewritten with nothing lost.

use std::{fs, path::Path, time::Duration};

use super::CODE;
use crate::suite::{
    App, Case, Sandbox,
    container::Container,
    eventually,
    eventually::{LONG, SHORT, holds, throughout},
    ksync::Ksync,
    tree::Tree,
};

pub(super) const CASES: &[Case] = &[
    Case::new("the_old_ksyncs_file_runs_and_survives", verbatim),
    Case::new("a_read_only_side_of_the_old_ksync", read_only),
];

const FILE: &str = r#"apikey: ksync
context: ""
log-level: debug
namespace: default
port: 40322
spec:
- name: sunny-husky
  containername: ""
  pod: ""
  selector: app=app
  namespace: default
  localpath: /tmp/ksync
  remotepath: /code
  reload: true
"#;

/// What the file names: a directory of this machine and an app in the namespace `default`.
struct Named<'a>(&'a Sandbox);

const LOCAL: &str = "/tmp/ksync";

impl<'a> Named<'a> {
    fn make(sandbox: &'a Sandbox) -> Self {
        fs::create_dir(LOCAL).unwrap_or_else(|error| panic!("`{LOCAL}` is somebody's: {error}"));
        Self(sandbox)
    }
}

impl Drop for Named<'_> {
    fn drop(&mut self) {
        self.0.ksync.run(&["stop"]);
        let _ = fs::remove_dir_all(LOCAL);
        let args = ["delete", "deployment", "-n", "default", "app", "--ignore-not-found"];
        self.0.kubectl().run(&args, None);
    }
}

fn equal(sandbox: &Sandbox, container: &Container) -> Result<(), String> {
    let here = Tree::read(Path::new(LOCAL)).map_err(|error| error.to_string())?;
    here.equals(&container.tree(sandbox.cluster(), CODE)?, sandbox.cluster().precision())
}

fn verbatim(sandbox: &Sandbox) {
    let named = Named::make(sandbox);
    fs::write(format!("{LOCAL}/index.html"), "from here\n").expect("write");
    let containers = App::web(sandbox).everywhere().apply_in(sandbox, "default").all();
    fs::write(sandbox.ksync.config_file(), FILE).expect("write");
    // `get -n` shows the specs of one namespace; this one's is `default`.
    let ksync = Ksync { namespace: "default".to_owned(), ..sandbox.ksync.clone() };
    let before = ksync.spec("sunny-husky").expect("the spec, while no watcher runs");
    assert_eq!(before.status, "stopped");

    sandbox.ksync.ok(&["watch", "--daemon"]);
    ksync.watching("sunny-husky", containers.len(), LONG);
    for container in &containers {
        equal(sandbox, container).expect("equal trees at the first `watching`");
    }
    fs::write(format!("{LOCAL}/index.html"), "edited\n").expect("write");
    for container in &containers {
        eventually("the edit", SHORT, || equal(sandbox, container));
    }

    let local = sandbox.local().display().to_string();
    sandbox.ksync.ok(&["create", "--name", "another", "-l", "app=nobody", &local, "/srv"]);
    let text = fs::read_to_string(sandbox.ksync.config_file()).expect("the file");
    assert!(text.starts_with(FILE) && text.len() > FILE.len(), "{text}");
    sandbox.ksync.becomes("another", "waiting", SHORT);
    sandbox.ksync.ok(&["delete", "another"]);
    assert_eq!(fs::read_to_string(sandbox.ksync.config_file()).expect("the file"), FILE);

    fs::write(format!("{LOCAL}/late.txt"), "late\n").expect("write");
    for container in &containers {
        eventually("a change after that", SHORT, || equal(sandbox, container));
    }
    ksync.watching("sunny-husky", containers.len(), SHORT);
    drop(named);
}

/// `localreadonly` keeps what containers write away from here, `remotereadonly` runs nothing, and a selector is a list.
fn read_only(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let containers = App::idle(sandbox).everywhere().apply(sandbox).all();
    let spec = |name: &str, remote: &str, key: &str| {
        format!(
            "- name: {name}\n  selector:\n  - app=app\n  namespace: {}\n  localpath: {}\n  remotepath: {remote}\n  {key}: true\n",
            sandbox.namespace,
            sandbox.local().display()
        )
    };
    let text =
        format!("spec:\n{}{}", spec("main", CODE, "localreadonly"), spec("back", "/srv", "remotereadonly"));
    fs::write(sandbox.ksync.config_file(), text).expect("write ksync.yaml");
    sandbox.ksync.ok(&["watch", "--daemon"]);
    let main = sandbox.watching(&containers, LONG);
    assert!(main.two_way().is_none(), "{main:?}");
    for container in &containers {
        container.sh(sandbox.cluster(), "echo theirs >/code/a.txt && echo theirs >/code/b.txt");
    }
    throughout("what is here", Duration::from_secs(2), || {
        holds(
            sandbox.text("a.txt").as_deref() == Ok("a\n") && !sandbox.path("b.txt").exists(),
            "a container's file",
        )
    });
    let said = sandbox.ksync.run(&["get"]).stderr;
    assert!(said.contains("`remotereadonly: true` is not supported"), "{said}");
}
