//! `get`, `reload`, `stop` and `watch` where no watcher runs.

use std::fs;

use super::bench::{Bench, Says, data};

const ONE: &str = "\
spec:
- name: sunny-husky
  selector: app=app
  namespace: default
  localpath: /tmp/ksync
  remotepath: /code
  reload: true
- name: elsewhere
  selector: app=app
  localpath: /tmp/other
  remotepath: /code
  context: prod
";

const START: &str = "hint: no watcher runs; `kubectl ksync watch --daemon` starts one\n";

#[test]
fn no_specs() {
    let bench = Bench::new();
    let hint = "no specs: make one with `kubectl ksync create --selector LABEL=VALUE LOCAL REMOTE`\n";
    bench.says(&["get"], Says { status: 0, stdout: "", stderr: hint });
    bench.says(&["get", "-o", "name"], data(""));
    bench.says(&["get", "-o", "json"], data("{\n  \"items\": [],\n  \"kind\": \"SpecList\"\n}\n"));
    assert!(!bench.home().exists(), "`get` writes nothing");
}

#[test]
fn specs_of_this_context_are_stopped() {
    let bench = Bench::new();
    bench.write_config(ONE);
    let table = "NAME          LOCAL        REMOTE   STATUS    POD   CONTAINER   REASON\n\
                 sunny-husky   /tmp/ksync   /code    stopped   -     -           no watcher has run yet\n";
    bench.says(&["get"], Says { status: 0, stdout: table, stderr: START });
    bench.says(&["get", "-o", "name"], data("spec/sunny-husky\n"));
    bench.says(&["get", "--context", "prod", "-o", "name"], data("spec/sunny-husky\nspec/elsewhere\n"));
    bench.says(&["get", "-n", "default", "-o", "name"], data("spec/sunny-husky\n"));
    bench.says(&["get", "-n", "other", "-o", "name"], data(""));
    for all in ["-A", "--all-namespaces"] {
        bench.says(&["get", "-n", "other", all, "-o", "name"], data("spec/sunny-husky\n"));
    }
}

/// A start that failed is no run, and how the last run ended is told with how to start the next.
#[test]
fn why_it_is_stopped() {
    let bench = Bench::new();
    bench.write_config(ONE);
    let reason = |expected: &str| {
        let output = bench.command(&["get", "--no-headers"]).output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(stdout.ends_with(&format!("   {expected}\n")), "{stdout}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), START);
    };
    assert_eq!(bench.command(&["watch"]).output().unwrap().status.code(), Some(1));
    reason("no watcher has run yet");
    let context = bench.contexts().pop().unwrap();
    fs::write(context.join("ended"), "it was killed").unwrap();
    reason("the last watcher ended: it was killed");
}

#[test]
fn as_json_and_yaml() {
    let bench = Bench::new();
    bench.write_config(ONE);
    for (format, name) in [("json", "stopped-json"), ("yaml", "stopped-yaml")] {
        let output = bench.command(&["get", "-o", format]).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
        insta::assert_snapshot!(name, String::from_utf8(output.stdout).unwrap());
    }
}

#[test]
fn a_reload_needs_a_watcher() {
    let bench = Bench::new();
    bench.write_config(ONE);
    let refused = "error: no watcher runs for context `dev`\n\
        hint: start one with `kubectl ksync watch --daemon`\n";
    bench.refuses(&["reload", "sunny-husky"], refused);
    bench.refuses(
        &["reload", "sunny-husky", "--mode", "restart"],
        "error: invalid value 'restart' for '--mode <MODE>': `restart` is none of auto, process, container, \
         signal:NAME\nhint: see `kubectl ksync reload --help`\n",
    );
}

#[test]
fn an_unknown_name() {
    let bench = Bench::new();
    bench.write_config(ONE);
    bench.refuses(&["get", "nobody"], "error: spec `nobody` not found\nhint: specs: sunny-husky\n");
}

#[test]
fn a_broken_file_and_a_broken_spec() {
    let bench = Bench::new();
    bench.write_config("spec:\n- name: [\n");
    let output = bench.command(&["get"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let start = format!("error: can't read `{}`: ", bench.config().display());
    assert!(stderr.starts_with(&start) && stderr.contains("line 3 column 1"), "{stderr}");

    let more = "- name: sunny-husky\n  selector: a in b\n  localpath: /l\n  remotepath: /r\n";
    let twice = "- name: sunny-husky\n  pod: p\n  localpath: /l\n  remotepath: /r\n";
    bench.write_config(&format!("{ONE}{more}{twice}"));
    let warnings = "\
        warning: spec `sunny-husky` at line 14 column 13: can't understand the selector `a in b`: `(` after `in` is \
        expected instead of `b`\n\
        warning: spec `sunny-husky` at line 17 column 9: there is another spec of this name\n";
    bench.says(&["get", "-o", "name"], Says { status: 0, stdout: "spec/sunny-husky\n", stderr: warnings });

    bench.write_config(&format!("{ONE}- name: bad\n  localpath: here\n"));
    let warning = "warning: spec `bad` at line 13 column 1: `localpath` is not an absolute path: `here`\n";
    bench.says(&["get", "-o", "name"], Says { status: 0, stdout: "spec/sunny-husky\n", stderr: warning });
}

#[test]
fn nothing_to_stop() {
    Bench::new()
        .says(&["stop"], Says { status: 0, stdout: "", stderr: "no watcher runs for context `dev`\n" });
}

#[test]
fn watch_with_a_size_that_is_none() {
    let bench = Bench::new();
    let expected = "error: `KSYNC_LARGE_FILE` is `8MB`, which is not a size\n\
        hint: a size is a number of bytes, or of `Ki`, `Mi` or `Gi`, as in `256Mi`\n";
    for args in [&["watch"][..], &["watch", "--daemon"]] {
        let refused = super::bench::refusal(expected);
        super::bench::check(bench.command(args).env("KSYNC_LARGE_FILE", "8MB"), refused);
    }
}

#[test]
fn watch_without_syncthing() {
    let bench = Bench::new();
    for args in [&["watch"][..], &["watch", "--daemon"]] {
        let expected = format!(
            "error: syncthing is not installed in `{}`\nhint: run `kubectl ksync init`\n",
            bench.home().join("bin/syncthing").display()
        );
        bench.says(args, super::bench::refusal(&expected));
    }
}
