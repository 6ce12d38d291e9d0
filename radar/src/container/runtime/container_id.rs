//! A container's id with its runtime's scheme, such as `containerd://...`.
//!
//! Invariant: an id that was parsed is a plain name; it can be put into a path or an address.

use std::fmt;

use super::{error::Error, scheme::Scheme};

/// A container's id as a pod's status has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ContainerId {
    /// Its runtime.
    pub(crate) scheme: Scheme,
    /// What the runtime calls it.
    pub(crate) id: String,
}

impl ContainerId {
    /// Reads `scheme://id`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let bad = || Error::BadId { id: text.to_owned() };
        let (scheme, id) = text.split_once("://").ok_or_else(bad)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if id.is_empty() || id.len() > 256 || !id.chars().all(plain) || id.starts_with('.') {
            return Err(bad());
        }
        let scheme = match scheme {
            "docker" => Scheme::Docker,
            "containerd" => Scheme::Containerd,
            "cri-o" => Scheme::CriO,
            other => return Err(Error::UnknownScheme { scheme: other.to_owned() }),
        };
        Ok(Self { scheme, id: id.to_owned() })
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Docker => "docker",
            Scheme::Containerd => "containerd",
            Scheme::CriO => "cri-o",
        };
        write!(f, "{scheme}://{}", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::{ContainerId, Error};

    #[test]
    fn ids_are_read_and_written() {
        for text in ["docker://abc", "containerd://0f", "cri-o://x_y.z-1"] {
            assert_eq!(ContainerId::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "abc", "docker://", "docker://../x", "docker://a/b", "docker://a b"] {
            assert!(matches!(ContainerId::parse(text), Err(Error::BadId { .. })), "{text}");
        }
        assert_eq!(ContainerId::parse("rkt://abc"), Err(Error::UnknownScheme { scheme: "rkt".into() }));
    }
}
