//! A home that can't be written.

use std::fs;

use serde_json::json;

use super::{
    api::{FakeApi, pods, radar},
    bench::{Bench, Says, check, data, refusal, set_mode},
};

const SPEC: &str = "spec:\n- name: one\n  pod: p\n  localpath: /l\n  remotepath: /r\n";

#[test]
fn a_home_that_cannot_be_written_is_read() {
    let bench = Bench::new();
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c" }] } });
    let answers = [
        ("GET /api/v1/namespaces/ksync-system/pods", 200, radar()),
        ("GET /api/v1/namespaces/team/pods", 200, pods(&[pod])),
    ];
    FakeApi::of(&bench, &answers);
    bench.write_config(SPEC);
    fs::create_dir(bench.home().join("bin")).unwrap();
    fs::write(bench.home().join("bin/syncthing"), "").unwrap();
    set_mode(&bench.home(), 0o555);
    check(&mut bench.powerless(&["get", "-o", "name"]), data("spec/one\n"));
    let nobody = "no watcher runs for context `dev`\n";
    check(&mut bench.powerless(&["stop"]), Says { status: 0, stdout: "", stderr: nobody });
    let denied = "Permission denied (os error 13)";
    let config = bench.config().display().to_string();
    let locked =
        format!("error: can't change `{config}`: can't open the lock file `{config}.lock`: {denied}\n");
    for args in [&["delete", "one"][..], &["create", "-p", "p", "--no-start", "local", "/code"]] {
        check(&mut bench.powerless(args), refusal(&locked));
    }
    let contexts = bench.home().join("contexts");
    let made = format!("error: can't create the directory `{}`: {denied}\n", contexts.display());
    for args in [&["watch"][..], &["watch", "--daemon"]] {
        check(&mut bench.powerless(args), refusal(&made));
    }
    set_mode(&bench.home(), 0o755);
    assert_eq!(fs::read_to_string(bench.config()).unwrap(), SPEC);
    assert_eq!(fs::read_dir(bench.home()).unwrap().count(), 2, "nothing was made");
}
