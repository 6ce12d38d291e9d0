use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Stdio},
};

use super::{Data, Instruction, Unclear, answers};
use crate::{registers::MACHINE, tests::compiled};

/// Arguments whose words all differ.
const ARGUMENTS: [u64; 6] =
    [0x1111_2222_3333_4444, 0, u64::MAX, 0x8000_0000_0000_0001, 0x5a5a_a5a5_0000_ffff, 7];
const NUMBER: i32 = 321;

fn data() -> Data {
    Data::of(NUMBER, MACHINE, Some(0x7f00_dead_beef_0010), ARGUMENTS.map(Some))
}

fn one(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// The only answer of a program that ends in `ret A`.
fn value(program: &[Instruction]) -> u32 {
    let program = [program, &[one(0x16, 0)]].concat();
    let found = answers(&program, &data()).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    *found.first().unwrap()
}

#[test]
fn each_word_of_a_call_is_where_the_kernel_has_it() {
    let words = [
        321,
        MACHINE,
        0xbeef_0010,
        0x7f00_dead,
        0x3333_4444,
        0x1111_2222,
        0,
        0,
        u32::MAX,
        u32::MAX,
        1,
        0x8000_0000,
        0xffff,
        0x5a5a_a5a5,
        7,
        0,
    ];
    for (offset, expected) in (0..).step_by(4).zip(words) {
        assert_eq!(value(&[one(0x20, offset)]), expected, "at {offset}");
    }
    for offset in [1, 2, 62, 64, u32::MAX, u32::MAX - 3] {
        assert_eq!(answers(&[one(0x20, offset), one(0x16, 0)], &data()), Err(Unclear), "at {offset}");
    }
}

#[test]
fn each_instruction_does_what_the_kernels_does() {
    // A is 12, X is 5, M[3] is 12 and M[4] is 5.
    let begin = [one(0x00, 5), one(0x07, 0), one(0x02, 4), one(0x00, 12), one(0x02, 3)];
    let then = |program: &[Instruction]| value(&[&begin[..], program].concat());
    let computed = [
        (0x00, 17, 15),
        (0x10, 7, 9),
        (0x20, 60, 36),
        (0x30, 2, 4),
        (0x40, 13, 15),
        (0x50, 4, 0),
        (0x60, 384, 96),
        (0x70, 0, 1),
        (0xa0, 9, 15),
    ];
    for (operation, by_x, by_three) in computed {
        assert_eq!(then(&[one(0x04 | operation | 0x08, 0)]), by_x, "{operation:x} X");
        assert_eq!(then(&[one(0x04 | operation, 3)]), by_three, "{operation:x} K");
    }
    assert_eq!(then(&[one(0x84, 0)]), 12_u32.wrapping_neg());
    assert_eq!((then(&[one(0x87, 0)]), then(&[one(0x80, 0)]), then(&[one(0x00, 9)])), (5, 64, 9));
    assert_eq!((then(&[one(0x60, 4)]), then(&[one(0x60, 3)])), (5, 12));
    assert_eq!((then(&[one(0x81, 0), one(0x87, 0)]), then(&[one(0x01, 9), one(0x87, 0)])), (64, 9));
    assert_eq!(then(&[one(0x61, 3), one(0x87, 0)]), 12);
    assert_eq!(then(&[one(0x03, 7), one(0x60, 7)]), 5);
    assert_eq!(then(&[one(0x07, 0), one(0x00, 0), one(0x87, 0)]), 12);
    assert_eq!(then(&[one(0x05, 1), one(0x00, 1), one(0x04, 1)]), 13);
    // By zero: the filter ends there with 0.
    assert_eq!(then(&[one(0x34, 0), one(0x00, 1)]), 0);
    assert_eq!(then(&[one(0x01, 0), one(0x3c, 0), one(0x00, 1)]), 0);
    for (operation, compared, holds) in [
        (0x10, 12, true),
        (0x10, 13, false),
        (0x20, 11, true),
        (0x20, 12, false),
        (0x30, 12, true),
        (0x30, 13, false),
        (0x40, 4, true),
        (0x40, 3, false),
    ] {
        let way = [jump(0x05 | operation, 1, 0, compared), one(0x00, 0), one(0x02, 0)];
        assert_eq!(then(&way) != 0, holds, "{operation:x} {compared}");
        let by_x = [one(0x01, compared), jump(0x0d | operation, 1, 0, 0), one(0x00, 0), one(0x02, 0)];
        assert_eq!(then(&by_x) != 0, holds, "{operation:x} X {compared}");
    }
}

#[test]
fn what_is_no_filter_has_no_answer() {
    let none: [&[Instruction]; 8] = [
        &[],
        // Past the end, with and without a jump.
        &[one(0x00, 1)],
        &[one(0x05, u32::MAX), one(0x16, 0)],
        // Not for seccomp: half words, packets, the rest of a division, no memory there, unknown.
        &[one(0x28, 0), one(0x16, 0)],
        &[one(0x94, 3), one(0x16, 0)],
        &[one(0x60, 16), one(0x16, 0)],
        &[one(0xb1, 0), one(0x16, 0)],
        &[jump(0x55, 0, 0, 0), one(0x16, 0)],
    ];
    for program in none {
        assert_eq!(answers(program, &data()), Err(Unclear), "{program:?}");
    }
}

#[test]
fn what_is_not_known_goes_both_ways() {
    let unknown = Data::of(NUMBER, MACHINE, None, [None, Some(1), None, None, None, None]);
    let of = |program: &[Instruction]| answers(program, &unknown);
    // Which of two answers comes depends on it.
    let asks = |offset| [one(0x20, offset), jump(0x15, 0, 1, 1), one(0x06, 1), one(0x06, 2)];
    assert_eq!(of(&asks(16)), Ok([1, 2].into()));
    assert_eq!(of(&asks(8)), Ok([1, 2].into()));
    assert_eq!(of(&asks(24)), Ok([1].into()));
    // It was computed with, stored and compared with, and both ways lead to the same.
    let computed = [one(0x20, 16), one(0x54, 3), one(0x02, 0), one(0x61, 0), one(0x00, 0)];
    assert_eq!(
        of(&[&computed[..], &[jump(0x1d, 0, 1, 0), one(0x06, 1), one(0x06, 2)]].concat()),
        Ok([1, 2].into())
    );
    assert_eq!(of(&[one(0x20, 16), jump(0x15, 0, 0, 1), one(0x06, 1)]), Ok([1].into()));
    // The answer itself, or whether there is one.
    assert_eq!(of(&[one(0x20, 16), one(0x16, 0)]), Err(Unclear));
    assert_eq!(of(&[one(0x20, 16), one(0x07, 0), one(0x3c, 0), one(0x06, 1)]), Err(Unclear));
    // More ways than anybody follows.
    let many = [one(0x20, 16), jump(0x15, 0, 1, 1), one(0x04, 0)].repeat(40);
    assert_eq!(of(&[many, vec![one(0x06, 1)]].concat()), Err(Unclear));
}

/// Numbers that look random, the same in each run (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from((self.0 >> 32) % u64::from(limit)).unwrap()
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(u32::try_from(all.len()).unwrap())).unwrap()]
    }

    /// A filter that the kernel takes, which answers with an error made of 11 bits of A.
    fn filter(&mut self) -> Vec<Instruction> {
        // The kernel wants memory to be written before it is read.
        let mut filter: Vec<_> = (0..16).flat_map(|k| [one(0x00, self.k()), one(0x02, k)]).collect();
        let length = 10 + self.below(60);
        for left in (0..length).rev() {
            let skipped = |numbers: &mut Self| u8::try_from(numbers.below(left.min(5) + 1)).unwrap();
            let k = self.k();
            filter.push(match self.below(8) {
                0 | 1 => one(0x20, 4 * self.of(&[0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])),
                2 => one(self.of(&[0x00, 0x01, 0x80, 0x81, 0x07, 0x87, 0x84]), k),
                3 => one(self.of(&[0x60, 0x61, 0x02, 0x03]), k % 16),
                4 => one(0x04 | self.of(&[0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0xa0]), k.max(1)),
                5 => one(0x04 | self.of(&[0x60, 0x70]), k % 32),
                6 => one(0x0c | self.of(&[0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0]), 0),
                _ if self.below(6) == 0 => one(0x05, skipped(self).into()),
                _ => {
                    let code = self.of(&[0x15, 0x25, 0x35, 0x45, 0x1d, 0x2d, 0x3d, 0x4d]);
                    jump(code, skipped(self), skipped(self), k)
                }
            });
        }
        filter.extend([one(0x74, self.below(22)), one(0x54, 0x7ff), one(0x44, 0x0005_0000), one(0x16, 0)]);
        filter
    }

    fn k(&mut self) -> u32 {
        let any = self.below(u32::MAX);
        self.of(&[0, 1, 2, 3, 5, 321, 0x4444, 0xffff, 0x8000_0000, u32::MAX, any])
    }
}

/// The kernel itself is asked, about filters that nobody wrote.
#[test]
fn the_kernel_answers_the_same() {
    let mut numbers = Numbers(0x6b73_796e_6364);
    let filters: Vec<_> = (0..2000).map(|_| numbers.filter()).collect();
    let mut child = Command::new(compiled("oracle"));
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut asked = child.stdin.take().unwrap();
    let questions: String = filters.iter().map(|filter| question(filter)).collect();
    // It answers while it is asked: one of both has to wait on a thread of its own.
    let asking = std::thread::spawn(move || asked.write_all(questions.as_bytes()));
    let output = child.wait_with_output().unwrap();
    asking.join().unwrap().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let mut kinds = BTreeSet::new();
    assert_eq!(told.lines().count(), filters.len());
    for (filter, told) in filters.iter().zip(told.lines()) {
        let found = answers(filter, &data()).unwrap();
        let expected = match found.into_iter().collect::<Vec<_>>()[..] {
            [0] => "signal 31".to_owned(),
            [answer] => format!("error {}", answer & 0xffff),
            ref answers => panic!("{answers:?}"),
        };
        assert_eq!(told, expected, "{filter:?}");
        kinds.insert(expected);
    }
    assert!(kinds.len() > 100 && kinds.contains("signal 31"), "{kinds:?}");
}

fn question(filter: &[Instruction]) -> String {
    let rules = filter.iter().map(|Instruction { code, jt, jf, k }| format!("{code} {jt} {jf} {k}\n"));
    let arguments = ARGUMENTS.map(|argument| argument.to_string()).join(" ");
    format!("{}\n{}{NUMBER} {arguments}\n", filter.len(), rules.collect::<String>())
}
