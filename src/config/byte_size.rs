//! A number of bytes as a person writes it: a quantity of Kubernetes without a fraction.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de::Visitor};

const UNITS: [(&str, u64); 8] = [
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
];

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ByteSize(pub(crate) u64);

/// Not a number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no size: write a number of bytes, or of `k`, `M`, `G`, `Ki`, `Mi`, `Gi`, such as 200M")]
pub(crate) struct NotASize(String);

impl FromStr for ByteSize {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        let with_unit = UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
        let (digits, unit) = with_unit.unwrap_or((text, 1));
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let number: Option<u64> = digits.parse().ok().filter(|_| plain);
        number.and_then(|number| number.checked_mul(unit)).map(Self).ok_or_else(|| NotASize(text.to_owned()))
    }
}

/// In the largest unit of which it is a whole number.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, bytes): &&(&str, u64)| self.0 > 0 && self.0.is_multiple_of(*bytes);
        match UNITS.iter().filter(whole).max_by_key(|(_, bytes)| *bytes) {
            Some((unit, bytes)) => write!(f, "{}{unit}", self.0 / bytes),
            None => write!(f, "{}", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sizes;

        impl Visitor<'_> for Sizes {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 200M")
            }

            fn visit_u64<E>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::ByteSize;
    use crate::config::yaml;

    #[test]
    fn a_size_reads_as_kubernetes_reads_it_and_as_it_prints() {
        for (text, bytes) in [
            ("0", 0),
            ("1", 1),
            ("4097", 4097),
            ("200M", 200_000_000),
            ("5k", 5_000),
            ("3G", 3_000_000_000),
            ("64Ki", 64 << 10),
            ("50Mi", 50 << 20),
            ("2Gi", 2 << 30),
            ("1Ti", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
            assert_eq!(ByteSize(bytes).to_string(), text);
            assert_eq!(yaml::parse::<ByteSize>(text).unwrap(), ByteSize(bytes), "{text}");
        }
        for text in ["", "Mi", "-1", "+1", "1.5Gi", "1 Mi", "1mi", "1MB", "1m", "99999999999Gi"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        let error = yaml::parse::<ByteSize>("1MB").unwrap_err();
        assert!(error.message.contains("`1MB` is no size"), "{error:?}");
    }
}
