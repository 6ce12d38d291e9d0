//! The watches of an inotify queue, as `/proc/PID/fdinfo/N` lists them (proc_pid_fdinfo(5)).
//!
//! Invariant: two marks are of one file exactly when the kernel says so: they are only ever compared with each other.

/// A watched file or directory, as the kernel names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Inode and device, in the kernel's own form.
    pub(crate) file: (u64, u64),
    /// Which events.
    pub(crate) mask: u32,
}

/// Reads all lines such as `inotify wd:1 ino:2f sdev:800013 mask:3ce ignored_mask:0 ...`; all numbers are hexadecimal.
pub(crate) fn read(info: &str) -> Vec<Mark> {
    let mark = |line: &str| {
        let field = |name: &str| {
            let value = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix(':'))?;
            u64::from_str_radix(value, 16).ok()
        };
        let mask = u32::try_from(field("mask")?).ok()?;
        Some(Mark { file: (field("ino")?, field("sdev")?), mask })
    };
    info.lines().filter(|line| line.starts_with("inotify ")).filter_map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::{Mark, read};

    #[test]
    fn each_line_is_a_mark() {
        let info = "pos:\t0\nflags:\t02004000\nmnt_id:\t16\nino:\t1057\n\
            inotify wd:2 ino:7ed5f sdev:800002 mask:3ce ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:5f\n\
            inotify wd:1 ino:1a sdev:2b mask:2\n";
        let expected =
            [Mark { file: (0x7_ed5f, 0x80_0002), mask: 0x3ce }, Mark { file: (0x1a, 0x2b), mask: 2 }];
        assert_eq!(read(info), expected);
    }
}
