//! Bad input that only a cluster can refuse. Each is one sentence, status 1, and nothing half-written.

use std::fs;

use serde_json::json;

use super::{APP, CODE};
use crate::suite::{
    App, Case, Sandbox, eventually,
    eventually::{LONG, SHORT, holds},
    ksync::Ksync,
    run::SYSTEM,
};

pub(super) const CASES: &[Case] = &[
    Case::new("no_permission_says_which", no_permission),
    Case::new("no_cluster", no_cluster),
    Case::new("a_selector_that_matches_nothing_waits", nothing_matches),
    Case::new("a_duplicate_name", duplicate),
    Case::new("the_same_path_into_the_same_place", same_place),
    Case::new("paths_in_each_other", nested),
    Case::new("a_selector_that_is_none", bad_selector),
    Case::new("a_radar_of_another_version", wrong_version).alone(),
];

#[track_caller]
fn untouched(sandbox: &Sandbox, before: Option<&str>) {
    let now = fs::read_to_string(sandbox.ksync.config_file()).ok();
    assert_eq!(now.as_deref(), before, "ksync.yaml was changed");
    if before.is_none() {
        assert_eq!(sandbox.ksync.watcher(), None, "a watcher was started");
    }
}

fn config(sandbox: &Sandbox) -> String {
    fs::read_to_string(sandbox.ksync.config_file()).expect("read ksync.yaml")
}

/// A user who may see radar but no pods of the namespace, then no pods at all.
fn no_permission(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let namespace = sandbox.namespace.as_str();
    let kubectl = sandbox.kubectl();
    kubectl.ok(&["create", "serviceaccount", "-n", namespace, "nobody"]);
    let token = kubectl.ok(&["create", "token", "-n", namespace, "nobody"]);
    let token = format!("--token={}", token.trim());
    let file = sandbox.kubeconfig(&[
        &["set-credentials", "nobody", &token],
        &["set-context", "--current", "--user=nobody"],
    ]);
    let ksync = Ksync { kubeconfig: file, ..sandbox.ksync.clone() };
    let local = sandbox.local().display().to_string();
    let create = ["create", "-l", "app=app", local.as_str(), CODE];
    let user = format!("system:serviceaccount:{namespace}:nobody");
    assert_eq!(
        ksync.refused(&create),
        format!(
            "error: user `{user}` may not list `pods` in namespace `{SYSTEM}`\n\
             hint: ask an administrator, who gives it to a group with `kubectl ksync init --users GROUP`; \
             `kubectl auth can-i list pods -n {SYSTEM}` tells when it is there\n"
        )
    );
    untouched(sandbox, None);
    let role = format!("{namespace}-radar");
    kubectl.apply(&[
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": { "name": role, "namespace": SYSTEM },
            "rules": [{ "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"] }],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "name": role, "namespace": SYSTEM },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role },
            "subjects": [{ "kind": "ServiceAccount", "name": "nobody", "namespace": namespace }],
        }),
    ]);
    let said = crate::suite::eventually("another right to be missing", SHORT, || {
        let said = ksync.run(&create).stderr;
        if said.contains(SYSTEM) { Err(said) } else { Ok(said) }
    });
    kubectl.ok(&["delete", "role,rolebinding", "-n", SYSTEM, &role]);
    assert_eq!(
        said,
        format!(
            "error: user `{user}` may not list `pods` in namespace `{namespace}`\n\
             hint: ask for the right to; `kubectl auth can-i list pods -n {namespace}` tells when it is there\n"
        )
    );
    untouched(sandbox, None);
}

fn no_cluster(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let context = sandbox.kubectl().ok(&["config", "view", "--minify", "-o", "jsonpath={.clusters[0].name}"]);
    let file = sandbox.kubeconfig(&[&["set-cluster", &context, "--server=https://127.0.0.1:1"]]);
    let ksync = Ksync { kubeconfig: file, ..sandbox.ksync.clone() };
    let local = sandbox.local().display().to_string();
    let said = ksync.refused(&["create", "-l", "app=app", &local, CODE]);
    assert_eq!(
        said,
        "error: can't reach the cluster at `https://127.0.0.1:1`: connection refused\n\
         hint: is it running, and is this the right context? `kubectl config get-contexts` lists them\n"
    );
    untouched(sandbox, None);
}

/// No error: pods may come.
fn nothing_matches(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let local = sandbox.local().display().to_string();
    sandbox.ksync.ok(&["create", "--name", "main", "-l", "app=app", &local, CODE]);
    let why = format!("no pod matches `app=app` in namespace `{}`", sandbox.namespace);
    eventually("the reason", SHORT, || {
        let spec = sandbox.ksync.spec("main")?;
        holds(spec.status == "waiting" && spec.reason == why, format!("{spec:?}"))
    });
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.watching(&containers, LONG);
    for container in &containers {
        sandbox.equal(container, CODE).expect("equal trees");
    }
}

fn duplicate(sandbox: &Sandbox) {
    let (one, two) = (sandbox.local().display().to_string(), sandbox.scratch("two").display().to_string());
    fs::create_dir(&two).expect("mkdir");
    sandbox.ksync.ok(&["create", "--no-start", "--name", "main", "-l", "app=app", &one, CODE]);
    let before = config(sandbox);
    assert_eq!(
        sandbox.ksync.refused(&["create", "--name", "main", "-l", "app=b", &two, "/x"]),
        "error: a spec `main` exists already\n\
         hint: give another `--name`, or run `kubectl ksync delete main` first\n"
    );
    untouched(sandbox, Some(&before));
}

fn same_place(sandbox: &Sandbox) {
    let local = sandbox.local().display().to_string();
    sandbox.ksync.ok(&["create", "--no-start", "--name", "main", "-l", "app=app", &local, CODE]);
    let before = config(sandbox);
    let expected = format!(
        "error: `{local}` is synced to `{CODE}` there already, by spec `main`\n\
         hint: run `kubectl ksync delete main` first\n"
    );
    for remote in [CODE, "/code/", "/x/../code"] {
        assert_eq!(sandbox.ksync.refused(&["create", "-l", "app=app", &local, remote]), expected);
    }
    untouched(sandbox, Some(&before));
}

fn nested(sandbox: &Sandbox) {
    let local = sandbox.local().display().to_string();
    let inner = sandbox.path("inner").display().to_string();
    fs::create_dir(&inner).expect("mkdir");
    let other = sandbox.scratch("other").display().to_string();
    fs::create_dir(&other).expect("mkdir");
    sandbox.ksync.ok(&["create", "--no-start", "--name", "main", "-l", "app=app", &local, CODE]);
    let before = config(sandbox);
    assert_eq!(
        sandbox.ksync.refused(&["create", "-l", "app=b", &inner, "/x"]),
        format!(
            "error: local path `{inner}` and `{local}` of spec `main` lie in each other\n\
             hint: sync the upper one, or two directories side by side\n"
        )
    );
    assert_eq!(
        sandbox.ksync.refused(&["create", "-l", "app=app", &other, "/code/lib"]),
        "error: remote path `/code/lib` and `/code` of spec `main` overlap in the same containers\n\
         hint: run `kubectl ksync delete main` first, or choose another path\n"
    );
    untouched(sandbox, Some(&before));
}

fn bad_selector(sandbox: &Sandbox) {
    let local = sandbox.local().display().to_string();
    let said = sandbox.ksync.refused(&["create", "-l", "app==,=x", &local, CODE]);
    assert!(said.starts_with("error: ") && said.contains("app==,=x"), "{said}");
    untouched(sandbox, None);
}

fn wrong_version(sandbox: &Sandbox) {
    let containers = App::web(sandbox).everywhere().apply(sandbox).all();
    sandbox.write("a.txt", "a\n");
    let own = env!("CARGO_PKG_VERSION");
    let relabel = |version: &str| {
        let label = format!("app.kubernetes.io/version={version}");
        sandbox.kubectl().ok(&["label", "pods", "-n", SYSTEM, "--all", "--overwrite", &label]);
    };
    let local = sandbox.local().display().to_string();
    relabel("9.0.0");
    let newer = sandbox.ksync.run(&["create", "-l", "app=app", &local, CODE]);
    relabel("something");
    let odd = sandbox.ksync.run(&["create", "-l", "app=app", &local, CODE]);
    relabel(own);
    assert_eq!(
        (newer.status, newer.stderr),
        (
            Some(1),
            format!(
                "error: radar in the cluster is `9.0.0`, which does not go with kubectl-ksync {own}\n\
                 hint: bring this program up to date: `kubectl krew upgrade ksync`\n"
            )
        )
    );
    assert_eq!(
        (odd.status, odd.stderr),
        (
            Some(1),
            format!(
                "error: radar in the cluster is `something`, which does not go with kubectl-ksync {own}\n\
                 hint: run `kubectl ksync init` to bring radar up to date\n"
            )
        )
    );
    untouched(sandbox, None);
    sandbox.sync(APP, CODE);
    for container in &containers {
        sandbox.equal(container, CODE).expect("equal trees");
    }
}
