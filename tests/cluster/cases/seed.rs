//! The old ksync's file, verbatim: it loads, runs, and is rewritten with nothing lost.

use std::{fs, path::Path};

use super::CODE;
use crate::suite::{
    App, Case, Desk,
    container::Container,
    eventually,
    eventually::{LONG, SHORT},
    ksync::Ksync,
    tree::Tree,
};

pub(super) const CASES: &[Case] = &[Case::new("the_seeds_file_runs_and_survives", verbatim)];

const SEED: &str = r#"apikey: ksync
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
struct Named<'a>(&'a Desk);

const LOCAL: &str = "/tmp/ksync";

impl<'a> Named<'a> {
    fn make(desk: &'a Desk) -> Self {
        fs::create_dir(LOCAL).unwrap_or_else(|error| panic!("`{LOCAL}` is somebody's: {error}"));
        Self(desk)
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

fn equal(desk: &Desk, container: &Container) -> Result<(), String> {
    let here = Tree::read(Path::new(LOCAL)).map_err(|error| error.to_string())?;
    here.equals(&container.tree(desk.cluster(), CODE)?, desk.cluster().precision())
}

fn verbatim(desk: &Desk) {
    let named = Named::make(desk);
    fs::write(format!("{LOCAL}/index.html"), "from here\n").expect("write");
    let containers = App::web(desk).replicas(2).apply_in(desk, "default").running(2);
    fs::write(desk.ksync.config_file(), SEED).expect("write");
    // `get -n` shows the specs of one namespace; this one's is `default`.
    let ksync = Ksync { namespace: "default".to_owned(), ..desk.ksync.clone() };
    let before = ksync.spec("sunny-husky").expect("the spec, while no watcher runs");
    assert_eq!(before.status, "stopped");

    desk.ksync.ok(&["watch", "--daemon"]);
    ksync.watching("sunny-husky", 2, LONG);
    for container in &containers {
        equal(desk, container).expect("equal trees at the first `watching`");
    }
    fs::write(format!("{LOCAL}/index.html"), "edited\n").expect("write");
    for container in &containers {
        eventually("the edit", SHORT, || equal(desk, container));
    }

    let local = desk.local().display().to_string();
    desk.ksync.ok(&["create", "--name", "another", "-l", "app=nobody", &local, "/srv"]);
    let text = fs::read_to_string(desk.ksync.config_file()).expect("the file");
    assert!(text.starts_with(SEED) && text.len() > SEED.len(), "{text}");
    desk.ksync.becomes("another", "waiting", SHORT);
    desk.ksync.ok(&["delete", "another"]);
    assert_eq!(fs::read_to_string(desk.ksync.config_file()).expect("the file"), SEED);

    fs::write(format!("{LOCAL}/late.txt"), "late\n").expect("write");
    for container in &containers {
        eventually("a change after that", SHORT, || equal(desk, container));
    }
    ksync.watching("sunny-husky", 2, SHORT);
    drop(named);
}
