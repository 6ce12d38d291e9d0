//! Whose cluster, whose container: a spec runs in the cluster that it was made for and nowhere else, and two people on one
//! node do not disturb each other.

use std::{
    fs,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{APP, CODE};
use crate::suite::{
    App, Case, Need, Sandbox, eventually,
    eventually::{LONG, SHORT, holds, throughout},
    ksync::Ksync,
    process,
    witness::Witness,
};

pub(super) const CASES: &[Case] = &[
    Case::new("a_context_that_points_elsewhere_now", points_elsewhere).needs(&[Need::ApiServer]),
    Case::new("an_old_specs_cluster_is_its_first", old_spec).needs(&[Need::ApiServer]),
    Case::new("two_people_on_one_node", two_people),
];

/// There is one second cluster.
static SECOND: Mutex<()> = Mutex::new(());

/// A second cluster, and a kubeconfig whose context of the same name leads to it.
struct Second<'a> {
    sandbox: &'a Sandbox,
    kubeconfig: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl<'a> Second<'a> {
    fn start(sandbox: &'a Sandbox) -> Self {
        let alone = SECOND.lock().unwrap_or_else(PoisonError::into_inner);
        let kubeconfig = sandbox.scratch("second.kubeconfig");
        fs::write(&kubeconfig, sandbox.cluster().second(true)).expect("write the kubeconfig");
        Self { sandbox, kubeconfig, _alone: alone }
    }

    /// The same sandbox, of somebody whose KUBECONFIG is another one.
    fn ksync(&self) -> Ksync {
        Ksync { kubeconfig: self.kubeconfig.clone(), ..self.sandbox.ksync.clone() }
    }
}

impl Drop for Second<'_> {
    fn drop(&mut self) {
        self.ksync().run(&["stop"]);
        self.sandbox.cluster().second(false);
    }
}

/// `kind delete cluster && kind create cluster`, or `use-context` in another kubeconfig.
fn points_elsewhere(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(APP, CODE);
    let witness = Witness::over(&sandbox.local());
    let second = Second::start(sandbox);
    let there = second.ksync();
    // The other cluster's watcher beside ours, over the same ksync.yaml.
    there.ok(&["watch", "--daemon"]);
    let spec = there.becomes("main", "error", SHORT);
    assert!(spec.containers.is_empty() && spec.reason.contains("now points to another cluster"), "{spec:?}");
    sandbox.watching(&containers, SHORT);
    sandbox.write("b.txt", "b\n");
    sandbox.arrives(&containers, CODE);
    // Ours ends: the spec still does not run over there.
    sandbox.ksync.ok(&["stop"]);
    throughout("the spec's place", std::time::Duration::from_secs(2), || {
        let spec = there.spec("main")?;
        holds(spec.status == "error" && spec.containers.is_empty(), format!("{spec:?}"))
    });
    // What is created there belongs there.
    let local = sandbox.scratch("other").display().to_string();
    fs::create_dir(&local).expect("mkdir");
    let refused = there.refused(&["create", "--name", "other", "-l", "app=app", &local, CODE]);
    assert!(refused.contains("radar") && refused.contains("hint: run `kubectl ksync init`"), "{refused}");
    sandbox.ksync.ok(&["watch", "--daemon"]);
    sandbox.watching(&containers, LONG);
    witness.intact();
}

/// The old ksync's file says nothing of clusters.
fn old_spec(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    let text = format!(
        "spec:\n- name: main\n  selector: app=app\n  namespace: {}\n  localpath: {}\n  remotepath: {CODE}\n  reload: false\n",
        sandbox.namespace,
        sandbox.local().display()
    );
    fs::write(sandbox.ksync.config_file(), text).expect("write ksync.yaml");
    sandbox.ksync.ok(&["watch", "--daemon"]);
    sandbox.watching(&containers, LONG);
    sandbox.ksync.ok(&["stop"]);
    let second = Second::start(sandbox);
    let there = second.ksync();
    there.ok(&["watch", "--daemon"]);
    throughout("the other cluster's view", std::time::Duration::from_secs(2), || {
        let specs = there.specs()?;
        holds(
            specs.iter().all(|spec| spec.containers.is_empty() && spec.status != "watching"),
            format!("{specs:?}"),
        )
    });
    sandbox.ksync.ok(&["watch", "--daemon"]);
    sandbox.watching(&containers, LONG);
    sandbox.write("b.txt", "b\n");
    sandbox.arrives(&containers, CODE);
}

/// Two laptops, the same pods: each has its own directory there, and neither the other's files nor its end reaches the
/// other one.
fn two_people(sandbox: &Sandbox) {
    sandbox.write("mine.txt", "mine\n");
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.sync(APP, CODE);
    let colleague = sandbox.colleague();
    let colleagues = sandbox.scratch("theirs");
    fs::create_dir(&colleagues).expect("mkdir");
    fs::write(colleagues.join("theirs.txt"), "theirs\n").expect("write");
    let local = colleagues.display().to_string();
    colleague.ok(&["create", "--name", "main", "--wait", "-l", "app=app", &local, "/theirs"]);
    sandbox.write("more.txt", "more\n");
    fs::write(colleagues.join("more.txt"), "theirs too\n").expect("write");
    sandbox.arrives(&containers, CODE);
    for container in &containers {
        eventually("the colleague's edit", SHORT, || {
            let there = container.read(sandbox.cluster(), "/theirs/more.txt")?;
            holds(there == "theirs too\n", there)
        });
    }
    // One is gone for good; its lease ends, the other goes on.
    let witness = Witness::over(&sandbox.local());
    process::kill(colleague.watcher().expect("their watcher"));
    sandbox.write("last.txt", "last\n");
    sandbox.arrives(&containers, CODE);
    sandbox.watching(&containers, SHORT);
    witness.intact();
    assert_eq!(fs::read_to_string(colleagues.join("theirs.txt")).expect("read"), "theirs\n");
    assert!(!colleagues.join("mine.txt").exists() && !sandbox.path("theirs.txt").exists());
}
