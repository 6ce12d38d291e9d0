//! `init` and `clean`: twice is as once, and nothing is left.

use std::fs;

use super::{APP, CODE};
use crate::suite::{
    App, Case, Sandbox,
    developer::Developer,
    eventually,
    eventually::{LONG, holds},
    ksync::Ksync,
    run::{SYSTEM, image},
};

pub(super) const CASES: &[Case] = &[
    Case::new("the_manifest_is_printed", printed),
    Case::new("init_twice_changes_nothing", twice).alone(),
    Case::new("init_says_why_a_node_is_not_well", not_well).alone(),
    Case::new("whom_init_names_may_sync", users).alone(),
    Case::new("clean_takes_everything_and_init_brings_it_back", clean).alone(),
];

fn printed(sandbox: &Sandbox) {
    let home = sandbox.scratch("none");
    let ksync = Ksync { home: home.clone(), ..sandbox.ksync.clone() };
    let yaml = ksync.ok(&["init", "--dry-run", "-o", "yaml", "--image", "example.com/radar:1"]);
    for line in ["kind: Namespace", "kind: DaemonSet", "  name: ksync-system"] {
        assert!(yaml.lines().any(|other| other == line), "{line}: {yaml}");
    }
    assert_eq!(yaml.matches("image: \"example.com/radar:1\"").count(), 2, "{yaml}");
    assert!(!home.exists(), "a dry run changes nothing");
    // The cluster takes it as it is.
    let output = sandbox.kubectl().run(&["apply", "--dry-run=server", "-f", "-"], Some(yaml.as_bytes()));
    output.ok().unwrap_or_else(|said| panic!("{said}"));
}

/// The versions of every object of ours.
fn versions(sandbox: &Sandbox) -> String {
    let columns =
        "custom-columns=:kind,:metadata.name,:metadata.uid,:metadata.generation,:metadata.resourceVersion";
    sandbox.kubectl().ok(&[
        "get",
        "daemonset,serviceaccount,pods",
        "-n",
        SYSTEM,
        "-o",
        columns,
        "--no-headers",
    ])
}

fn twice(sandbox: &Sandbox) {
    // Cases before this one may have had pods replaced; their last words are waited for.
    let mut last = versions(sandbox);
    eventually("radar's objects to be at rest", LONG, || {
        let now = versions(sandbox);
        let still = now == last;
        last.clone_from(&now);
        holds(still, now)
    });
    let syncthing = sandbox.run.programs().join("syncthing");
    let before =
        (versions(sandbox), fs::metadata(&syncthing).and_then(|meta| meta.modified()).expect("syncthing"));
    let said = sandbox.run.install();
    let after =
        (versions(sandbox), fs::metadata(&syncthing).and_then(|meta| meta.modified()).expect("syncthing"));
    assert_eq!(before, after);
    assert!(said.trim_end().ends_with("; nothing had to be changed"), "{said}");
    // Nobody has to say once more where radar's image is, nor how it is pulled.
    let output = sandbox.run.installer.run(&["init"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    assert_eq!(versions(sandbox), before.0);
    assert!(output.stdout.trim_end().ends_with("; nothing had to be changed"), "{output:?}");
    let line = format!(
        "radar {} keeps the image {} (give --image to change it)\n",
        env!("CARGO_PKG_VERSION"),
        image()
    );
    assert_eq!(output.stderr, line);
}

fn not_well(sandbox: &Sandbox) {
    let restore = Restore(sandbox);
    let args = ["init", "--image", "localhost/there-is-none:1", "--image-pull-policy=Never", "--timeout=10s"];
    let output = sandbox.run.installer.run(&args);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(output.stderr.contains("error: "), "{output:?}");
    assert!(output.stderr.contains("ErrImageNeverPull"), "the pod's own words: {output:?}");
    for node in sandbox.kubectl().ok(&["get", "nodes", "-o", "name"]).lines() {
        let node = node.trim_start_matches("node/");
        assert!(output.stderr.contains(node), "{node}: {output:?}");
    }
    drop(restore);
}

/// With a role that Kubernetes has, in his own namespace, and what `init --users` gives his group.
fn users(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let app = App::idle(sandbox).everywhere().apply(sandbox);
    let developer = Developer::editor(sandbox);
    let ksync = Ksync { kubeconfig: developer.with_token(), ..sandbox.ksync.clone() };
    let local = sandbox.local().display().to_string();
    let create = ["create", "--name", "main", "-l", "app=app", "--wait", &local, CODE];
    let said = ksync.refused(&create);
    assert!(said.contains("init --users GROUP"), "{said}");
    assert_eq!(ksync.specs().expect("no specs").len(), 0, "something was written");
    let rights = Rights(sandbox);
    let group = format!("system:serviceaccounts:{}", sandbox.namespace);
    let init = |flags: &[&str]| {
        let args = sandbox.run.init_args();
        let args: Vec<&str> = args.iter().map(String::as_str).chain(flags.iter().copied()).collect();
        let output = sandbox.run.installer.run(&args);
        assert_eq!(output.status, Some(0), "{output:?}");
        output
    };
    let output = init(&["--users", &group]);
    assert_eq!(output.stderr, format!("radar may be reached by `{group}`\n"));
    ksync.ok(&create);
    sandbox.arrives(&app.all(), CODE);
    // Said again it changes nothing; not said, it stays.
    for flags in [&["--users", &group][..], &[]] {
        let output = init(flags);
        assert!(output.stdout.trim_end().ends_with("; nothing had to be changed"), "{output:?}");
    }
    let subjects = ["get", "rolebinding", "-n", SYSTEM, "ksync-users", "-o", "jsonpath={.subjects[*].name}"];
    assert_eq!(sandbox.kubectl().ok(&subjects), group);
    // Who is named replaces who was.
    init(&["--users", "nobody"]);
    assert_eq!(sandbox.kubectl().ok(&subjects), "nobody");
    drop((rights, developer));
}

/// Takes back what `init --users` gave.
struct Rights<'a>(&'a Sandbox);

impl Drop for Rights<'_> {
    fn drop(&mut self) {
        let args = ["delete", "role,rolebinding", "-n", SYSTEM, "--ignore-not-found", "ksync-users"];
        let said = self.0.kubectl().try_ok(&args);
        assert!(said.is_ok() || std::thread::panicking(), "{said:?}");
    }
}

/// Brings radar back as the other cases need it, whatever happens.
struct Restore<'a>(&'a Sandbox);

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        let args = self.0.run.init_args();
        let output = self.0.run.installer.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(output.status == Some(0) || std::thread::panicking(), "{output:?}");
    }
}

fn clean(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    let restore = Restore(sandbox);
    let home = sandbox.colleague();
    let name = sandbox.kubectl().ok(&["config", "current-context"]).trim().to_owned();
    assert_eq!(home.ok(&["clean"]), format!("radar removed from the cluster of context `{name}`\n"));
    eventually("radar's namespace to go", LONG, || {
        let left = sandbox.kubectl().try_ok(&["get", "namespaces", "-o", "name"])?;
        holds(!left.contains(SYSTEM), left)
    });
    assert_eq!(home.ok(&["clean"]), format!("nothing of ksync is in the cluster of context `{name}`\n"));
    let local = sandbox.local().display().to_string();
    assert_eq!(
        sandbox.ksync.refused(&["create", "-l", "app=app", &local, CODE]),
        format!(
            "error: radar is not installed in the cluster of context `{name}`\nhint: run `kubectl ksync init`\n"
        )
    );
    assert!(!sandbox.ksync.config_file().exists(), "nothing half-written");
    drop(restore);
    let images = "jsonpath={.spec.template.spec.containers[*].image}";
    let images = sandbox.kubectl().ok(&["get", "daemonset", "-n", SYSTEM, "ksync", "-o", images]);
    assert_eq!(images, format!("{0} {0}", image()));
    sandbox.sync(APP, CODE);
    for container in &containers {
        sandbox.equal(container, CODE).expect("equal trees");
    }
}
