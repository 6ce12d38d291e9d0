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

/// What says which directory goes into which container is nobody else's to write.
#[test]
fn what_others_could_have_written_is_refused() {
    let bench = Bench::new();
    bench.write_config(SPEC);
    let (home, config) = (bench.home().display().to_string(), bench.config().display().to_string());
    set_mode(&bench.config(), 0o646);
    let told = format!("error: can't read `{config}`: others may write the file `{config}`\n");
    let mend = |path: &str| format!("hint: run `chmod go-w {path}`\n");
    for args in [&["get"][..], &["restore", "one"], &["delete", "one"]] {
        bench.says(args, refusal(&format!("{told}{}", mend(&config))));
    }
    set_mode(&bench.config(), 0o644);
    set_mode(&bench.home(), 0o757);
    let told = format!("error: can't use the directory `{home}`: others may write the directory `{home}`\n");
    bench.refuses(&["get"], &format!("{told}{}", mend(&home)));
    set_mode(&bench.home(), 0o755);
    bench.says(&["get", "-o", "name"], data("spec/one\n"));
}

#[test]
fn what_belongs_to_another_user_is_refused() {
    use std::os::unix::fs::lchown;
    let bench = Bench::new();
    bench.write_config(SPEC);
    let (home, config) = (bench.home().display().to_string(), bench.config().display().to_string());
    if lchown(bench.config(), Some(1234), None).is_err() {
        return ksync_skip::skipped("only root can give files away");
    }
    let hint =
        "hint: ksync trusts what is yours or root's: `chown` it, or put one of your own in its place\n";
    let told =
        format!("error: can't read `{config}`: the file `{config}` belongs to another user (1234)\n{hint}");
    bench.refuses(&["get"], &told);
    // By way of another's symlink, too, and nothing is written there.
    fs::rename(bench.config(), bench.path("victim")).unwrap();
    lchown(bench.path("victim"), Some(0), None).unwrap();
    std::os::unix::fs::symlink("../victim", bench.config()).unwrap();
    bench.says(&["get", "-o", "name"], data("spec/one\n"));
    lchown(bench.config(), Some(1234), None).unwrap();
    let told = format!(
        "error: can't read `{config}`: the symlink `{config}` belongs to another user (1234)\n{hint}"
    );
    bench.says(&["delete", "one"], refusal(&told));
    assert_eq!(fs::read_to_string(bench.path("victim")).unwrap(), SPEC);
    lchown(bench.home(), Some(1234), None).unwrap();
    let told = format!(
        "error: can't use the directory `{home}`: the directory `{home}` belongs to another user (1234)\n{hint}"
    );
    bench.refuses(&["get"], &told);
}
