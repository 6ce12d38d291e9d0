//! From which size on a file counts as large: large files go through syncthing, all others by the stream.

use std::{env::VarError, str::FromStr};

use crate::config::ByteSize;

/// The environment variable that sets it.
const LARGE_FILE_ENV: &str = "KSYNC_LARGE_FILE";

/// The size of the smallest large file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LargeFile(pub(super) u64);

/// The spool takes about three times as long as the stream, whatever the size (docs/performance.md), and costs nothing anew
/// when the connection breaks: that counts for files which take long.
impl Default for LargeFile {
    fn default() -> Self {
        Self(256 << 20)
    }
}

/// Not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{LARGE_FILE_ENV}` is `{0}`, which is not a size")]
pub(crate) struct NotASize(String);

impl LargeFile {
    /// As the environment says; the default where the variable is unset or empty.
    pub(crate) fn from_env() -> Result<Self, NotASize> {
        match std::env::var(LARGE_FILE_ENV) {
            Ok(value) if !value.is_empty() => value.parse(),
            Ok(_) | Err(VarError::NotPresent) => Ok(Self::default()),
            Err(VarError::NotUnicode(value)) => Err(NotASize(value.to_string_lossy().into_owned())),
        }
    }
}

impl FromStr for LargeFile {
    type Err = NotASize;

    /// A number of bytes, or of `Ki`, `Mi` or `Gi`, as in a quantity of Kubernetes.
    fn from_str(text: &str) -> Result<Self, NotASize> {
        let bytes = text.parse().ok().filter(|ByteSize(bytes)| *bytes > 0);
        bytes.map(|ByteSize(bytes)| Self(bytes)).ok_or_else(|| NotASize(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::LargeFile;

    #[test]
    fn a_size_is_read_as_kubernetes_reads_it() {
        let cases = [("1", 1), ("4096", 4096), ("64Ki", 64 << 10), ("256Mi", 256 << 20), ("2Gi", 2 << 30)];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(LargeFile(bytes)), "{text}");
        }
        for text in ["", "0", "0Mi", "Mi", "-1", "+1", "1.5Gi", "1 Mi", "1mi", "1MB", "99999999999Gi"] {
            let error = text.parse::<LargeFile>().unwrap_err();
            assert_eq!(error.to_string(), format!("`KSYNC_LARGE_FILE` is `{text}`, which is not a size"));
        }
    }
}
