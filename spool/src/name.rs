//! Names of files in a spool.
//!
//! Invariant: a name is 64 hex digits and nothing else, whoever has said it.

use std::fmt;

/// A content's BLAKE3, which is its file's name in hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name([u8; 32]);

impl Name {
    /// Of a content with this hash.
    pub fn new(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// Of a hash as it comes over the wire; none where it is no hash.
    pub fn from_wire(hash: &[u8]) -> Option<Self> {
        hash.try_into().ok().map(Self)
    }

    /// The content's hash.
    pub fn hash(&self) -> [u8; 32] {
        self.0
    }

    /// Of a file that is being written: syncthing has the same for its own, and leaves all of them alone.
    pub(crate) fn unfinished(self) -> String {
        format!(".syncthing.{self}.tmp")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether a text can tell one spool of a session from its next: up to 32 hex digits.
pub fn is_tag(tag: &str) -> bool {
    !tag.is_empty() && tag.len() <= 32 && tag.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::{Name, is_tag};

    #[test]
    fn a_name_is_hex_whatever_is_said() {
        let name = Name::from_wire(&[0xab; 32]).unwrap();
        assert_eq!(name.to_string(), "ab".repeat(32));
        assert_eq!(name.unfinished(), format!(".syncthing.{}.tmp", "ab".repeat(32)));
        for bad in [&b""[..], b"../../etc/passwd", &[0; 31], &[0; 33]] {
            assert_eq!(Name::from_wire(bad), None);
        }
    }

    #[test]
    fn a_tag_is_hex() {
        assert!(is_tag("0123456789abcdef"));
        for bad in ["", "..", "a/b", "ABC", "g", &"0".repeat(33)] {
            assert!(!is_tag(bad), "{bad}");
        }
    }
}
