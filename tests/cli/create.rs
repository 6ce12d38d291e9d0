//! What `create` says of a spec that it has written, and of one that matches nothing yet.

use serde_json::json;

use super::{
    api::{FakeApi, pods, radar, refusal},
    bench::{Bench, Says},
};

const RADAR: &str = "GET /api/v1/namespaces/ksync-system/pods";
const PODS: &str = "GET /api/v1/namespaces/team/pods";
const NAMESPACE: &str = "GET /api/v1/namespaces/team";

fn create<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    [&["create", "--no-start", "--name", "s"], flags, &["local", "/code"]].concat()
}

/// What is said after the spec is written, with nothing running for it yet.
#[track_caller]
fn says(bench: &Bench, flags: &[&str], talk: &str) {
    let reload =
        "the app is reloaded after each edit, in place, unless it watches its files itself (mode `auto`)\n";
    let place = bench.text("local");
    let stderr = format!("{talk}{place} -> /code in no container yet of namespace `team`\n{reload}");
    bench.says(&create(flags), Says { status: 0, stdout: "spec `s` created\n", stderr: &stderr });
    bench.says(&["delete", "s"], super::bench::data("spec `s` deleted\n"));
}

#[test]
fn a_name_that_may_be_mistyped_is_told() {
    let bench = Bench::new();
    let there = json!({ "kind": "Namespace", "apiVersion": "v1", "metadata": { "name": "team" } });
    FakeApi::of(&bench, &[(RADAR, 200, radar()), (PODS, 200, pods(&[])), (NAMESPACE, 200, there)]);
    says(&bench, &["-p", "typo"], "warning: no pod `typo` in namespace `team` now; the spec waits for one\n");
    let nobody = "warning: no pod matches `app=typo` in namespace `team` now; the spec waits for one\n";
    says(&bench, &["-l", "app=typo"], nobody);
}

#[test]
fn a_namespace_that_is_not_there_is_told() {
    let bench = Bench::new();
    FakeApi::of(&bench, &[(RADAR, 200, radar()), (PODS, 200, pods(&[]))]);
    says(
        &bench,
        &["-p", "typo"],
        "warning: there is no namespace `team` in the cluster; the spec waits for it\n",
    );
}

#[test]
fn who_may_not_look_at_namespaces_is_not_told_of_them() {
    let bench = Bench::new();
    let forbidden = refusal(403, "namespaces \"team\" is forbidden");
    FakeApi::of(&bench, &[(RADAR, 200, radar()), (PODS, 200, pods(&[])), (NAMESPACE, 403, forbidden)]);
    says(&bench, &["-p", "typo"], "warning: no pod `typo` in namespace `team` now; the spec waits for one\n");
}

/// A pod that is there and does not run yet is no slip.
#[test]
fn a_pod_that_does_not_run_yet_is_waited_for_in_silence() {
    let bench = Bench::new();
    let pod = json!({
        "metadata": { "name": "p", "namespace": "team" },
        "spec": { "containers": [{ "name": "c" }] },
        "status": { "phase": "Pending" }
    });
    let api = FakeApi::of(&bench, &[(RADAR, 200, radar()), (PODS, 200, pods(&[pod]))]);
    says(&bench, &["-p", "p"], "");
    assert!(!api.asked().contains(&NAMESPACE.to_owned()));
}

#[test]
fn somebody_elses_patterns_must_tell_what_becomes_of_git() {
    let bench = Bench::new();
    let file = bench.path("local/.stignore");
    std::fs::write(&file, "*.log\n").unwrap();
    let refused = format!(
        "error: `{}` lets `.git` through, and who writes there has programs run here\n\
         hint: put `.git` first in it, or `!.git` if the containers are to have it\n",
        file.display()
    );
    bench.says(&create(&["-p", "p"]), Says { status: 1, stdout: "", stderr: &refused });
    assert!(!bench.config().exists());
    assert_eq!(std::fs::read_to_string(file).unwrap(), "*.log\n");
}

#[test]
fn a_second_spec_of_a_directory_is_told() {
    let bench = Bench::new();
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c" }] } });
    FakeApi::of(&bench, &[(RADAR, 200, radar()), (PODS, 200, pods(&[pod]))]);
    assert!(bench.command(&create(&["-p", "p"])).status().unwrap().success());
    let place = bench.text("local");
    let stderr = format!(
        "{place} -> /other in no container yet of namespace `team`\n\
         the app is not reloaded\n\
         spec `s` syncs the same directory: what containers write comes back from one container of all of them\n"
    );
    let args = ["create", "--no-start", "--name", "t", "--reload=false", "-p", "p", "local", "/other"];
    bench.says(&args, Says { status: 0, stdout: "spec `t` created\n", stderr: &stderr });
}

#[test]
fn a_second_spec_of_a_directory_with_other_patterns_is_refused() {
    let bench = Bench::new();
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c" }] } });
    FakeApi::of(&bench, &[(RADAR, 200, radar()), (PODS, 200, pods(&[pod]))]);
    assert!(bench.command(&create(&["-p", "p", "--ignore", "*.log"])).status().unwrap().success());
    let before = std::fs::read_to_string(bench.config()).unwrap();
    let args = ["create", "--no-start", "--name", "t", "-p", "p", "--ignore", "*.key", "local", "/other"];
    let refused = "error: `ignore` differs from that of spec `s`, which syncs the same `localpath`\n\
                   hint: a directory has one set of patterns: give the same to both (spec `s` has `*.log`, this one \
                   `*.key`)\n";
    bench.says(&args, Says { status: 1, stdout: "", stderr: refused });
    assert_eq!(std::fs::read_to_string(bench.config()).unwrap(), before, "nothing is written");
}

#[test]
fn it_is_said_what_becomes_of_the_app() {
    let bench = Bench::new();
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c" }] } });
    FakeApi::of(&bench, &[(RADAR, 200, radar()), (PODS, 200, pods(&[pod]))]);
    let place = format!("{} -> /code in no container yet of namespace `team`\n", bench.text("local"));
    for (flags, said) in [
        (
            &["--reload=true"][..],
            "after each edit, in place, unless it watches its files itself (mode `auto`)",
        ),
        (&["--reload=process"], "after each edit, in place (mode `process`)"),
        (&["--reload=container"], "after each edit, by a restart of its container (mode `container`)"),
        (
            &["--reload=signal:HUP", "--reload-on=*.conf", "--reload-on=/etc/", "--reload-max-unavailable=1"],
            "after edits of `*.conf`, `/etc/`, by SIGHUP (mode `signal:HUP`)",
        ),
    ] {
        let stderr = format!("{place}the app is reloaded {said}\n");
        let all = [&["-p", "p"], flags].concat();
        bench.says(&create(&all), Says { status: 0, stdout: "spec `s` created\n", stderr: &stderr });
        let kept = std::fs::read_to_string(bench.home().join("ksync.yaml")).unwrap();
        assert_eq!(
            kept.contains("reload-on: [\"*.conf\", \"/etc/\"]\n  reload-max-unavailable: 1\n"),
            flags.len() > 1,
            "{kept}"
        );
        bench.says(&["delete", "s"], super::bench::data("spec `s` deleted\n"));
    }
    let stderr = format!("{place}the app is not reloaded\n");
    let never = create(&["-p", "p", "--reload=false"]);
    bench.says(&never, Says { status: 0, stdout: "spec `s` created\n", stderr: &stderr });
}

#[test]
fn what_reloads_nothing_is_refused() {
    let bench = Bench::new();
    bench.refuses(
        &create(&["-p", "p", "--reload=false", "--reload-on=*.py"]),
        "error: `--reload=false` leaves nothing to `--reload-on` and `--reload-max-unavailable`\nhint: leave them out\n",
    );
    bench.refuses(
        &create(&["-p", "p", "--reload-on=[z-a]"]),
        "error: the pattern `[z-a]` can't be read: error parsing glob '[z-a]': invalid range; 'z' > 'a'\nhint: see --reload-on\n",
    );
}

#[test]
fn what_may_come_unasked_goes_into_the_spec() {
    let bench = Bench::new();
    let there = json!({ "kind": "Namespace", "apiVersion": "v1", "metadata": { "name": "team" } });
    FakeApi::of(&bench, &[(RADAR, 200, radar()), (PODS, 200, pods(&[])), (NAMESPACE, 200, there)]);
    for (flags, keys) in [
        (&["--max-file", "200M", "--max-pull", "8Gi"][..], &["max-file: 200M", "max-pull: 8Gi"][..]),
        (&["--trust-container"], &["trust-container: true"]),
    ] {
        let output = bench.command(&create(&[&["-p", "p"], flags].concat())).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let config = std::fs::read_to_string(bench.config()).unwrap();
        assert!(keys.iter().all(|key| config.lines().any(|line| line.trim() == *key)), "{config}");
        bench.says(&["delete", "s"], super::bench::data("spec `s` deleted\n"));
    }
    let refused = "error: `--direction to-container` brings nothing here, so there is nothing to trust or to limit\n\
                   hint: leave one of them out\n";
    let one_way =
        |flags: &'static [&str]| create(&[&["-p", "p", "--direction", "to-container"], flags].concat());
    bench.refuses(&one_way(&["--trust-container"]), refused);
    bench.refuses(&one_way(&["--max-file", "1G"]), refused);
    let no_size = "error: invalid value '5 apples' for '--max-file <SIZE>': `5 apples` is no size: write a number of bytes, \
                   or of `k`, `M`, `G`, `Ki`, `Mi`, `Gi`, such as 200M\n\
                   hint: see `kubectl ksync create --help`\n";
    bench.refuses(&create(&["-p", "p", "--max-file", "5 apples"]), no_size);
}
