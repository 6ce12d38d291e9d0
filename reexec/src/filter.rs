//! What a seccomp filter answers: an interpreter of classic BPF over `struct seccomp_data`, pure.
//!
//! Invariant: an answer that the kernel may give is among those that are found. A word of the call that is not known yet
//! (an address, a descriptor) is taken to be anything: both ways are gone where a filter asks for it. What the kernel
//! would not have taken for a filter, and what takes too long to follow, has no answer.
//!
//! Instructions are those of `seccomp_check_filter` and `bpf_convert_filter` of Linux (`kernel/seccomp.c`,
//! `net/core/filter.c`); registers and memory begin as zero. The crates that were found compile filters (`seccompiler`)
//! or know no unknown words and rest since 2022 (`bpfvm`).

use std::collections::BTreeSet;

/// `struct sock_filter` (`linux/filter.h`): an instruction of a filter.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    /// How many instructions are skipped where the comparison holds.
    pub(crate) jt: u8,
    /// The same where it does not.
    pub(crate) jf: u8,
    pub(crate) k: u32,
}

/// A word of 32 bits; none where its value is not known.
type Word = Option<u32>;

/// `struct seccomp_data` (seccomp(2)) in its order: number, machine, instruction pointer and six arguments, the latter
/// seven as two words each with the low one first, as both supported machines have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Data(pub(crate) [Word; Self::WORDS]);

impl Data {
    const WORDS: usize = 16;
    /// In bytes.
    const SIZE: u32 = 64;

    /// Of a call; what is none is not known.
    pub(crate) fn of(number: i32, machine: u32, pointer: Option<u64>, arguments: [Option<u64>; 6]) -> Self {
        let mut words = [None; Self::WORDS];
        words[0] = Some(number.cast_unsigned());
        words[1] = Some(machine);
        for (place, value) in [pointer].into_iter().chain(arguments).enumerate() {
            words[2 + 2 * place] = value.map(low);
            words[3 + 2 * place] = value.map(|value| low(value >> 32));
        }
        Self(words)
    }

    /// The word at an offset in bytes.
    fn load(&self, offset: u32) -> Result<Word, Unclear> {
        let index = usize::try_from(offset / 4).map_err(|_| Unclear)?;
        if offset.is_multiple_of(4) { self.0.get(index).copied().ok_or(Unclear) } else { Err(Unclear) }
    }
}

#[allow(clippy::cast_possible_truncation)]
const fn low(value: u64) -> u32 {
    value as u32
}

/// No answer was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unclear;

/// Instructions that are followed of one filter for one call, over all ways. A filter has 4,096 at most and no loops, so
/// that only a multitude of ways comes near.
const PATIENCE: usize = 1 << 16;
const MEMORY: usize = 16;

// Classes, sizes, modes, operations and sources of `linux/bpf_common.h`.
const LD: u16 = 0x00;
const LDX: u16 = 0x01;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
const ALU: u16 = 0x04;
const JMP: u16 = 0x05;
const RET: u16 = 0x06;
const MISC: u16 = 0x07;
const CLASS: u16 = 0x07;
const ABS: u16 = 0x20;
const MEM: u16 = 0x60;
const LEN: u16 = 0x80;
/// The operand is the register X and not the constant.
const X: u16 = 0x08;
/// The answer is the register A.
const A: u16 = 0x10;
const TXA: u16 = 0x80;
const NEG: u16 = 0x80;
const ALWAYS: u16 = 0x00;

/// How far one of the ways has come.
#[derive(Clone, Copy)]
struct Way {
    next: usize,
    a: Word,
    x: Word,
    memory: [Word; MEMORY],
}

/// Every value that a filter may return for a call: `SECCOMP_RET_*` with its data.
pub(crate) fn answers(filter: &[Instruction], data: &Data) -> Result<BTreeSet<u32>, Unclear> {
    let mut found = BTreeSet::new();
    let mut ways = vec![Way { next: 0, a: Some(0), x: Some(0), memory: [Some(0); MEMORY] }];
    let mut left = PATIENCE;
    while let Some(mut way) = ways.pop() {
        loop {
            left = left.checked_sub(1).ok_or(Unclear)?;
            match step(filter, data, &mut way)? {
                Step::On => {}
                Step::Either(other) => ways.push(Way { next: other, ..way }),
                Step::Answer(value) => {
                    found.insert(value);
                    break;
                }
            }
        }
    }
    Ok(found)
}

enum Step {
    On,
    /// On, and from there as well.
    Either(usize),
    Answer(u32),
}

fn step(filter: &[Instruction], data: &Data, way: &mut Way) -> Result<Step, Unclear> {
    let Instruction { code, jt, jf, k } = *filter.get(way.next).ok_or(Unclear)?;
    way.next += 1;
    let index = || usize::try_from(k).ok().filter(|index| *index < MEMORY).ok_or(Unclear);
    let operand = if code & X == 0 { Some(k) } else { way.x };
    match (code & CLASS, code & !CLASS) {
        (LD, ABS) => way.a = data.load(k)?,
        (LD, LEN) => way.a = Some(Data::SIZE),
        (LD, 0) => way.a = Some(k),
        (LD, MEM) => way.a = way.memory[index()?],
        (LDX, LEN) => way.x = Some(Data::SIZE),
        (LDX, 0) => way.x = Some(k),
        (LDX, MEM) => way.x = way.memory[index()?],
        (ST, 0) => way.memory[index()?] = way.a,
        (STX, 0) => way.memory[index()?] = way.x,
        (MISC, 0) => way.x = way.a,
        (MISC, TXA) => way.a = way.x,
        (ALU, NEG) => way.a = way.a.map(u32::wrapping_neg),
        (ALU, operation) => match (operation & !X, operand) {
            // As if the filter had ended here with 0.
            (0x30, Some(0)) => return Ok(Step::Answer(0)),
            // It may be 0.
            (0x30, None) => return Err(Unclear),
            (operation, operand) => way.a = compute(operation, way.a, operand)?,
        },
        (JMP, ALWAYS) => way.next += usize::try_from(k).map_err(|_| Unclear)?,
        (JMP, operation) => {
            let (yes, no) = (way.next + usize::from(jt), way.next + usize::from(jf));
            way.next = match compare(operation & !X, way.a, operand)? {
                Some(true) => yes,
                Some(false) => no,
                None => {
                    way.next = yes;
                    return Ok(if yes == no { Step::On } else { Step::Either(no) });
                }
            };
        }
        (RET, 0) => return Ok(Step::Answer(k)),
        (RET, A) => return way.a.map(Step::Answer).ok_or(Unclear),
        _ => return Err(Unclear),
    }
    Ok(Step::On)
}

/// A number that is not known makes the result unknown.
fn compute(operation: u16, a: Word, operand: Word) -> Result<Word, Unclear> {
    let with: fn(u32, u32) -> u32 = match operation {
        0x00 => u32::wrapping_add,
        0x10 => u32::wrapping_sub,
        0x20 => u32::wrapping_mul,
        0x30 => |a, by| a / by,
        0x40 => |a, with| a | with,
        0x50 => |a, with| a & with,
        // Modulo the width, as the kernel has it.
        0x60 => u32::wrapping_shl,
        0x70 => u32::wrapping_shr,
        0xa0 => |a, with| a ^ with,
        _ => return Err(Unclear),
    };
    Ok(a.zip(operand).map(|(a, operand)| with(a, operand)))
}

/// None where it is not known.
fn compare(operation: u16, a: Word, operand: Word) -> Result<Option<bool>, Unclear> {
    let holds: fn(u32, u32) -> bool = match operation {
        0x10 => |a, k| a == k,
        0x20 => |a, k| a > k,
        0x30 => |a, k| a >= k,
        0x40 => |a, k| a & k != 0,
        _ => return Err(Unclear),
    };
    Ok(a.zip(operand).map(|(a, operand)| holds(a, operand)))
}

#[cfg(test)]
mod tests;
