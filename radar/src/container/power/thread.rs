//! Threads that may do what a container may do to files.
//!
//! Invariant: what a thread has taken it keeps to its end, and so do the threads that it starts. Of capabilities a thread keeps
//! no more than its attachment may ever take, and has in effect only what the work at hand takes.
//!
//! The user and groups are those for files alone: with its own user, a thread could be signalled by others of that number, and
//! with it all of radar. All calls are of the calling thread alone, which those of the C library are not: setfsuid(2),
//! setfsgid(2), setgroups(2), capset(2).
#![allow(unsafe_code)]

use std::{
    cell::Cell,
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use ksync_tree::{Part, Power};
use rustix::{
    fs::Gid,
    thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_thread_groups},
};

use super::credential::Credential;

/// Capabilities over files. CAP_MKNOD and others make nothing that is synced.
const FILES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID);

thread_local! {
    /// Which power this thread has taken, and what of it is in effect.
    static TAKEN: Cell<Option<(u64, Part)>> = const { Cell::new(None) };
}

static LAST: AtomicU64 = AtomicU64::new(0);

/// What the threads of an attachment may do.
#[derive(Debug)]
pub(crate) struct ContainerPower {
    /// Never used twice.
    id: u64,
    credential: Credential,
    overrides: bool,
    /// What this thread had when it was made.
    own: CapabilitySet,
}

impl ContainerPower {
    /// Of a credential. Whether permissions may be overridden in a part of the tree is the caller's to know.
    ///
    /// # Errors
    /// The system does not tell what this thread has.
    pub(crate) fn new(credential: Credential, overrides: bool) -> io::Result<Self> {
        let own = capabilities(None)?.permitted;
        Ok(Self { id: LAST.fetch_add(1, Ordering::Relaxed), credential, overrides, own })
    }

    /// Who is refused where something is.
    pub(crate) fn who(&self) -> String {
        format!("user {}", self.credential.uid)
    }

    /// Whether permissions are overridden somewhere that the container's own process could not override.
    pub(crate) fn exceeds(&self) -> bool {
        self.overrides && self.effective(Part::Overridden) != self.effective(Part::Plain)
    }

    /// What is in effect in a part. A lease, by which radar sees whether a file is being written, is given to the owner or with
    /// CAP_LEASE, and gives no more than that.
    fn effective(&self, part: Part) -> CapabilitySet {
        let own = CapabilitySet::from_bits_retain(self.credential.capabilities);
        let usual = own & FILES | CapabilitySet::LEASE;
        (if part == Part::Overridden { usual | FILES } else { usual }) & self.own
    }

    /// What is in effect while the container's init is looked at.
    fn looking(&self) -> CapabilitySet {
        let part = if self.overrides { Part::Overridden } else { Part::Plain };
        self.effective(part) | CapabilitySet::SYS_PTRACE & self.own
    }

    fn has(&self, effective: CapabilitySet) -> io::Result<()> {
        let (permitted, inheritable) = (self.looking(), CapabilitySet::empty());
        Ok(set_capabilities(None, CapabilitySets { effective, permitted, inheritable })?)
    }

    /// The calling thread takes it, for good. One that has taken it already has it.
    ///
    /// # Errors
    /// The thread has taken another, or the system refuses.
    pub(crate) fn take(&self) -> io::Result<()> {
        if self.taken()?.is_some() {
            return Ok(());
        }
        let Credential { uid, gid, groups, .. } = &self.credential;
        let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        set_thread_groups(&groups)?;
        set_file_group(*gid)?;
        set_file_user(*uid)?;
        self.has(self.effective(Part::Plain))?;
        TAKEN.set(Some((self.id, Part::Plain)));
        Ok(())
    }

    /// What is in effect of it in the calling thread; none where the thread has not taken it.
    fn taken(&self) -> io::Result<Option<Part>> {
        match TAKEN.get() {
            Some((id, part)) if id == self.id => Ok(Some(part)),
            Some(_) => {
                Err(io::Error::new(io::ErrorKind::PermissionDenied, "the thread is another container's"))
            }
            None => {
                // One that was started by a thread which has it has it, too.
                let sets = capabilities(None)?;
                let is_ours = sets.permitted == self.looking()
                    && sets.effective == self.effective(Part::Plain)
                    && (file_user(), file_group()) == (self.credential.uid, self.credential.gid);
                if is_ours {
                    TAKEN.set(Some((self.id, Part::Plain)));
                }
                Ok(is_ours.then_some(Part::Plain))
            }
        }
    }

    /// Whether the calling thread has taken it.
    pub(crate) fn is_taken(&self) -> bool {
        matches!(self.taken(), Ok(Some(_)))
    }

    /// Does something that looks at the container's init and reads no file. Outside of the attachment's threads nothing is
    /// taken for it.
    pub(crate) fn look<T>(&self, look: impl FnOnce() -> T) -> T {
        let Ok(Some(part)) = self.taken() else { return look() };
        if let Err(error) = self.has(self.looking()) {
            tracing::error!(%error, "take what a look at a container takes");
        }
        let looked = look();
        if self.has(self.effective(part)).is_err() {
            // As in `ksync_tree`: less can't be refused.
            std::process::abort();
        }
        looked
    }
}

impl Power for ContainerPower {
    fn enter(&self, part: Part) -> io::Result<Part> {
        let refused = |why| io::Error::new(io::ErrorKind::PermissionDenied, why);
        let before = self.taken()?.ok_or_else(|| refused("the thread is not the container's"))?;
        if part == Part::Overridden && !self.overrides {
            return Err(refused("permissions are not overridden here"));
        }
        if before != part {
            self.has(self.effective(part))?;
            TAKEN.set(Some((self.id, part)));
        }
        Ok(before)
    }
}

/// A number that is nobody's: the call changes nothing with it.
const NOBODY: u32 = u32::MAX;

/// The calling thread's user for files.
fn file_user() -> u32 {
    call(libc::SYS_setfsuid, NOBODY)
}

fn file_group() -> u32 {
    call(libc::SYS_setfsgid, NOBODY)
}

/// Both calls say what was before, and nothing of a failure.
fn set_file_user(uid: u32) -> io::Result<()> {
    call(libc::SYS_setfsuid, uid);
    if file_user() == uid { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
}

fn set_file_group(gid: u32) -> io::Result<()> {
    call(libc::SYS_setfsgid, gid);
    if file_group() == gid { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
}

fn call(number: libc::c_long, id: u32) -> u32 {
    // SAFETY: both calls take a number, and change nothing but the calling thread.
    let before = unsafe { libc::syscall(number, libc::c_ulong::from(id)) };
    // The kernel's answer is the number, as a signed integer.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let before = before as u32;
    before
}
