//! Who a certificate is: its SHA-256, which is syncthing's device id as well.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};

/// Characters that one check character stands for, and between two dashes.
const CHECKED: usize = 13;
const GROUP: usize = 7;

/// SHA-256 of a certificate in DER. Shown as the first group of its device id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }

    /// As syncthing writes it: base 32 in four parts with a check character each, in groups of seven
    /// (<https://docs.syncthing.net/dev/device-ids.html>).
    pub fn device_id(&self) -> String {
        let text = BASE32_NOPAD.encode(&self.0);
        let checked: Vec<char> = text
            .as_bytes()
            .chunks(CHECKED)
            .flat_map(|part| part.iter().copied().chain([check(part)]).map(char::from))
            .collect();
        let groups: Vec<String> = checked.chunks(GROUP).map(|group| group.iter().collect()).collect();
        groups.join("-")
    }
}

/// syncthing's check character: Luhn's sum modulo 32, whose factors begin with 1
/// (`lib/protocol/luhn.go`).
fn check(part: &[u8]) -> u8 {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let value = |c: &u8| ALPHABET.iter().position(|known| known == c).unwrap_or_default();
    let weighed = |(n, c): (usize, &u8)| value(c) * (1 + n % 2);
    let sum: usize = part.iter().enumerate().map(weighed).map(|addend| addend / 32 + addend % 32).sum();
    ALPHABET[(32 - sum % 32) % 32]
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.device_id().get(..GROUP).unwrap_or_default())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_syncthing_does() {
        // Of syncthing's own tests: `lib/protocol/deviceid_test.go`.
        let raw = BASE32_NOPAD.decode(b"P56IOI7MZJNU2IQGDREYDM2MGTMGL3BXNPQ6W5BTBBZ4TJXZWICQ").unwrap();
        let fingerprint = Fingerprint(raw.try_into().unwrap());
        let id = ["P56IOI7", "MZJNU2Y", "IQGDREY", "DM2MGTI", "MGL3BXN", "PQ6W5BM", "TBBZ4TJ", "XZWICQ2"];
        assert_eq!(fingerprint.device_id(), id.join("-"));
        assert_eq!(fingerprint.to_string(), "P56IOI7");
        assert_eq!(format!("{fingerprint:?}"), "Fingerprint(P56IOI7)");
    }
}
