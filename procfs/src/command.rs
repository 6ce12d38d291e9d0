//! What a process was started with: `/proc/PID/cmdline` and `/proc/PID/environ` (proc_pid_cmdline(5),
//! proc_pid_environ(5)).

use std::ffi::CString;

use crate::{error::Error, read};

/// The arguments, each with a null byte after it, or whatever the program has written over them since.
pub fn command_line(tid: i32) -> Result<Vec<u8>, Error> {
    read::bytes(&format!("/proc/{tid}/cmdline"))
}

/// The environment that the process began with, `NAME=value` each, in its order.
pub fn environment(tid: i32) -> Result<Vec<CString>, Error> {
    read::bytes(&format!("/proc/{tid}/environ")).map(|text| words(&text))
}

fn words(text: &[u8]) -> Vec<CString> {
    let words = text.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    words.filter_map(|word| CString::new(word).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::{command_line, environment, words};

    #[test]
    fn variables_end_at_null_bytes() {
        assert_eq!(words(b"A=1\0B=\0").len(), 2);
        assert_eq!(words(b"A=1\0\0B=\0"), [c"A=1".to_owned(), c"B=".to_owned()]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_shows_what_it_was_started_with() {
        let mut child = std::process::Command::new("sleep").args(["1000"]).env("LAST", "1").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let begun = std::time::Instant::now();
        // Until its execve, it is this process.
        while command_line(pid).unwrap() != b"sleep\x001000\0" {
            assert!(begun.elapsed() < std::time::Duration::from_secs(5));
            std::thread::yield_now();
        }
        let variables = environment(pid).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(variables.contains(&c"LAST=1".to_owned()));
    }

    #[test]
    fn no_bytes_break_it() {
        ksync_mangle::each(&[b"A=1\0B=2\0\0PATH=/bin\0"], |bytes| {
            let lengths: usize = words(bytes).iter().map(|word| word.as_bytes().len()).sum();
            assert!(lengths <= bytes.len());
        });
    }
}
