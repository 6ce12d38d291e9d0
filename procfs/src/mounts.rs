//! What is mounted where, read from `/proc/PID/mountinfo` (proc_pid_mountinfo(5)), as plain data.

use crate::{error::Error, read};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The file system's device, `MAJOR:MINOR`.
    pub device: String,
    /// Mount point, as the process sees it.
    pub point: String,
    /// File system type.
    pub kind: String,
    /// Whether the mount or its file system is read-only.
    pub read_only: bool,
    /// Whether its users and groups have other numbers here than on the file system (mount_setattr(2)).
    pub idmapped: bool,
    /// Options of the file system.
    pub options: String,
}

/// What a process sees mounted, in the kernel's order: later mounts lie over earlier ones.
pub fn mounts(tid: i32) -> Result<Vec<Mount>, Error> {
    read::text(&format!("/proc/{tid}/mountinfo")).map(|text| parse_mounts(&text))
}

/// What this process sees mounted.
pub fn own_mounts() -> Result<Vec<Mount>, Error> {
    read::text("/proc/self/mountinfo").map(|text| parse_mounts(&text))
}

/// Reads the text of the whole file. Lines that can't be read are left out: the kernel writes none.
pub fn parse_mounts(text: &str) -> Vec<Mount> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let mut right = right.split(' ');
    let kind = right.next()?;
    let options = right.nth(1).unwrap_or_default();
    let has = |options: &str, name| options.split(',').any(|option| option == name);
    let own = left.get(5)?;
    Some(Mount {
        device: (*left.get(2)?).to_owned(),
        point: unescape(left.get(4)?),
        kind: kind.to_owned(),
        read_only: has(own, "ro") || has(options, "ro"),
        idmapped: has(own, "idmapped"),
        options: options.to_owned(),
    })
}

/// Undoes the kernel's `\040` for space, tab, newline and backslash.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = |i: usize| tail.get(i).filter(|b| (b'0'..=b'7').contains(b)).map(|b| u32::from(b - b'0'));
        let escaped = match (first, octal(0), octal(1), octal(2)) {
            (b'\\', Some(a), Some(b), Some(c)) => u8::try_from(a * 64 + b * 8 + c).ok(),
            _ => None,
        };
        if let Some(byte) = escaped {
            bytes.push(byte);
            rest = &tail[3..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::parse_mounts;

    #[test]
    fn a_line_is_read_with_what_the_kernel_escapes() {
        let text = "36 35 98:0 / /home/me/my\\040code\\134\\011x rw,noatime master:1 - ext4 /dev/root ro,errors=continue\n\
                    37 35 0:5 / / rw,relatime,idmapped - overlay overlay rw\nshort\n";
        let mounts = parse_mounts(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!((mounts[0].point.as_str(), mounts[0].kind.as_str()), ("/home/me/my code\\\tx", "ext4"));
        assert!(mounts[0].read_only && !mounts[1].read_only);
        assert!(mounts[1].idmapped && !mounts[0].idmapped);
        assert_eq!(mounts[0].options, "ro,errors=continue");
        assert_eq!((mounts[0].device.as_str(), mounts[1].device.as_str()), ("98:0", "0:5"));
    }

    #[test]
    fn no_text_breaks_it() {
        let text = "36 35 98:0 / /home/me/my\\040code\\134\\011x rw,noatime master:1 - ext4 /dev/root ro\n";
        ksync_mangle::each_text(&[text], |text| {
            let mounts = parse_mounts(text);
            assert!(mounts.len() <= text.lines().count());
        });
    }
}
