//! Whose cluster, whose container: a spec runs in the cluster that it was made for and nowhere else, and two people on one
//! node do not disturb each other.

use std::{fs, path::PathBuf};

use super::{APP, CODE};
use crate::suite::{
    App, Case, Desk, Need, eventually,
    eventually::{LONG, SHORT, holds, throughout},
    guard::Guard,
    ksync::Ksync,
    process,
};

pub(super) const CASES: &[Case] = &[
    Case::new("a_context_that_points_elsewhere_now", points_elsewhere).needs(&[Need::ApiServer]),
    Case::new("an_old_specs_cluster_is_its_first", old_spec).needs(&[Need::ApiServer]),
    Case::new("two_people_on_one_node", two_people),
];

/// A second cluster, and a kubeconfig whose context of the same name leads to it.
struct Second<'a> {
    desk: &'a Desk,
    kubeconfig: PathBuf,
}

impl<'a> Second<'a> {
    fn start(desk: &'a Desk) -> Self {
        let kubeconfig = desk.scratch("second.kubeconfig");
        fs::write(&kubeconfig, desk.cluster().second(true)).expect("write the kubeconfig");
        Self { desk, kubeconfig }
    }

    /// The same desk, of somebody whose KUBECONFIG is another one.
    fn ksync(&self) -> Ksync {
        Ksync { kubeconfig: self.kubeconfig.clone(), ..self.desk.ksync.clone() }
    }
}

impl Drop for Second<'_> {
    fn drop(&mut self) {
        self.ksync().run(&["stop"]);
        self.desk.cluster().second(false);
    }
}

/// `kind delete cluster && kind create cluster`, or `use-context` in another kubeconfig.
fn points_elsewhere(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let container = App::web(desk).apply(desk).only();
    desk.sync(APP, CODE);
    let guard = Guard::over(&desk.local());
    let second = Second::start(desk);
    let there = second.ksync();
    // The other cluster's watcher beside ours, over the same ksync.yaml.
    there.ok(&["watch", "--daemon"]);
    let spec = there.becomes("main", "error", SHORT);
    assert!(spec.containers.is_empty() && spec.reason.contains("now points to another cluster"), "{spec:?}");
    desk.ksync.watching("main", 1, SHORT);
    desk.write("b.txt", "b\n");
    desk.arrives(std::slice::from_ref(&container), CODE);
    // Ours ends: the spec still does not run over there.
    desk.ksync.ok(&["stop"]);
    throughout("the spec's place", std::time::Duration::from_secs(2), || {
        let spec = there.spec("main")?;
        holds(spec.status == "error" && spec.containers.is_empty(), format!("{spec:?}"))
    });
    // What is created there belongs there.
    let local = desk.scratch("other").display().to_string();
    fs::create_dir(&local).expect("mkdir");
    let refused = there.refused(&["create", "--name", "other", "-l", "app=app", &local, CODE]);
    assert!(refused.contains("radar") && refused.contains("hint: run `kubectl ksync init`"), "{refused}");
    desk.ksync.ok(&["watch", "--daemon"]);
    desk.ksync.watching("main", 1, LONG);
    guard.intact();
}

/// The old ksync's file says nothing of clusters.
fn old_spec(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let container = App::web(desk).apply(desk).only();
    let text = format!(
        "spec:\n- name: main\n  selector: app=app\n  namespace: {}\n  localpath: {}\n  remotepath: {CODE}\n  reload: false\n",
        desk.namespace,
        desk.local().display()
    );
    fs::write(desk.ksync.config_file(), text).expect("write ksync.yaml");
    desk.ksync.ok(&["watch", "--daemon"]);
    desk.ksync.watching("main", 1, LONG);
    desk.ksync.ok(&["stop"]);
    let second = Second::start(desk);
    let there = second.ksync();
    there.ok(&["watch", "--daemon"]);
    throughout("the other cluster's view", std::time::Duration::from_secs(2), || {
        let specs = there.specs()?;
        holds(
            specs.iter().all(|spec| spec.containers.is_empty() && spec.status != "watching"),
            format!("{specs:?}"),
        )
    });
    desk.ksync.ok(&["watch", "--daemon"]);
    desk.ksync.watching("main", 1, LONG);
    desk.write("b.txt", "b\n");
    desk.arrives(&[container], CODE);
}

fn is_folder(id: &str) -> bool {
    let hash = id.strip_prefix("ksync-");
    hash.is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Two laptops, the same pods: each has its own directory there, and neither the other's files nor its end reaches the
/// other one.
fn two_people(desk: &Desk) {
    desk.write("mine.txt", "mine\n");
    let containers = App::web(desk).replicas(2).apply(desk).running(2);
    desk.sync(APP, CODE);
    let colleague = desk.colleague();
    let theirs = desk.scratch("theirs");
    fs::create_dir(&theirs).expect("mkdir");
    fs::write(theirs.join("theirs.txt"), "theirs\n").expect("write");
    let local = theirs.display().to_string();
    colleague.ok(&["create", "--name", "main", "--wait", "-l", "app=app", &local, "/theirs"]);
    desk.write("more.txt", "more\n");
    fs::write(theirs.join("more.txt"), "theirs too\n").expect("write");
    desk.arrives(&containers, CODE);
    for container in &containers {
        eventually("the colleague's edit", SHORT, || {
            let there = container.read(desk.cluster(), "/theirs/more.txt")?;
            holds(there == "theirs too\n", there)
        });
    }
    // Neither knows of the other's folder, on any node.
    let folders = |ksync: &Ksync| -> Vec<String> {
        let text = ksync.syncthing_log();
        let ids = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        let mut ids: Vec<String> = ids.filter(|id| is_folder(id)).map(str::to_owned).collect();
        ids.sort();
        ids.dedup();
        ids
    };
    let (mine, others) = (folders(&desk.ksync), folders(&colleague));
    assert!(!mine.is_empty() && mine.iter().all(|id| !others.contains(id)), "{mine:?} {others:?}");
    assert!(!colleague.syncthing_log().contains("Unexpected folder"), "{}", colleague.syncthing_log());
    // One is gone for good; its lease ends, the other goes on.
    let guard = Guard::over(&desk.local());
    process::kill(colleague.watcher().expect("their watcher"));
    desk.write("last.txt", "last\n");
    desk.arrives(&containers, CODE);
    desk.ksync.watching("main", 2, SHORT);
    guard.intact();
    assert_eq!(fs::read_to_string(theirs.join("theirs.txt")).expect("read"), "theirs\n");
    assert!(!theirs.join("mine.txt").exists() && !desk.path("theirs.txt").exists());
}
