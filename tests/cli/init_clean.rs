//! `init` and `clean` without a cluster: what they say, what they leave. With one, the cluster suite runs them.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use assert_cmd::Command;
use kubectl_ksync::Lock;
use serde_json::json;

use super::{
    api::{FakeApi, pods},
    bench::{Bench, Says},
};

fn ksync(home: &Path, kubeconfig: &Path, args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_kubectl-ksync"))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("KSYNC_HOME", home)
        .env("KUBECONFIG", kubeconfig)
        .args(args)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A kubeconfig with a server that nobody listens at.
fn kubeconfig(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("config");
    let text = "current-context: c\n\
        clusters: [{name: k, cluster: {server: 'https://127.0.0.1:1'}}]\n\
        contexts: [{name: c, context: {cluster: k}}, {name: d, context: {cluster: k}}]\n";
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn init_prints_its_manifest_without_touching_anything() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let args = ["init", "--dry-run", "--image", "example.com/radar:1", "--image-pull-secret", "s"];
    let (code, stdout, stderr) = ksync(&home, &dir.path().join("none"), &args);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("apiVersion: v1\nkind: Namespace\n"));
    assert!(stdout.contains(r#"image: "example.com/radar:1""#));
    assert!(stdout.contains(r#"imagePullSecrets: [{"name": "s"}]"#));
    assert!(!home.exists());
}

#[test]
fn init_prints_the_rights_that_syncing_takes() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let run = |args: &[&str]| ksync(&home, &dir.path().join("none"), &[&["init"], args].concat());
    let (code, stdout, stderr) = run(&["--print-rbac", "--users", "devs", "--users", "ops"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n"));
    for part in ["pods/portforward", "pods/exec", r#""name":"devs""#, r#""name":"ops""#] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    let (code, stdout, stderr) = run(&["--dry-run", "--users", "devs"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("kind: DaemonSet") && stdout.contains("kind: RoleBinding"), "{stdout}");
    assert!(!stdout.contains("kind: ClusterRole\n"), "{stdout}");
    let refused = run(&["--users", " "]);
    assert_eq!(refused, (1, String::new(), "error: ` ` is not the name of a group\n".to_owned()));
    assert!(!home.exists());
}

#[test]
fn bad_input_is_one_sentence_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (home, config) = (dir.path().join("home"), kubeconfig(dir.path()));
    let fake = dir.path().join("fake");
    fs::write(&fake, "#!/bin/sh\necho nothing\n").unwrap();
    let fake = fake.to_str().unwrap();
    let not_syncthing =
        format!("error: can't use `{fake}` as syncthing: it does not say that it is syncthing\n");
    let cases: [(&[&str], &str); 4] = [
        (&["init", "--image", "a b"], "error: `a b` is not an image reference\n"),
        (
            &["init", "--context", "x"],
            "error: there is no context `x` in the kubeconfig\nhint: there are: c, d\n",
        ),
        (&["init", "--syncthing", fake], &not_syncthing),
        (
            &["clean"],
            "error: can't reach the cluster at `https://127.0.0.1:1`: connection refused\n\
             hint: is it running, and is this the right context? `kubectl config get-contexts` lists them\n",
        ),
    ];
    for (args, told) in cases {
        assert_eq!(ksync(&home, &config, args), (1, String::new(), told.to_owned()), "{args:?}");
    }
    assert!(!home.join("bin/syncthing").exists());
    let none = dir.path().join("none");
    let (code, _, stderr) = ksync(&home, &none, &["clean"]);
    assert_eq!(code, 1);
    assert!(
        stderr.starts_with(&format!("error: there is no kubeconfig: none of `{}` exists\n", none.display()))
    );
}

#[test]
fn clean_keeps_what_is_the_users_until_all_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let write = |path: &str| {
        let path = home.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    };
    write("contexts/a-0/kept/spec/file");
    write("contexts/a-0/base/spec");
    write("contexts/a-0/lock");
    write("contexts/b-1/watch.log");
    write("bin/syncthing");
    fs::write(home.join("ksync.yaml"), "spec: []\n").unwrap();
    let none = dir.path().join("none");
    for _ in 0..2 {
        let (code, stdout, stderr) = ksync(&home, &none, &["clean", "--local"]);
        assert_eq!((code, stdout), (0, format!("local state removed from `{}`\n", home.display())));
        assert!(stderr.contains("warning: the cluster is left alone: there is no kubeconfig"), "{stderr}");
        assert!(stderr.contains("contexts/a-0/kept`: files that were replaced or deleted"), "{stderr}");
        assert!(home.join("contexts/a-0/kept/spec/file").exists() && home.join("ksync.yaml").exists());
        assert!(!home.join("contexts/a-0/base").exists() && !home.join("contexts/b-1").exists());
        assert!(!home.join("bin").exists());
    }
    for _ in 0..2 {
        assert_eq!(ksync(&home, &none, &["clean", "--local", "--all"]).0, 0);
        assert_eq!(fs::read_dir(&home).unwrap().count(), 0);
    }
}

/// syncthing is taken away like radar, unless another watcher still runs it; what watchers keep stays.
#[test]
fn clean_takes_away_what_init_has_made() {
    let bench = Bench::new();
    let gone = json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" });
    let answers = [
        ("DELETE /apis/apps/v1/namespaces/ksync-system/daemonsets/ksync", 200, gone.clone()),
        ("GET /api/v1/namespaces/ksync-system/pods", 200, pods(&[])),
        ("DELETE /api/v1/namespaces/ksync-system", 200, gone),
    ];
    FakeApi::of(&bench, &answers);
    let write = |path: &str, text: &str| {
        let path = bench.home().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("bin/syncthing", "x");
    write("contexts/other-0/base/spec", "x");
    write("contexts/other-0/lock", "");
    let lock = Lock::try_acquire(&bench.home().join("contexts/other-0/lock")).unwrap();
    let bin = bench.home().join("bin");
    let stdout = "radar removed from the cluster of context `dev`\n";
    let shared = "radar is shared: nobody can sync with this cluster until `kubectl ksync init` is run again\n\
         waiting until namespace `ksync-system` is gone\n";
    let kept =
        format!("{shared}kept `{}`: a watcher of another context runs the syncthing in it\n", bin.display());
    bench.says(&["clean"], Says { status: 0, stdout, stderr: &kept });
    assert!(bin.join("syncthing").exists());
    drop(lock);
    let removed =
        format!("{shared}removed `{}`; `kubectl ksync init` fetches syncthing again\n", bin.display());
    bench.says(&["clean"], Says { status: 0, stdout, stderr: &removed });
    assert!(!bin.exists() && bench.home().join("contexts/other-0/base/spec").exists());
    bench.says(&["clean"], Says { status: 0, stdout, stderr: shared });
}

#[test]
fn init_waits_for_the_end_of_a_namespace_that_goes() {
    let bench = Bench::new();
    let going = json!({
        "kind": "Namespace", "apiVersion": "v1",
        "metadata": { "name": "ksync-system", "deletionTimestamp": "2026-01-01T00:00:00Z" },
    });
    let api = FakeApi::of(&bench, &[("GET /api/v1/namespaces/ksync-system", 200, going)]);
    let program = bench.path("syncthing");
    fs::write(&program, "#!/bin/sh\necho 'syncthing v1.30.0 \"a\" (go1.24 linux-amd64)'\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let program = program.display().to_string();
    let output = bench.command(&["init", "--syncthing", &program, "--timeout", "1s"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let told = "namespace `ksync-system` is being removed: waiting until it is gone\n\
                error: namespace `ksync-system` is still being removed after 1s\n\
                hint: `kubectl get namespace ksync-system -o yaml` shows what holds it up\n";
    assert!(stderr.ends_with(told), "{stderr}");
    assert_eq!(output.status.code(), Some(1));
    assert!(!api.asked().iter().any(|call| call.starts_with("PATCH")), "{:?}", api.asked());
}
