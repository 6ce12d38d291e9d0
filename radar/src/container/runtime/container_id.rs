//! A container's id with its runtime's scheme, such as `containerd://...`.
//!
//! Invariant: an id that was parsed is a whole one, 64 hex digits: a runtime would find a container by the first few of them
//! as well, and whoever guesses these would have one that he knows nothing of. It can be put into a path or an address.

use std::fmt;

use super::{error::Error, scheme::Scheme};

/// Digits of an id: all three runtimes make them of 32 random bytes.
const DIGITS: usize = 64;

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
        let scheme = match scheme {
            "docker" => Scheme::Docker,
            "containerd" => Scheme::Containerd,
            "cri-o" => Scheme::CriO,
            other => return Err(Error::UnknownScheme { scheme: other.to_owned() }),
        };
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if id.len() != DIGITS || !id.bytes().all(hex) {
            return Err(bad());
        }
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
        let id = "0f".repeat(32);
        for scheme in ["docker", "containerd", "cri-o"] {
            let text = format!("{scheme}://{id}");
            assert_eq!(ContainerId::parse(&text).unwrap().to_string(), text);
        }
    }

    /// The attack: a runtime takes the first digits for the whole.
    #[test]
    fn a_part_of_an_id_is_none() {
        let id = "0f".repeat(32);
        let docker = |id: &str| format!("docker://{id}");
        for id in
            ["", "abc", &id[..12], &id[1..], &format!("{id}0"), &id.to_uppercase(), &id.replace('f', "g")]
        {
            assert!(matches!(ContainerId::parse(&docker(id)), Err(Error::BadId { .. })), "{id}");
        }
        for text in ["", "abc", id.as_str(), "docker://../x", "docker://a/b", "docker://a b"] {
            assert!(matches!(ContainerId::parse(text), Err(Error::BadId { .. })), "{text}");
        }
        assert_eq!(ContainerId::parse("rkt://abc"), Err(Error::UnknownScheme { scheme: "rkt".into() }));
    }

    #[test]
    fn what_is_read_is_what_was_said() {
        let samples =
            ["docker", "containerd", "cri-o"].map(|scheme| format!("{scheme}://{}", "0f".repeat(32)));
        ksync_mangle::each_text(&samples.each_ref().map(String::as_str), |text| {
            if let Ok(id) = ContainerId::parse(text) {
                assert_eq!(id.to_string(), text);
            }
        });
    }
}
