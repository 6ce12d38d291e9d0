//! Threads with the power of containers, as root of this machine.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    sync::Arc,
};

use ksync_tree::{Entry, Kind, Known, Old, Owner, Part, Power, Root, Staging, Swapped, look};
use rustix::fs::{Mode, OFlags};

use super::{ContainerPower, Credential, Workers};

/// CAP_CHOWN and CAP_DAC_OVERRIDE.
const CHOWN_AND_OVERRIDE: u64 = 0b11;

fn user(uid: u32, groups: &[u32], capabilities: u64) -> Credential {
    Credential { uid, gid: uid, groups: groups.to_vec(), capabilities }
}

/// Does something on a thread with a power; none where this process can't give it one.
fn with<T: Send + 'static>(
    power: &Arc<ContainerPower>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    Some(Workers::new(Arc::clone(power)).wait(work).expect("a thread with the power"))
}

fn power(credential: Credential, overrides: bool) -> Arc<ContainerPower> {
    Arc::new(ContainerPower::new(credential, overrides).unwrap())
}

fn open(path: &Path, flags: OFlags) -> std::os::fd::OwnedFd {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// A directory that others may go through, with a root of it.
fn tree(power: &Arc<ContainerPower>) -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let root = Root::from_fd(open(dir.path(), OFlags::PATH | OFlags::DIRECTORY)).unwrap();
    let root = root.with_power(Arc::clone(power) as Arc<dyn Power>);
    (dir, root)
}

fn overridden(dir: &Path, root: Root, mounts: &[&str]) -> Root {
    let alone = open(dir, OFlags::PATH | OFlags::DIRECTORY);
    root.overridden(alone, mounts.iter().map(|mount| (*mount).to_owned()).collect())
}

fn file(mode: u32) -> Entry {
    Entry { path: "f".into(), kind: Kind::File, size: 1, mtime_ns: 5, mode, hash: None, target: None }
}

/// Puts a file at `path` where nothing stands.
fn put(root: &Root, path: &str, mode: u32) -> Result<(), ksync_tree::Error> {
    let mut staging = Staging::new(root, path)?;
    staging.fill(b"x")?;
    let (swapped, _) = staging.place(&file(mode), Owner::FromParent, Known::Nothing, Old::Dropped)?;
    assert!(matches!(swapped, Swapped::Done));
    Ok(())
}

#[test]
fn a_thread_may_do_what_a_container_may_and_no_other_thread_does_it() {
    let power = power(user(1234, &[77], 0), false);
    let (dir, root) = tree(&power);
    let shared = dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    chown(&shared, Some(0), Some(77)).unwrap_or_default();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o2775)).unwrap();
    fs::write(dir.path().join("secret"), "s").unwrap();
    fs::set_permissions(dir.path().join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    if rustix::process::geteuid().is_root() {
        assert!(look(&root, "secret").is_err(), "a thread of radar's with all power");
    }
    let root = Arc::new(root);
    let there = Arc::clone(&root);
    let Some(results) = with(&power, move || {
        let denied = put(&there, "f", 0o644).unwrap_err();
        let unread = ksync_tree::read(&there, "secret", 0).unwrap_err();
        (denied, unread, put(&there, "shared/f", 0o4755))
    }) else {
        return ksync_skip::skipped("only root can give a thread another user");
    };
    let (denied, unread, by_group) = results;
    assert!(denied.is_denied() && unread.is_denied(), "{denied:?} {unread:?}");
    by_group.unwrap();
    // It could not be given to root, whose directory it is in; and has no bit but permissions.
    let made = fs::metadata(shared.join("f")).unwrap();
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (1234, 77, 0o755));
    // This thread is what it was.
    fs::read(dir.path().join("secret")).unwrap();
}

#[test]
fn permissions_are_overridden_in_the_own_root_and_in_no_mount_below_it() {
    let power = power(user(1234, &[], 0), true);
    let (dir, root) = tree(&power);
    for name in ["code", "volume"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    let root = Arc::new(overridden(dir.path(), root, &["volume"]));
    let there = Arc::clone(&root);
    let Some((code, volume)) =
        with(&power, move || (put(&there, "code/f", 0o644), put(&there, "volume/f", 0o644)))
    else {
        return ksync_skip::skipped("only root can give a thread another user");
    };
    code.unwrap();
    // As the directory's owner would have it.
    assert_eq!(fs::metadata(dir.path().join("code/f")).unwrap().uid(), 0);
    assert!(volume.unwrap_err().is_denied());
}

#[test]
fn capabilities_are_the_containers() {
    let may_override = power(user(0, &[], CHOWN_AND_OVERRIDE), false);
    let dropped_all = power(user(0, &[], 0), false);
    let put_by = |power: &Arc<ContainerPower>| {
        let (dir, root) = tree(power);
        chown(dir.path(), Some(1234), Some(1234)).unwrap_or_default();
        let put = with(power, move || put(&root, "f", 0o644));
        put.map(|put| put.map(|()| fs::metadata(dir.path().join("f")).unwrap().uid()))
    };
    let (Some(by_root), Some(by_drop_all)) = (put_by(&may_override), put_by(&dropped_all)) else {
        return ksync_skip::skipped("only root can give a thread another user");
    };
    assert_eq!(by_root.unwrap(), 1234, "given to the directory's owner");
    assert!(by_drop_all.unwrap_err().is_denied(), "root without capabilities");
}

#[test]
fn what_was_taken_stays_taken_and_passes_on_to_threads() {
    let mine = power(user(1234, &[], 0), false);
    let others = power(user(1235, &[], 0), false);
    let (theirs, own) = (Arc::clone(&others), Arc::clone(&mine));
    let Some((another, child, override_)) = with(&mine, move || {
        let child = std::thread::scope(|scope| scope.spawn(|| own.enter(Part::Plain)).join().unwrap());
        (theirs.take().is_err(), child, own.enter(Part::Overridden))
    }) else {
        return ksync_skip::skipped("only root can give a thread another user");
    };
    assert!(another, "no other container's");
    assert_eq!(child.unwrap(), Part::Plain);
    assert!(override_.is_err(), "where permissions are not overridden");
    assert!(mine.enter(Part::Plain).is_err(), "this thread has not taken it");
}

/// An exec as another user would not see the root of a process of root's; a look at a container has to, and nothing else.
#[test]
fn a_look_at_the_init_takes_what_it_takes_and_gives_it_back() {
    let power = power(user(1234, &[], 0), false);
    let own = Arc::clone(&power);
    // A child is another process, which this one may trace.
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let root = format!("/proc/{}/root", child.id());
    let see = move || fs::read_link(&root).is_ok();
    let seen = with(&power, move || (see(), own.look(&see), see()));
    child.kill().unwrap();
    child.wait().unwrap();
    match seen {
        Some(seen) => assert_eq!(seen, (false, true, false)),
        None => ksync_skip::skipped("only root can give a thread another user"),
    }
}

#[test]
fn workers_are_few_and_work_that_panics_is_told() {
    let workers = Workers::new(Arc::new(ContainerPower::new(Credential::own(), false).unwrap()));
    assert!(workers.wait(|| panic!("on purpose")).is_err());
    let all: Vec<_> = (0..100).map(|number| workers.wait(move || number).unwrap()).collect();
    assert_eq!(all, (0..100).collect::<Vec<_>>());
}
