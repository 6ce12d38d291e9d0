//! This side's guards, switched off one by one: the accident that each prevents happens then, so the cases in which it
//! stands (`watcher`) prove something. Radar's are proved beside its code.

use std::{fs, time::Duration};

use super::{APP, CODE};
use crate::suite::{App, Case, Sandbox, eventually, eventually::holds, ksync::Ksync};

pub(super) const CASES: &[Case] =
    &[Case::new("without_the_root_check_a_directory_that_goes_empties_containers", local_root)];

/// Longer than anything is waited for before all is looked at.
const LONG: Duration = Duration::from_secs(100);

fn sync_without(sandbox: &Sandbox, guard: &'static str) {
    for number in 0..40 {
        sandbox.write(&format!("dir/{number}.txt"), "content\n");
    }
    let ksync = Ksync { guards_off: guard, ..sandbox.ksync.clone() };
    let local = sandbox.local().display().to_string();
    ksync.ok(&[&["create", "--name", "main", "--wait"], APP, &[&local, CODE]].concat());
}

/// `watcher::a_local_directory_that_goes_away`, without the guard.
fn local_root(sandbox: &Sandbox) {
    let container = App::idle(sandbox).apply(sandbox).only();
    sync_without(sandbox, "local-root");
    let aside = sandbox.scratch("aside");
    fs::rename(sandbox.local(), &aside).expect("rename");
    fs::create_dir(sandbox.local()).expect("mkdir");
    eventually("the accident", LONG, || {
        let left = container.tree(sandbox.cluster(), CODE)?;
        holds(left.get("dir/0.txt").is_none(), "the container still has its files")
    });
}
