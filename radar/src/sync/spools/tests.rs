//! Spools of sessions that come and go. The syncthings are not there: nobody answers on their lifeline.

use std::{collections::HashSet, path::Path, sync::Arc, time::Duration};

use ksync_keys::Fingerprint;
use tokio::net::UnixListener;

use super::{Error, Opened, SYNCTHINGS, Spools};

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_session_has_one_spool_of_its_own_which_goes_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("sessions");
    std::fs::create_dir_all(at.join("left/spool/in")).unwrap();
    let spools = Spools::below(at.clone(), dir.path().join("lifeline"));
    assert!(names(&at).is_empty(), "what was left is gone");
    let (me, other) = (Fingerprint::of(b"s"), Fingerprint::of(b"t"));
    assert!(matches!(spools.open(me, "1"), Err(Error::NoSession { .. })));
    spools.begin(me);
    let Opened { spool, earlier } = spools.open(me, "1").unwrap();
    assert!(earlier.is_none() && spools.find(other).is_none());
    assert!(Arc::ptr_eq(&spools.open(me, "1").unwrap().spool.pair, &spool.pair));
    let again = spools.open(me, "2").unwrap();
    assert!(again.earlier.is_some_and(|earlier| Arc::ptr_eq(&earlier.pair, &spool.pair)));
    drop(spool);
    let [mine] = &*names(&at) else { panic!("one directory") };
    assert!(mine.starts_with(&format!("{me}-")), "{mine}");
    assert_eq!(names(&at.join(mine).join("spool")).len(), 1, "that of the second tag");
    drop(again.spool);
    spools.close(me);
    assert!(spools.find(me).is_none());
    until("its directory goes", || names(&at).is_empty()).await;
}

#[tokio::test]
async fn a_sessions_device_is_its_own_and_no_other_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let spools = Spools::below(dir.path().join("sessions"), dir.path().join("lifeline"));
    let (me, other) = (Fingerprint::of(b"s"), Fingerprint::of(b"t"));
    assert!(spools.device(me).is_err());
    spools.begin(me);
    spools.begin(other);
    let mine = spools.device(me).unwrap();
    assert_eq!(spools.device(me).unwrap(), mine);
    assert_ne!(spools.device(other).unwrap(), mine);
    spools.close(me);
    spools.begin(me);
    assert_ne!(spools.device(me).unwrap(), mine, "another session");
}

/// The attack: keys made for it, each with a session and a syncthing.
#[tokio::test]
async fn who_has_something_attached_keeps_its_syncthing() {
    let dir = tempfile::tempdir().unwrap();
    let lifeline = UnixListener::bind(dir.path().join("lifeline")).unwrap();
    let spools = Spools::below(dir.path().join("sessions"), dir.path().join("lifeline"));
    let person = |n: usize| Fingerprint::of(&n.to_be_bytes());
    let mine: HashSet<_> = (0..SYNCTHINGS - 1).map(person).collect();
    for n in 0..200 {
        spools.begin(person(n));
        spools.syncthing(person(n), &mine).unwrap();
    }
    let running = |n: &usize| spools.running(person(*n)).is_some();
    let running: Vec<_> = (0..200).filter(running).collect();
    assert_eq!(running, (0..SYNCTHINGS - 1).chain([199]).collect::<Vec<_>>());
    // Each was asked for on a connection of its own, which ends with it.
    let all: HashSet<_> = (0..200).map(person).collect();
    spools.begin(person(200));
    let refused = spools.syncthing(person(200), &all).unwrap_err().to_string();
    assert_eq!(refused, "20 sessions of this node have a syncthing already, and no more have a place");
    drop(lifeline);
    for n in 0..=200 {
        spools.close(person(n));
    }
    until("all directories go", || names(&dir.path().join("sessions")).is_empty()).await;
}
