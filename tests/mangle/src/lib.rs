//! For tests of parsers of outside bytes: samples, broken in seeded ways. The short form of what the targets in `fuzz/` do.
//!
//! Invariant: one seed breaks one list of samples in one way, on every machine.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Another seed than 1.
pub const SEED: &str = "KSYNC_MANGLE_SEED";
/// Another number of inputs than [`CASES`].
pub const COUNT: &str = "KSYNC_MANGLE_CASES";
/// How many inputs are made of the samples unless [`COUNT`] says otherwise.
pub const CASES: u64 = 3000;

/// Inputs grow no longer than this many bytes.
const LONGEST: usize = 1 << 16;
/// Wounds of one input, at most.
const WOUNDS: usize = 6;
/// What parsers stumble over.
const WORDS: &[&[u8]] = &[
    b"\0",
    b"\n",
    b"\r\n",
    b"\t",
    b" ",
    b"-1",
    b"0",
    b"18446744073709551615",
    b"18446744073709551616",
    b"1e999",
    b"null",
    b"{}",
    b"[]",
    b"[[[[[[[[[[[[[[[[",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    "e\u{301}".as_bytes(),
    b"../",
    b"/",
    b"*",
    b"**",
    b"[!",
    b"&a",
    b"*a",
    b"? ",
    b": ",
    b"- ",
    b"#",
    b"|",
    b"%",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
];

/// Gives `check` each sample as it is, and then what has become of them.
///
/// # Panics
/// Where `check` does, with the input printed.
#[allow(clippy::print_stderr, reason = "the harness shows it where the test fails")]
pub fn each(samples: &[&[u8]], check: impl Fn(&[u8])) {
    let given = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let mut rng = StdRng::seed_from_u64(given(SEED).unwrap_or(1));
    let mangled = (0..given(COUNT).unwrap_or(CASES)).map(|_| mangled(samples, &mut rng));
    for input in samples.iter().map(|sample| sample.to_vec()).chain(mangled) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&input))) {
            eprintln!("the input: b\"{}\"", input.escape_ascii());
            resume_unwind(panic);
        }
    }
}

/// The same for texts: what is no UTF-8 is replaced, as those who read such bytes do.
///
/// # Panics
/// Where `check` does.
pub fn each_text(samples: &[&str], check: impl Fn(&str)) {
    let samples: Vec<&[u8]> = samples.iter().map(|sample| sample.as_bytes()).collect();
    each(&samples, |input| check(&String::from_utf8_lossy(input)));
}

fn mangled(samples: &[&[u8]], rng: &mut StdRng) -> Vec<u8> {
    let mut input = pick(samples, rng).to_vec();
    for _ in 0..rng.random_range(1..=WOUNDS) {
        wound(&mut input, samples, rng);
        input.truncate(LONGEST);
    }
    input
}

fn pick<'a>(from: &[&'a [u8]], rng: &mut StdRng) -> &'a [u8] {
    if from.is_empty() { &[] } else { from[rng.random_range(0..from.len())] }
}

/// A part of `bytes`, which may be empty.
fn part(bytes: &[u8], rng: &mut StdRng) -> std::ops::Range<usize> {
    let from = rng.random_range(0..=bytes.len());
    // Short parts are more often what hurts.
    let most = if rng.random_bool(0.8) { 16 } else { bytes.len() };
    let length = rng.random_range(0..=most.min(bytes.len() - from));
    from..from + length
}

fn wound(input: &mut Vec<u8>, samples: &[&[u8]], rng: &mut StdRng) {
    let at = rng.random_range(0..=input.len());
    match rng.random_range(0..8) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.random_range(0..8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = rng.random();
            }
        }
        2 => drop(input.splice(at..at, pick(WORDS, rng).iter().copied())),
        3 => {
            let gone = part(input, rng);
            drop(input.splice(gone, pick(WORDS, rng).iter().copied()));
        }
        4 => drop(input.drain(part(input, rng))),
        5 => {
            let again = input[part(input, rng)].repeat(rng.random_range(1..64));
            drop(input.splice(at..at, again));
        }
        6 => {
            let other = pick(samples, rng);
            let other = other[part(other, rng)].to_vec();
            drop(input.splice(at..at, other));
        }
        _ => input.truncate(at),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::{CASES, each, each_text};

    fn inputs(samples: &[&[u8]]) -> Vec<Vec<u8>> {
        let seen = RefCell::new(Vec::new());
        each(samples, |input| seen.borrow_mut().push(input.to_vec()));
        seen.into_inner()
    }

    #[test]
    fn the_same_inputs_each_time_the_samples_first_and_hardly_two_alike() {
        let samples: [&[u8]; 2] = [b"name: a\n", b"{\"id\": 7}"];
        let first = inputs(&samples);
        assert_eq!(first[..2], samples);
        assert_eq!(first.len() as u64, CASES + 2);
        assert_eq!(first, inputs(&samples));
        let different: std::collections::BTreeSet<_> = first.iter().collect();
        assert!(different.len() * 4 > first.len() * 3, "{}", different.len());
        assert_eq!(inputs(&[]).len() as u64, CASES);
    }

    #[test]
    #[should_panic(expected = "found")]
    fn what_breaks_is_told() {
        each_text(&["abc"], |input| assert!(!input.contains('\0'), "found"));
    }
}
