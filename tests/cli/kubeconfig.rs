//! Which cluster is meant, and what is said when that can't be told.

use super::bench::{Bench, Says};

const CREATE: &[&str] = &["create", "-l", "app=app", "local", "/code"];

#[test]
fn none_exists() {
    let bench = Bench::new();
    std::fs::remove_file(bench.path("kubeconfig")).unwrap();
    let expected = format!(
        "error: there is no kubeconfig: none of `{}` exists\n\
         hint: give one with `--kubeconfig` or in `KUBECONFIG`\n",
        bench.text("kubeconfig")
    );
    for args in [CREATE, &["get"], &["watch"], &["watch", "--daemon"], &["init", "--syncthing", "x"]] {
        bench.says(args, super::bench::refusal(&expected));
        assert!(!bench.config().exists());
    }
    bench.says(&["stop"], Says { status: 0, stdout: "", stderr: "no watcher runs\n" });
}

#[test]
fn the_context_is_unknown() {
    let bench = Bench::new();
    for args in [CREATE, &["get"], &["watch"], &["stop"], &["delete", "--all"], &["clean"]] {
        bench.refuses(
            &[args, &["--context", "nope"]].concat(),
            "error: there is no context `nope` in the kubeconfig\nhint: there are: dev, prod\n",
        );
    }
}

#[test]
fn no_context_is_chosen() {
    let bench = Bench::new();
    let text = std::fs::read_to_string(bench.path("kubeconfig")).unwrap();
    std::fs::write(bench.path("kubeconfig"), text.replace("current-context: dev\n", "")).unwrap();
    bench.refuses(&["get"], "error: no kubeconfig context is chosen\nhint: give `--context`: dev, prod\n");
}

#[test]
fn cluster_or_user_are_unknown() {
    let bench = Bench::new();
    bench.refuses(&["get", "--cluster", "x"], "error: there is no cluster `x` in the kubeconfig\n");
    bench.refuses(&["get", "--user", "x"], "error: there is no user `x` in the kubeconfig\n");
}

#[test]
fn it_is_not_a_kubeconfig() {
    let bench = Bench::new();
    std::fs::write(bench.path("kubeconfig"), "clusters: [\n").unwrap();
    let output = bench.command(&["get"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let start = format!("error: can't read the kubeconfig `{}`: ", bench.text("kubeconfig"));
    assert!(stderr.starts_with(&start) && stderr.lines().count() == 1, "{stderr}");
}

#[test]
fn a_missing_file_of_a_list_is_passed_over() {
    let bench = Bench::new();
    let list = format!("{}:{}", bench.text("none"), bench.text("kubeconfig"));
    let output = bench.command(&["get", "-o", "name"]).env("KUBECONFIG", list).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn nobody_is_there() {
    Bench::new().refuses(
        CREATE,
        "error: can't reach the cluster at `https://127.0.0.1:1`: connection refused\n\
         hint: is it running, and is this the right context? `kubectl config get-contexts` lists them\n",
    );
}
