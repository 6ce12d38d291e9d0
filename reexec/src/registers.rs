//! What differs between machines: the layout of the general registers, and how a system call is made.
//!
//! x86_64 is tested. aarch64 follows the kernel's `user_pt_regs` and its calling convention and was never run.

/// How seccomp and ptrace name the machine (`AUDIT_ARCH_*`, linux/audit.h): calls of 32-bit programs have another name.
pub(crate) const MACHINE: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };

/// `struct user_regs_struct` of x86_64 (arch/x86/include/uapi/asm/ptrace.h).
#[cfg(target_arch = "x86_64")]
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Registers {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    rbp: u64,
    rbx: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rax: u64,
    rcx: u64,
    rdx: u64,
    rsi: u64,
    rdi: u64,
    orig_rax: u64,
    rip: u64,
    cs: u64,
    eflags: u64,
    rsp: u64,
    ss: u64,
    fs_base: u64,
    gs_base: u64,
    segments: [u64; 4],
}

#[cfg(target_arch = "x86_64")]
impl Registers {
    /// `syscall`.
    pub(crate) const INSTRUCTION: &'static [u8] = &[0x0f, 0x05];

    /// These registers, but about to make a system call with the instruction at `at`.
    pub(crate) fn calling(self, at: u64, number: u64, arguments: [u64; 6]) -> Self {
        let [rdi, rsi, rdx, r10, r8, r9] = arguments;
        // No system call is under way any more, so that the kernel restarts none on the way there.
        Self { rax: number, rdi, rsi, rdx, r10, r8, r9, orig_rax: u64::MAX, rip: at, ..self }
    }

    /// What the system call that has just ended gave back.
    pub(crate) fn result(&self) -> i64 {
        self.rax.cast_signed()
    }

    /// Of the next instruction.
    pub(crate) fn position(&self) -> u64 {
        self.rip
    }

    /// These registers, elsewhere, with no system call to be restarted.
    pub(crate) fn moved(self, to: u64) -> Self {
        Self { rip: to, orig_rax: u64::MAX, ..self }
    }
}

/// `struct user_pt_regs` of aarch64 (arch/arm64/include/uapi/asm/ptrace.h).
#[cfg(target_arch = "aarch64")]
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Registers {
    x: [u64; 31],
    sp: u64,
    pc: u64,
    pstate: u64,
}

#[cfg(target_arch = "aarch64")]
impl Registers {
    /// `svc #0`.
    pub(crate) const INSTRUCTION: &'static [u8] = &[0x01, 0x00, 0x00, 0xd4];
    /// BTYPE of the processor's state: where an indirect branch has just landed.
    const BRANCH_TYPE: u64 = 0b11 << 10;

    /// These registers, but about to make a system call with the instruction at `at`.
    ///
    /// A call that was interrupted is no longer under way: the kernel has prepared its restart before it stopped the
    /// thread, so that the registers as they were read start it again by themselves.
    pub(crate) fn calling(self, at: u64, number: u64, arguments: [u64; 6]) -> Self {
        let mut x = self.x;
        x[..6].copy_from_slice(&arguments);
        x[8] = number;
        Self { x, pc: at, pstate: self.pstate & !Self::BRANCH_TYPE, ..self }
    }

    /// What the system call that has just ended gave back.
    pub(crate) fn result(&self) -> i64 {
        self.x[0].cast_signed()
    }

    /// Of the next instruction.
    pub(crate) fn position(&self) -> u64 {
        self.pc
    }

    /// These registers, elsewhere.
    pub(crate) fn moved(self, to: u64) -> Self {
        Self { pc: to, pstate: self.pstate & !Self::BRANCH_TYPE, ..self }
    }
}

/// Where a call that is made with the instruction at `at` goes on, which is how the kernel tells where it was made.
pub(crate) const fn after(at: u64) -> u64 {
    at.wrapping_add(Registers::INSTRUCTION.len() as u64)
}

/// `word`, with its first bytes (in memory) replaced by the instruction for a system call.
pub(crate) fn with_instruction(word: u64) -> u64 {
    let mut bytes = word.to_ne_bytes();
    bytes[..Registers::INSTRUCTION.len()].copy_from_slice(Registers::INSTRUCTION);
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Registers, with_instruction};

    #[test]
    fn only_the_instruction_is_replaced() {
        let bytes = with_instruction(u64::MAX).to_ne_bytes();
        let (first, rest) = bytes.split_at(Registers::INSTRUCTION.len());
        assert_eq!(first, Registers::INSTRUCTION);
        assert!(rest.iter().all(|byte| *byte == 0xff));
    }

    #[test]
    fn the_sizes_are_the_kernels() {
        assert_eq!(size_of::<Registers>(), if cfg!(target_arch = "x86_64") { 27 * 8 } else { 34 * 8 });
    }
}
