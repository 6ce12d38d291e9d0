//! What is written into the process before its system calls: strings, pointers to them, and room for what the kernel
//! gives back.
//!
//! Invariant: a layout is a function of the program and the base address alone, so that its length is known before its
//! base is.

use std::ffi::CString;

use crate::program::Program;

/// Size of the kernel's `struct sigaction` and `struct itimerval` on both machines.
pub(crate) const RECORD: u64 = 32;
/// setitimer(2): real, virtual and profiling time.
pub(crate) const TIMERS: [u64; 3] = [0, 1, 2];
/// Number of signals, the real-time ones among them.
pub(crate) const SIGNALS: u64 = 64;
/// Signals that come from timers and files of the old program: none of them is the new one's.
const LEFT_OVER: [i32; 6] =
    [libc::SIGALRM, libc::SIGVTALRM, libc::SIGPROF, libc::SIGIO, libc::SIGPIPE, libc::SIGURG];
/// Real-time signals, all of them the old program's.
const REAL_TIME: u64 = u64::MAX << 31;
/// One record for each signal and timer.
const ROOM: usize = 32 * (64 + TIMERS.len());

/// A layout with its bytes. Each field but the bytes is an address in the process.
pub(crate) struct Page {
    pub(crate) bytes: Vec<u8>,
    base: u64,
    pub(crate) program: u64,
    pub(crate) arguments: u64,
    pub(crate) environment: u64,
    /// The working directory to be.
    pub(crate) directory: u64,
    /// `.`
    pub(crate) here: u64,
    /// 32 zero bytes: the default action, a timer that is off, no time to wait.
    pub(crate) zero: u64,
    /// A set of the signals that only the old program is meant to get.
    pub(crate) left_over: u64,
    /// One record for each signal and timer.
    room: u64,
}

impl Page {
    /// Laid out as it shall stand at `base`.
    pub(crate) fn new(program: &Program, base: u64) -> Self {
        let empty = Self {
            bytes: Vec::new(),
            base,
            program: 0,
            arguments: 0,
            environment: 0,
            directory: 0,
            here: 0,
            zero: 0,
            left_over: 0,
            room: 0,
        };
        let mut page = empty;
        page.zero = page.put(&[0; 32]);
        let signals = LEFT_OVER.iter().fold(REAL_TIME, |set, signal| set | 1 << (signal - 1));
        page.left_over = page.put(&signals.to_ne_bytes());
        page.room = page.put(&[0; ROOM]);
        page.arguments = page.list(&program.arguments);
        page.environment = page.list(&program.environment);
        page.program = page.put(program.path.as_bytes_with_nul());
        page.directory = page.put(program.directory.as_deref().unwrap_or_default().to_bytes_with_nul());
        page.here = page.put(c".".to_bytes_with_nul());
        page
    }

    /// The address of the record for a signal's old action; signals count from 1.
    pub(crate) fn old_action(&self, signal: u64) -> u64 {
        self.room + RECORD * (signal - 1)
    }

    /// The address of the record for what a timer had left.
    pub(crate) fn old_timer(&self, timer: u64) -> u64 {
        self.room + RECORD * (SIGNALS + timer)
    }

    fn put(&mut self, bytes: &[u8]) -> u64 {
        let at = self.base + self.bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        at
    }

    /// Strings, and after them the pointers to them with a null at the end; the address of the first pointer.
    fn list(&mut self, texts: &[CString]) -> u64 {
        let mut pointers: Vec<u64> = texts.iter().map(|text| self.put(text.as_bytes_with_nul())).collect();
        pointers.push(0);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.put(&pointers.into_iter().flat_map(u64::to_ne_bytes).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::{Page, Program};

    #[test]
    fn addresses_lead_to_what_was_put_there() {
        let program = Program {
            path: c"/bin/app".to_owned(),
            arguments: vec![c"app".to_owned(), c"".to_owned()],
            environment: Vec::new(),
            directory: None,
            umask: None,
        };
        let base = 0x7000;
        let page = Page::new(&program, base);
        let at = |address: u64| &page.bytes[usize::try_from(address - base).unwrap()..];
        let word = |address: u64| u64::from_ne_bytes(at(address)[..8].try_into().unwrap());
        assert!(at(page.program).starts_with(b"/bin/app\0") && at(page.here).starts_with(b".\0"));
        assert!(at(word(page.arguments)).starts_with(b"app\0\0"));
        assert_eq!((word(page.arguments + 16), word(page.environment)), (0, 0));
        assert_eq!(page.arguments % 8 + page.environment % 8, 0);
        assert_eq!(
            (page.old_timer(0), page.old_action(64)),
            (page.old_action(65), page.old_action(1) + 63 * 32)
        );
        assert_eq!(Page::new(&program, 0).bytes.len(), page.bytes.len());
    }
}
