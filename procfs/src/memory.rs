//! A process's memory, `/proc/PID/mem`, and what the kernel told its program at the start, `/proc/PID/auxv`
//! (proc_pid_mem(5), proc_pid_auxv(5)).

use std::fs::{File, OpenOptions};

use crate::{error::Error, read};

/// Key of the program's entry point (getauxval(3)).
const AT_ENTRY: u64 = 9;

/// Opens the memory of a process that the caller traces, to read and to write; offsets in it are addresses.
pub fn open_memory(tid: i32) -> Result<File, Error> {
    let path = format!("/proc/{tid}/mem");
    OpenOptions::new().read(true).write(true).open(&path).map_err(read::at(&path))
}

/// The address at which the program of a 64-bit process began; none where the kernel does not tell.
pub fn entry_point(tid: i32) -> Option<u64> {
    entry_point_in(&read::bytes(&format!("/proc/{tid}/auxv")).ok()?)
}

fn entry_point_in(vector: &[u8]) -> Option<u64> {
    let words = vector.chunks_exact(8).filter_map(|word| word.try_into().ok()).map(u64::from_ne_bytes);
    let words: Vec<u64> = words.collect();
    words.chunks_exact(2).find(|pair| pair[0] == AT_ENTRY).map(|pair| pair[1])
}

#[cfg(test)]
mod tests {
    use super::entry_point_in;

    #[test]
    fn the_entry_point_is_in_the_auxiliary_vector() {
        let vector: Vec<u8> =
            [3_u64, 9, 9, 0x4010, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(entry_point_in(&vector), Some(0x4010));
        assert_eq!(entry_point_in(&vector[..16]), None);
        assert_eq!(entry_point_in(&[]), None);
    }
}
