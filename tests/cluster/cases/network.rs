//! Networks between here and the API server that cut connections, or swallow what they are given.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rand::RngExt;

use super::{CODE, NO_RELOAD};
use crate::suite::{
    App, Case, Sandbox, eventually,
    eventually::{LONG, SHORT, holds, now_and_then, throughout},
    ksync::Ksync,
    proxy::{Mode, Proxy},
    witness::Witness,
};

pub(super) const CASES: &[Case] = &[
    Case::new("a_proxy_that_cuts_idle_connections", idle),
    Case::new("a_proxy_that_swallows_everything", swallows),
    Case::new("a_first_sync_goes_on_where_it_was_cut", resumes).on_each(),
    Case::new("an_api_server_that_is_away_for_90_seconds", away),
];

/// Trouble is told within this time.
const TOLD: Duration = Duration::from_secs(15);
/// As long as an upgrade of a control plane takes.
const AWAY: Duration = Duration::from_secs(90);
/// And healed within this time.
const HEALED: Duration = Duration::from_secs(10);
/// As the meanest of proxies.
const IDLE: Duration = Duration::from_secs(20);

/// The plugin through a proxy, with the spec `main` in sync.
fn synced(sandbox: &Sandbox, proxy: &Proxy) -> Ksync {
    let ksync = Ksync { kubeconfig: proxy.kubeconfig(sandbox), ..sandbox.ksync.clone() };
    let local = sandbox.local().display().to_string();
    ksync.ok(&[&["create", "--name", "main", "--wait"], NO_RELOAD, &[&local, CODE]].concat());
    ksync
}

fn warnings(ksync: &Ksync) -> Result<String, String> {
    let output = ksync.run(&["get"]);
    holds(output.status == Some(0), format!("{output:?}"))?;
    Ok(output.stderr)
}

/// Nobody notices, and what comes after is as fast as ever.
fn idle(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let app = App::web(sandbox).apply(sandbox);
    let containers = app.all();
    let proxy = Proxy::before(sandbox, Mode::CutIdle(IDLE));
    let ksync = synced(sandbox, &proxy);
    sandbox.arrives(&containers, CODE);
    ksync.watching("main", 1, SHORT);
    throughout("`watching` without a warning", IDLE * 2, || {
        let spec = ksync.spec("main")?;
        holds(spec.status == "watching", format!("{spec:?}"))?;
        let said = warnings(&ksync)?;
        holds(said.is_empty(), said)
    });
    assert!(proxy.cuts() > 0, "the proxy cut nothing: this case shows nothing");
    sandbox.write("b.txt", "b\n");
    sandbox.arrives(&containers, CODE);
    let containers = app.scale_everywhere();
    ksync.watching("main", containers.len(), SHORT);
    sandbox.arrives(&containers, CODE);
    ksync.ok(&["stop"]);
}

fn swallows(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let app = App::web(sandbox).apply(sandbox);
    let proxy = Proxy::before(sandbox, Mode::Pass);
    let ksync = synced(sandbox, &proxy);
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
    sandbox.write("meanwhile.txt", "meanwhile\n");
    // Made while nobody hears of it.
    let containers = app.scale_everywhere();
    proxy.set(Mode::Pass);
    ksync.watching("main", containers.len(), LONG);
    sandbox.arrives(&containers, CODE);
    eventually("no warning any more", SHORT, || {
        let said = warnings(&ksync)?;
        holds(said.is_empty(), said)
    });
    sandbox.write("after.txt", "after\n");
    sandbox.arrives(&containers, CODE);
    ksync.ok(&["stop"]);
}

/// What has arrived before the cut is not sent again.
fn resumes(sandbox: &Sandbox) {
    const FILES: usize = 40;
    const SIZE: usize = 4 << 20;
    let mut random = rand::rng();
    for number in 0..FILES {
        let mut noise = vec![0; SIZE];
        random.fill(&mut noise[..]);
        sandbox.write(&format!("{number}.bin"), noise);
    }
    let container = App::web(sandbox).apply(sandbox).only();
    let proxy = Proxy::before(sandbox, Mode::Pass);
    let ksync = Ksync { kubeconfig: proxy.kubeconfig(sandbox), ..sandbox.ksync.clone() };
    ksync
        .ok(&[&["create", "--name", "main"], NO_RELOAD, &[&sandbox.local().display().to_string(), CODE]]
            .concat());
    eventually("`get` to tell that a part was sent", LONG, || {
        let spec = ksync.spec("main")?;
        let reason = spec.containers.first().map(|row| row.reason.clone()).unwrap_or_default();
        // sent 20 of 41 entries, 83.8 of 167.7 MB
        let words: Vec<&str> = reason.split(' ').collect();
        let sent: usize = words.get(1).and_then(|word| word.parse().ok()).unwrap_or_default();
        holds(words.first() == Some(&"sent") && sent >= 8 && reason.ends_with(" MB"), reason)
    });
    proxy.set(Mode::Refuse);
    let complete = || -> BTreeMap<String, String> {
        let said = container.sh(sandbox.cluster(), "cd /code; stat -c '%n %i %s' *.bin 2>/dev/null || true");
        let lines = said.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let whole = lines.filter(|words| words.get(2).and_then(|size| size.parse().ok()) == Some(SIZE));
        whole.map(|words| (words[0].to_owned(), words[1].to_owned())).collect()
    };
    eventually("the cut to be told", TOLD, || {
        let spec = ksync.spec("main")?;
        holds(spec.status != "syncing", format!("{spec:?}"))
    });
    let before = complete();
    assert!(!before.is_empty() && before.len() < FILES, "{} of {FILES} files were there", before.len());
    proxy.set(Mode::Pass);
    ksync.watching("main", 1, LONG);
    sandbox.arrives(std::slice::from_ref(&container), CODE);
    let after = complete();
    let again: Vec<&String> =
        before.iter().filter(|(name, at)| after.get(*name) != Some(at)).map(|b| b.0).collect();
    assert!(again.is_empty(), "written again: {again:?} of {}", before.len());
    println!("{} of {FILES} files were there when it was cut", before.len());
    ksync.ok(&["stop"]);
}

/// Nothing is lost, nothing is called in sync, `get` says why at once all the while; and all is well soon after.
fn away(sandbox: &Sandbox) {
    for number in 0..30 {
        sandbox.write(&format!("src/{number}.txt"), format!("{number}\n"));
    }
    let app = App::web(sandbox).apply(sandbox);
    app.all();
    let proxy = Proxy::before(sandbox, Mode::Pass);
    let ksync = synced(sandbox, &proxy);
    let witness = Witness::over(&sandbox.local());
    let begun = Instant::now();
    proxy.set(Mode::Refuse);
    let away = || {
        let spec = ksync.spec("main")?;
        let left = spec.status != "watching" && spec.containers.iter().all(|row| !row.reason.is_empty());
        holds(left, format!("{spec:?}"))?;
        let said = warnings(&ksync)?;
        holds(said.starts_with("warning: can't reach the cluster"), said)
    };
    eventually("the outage to be told", TOLD, away);
    println!("the outage was told after {:?}", begun.elapsed());
    sandbox.write("meanwhile.txt", "meanwhile\n");
    let containers = app.scale_everywhere();
    let left = AWAY.saturating_sub(begun.elapsed());
    now_and_then("the outage to be told", left, Duration::from_secs(2), || {
        let asked = Instant::now();
        away()?;
        holds(asked.elapsed() < TOLD / 3, format!("`get` took {:?}", asked.elapsed()))
    });
    let begun = Instant::now();
    proxy.set(Mode::Pass);
    ksync.watching("main", containers.len(), HEALED);
    println!("all was well again after {:?}", begun.elapsed());
    sandbox.arrives(&containers, CODE);
    eventually("no warning any more", SHORT, || {
        let said = warnings(&ksync)?;
        holds(said.is_empty(), said)
    });
    witness.intact();
    ksync.no_conflicts();
    ksync.ok(&["stop"]);
}
