//! How long the commands take that people type and scripts call.

use std::{
    fs,
    process::{Command, Stdio},
    sync::mpsc::channel,
    thread,
    time::Instant,
};

use ksync_measure::{Goal, Row, Unit};

use crate::{
    bed::sync,
    bench::Bench,
    observer::ms,
    suite::{
        App, Sandbox,
        eventually::{LONG, SHORT},
        ksync::Ksync,
    },
};

pub(super) fn measure(bench: &Bench, add: &mut dyn FnMut(Row)) {
    let sandbox = bench.on_all("commands");
    sandbox.write("a.txt", "a\n");
    App::idle(&sandbox).apply(&sandbox).only();
    let row =
        |what: &str, times: &[f64]| Row::new(format!("`kubectl ksync {what}`"), Unit::Milliseconds, times);

    // The first: it starts the watcher and its syncthing.
    let begun = Instant::now();
    sync(&sandbox);
    let first = ms(begun.elapsed());

    let many = bench.options.trials(30);
    let times = |args: &[&str]| -> Vec<f64> { (0..many).map(|_| run(&sandbox, args)).collect() };
    add(row("version", &times(&["version"])).goal(Goal::p50(20.0)).note("with a watcher, which it asks"));
    add(row("get", &times(&["get"])).goal(Goal::p50(50.0)).note("with a watcher"));
    let created: Vec<f64> = (0..bench.options.trials(10)).map(|number| create(&sandbox, number)).collect();
    add(row("create", &created).goal(Goal::p50(300.0)).note("with a watcher"));
    add(row("create --wait", &[first]).note("one file, no watcher yet: until it is in the container"));
}

/// A further spec, of a directory of its own; it is taken away again, outside of the time.
fn create(sandbox: &Sandbox, number: usize) -> f64 {
    let local = sandbox.scratch(&format!("further-{number}"));
    fs::create_dir(&local).expect("make a directory");
    fs::write(local.join("a.txt"), "a\n").expect("write");
    let (local, remote) = (local.display().to_string(), format!("/further-{number}"));
    let name = format!("further-{number}");
    let args = ["create", "--name", &name, "--selector", "app=app", "--reload=false", &local, &remote];
    let took = run(sandbox, &args);
    sandbox.ksync.watching(&name, 1, LONG);
    sandbox.ksync.ok(&["delete", &name]);
    took
}

/// From the start of the program to its end.
fn run(sandbox: &Sandbox, args: &[&str]) -> f64 {
    let mut command = Command::new(Ksync::program());
    command
        .env("KUBECONFIG", &sandbox.ksync.kubeconfig)
        .env("KSYNC_HOME", &sandbox.ksync.home)
        .env_remove("RUST_LOG");
    command.args(["-n", &sandbox.namespace]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let mut child = command.spawn().expect("run the plugin");
    let (end_tx, end) = channel();
    let pid = child.id();
    thread::spawn(move || end_tx.send((child.wait(), Instant::now())));
    let Ok((status, ended)) = end.recv_timeout(SHORT) else {
        crate::suite::process::kill(pid);
        panic!("`{}` took more than {SHORT:?}", args.join(" "));
    };
    assert!(status.expect("wait for it").success(), "`{}` failed", args.join(" "));
    ms(ended - begun)
}
