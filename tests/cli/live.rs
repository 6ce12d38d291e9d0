//! `get`, `stop` and `version` where a watcher runs.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

use super::{
    bench::{Bench, Says, data, refusal},
    watcher::{FakeWatcher, spec},
};

const VERSION: &str = concat!("kubectl-ksync ", env!("CARGO_PKG_VERSION"), "\n");

#[test]
fn warnings_are_those_of_the_specs_that_are_shown() {
    let bench = Bench::new();
    let watcher = FakeWatcher::of(&bench, "dev");
    let mut uno = spec("uno", "other");
    uno.warnings = vec!["not synced: pipe (it is a pipe)".to_owned()];
    watcher.says(vec![spec("main", "team"), uno]);
    let warning = "warning: spec `uno`: not synced: pipe (it is a pipe)\n";
    let both = Says { status: 0, stdout: "spec/main\nspec/uno\n", stderr: warning };
    bench.says(&["get", "-o", "name"], both);
    bench.says(&["get", "main", "-o", "name"], data("spec/main\n"));
    bench.says(&["get", "-n", "team", "-o", "name"], data("spec/main\n"));
    bench.says(&["get", "-n", "team", "-A", "-o", "name"], both);
    bench.says(&["get", "uno", "-o", "name"], Says { stdout: "spec/uno\n", ..both });
}

/// A container's files are named in reasons and warnings.
#[test]
fn names_in_what_a_watcher_says_do_nothing_to_a_terminal() {
    let bench = Bench::new();
    let watcher = FakeWatcher::of(&bench, "dev");
    let mut main = spec("main", "team");
    main.warnings = vec!["not synced: a\u{1b}]0;title\u{7} (it is a pipe)".to_owned()];
    (main.status, main.reason) = ("error".to_owned(), "`x\n\u{202e}y`: no space left here".to_owned());
    watcher.says(vec![main]);
    let table = "NAME   LOCAL   REMOTE   STATUS   POD   CONTAINER   REASON\n\
                 main   /l      /r       error    -     -           `x\\n\\u{202e}y`: no space left here\n";
    let warning = "warning: spec `main`: not synced: a\\u{1b}]0;title\\u{7} (it is a pipe)\n";
    bench.says(&["get"], Says { status: 0, stdout: table, stderr: warning });
}

#[test]
fn following_prints_a_line_when_it_says_something_else() {
    let bench = Bench::new();
    let watcher = FakeWatcher::of(&bench, "dev");
    watcher.says(vec![spec("one", "team"), spec("two", "team")]);
    let mut command = bench.command(&["get", "-w"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut words = || {
        let line = lines.next().unwrap().unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(words(), ["NAME", "LOCAL", "REMOTE", "STATUS", "POD", "CONTAINER", "REASON"]);
    assert_eq!(words(), ["one", "/l", "/r", "waiting", "-", "-", "why"]);
    assert_eq!(words(), ["two", "/l", "/r", "waiting", "-", "-", "why"]);
    let mut two = spec("two", "team");
    two.since_ms = 1;
    watcher.says(vec![spec("one", "team"), two.clone()]);
    two.status = "error".to_owned();
    watcher.says(vec![spec("one", "team"), two]);
    assert_eq!(words(), ["two", "/l", "/r", "error", "-", "-", "why"]);
    drop(watcher);
    assert!(lines.next().is_none(), "nothing else was printed");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let ended = "error: the watcher has ended\nhint: `kubectl ksync get` tells why\n";
    assert_eq!((output.status.code(), said.as_str()), (Some(1), ended));
}

#[test]
fn without_a_kubeconfig_the_one_watcher_is_stopped() {
    let bench = Bench::new();
    let watcher = FakeWatcher::of(&bench, "dev");
    fs::remove_file(bench.path("kubeconfig")).unwrap();
    bench.says(&["stop"], data("the watcher for context `dev` has ended\n"));
    assert!(watcher.was_stopped());
}

#[test]
fn a_context_that_is_no_more_has_its_watcher_stopped_by_name() {
    let bench = Bench::new();
    let (gone, dev) = (FakeWatcher::of(&bench, "gone"), FakeWatcher::of(&bench, "dev"));
    bench.says(&["stop", "--context", "gone"], data("the watcher for context `gone` has ended\n"));
    assert_eq!((gone.was_stopped(), dev.was_stopped()), (true, false));
}

#[test]
fn of_several_watchers_one_must_be_named() {
    let bench = Bench::new();
    let watchers = ["dev", "prod"].map(|context| FakeWatcher::of(&bench, context));
    fs::remove_file(bench.path("kubeconfig")).unwrap();
    let told = format!(
        "error: there is no kubeconfig: none of `{}` exists\n\
         hint: watchers run for `dev`, `prod`: give one of them with `--context`\n",
        bench.text("kubeconfig")
    );
    bench.says(&["stop"], refusal(&told));
    bench.says(&["stop", "--context", "test"], refusal(&told));
    assert!(watchers.iter().all(|watcher| !watcher.was_stopped()));
    bench.says(&["stop", "--context", "prod"], data("the watcher for context `prod` has ended\n"));
    assert_eq!(watchers.each_ref().map(FakeWatcher::was_stopped), [false, true]);
}

#[test]
fn version_without_a_kubeconfig_says_what_it_knows() {
    let bench = Bench::new();
    fs::remove_file(bench.path("kubeconfig")).unwrap();
    let warning = format!(
        "warning: neither the watcher nor radar can be asked: there is no kubeconfig: none of `{}` exists\n",
        bench.text("kubeconfig")
    );
    bench.says(&["version"], Says { status: 0, stdout: VERSION, stderr: &warning });
}

/// The newer program takes the watcher's place; that there is no syncthing is found out after the old one has ended.
#[test]
fn a_newer_program_replaces_an_older_watcher_and_never_the_other_way() {
    let bench = Bench::new();
    let older = FakeWatcher::of_version(&bench, "dev", "0.0.9");
    let told = format!(
        "replacing the watcher of version 0.0.9\n\
         error: syncthing is not installed in `{}`\n\
         hint: run `kubectl ksync init`\n",
        bench.home().join("bin/syncthing").display()
    );
    bench.says(&["watch", "--daemon"], refusal(&told));
    assert!(older.was_stopped());
    for version in [env!("CARGO_PKG_VERSION"), "9.0.0"] {
        let bench = Bench::new();
        let watcher = FakeWatcher::of_version(&bench, "dev", version);
        let runs = "the watcher for context `dev` runs already\n";
        bench.says(&["watch", "--daemon"], Says { status: 0, stdout: "", stderr: runs });
        assert!(!watcher.was_stopped(), "{version}");
    }
}
