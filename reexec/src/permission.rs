//! Whether the seccomp filters of a thread let it make a system call, decided without making it.
//!
//! Invariant: a call counts as allowed only where every filter of the thread answers so whatever is not known of the call
//! yet.

use crate::{
    action::Action,
    calls::Call,
    filter::{Data, Instruction, answers},
    registers::MACHINE,
};

/// What a thread's calls are judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filters {
    /// Each of them has its say; with none of them everything is allowed.
    All(Vec<Vec<Instruction>>),
    /// SECCOMP_MODE_STRICT: read, write, and the thread's end.
    Strict,
}

impl Filters {
    /// What becomes of a call that returns to `pointer`. Where a filter's answer is not to be found, it is taken to be the
    /// strictest.
    pub(crate) fn action(&self, call: &Call<Option<u64>>, pointer: Option<u64>) -> Action {
        let filters = match self {
            Self::All(filters) => filters,
            Self::Strict => return Action::KillThread,
        };
        let number = i32::try_from(call.number).unwrap_or(-1);
        let data = Data::of(number, MACHINE, pointer, call.arguments);
        let all = filters.iter().map(|filter| match answers(filter, &data) {
            Ok(answers) => answers.into_iter().map(Action::of).min().unwrap_or(Action::KillProcess),
            Err(_) => Action::KillProcess,
        });
        all.min().unwrap_or(Action::Allow)
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, Filters};
    use crate::{calls, filter::Instruction, registers::MACHINE};

    fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
        Instruction { code, jt, jf, k }
    }

    fn always(k: u32) -> Vec<Instruction> {
        vec![instruction(0x06, 0, 0, k)]
    }

    #[test]
    fn of_all_answers_the_strictest_counts() {
        let answers = [
            (0x8000_0000, Action::KillProcess),
            (0x0000_0000, Action::KillThread),
            (0x0003_0000, Action::Trap),
            (0x0005_0001, Action::Fail),
            (0x7fc0_0000, Action::Ask),
            (0x7ff0_0000, Action::Trace),
            (0x7ffc_0000, Action::Allow),
            (0x7fff_0000, Action::Allow),
            (0x1234_0000, Action::KillProcess),
        ];
        let call = calls::chdir(None);
        for (one, first) in answers {
            for (other, second) in answers {
                let filters = Filters::All(vec![always(one), always(other)]);
                assert_eq!(filters.action(&call, None), first.min(second), "{one:x} and {other:x}");
            }
        }
        assert_eq!(Filters::All(Vec::new()).action(&call, None), Action::Allow);
        assert_eq!(Filters::Strict.action(&call, None), Action::KillThread);
        assert_eq!(Filters::All(vec![Vec::new()]).action(&call, None), Action::KillProcess);
    }

    /// Allowed only if the word at `offset` of the call is `value`.
    fn only(offset: u32, value: u32) -> Filters {
        Filters::All(vec![vec![
            instruction(0x20, 0, 0, offset),
            instruction(0x15, 0, 1, value),
            instruction(0x06, 0, 0, 0x7fff_0000),
            instruction(0x06, 0, 0, 0x0005_0001),
        ]])
    }

    #[test]
    fn number_machine_pointer_and_arguments_are_what_is_asked() {
        let call = calls::fcntl(Some(7), libc::FD_CLOEXEC);
        let number = u32::try_from(libc::SYS_fcntl).unwrap();
        for (offset, value) in [(0, number), (4, MACHINE), (8, 0x9000), (12, 0x7f), (16, 7), (32, 1)] {
            let pointer = Some(0x7f_0000_9000);
            assert_eq!(only(offset, value).action(&call, pointer), Action::Allow, "{offset}");
            assert_eq!(only(offset, value + 1).action(&call, pointer), Action::Fail, "{offset}");
        }
        assert_eq!(only(8, 0x9000).action(&call, None), Action::Fail, "who can't know must not");
    }
}
