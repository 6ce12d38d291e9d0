//! Attacks by somebody with the rights of the README and no others, who may port-forward to radar and reads its log.
//!
//! What a person has attached is out of reach for others. That attaching takes a `pods/exec` is what [`super::proofs`] shows.

mod limits;
mod power;
mod rewriter;

use std::path::PathBuf;

use ksync_keys::Identity;
use ksync_proto::radar::{
    AttachRequest, BasePathRequest, DetachRequest, Entry, EntryKind, LookRequest, ReadRequest, ReloadMode,
    ReloadRequest, SpoolRequest, StageRequest, VersionRequest, radar_client::RadarClient,
};
use tonic::{Code, Status, transport::Channel};

use super::{CODE, NO_RELOAD};
use crate::suite::{
    App, Case, Need, Sandbox,
    developer::Developer,
    eventually::{LONG, SHORT, eventually, holds},
    process,
    run::SYSTEM,
    stranger::{Forward, open_session, open_session_of_a_device, runtime, wire},
};

pub(super) use limits::CASES as LIMITS;
pub(super) use power::CASES as POWER;

pub(super) const CASES: &[Case] = &[
    Case::new("names_from_radars_log_open_nothing", names_from_the_log).on_each(),
    Case::new("a_part_of_a_container_id_is_none", part_of_an_id).on_each(),
    Case::new("a_flood_of_sessions_keeps_nobody_out", flood).on_each(),
    Case::new("no_port_of_the_pod_leads_to_syncthing", syncthings_port).on_each(),
    Case::new("a_sessions_syncthing_has_nothing_of_others", own_syncthing)
        .on_each()
        .needs(&[Need::Processes]),
    Case::new("who_rewrites_a_reloaded_process_gains_nothing", rewriter::gains_nothing)
        .on_each()
        .needs(&[Need::Processes]),
];

/// Somebody with the README's rights, for as long as he lives, and his kubeconfig.
fn stranger(sandbox: &Sandbox) -> (Developer<'_>, PathBuf) {
    let developer = Developer::without_exec(sandbox);
    let kubeconfig = developer.with_token();
    (developer, kubeconfig)
}

/// The attachment that radar's log told of last, in the container.
#[track_caller]
fn attachment(sandbox: &Sandbox, forward: &Forward, container: &str) -> String {
    let log = sandbox.kubectl().ok(&["logs", "-n", SYSTEM, &forward.pod, "-c", "radar"]);
    let line = log.lines().rev().find(|line| line.contains("attached") && line.contains(container));
    let line = line.unwrap_or_else(|| panic!("no `attached` of {container} in radar's log"));
    let id = line.split("attachment=").nth(1).and_then(|rest| rest.split_whitespace().next());
    id.unwrap_or_else(|| panic!("no attachment in `{line}`")).trim_matches('"').to_owned()
}

/// What becomes of calls that name somebody else's attachment.
async fn tried(radar: &mut RadarClient<Channel>, attachment: &str) -> Vec<(&'static str, Status)> {
    let expected = Entry { kind: EntryKind::File.into(), size: 2, ..Entry::default() };
    let read = ReadRequest {
        attachment_id: attachment.to_owned(),
        path: "a.txt".to_owned(),
        expected: Some(expected),
        spool: true,
    };
    let reload = ReloadRequest {
        attachment_id: attachment.to_owned(),
        mode: ReloadMode::Process.into(),
        ..ReloadRequest::default()
    };
    let stage = StageRequest {
        attachment_id: attachment.to_owned(),
        number: 1,
        path: "planted.txt".to_owned(),
        last: true,
        ..StageRequest::default()
    };
    vec![
        ("Read", radar.read(read).await.map(drop).expect_err("Read")),
        ("Reload", radar.reload(reload).await.map(drop).expect_err("Reload")),
        ("Stage", radar.stage(tokio_stream::once(stage)).await.map(drop).expect_err("Stage")),
    ]
}

fn names_from_the_log(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let container = App::web(sandbox).apply(sandbox).only();
    sandbox.sync(NO_RELOAD, CODE);
    // kubectl may end with a connection that is not taken.
    let (_stranger, kubeconfig) = stranger(sandbox);
    let keyless = Forward::to_radar(sandbox, &kubeconfig, &container.node);
    assert!(!runtime().block_on(keyless.answers_without_a_key()), "a connection without a key is answered");
    let forward = Forward::to_radar(sandbox, &kubeconfig, &container.node);
    let attachment = attachment(sandbox, &forward, &container.id);
    runtime().block_on(async {
        let mut radar = forward.with_a_new_key().await;
        radar.version(VersionRequest {}).await.expect("the version is everybody's");
        for (call, refused) in tried(&mut radar, &attachment).await {
            assert_eq!(refused.code(), Code::FailedPrecondition, "{call} without a session: {refused}");
        }
        let look = LookRequest { container: Some(wire(&container.id)), path: CODE.to_owned() };
        let refused = radar.look(look).await.expect_err("Look without a session");
        assert!(refused.message().starts_with("no session of key"), "{refused}");
        let base = radar.base_path(BasePathRequest { container: Some(wire(&container.id)) }).await;
        let refused = base.expect_err("BasePath without a session");
        assert!(refused.message().starts_with("no session of key"), "{refused}");
        let _session = open_session(&mut radar).await.expect("a session of one's own");
        for (call, refused) in tried(&mut radar, &attachment).await {
            assert_eq!(refused.code(), Code::NotFound, "{call} with a session of one's own: {refused}");
        }
        let detach = DetachRequest { attachment_id: attachment.clone() };
        radar.detach(detach).await.expect("to detach what is not attached is no error");
        for take_over in [false, true] {
            let attach = AttachRequest {
                folder_id: "stolen".to_owned(),
                container: Some(wire(&container.id)),
                path: CODE.to_owned(),
                take_over,
            };
            let refused =
                radar.attach(attach).await.expect_err("a directory that somebody has, without a proof");
            assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
        }
    });
    // The watcher has not been disturbed, by the highest epoch least of all.
    sandbox.ksync.watching("main", 1, SHORT);
    sandbox.write("b.txt", "b\n");
    sandbox.arrives(std::slice::from_ref(&container), CODE);
    assert!(container.read(sandbox.cluster(), "/code/planted.txt").is_err());
    sandbox.ksync.ok(&["stop"]);
    sandbox.ksync.ok(&["watch", "--daemon"]);
    sandbox.ksync.watching("main", 1, LONG);
}

fn part_of_an_id(sandbox: &Sandbox) {
    let container = App::web(sandbox).apply(sandbox).only();
    let (_stranger, kubeconfig) = stranger(sandbox);
    let forward = Forward::to_radar(sandbox, &kubeconfig, &container.node);
    let (scheme, id) = container.id.split_once("://").expect("an id with its scheme");
    runtime().block_on(async {
        let mut radar = forward.with_a_new_key().await;
        let _session = open_session(&mut radar).await.expect("a session");
        let mut look = async |id: &str| {
            let look =
                LookRequest { container: Some(wire(&format!("{scheme}://{id}"))), path: CODE.to_owned() };
            radar.look(look).await
        };
        let refused = look(id).await.expect_err("the whole id, without a proof");
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
        for part in [&id[..3], &id[..12], &id[..63], &format!("{id}0")] {
            let refused = look(part).await.expect_err(part);
            assert_eq!(refused.code(), Code::InvalidArgument, "{part}: {refused}");
        }
    });
}

/// Sessions with keys that were made for it, as many as a node has room for and half as many again.
fn flood(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let container = App::web(sandbox).apply(sandbox).only();
    sandbox.sync(NO_RELOAD, CODE);
    let (_stranger, kubeconfig) = stranger(sandbox);
    let forward = Forward::to_radar(sandbox, &kubeconfig, &container.node);
    runtime().block_on(async {
        let mut open = Vec::new();
        for _ in 0..768 {
            let mut radar = forward.with_a_new_key().await;
            let session = open_session(&mut radar).await.expect("a session");
            open.push((radar, session));
        }
        sandbox.write("b.txt", "b\n");
        sandbox.arrives(std::slice::from_ref(&container), CODE);
    });
    sandbox.ksync.watching("main", 1, SHORT);
}

/// Whoever syncs has a syncthing on the node, which has a port.
fn syncthings_port(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let container = App::web(sandbox).apply(sandbox).only();
    sandbox.sync(NO_RELOAD, CODE);
    let ready = "large files go through syncthing";
    eventually("a spool", LONG, || holds(sandbox.ksync.log().contains(ready), sandbox.ksync.log()));
    let (_stranger, kubeconfig) = stranger(sandbox);
    let forward = Forward::to_port(sandbox, &kubeconfig, &container.node, 22000);
    assert!(!runtime().block_on(forward.speaks_bep()), "syncthing answers past radar");
}

/// The pid of the parent of a node's syncthings.
#[track_caller]
fn parent_of_syncthings(sandbox: &Sandbox, node: &str) -> u32 {
    let radars = sandbox.radars();
    let parent = radars.iter().find(|part| part.name == "syncthing" && part.node == node);
    parent.expect("a container `syncthing`").pid(sandbox.cluster()).expect("its process")
}

/// Somebody else's session on a node has another syncthing, which knows and sees nothing of mine, and ends with it.
fn own_syncthing(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    let container = App::web(sandbox).apply(sandbox).only();
    sandbox.sync(NO_RELOAD, CODE);
    let parent = parent_of_syncthings(sandbox, &container.node);
    let (_stranger, kubeconfig) = stranger(sandbox);
    let forward = Forward::to_radar(sandbox, &kubeconfig, &container.node);
    let (mine, session) = runtime().block_on(async {
        let mut radar = forward.with_a_new_key().await;
        let (session, device) = open_session_of_a_device(&mut radar).await.expect("a session");
        radar.spool(SpoolRequest { tag: "1".to_owned() }).await.expect("a spool");
        let mine = process::syncthings(parent).into_iter().find(|syncthing| {
            let seen = format!("/proc/{}/root{}", syncthing.pid, home(syncthing).display());
            Identity::of_home(seen.as_ref()).is_ok_and(|own| own.fingerprint().device_id() == device)
        });
        (mine.expect("the session's own syncthing"), session)
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", mine.pid)).expect("its status");
    for line in ["CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{line} in {status}");
    }
    let sessions = home(&mine).ancestors().nth(3).expect("all sessions").to_owned();
    let seen = std::fs::read_dir(format!("/proc/{}/root{}", mine.pid, sessions.display()));
    assert_eq!(seen.expect("its root").count(), 1, "other sessions than its own");
    assert!(!PathBuf::from(format!("/proc/{}/root/proc", mine.pid)).exists());
    assert!(process::lives(mine.pid));
    drop((session, forward));
    eventually("its end with the session", LONG, || holds(!process::lives(mine.pid), "it lives".to_owned()));
    sandbox.ksync.watching("main", 1, SHORT);
}

/// The home of a syncthing, as it sees it.
fn home(syncthing: &process::Process) -> PathBuf {
    let (_, home) = syncthing.command.split_once("--home=").expect("a home");
    PathBuf::from(home.split_whitespace().next().expect("a path"))
}
