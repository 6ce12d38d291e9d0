//! Attacks that would have ksync do what an exec into the container could not.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
};

use serde_json::json;

use super::{super::APP, CODE, NO_RELOAD};
use crate::suite::{
    App, Case, Need, Sandbox,
    eventually::{LONG, SHORT, eventually, holds},
};

pub(in crate::cases) const CASES: &[Case] = &[
    Case::new("set_uid_programs_through_a_host_path", set_uid).on_each().needs(&[Need::Processes]),
    Case::new("a_directory_is_swapped_for_a_symlink", swapped).on_each().needs(&[Need::Processes]),
    Case::new("what_only_root_may_write_in_the_root_file_system", root_file_system).on_each(),
    Case::new("root_without_capabilities", drop_all).on_each(),
];

const USER: u32 = 1000;

/// As Kubernetes' strictest profile wants it, which gives no capability at all.
fn restricted(app: App, user: u32) -> App {
    app.container(
        "securityContext",
        json!({
            "runAsUser": user, "runAsGroup": user, "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] }, "seccompProfile": { "type": "RuntimeDefault" },
        }),
    )
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

/// In a volume which everybody may write, and in a directory of it which only the node's root may.
fn set_uid(sandbox: &Sandbox) {
    let host = sandbox.scratch("host");
    fs::create_dir_all(host.join("roots")).expect("mkdir");
    chown(&host, Some(0), Some(0)).expect("a directory of root's");
    mode(&host, 0o777);
    for name in ["tool", "roots/tool"] {
        sandbox.write(name, "#!/bin/sh\nid\n");
        mode(&sandbox.path(name), 0o4755);
    }
    sandbox.write("a.txt", "a\n");
    let container = restricted(App::idle(sandbox).host_dir(&host, CODE), USER).apply(sandbox).only();
    let local = sandbox.local().display().to_string();
    sandbox.ksync.ok(&[&["create", "--name", "main", &*local, CODE], NO_RELOAD].concat());
    let refused = format!("`roots/tool`: user {USER} may not write it in the container");
    let told = sandbox.ksync.becomes("main", "error", LONG);
    assert_eq!(told.containers[0].reason, refused, "{told:?}");
    let made = fs::metadata(host.join("tool")).expect("what may be written");
    assert_eq!((made.uid(), made.mode() & 0o7777), (USER, 0o755), "the user's own, and no power with it");
    assert!(!host.join("roots/tool").exists());
    assert_eq!(fs::metadata(host.join("roots")).expect("stat").uid(), 0);
    // The rest goes on, and so does that when it may be written.
    sandbox.write("b.txt", "b\n");
    eventually("an edit beside it", SHORT, || {
        let there = container.read(sandbox.cluster(), "/code/b.txt")?;
        holds(there == "b\n", there)
    });
    assert_eq!(sandbox.ksync.spec("main").expect("the spec").containers[0].reason, refused);
    mode(&host.join("roots"), 0o777);
    sandbox.watching(std::slice::from_ref(&container), LONG);
    let made = fs::metadata(host.join("roots/tool")).expect("it is written");
    assert_eq!((made.uid(), made.mode() & 0o7777), (USER, 0o755));
}

const SECRET: &str = "nobody's to read";

/// Exchanges a directory with a symlink as fast as it can (renameat2(2), on either machine). The sync may put a directory where
/// it meets the symlink, which is then made anew.
const SWAP: &str = "\
import ctypes, os, platform, shutil
call = ctypes.CDLL(None).syscall
number = 316 if platform.machine() == 'x86_64' else 276
while not os.path.exists('/code/d'):
    pass
os.symlink('/outside', '/code/link')
while not os.path.exists('/stop'):
    call(number, -100, b'/code/d', -100, b'/code/link', 2)
    if not os.path.islink('/code/d') and not os.path.islink('/code/link'):
        shutil.rmtree('/code/link', ignore_errors=True)
        try:
            os.symlink('/outside', '/code/link')
        except FileExistsError:
            pass
";

fn swapped(sandbox: &Sandbox) {
    let line = format!(
        "mkdir -p /code /outside && echo \"{SECRET}\" >/outside/f && chmod 600 /outside/f && exec sleep 1000000"
    );
    let container = App::shell(sandbox, &line).with_python().apply(sandbox).only();
    sandbox.write("d/f", "from here\n");
    // What is swapped here would be swapped by the container.
    sandbox.sync(&[NO_RELOAD, &["--direction", "to-container"]].concat(), CODE);
    let run = format!("cat >/swap.py <<'END'\n{SWAP}END\n(/usr/bin/python3 /swap.py >/swap.log 2>&1 &)");
    container.sh(sandbox.cluster(), &run);
    eventually("the container to swap", SHORT, || {
        let is = container.sh(sandbox.cluster(), "[ -L /code/d ] && echo link; cat /swap.log");
        holds(is.contains("link"), is)
    });
    for number in 0..300 {
        sandbox.write(&format!("d/{}", number % 30), format!("{number}\n"));
    }
    // Edits go on while the directory is neither this nor that.
    sandbox.write("last", "last\n");
    eventually("an edit beside it", SHORT, || {
        let there = container.read(sandbox.cluster(), "/code/last")?;
        holds(there == "last\n", there)
    });
    container.sh(sandbox.cluster(), "touch /stop");
    assert_eq!(container.sh(sandbox.cluster(), "ls -A /outside && cat /outside/f"), format!("f\n{SECRET}\n"));
    for dir in [sandbox.local(), sandbox.ksync.home.clone()] {
        let read =
            std::process::Command::new("grep").args(["-rlF", SECRET]).arg(&dir).output().expect("grep");
        assert_eq!(String::from_utf8_lossy(&read.stdout), "", "read by way of the symlink");
    }
}

/// An image whose files are root's and whose process is not: its code is written nevertheless, and its system is not.
fn root_file_system(sandbox: &Sandbox) {
    sandbox.write("a.txt", "a\n");
    sandbox.write("tool", "tool\n");
    mode(&sandbox.path("tool"), 0o6755);
    let container = restricted(App::idle(sandbox), USER).apply(sandbox).only();
    let local = sandbox.local().display().to_string();
    let create = |remote| [APP, &["--reload=false", "--name", "main", "--wait", &*local, remote]].concat();
    let said = sandbox.ksync.run(&[&["create"], create("/home").as_slice()].concat());
    assert_eq!(said.status, Some(0), "{}", said.stderr);
    let note = format!(
        "`/home` is written whatever its permissions: it is in the root file system of container `app` in pod `{}`",
        container.pod
    );
    assert!(said.stderr.contains(&note), "{}", said.stderr);
    let stat = container.sh(sandbox.cluster(), "cd /home && stat -c '%u %a %n' a.txt tool");
    assert_eq!(stat, "0 644 a.txt\n0 755 tool\n", "as the directory's owner would have it");
    sandbox.write("a.txt", "edited\n");
    eventually("the edit", SHORT, || {
        let there = container.read(sandbox.cluster(), "/home/a.txt")?;
        holds(there == "edited\n", there)
    });
    sandbox.ksync.ok(&["delete", "main"]);
    let may_not = "user 1000 may not, and ksync may no more there than `kubectl exec`";
    let refusals = [
        ("/bin", "write in"),
        ("/root", "write in"),
        ("/root/app", "open"),
        ("/etc/app", "create"),
        ("/new", "create"),
    ];
    for (remote, what) in refusals {
        let other = sandbox.scratch(&format!("other{}", remote.replace('/', "-")));
        fs::create_dir(&other).expect("mkdir");
        let other = other.display().to_string();
        let name = remote.replace('/', "x");
        let run = sandbox.ksync.run(&[&["create", "--name", &name, &*other, remote], NO_RELOAD].concat());
        let refused = format!("can't {what} `{remote}` in the container: {may_not}");
        if run.status == Some(0) {
            let reason = sandbox.ksync.becomes(&name, "error", SHORT).containers[0].reason.clone();
            assert!(reason.contains(&refused), "{remote}: {reason}");
            sandbox.ksync.ok(&["delete", &name]);
        } else {
            assert!(run.stderr.contains(&refused), "{remote}: {}", run.stderr);
        }
    }
    let bin = container.sh(sandbox.cluster(), "ls -A /bin | grep -v -e '^[a-z0-9\\[]' || true");
    assert_eq!(bin, "", "nothing is left in it");
}

/// It is the owner of root's files, and nothing else.
fn drop_all(sandbox: &Sandbox) {
    let host = sandbox.scratch("host");
    fs::create_dir_all(host.join("others")).expect("mkdir");
    for dir in [host.clone(), host.join("others")] {
        mode(&dir, 0o755);
    }
    chown(host.join("others"), Some(USER), Some(USER)).expect("chown");
    sandbox.write("a.txt", "a\n");
    sandbox.write("others/b.txt", "b\n");
    let container = restricted(App::idle(sandbox).host_dir(&host, CODE), 0).apply(sandbox).only();
    let local = sandbox.local().display().to_string();
    sandbox.ksync.ok(&[&["create", "--name", "main", &*local, CODE], NO_RELOAD].concat());
    let told = sandbox.ksync.becomes("main", "error", LONG);
    assert_eq!(
        told.containers[0].reason, "`others/b.txt`: user 0 may not write it in the container",
        "{told:?}"
    );
    assert_eq!(container.read(sandbox.cluster(), "/code/a.txt").as_deref(), Ok("a\n"));
    // Its root file system is written as ever.
    let other = sandbox.scratch("other");
    fs::create_dir(&other).expect("mkdir");
    fs::write(other.join("c.txt"), "c\n").expect("write");
    let other = other.display().to_string();
    sandbox.ksync.ok(&[&["create", "--name", "two", "--wait", &*other, "/home"], NO_RELOAD].concat());
    assert_eq!(container.read(sandbox.cluster(), "/home/c.txt").as_deref(), Ok("c\n"));
}
