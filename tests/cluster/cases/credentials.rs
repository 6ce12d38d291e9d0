//! Credentials that come from somewhere, end, or can't be had: the watcher answers all the while, says what it lacks, and
//! goes on by itself where no person is needed.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::{CODE, NO_RELOAD};
use crate::suite::{
    App, Case, Need, Sandbox,
    developer::Developer,
    eventually,
    eventually::{LONG, SHORT, holds, throughout},
    ksync::Ksync,
};

pub(super) const CASES: &[Case] = &[
    Case::new("a_token_that_lives_for_20_seconds", short_token),
    Case::new("a_plugin_that_hangs", hangs),
    Case::new("a_plugin_that_needs_a_terminal", terminal),
    Case::new("a_certificate_that_is_replaced", certificate).needs(&[Need::Authority]),
];

/// How soon trouble is to be told.
const TOLD: Duration = Duration::from_secs(15);
/// What the plugins here say of their tokens.
const TOKEN: Duration = Duration::from_secs(20);

/// The arguments of a `create` of the spec `main`.
fn create(sandbox: &Sandbox) -> Vec<String> {
    let local = sandbox.local().display().to_string();
    let fixed = ["create", "--name", "main", "--wait"].iter().chain(NO_RELOAD).map(ToString::to_string);
    fixed.chain([local, CODE.to_owned()]).collect()
}

fn strs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// What `get` warns of, which it tells at once whatever the watcher waits for.
fn warned(ksync: &Ksync) -> Result<String, String> {
    let begun = Instant::now();
    let output = ksync.run(&["get"]);
    let took = begun.elapsed();
    holds(output.status == Some(0), format!("{output:?}"))?;
    assert!(took < Duration::from_secs(5), "`get` took {took:?}");
    Ok(output.stderr)
}

#[track_caller]
fn warns(ksync: &Ksync, limit: Duration, words: &str) {
    eventually(&format!("a warning of `{words}`"), limit, || {
        let said = warned(ksync)?;
        holds(said.starts_with("warning: ") && said.contains(words), said)
    });
}

#[track_caller]
fn well(ksync: &Ksync, limit: Duration) {
    eventually("no warning any more", limit, || {
        let said = warned(ksync)?;
        holds(said.is_empty(), said)
    });
}

/// New credentials work for all that they are needed for: another pod is found, and its node connected to.
#[track_caller]
fn reaches(sandbox: &Sandbox, ksync: &Ksync, app: &crate::suite::app::Deployed<'_>) {
    let containers = app.scale_everywhere();
    ksync.watching("main", containers.len(), LONG);
    sandbox.write("late.txt", "late\n");
    sandbox.arrives(&containers, CODE);
}

fn short_token(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let app = App::web(sandbox).apply(sandbox);
    let developer = Developer::account(sandbox);
    let (kubeconfig, plugin) = developer.plugin("");
    let ksync = Ksync { kubeconfig, ..sandbox.ksync.clone() };
    ksync.ok(&strs(&create(sandbox)));
    let before = plugin.calls();
    let mut number = 0;
    throughout("`watching` without a warning", TOKEN * 2, || {
        let said = warned(&ksync)?;
        holds(said.is_empty(), said)?;
        number += 1;
        sandbox.write("edited.txt", format!("{number}\n"));
        let spec = ksync.spec("main")?;
        holds(matches!(spec.status.as_str(), "watching" | "syncing"), format!("{spec:?}"))
    });
    assert!(plugin.calls() >= before + 2, "{} tokens were asked for", plugin.calls() - before);
    reaches(sandbox, &ksync, &app);
    ksync.ok(&["stop"]);
}

fn hangs(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let app = App::web(sandbox).apply(sandbox);
    let containers = app.all();
    let developer = Developer::account(sandbox);
    let (kubeconfig, plugin) = developer.plugin("[ ! -e hang ] || exec sleep 1000000");
    let ksync = Ksync { kubeconfig, ..sandbox.ksync.clone() };
    ksync.ok(&strs(&create(sandbox)));
    fs::write(plugin.file("hang"), "").expect("write");
    warns(&ksync, TOKEN + TOLD, "waiting for the kubeconfig's credential plugin");
    // What is connected goes on.
    sandbox.write("meanwhile.txt", "meanwhile\n");
    sandbox.arrives(&containers, CODE);

    // One that begins without credentials answers as well.
    ksync.ok(&["stop"]);
    let begun = Instant::now();
    ksync.ok(&["watch", "--daemon"]);
    assert!(begun.elapsed() < TOLD, "it took {:?} to start", begun.elapsed());
    warns(&ksync, TOLD, "waiting for the kubeconfig's credential plugin");
    let spec = ksync.becomes("main", "error", TOLD);
    assert!(spec.reason.contains("credential plugin"), "{spec:?}");
    sandbox.write("later.txt", "later\n");
    fs::remove_file(plugin.file("hang")).expect("remove");
    // Whoever reaches the cluster wakes the watcher, even from a plugin that still hangs.
    ksync.ok(&["version"]);
    ksync.watching("main", 1, SHORT);
    well(&ksync, SHORT);
    sandbox.arrives(&containers, CODE);
    reaches(sandbox, &ksync, &app);
    ksync.ok(&["stop"]);
}

fn terminal(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let app = App::web(sandbox).apply(sandbox);
    let developer = Developer::account(sandbox);
    let lines = "if [ -t 0 ]; then touch session; fi\n\
                 [ -e session ] || { echo 'there is no terminal' >&2; exit 1; }";
    let (kubeconfig, plugin) = developer.plugin(lines);
    let ksync = Ksync { kubeconfig, ..sandbox.ksync.clone() };
    let create = create(sandbox);
    assert_eq!(
        ksync.refused(&strs(&create)),
        format!(
            "error: the credential plugin `{}` failed: there is no terminal\n\
             hint: log in again; `kubectl get pods` at a terminal runs the same plugin, and it can ask there\n",
            plugin.program()
        )
    );
    assert!(!ksync.config_file().exists(), "nothing half-written");
    let output = ksync.run_at_terminal(&strs(&create));
    assert_eq!(output.status, Some(0), "{output:?}");
    ksync.watching("main", 1, SHORT);

    fs::remove_file(plugin.file("session")).expect("remove");
    let context = sandbox.kubectl().ok(&["config", "current-context"]);
    let login =
        format!("login required: run `kubectl ksync version --context {}` at a terminal", context.trim());
    warns(&ksync, TOKEN + TOLD, &login);
    assert!(warned(&ksync).is_ok_and(|said| said.contains("there is no terminal")), "the plugin's own words");
    ksync.ok(&["stop"]);
    ksync.ok(&["watch", "--daemon"]);
    let spec = ksync.becomes("main", "error", TOLD);
    assert!(spec.reason.starts_with(&login), "{spec:?}");

    let output = ksync.run_at_terminal(&["version"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    ksync.watching("main", 1, SHORT);
    well(&ksync, SHORT);
    reaches(sandbox, &ksync, &app);
    ksync.ok(&["stop"]);
}

/// The cluster refuses it once it is over, whatever connection it comes by.
fn certificate(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let app = App::web(sandbox).apply(sandbox);
    let containers = app.all();
    let developer = Developer::user(sandbox, &format!("{}-user", sandbox.namespace));
    let (certificate, key) = developer.certificate(TOKEN);
    let flags = ["--client-certificate", "--client-key"];
    let paths = [certificate.display().to_string(), key.display().to_string()];
    let flags: Vec<String> = flags.iter().zip(&paths).map(|(flag, path)| format!("{flag}={path}")).collect();
    let kubeconfig = developer.kubeconfig(&strs(&flags));
    let ksync = Ksync { kubeconfig, ..sandbox.ksync.clone() };
    ksync.ok(&strs(&create(sandbox)));
    well(&ksync, SHORT);
    warns(&ksync, TOKEN + TOLD, "the cluster does not accept the credentials");
    sandbox.write("meanwhile.txt", "meanwhile\n");
    sandbox.arrives(&containers, CODE);
    developer.certificate(LONG * 60);
    well(&ksync, TOLD);
    reaches(sandbox, &ksync, &app);
    ksync.ok(&["stop"]);
}
