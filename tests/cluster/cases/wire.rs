//! Networks between here and the API server that cut connections, or swallow what they are given.

use std::time::{Duration, Instant};

use super::{APP, CODE};
use crate::suite::{
    App, Case, Desk, eventually,
    eventually::{LONG, SHORT, holds, throughout},
    ksync::Ksync,
    proxy::{Mode, Proxy},
};

pub(super) const CASES: &[Case] = &[
    Case::new("a_proxy_that_cuts_idle_connections", idle),
    Case::new("a_proxy_that_swallows_everything", swallows),
];

/// Trouble is told within this time.
const TOLD: Duration = Duration::from_secs(15);
/// As the meanest of proxies.
const IDLE: Duration = Duration::from_secs(20);

/// The plugin through a proxy, with the spec `main` in sync.
fn synced(desk: &Desk, proxy: &Proxy) -> Ksync {
    let ksync = Ksync { kubeconfig: proxy.kubeconfig(desk), ..desk.ksync.clone() };
    let local = desk.local().display().to_string();
    ksync.ok(&[&["create", "--name", "main", "--wait"], APP, &[&local, CODE]].concat());
    ksync
}

fn warnings(ksync: &Ksync) -> Result<String, String> {
    let output = ksync.run(&["get"]);
    holds(output.status == Some(0), format!("{output:?}"))?;
    Ok(output.stderr)
}

/// Nobody notices, and what comes after is as fast as ever.
fn idle(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let app = App::web(desk).apply(desk);
    let containers = app.running(1);
    let proxy = Proxy::before(desk, Mode::CutIdle(IDLE));
    let ksync = synced(desk, &proxy);
    throughout("`watching` without a warning", IDLE * 2, || {
        let spec = ksync.spec("main")?;
        holds(spec.status == "watching", format!("{spec:?}"))?;
        let said = warnings(&ksync)?;
        holds(said.is_empty(), said)
    });
    assert!(proxy.cuts() > 0, "the proxy cut nothing: this case shows nothing");
    desk.write("b.txt", "b\n");
    desk.arrives(&containers, CODE);
    let containers = app.scale(2);
    ksync.watching("main", 2, SHORT);
    desk.arrives(&containers, CODE);
    ksync.ok(&["stop"]);
}

fn swallows(desk: &Desk) {
    desk.write("a.txt", "a\n");
    let app = App::web(desk).apply(desk);
    let proxy = Proxy::before(desk, Mode::Pass);
    let ksync = synced(desk, &proxy);
    let begun = Instant::now();
    proxy.set(Mode::Swallow);
    eventually("`watching` to be left, with a reason", TOLD, || {
        let spec = ksync.spec("main")?;
        let left = spec.status != "watching" && spec.containers.iter().all(|row| !row.reason.is_empty());
        holds(left, format!("{spec:?}"))
    });
    eventually("a warning that the cluster does not answer", TOLD, || {
        let said = warnings(&ksync)?;
        holds(said.starts_with("warning: ") && said.contains("does not answer"), said)
    });
    println!("a dead network was noticed after {:?}", begun.elapsed());
    assert!(begun.elapsed() < TOLD, "after {:?}", begun.elapsed());
    desk.write("meanwhile.txt", "meanwhile\n");
    // Made while nobody hears of it.
    let containers = app.scale(2);
    proxy.set(Mode::Pass);
    ksync.watching("main", 2, LONG);
    desk.arrives(&containers, CODE);
    eventually("no warning any more", SHORT, || {
        let said = warnings(&ksync)?;
        holds(said.is_empty(), said)
    });
    desk.write("after.txt", "after\n");
    desk.arrives(&containers, CODE);
    ksync.ok(&["stop"]);
}
