//! PAX extended header records: `LENGTH KEY=VALUE\n`, where LENGTH counts itself. Written and read here because names
//! may contain line breaks, which the tar crate's reader takes for the end of a record (POSIX pax, "Extended Header").

use std::io;

/// Largest accepted extended header; a path and a link target fit many times.
pub(crate) const MAX_HEADER: u64 = 64 * 1024;

/// Appends one record.
pub(crate) fn push(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let body = key.len() + value.len() + 3; // space, `=`, line break
    let mut length = body + 1;
    while body + length.to_string().len() != length {
        length = body + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// Splits an extended header into its records.
pub(crate) fn parse(mut data: &[u8]) -> io::Result<Vec<(&str, &[u8])>> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "malformed extended header");
    let mut records = Vec::new();
    while !data.is_empty() {
        let space = data.iter().position(|b| *b == b' ').ok_or_else(bad)?;
        let length: usize = std::str::from_utf8(&data[..space])
            .ok()
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(bad)?;
        let record = data.get(space + 1..length).ok_or_else(bad)?;
        let (b'\n', record) = record.split_last().ok_or_else(bad)? else { return Err(bad()) };
        let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
        let key = std::str::from_utf8(&record[..equals]).map_err(|_| bad())?;
        records.push((key, &record[equals + 1..]));
        data = &data[length..];
    }
    Ok(records)
}

/// Nanoseconds as decimal seconds.
pub(crate) fn format_time(ns: i64) -> String {
    let (sign, ns) = if ns < 0 { ("-", ns.unsigned_abs()) } else { ("", ns.unsigned_abs()) };
    format!("{sign}{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

/// Decimal seconds as nanoseconds; further digits are cut.
pub(crate) fn parse_time(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if seconds.is_empty() || !seconds.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let ns = seconds.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction)?;
    Some(if negative { -ns } else { ns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_whatever_is_in_them() {
        let long = "x".repeat(1000);
        // Lengths around the points where the count of digits changes.
        let values = (0..12).map(|n| "y".repeat(88 + n)).chain(["a\nb=c 7 ".to_owned(), String::new(), long]);
        let mut data = Vec::new();
        let values: Vec<_> = values.collect();
        for value in &values {
            push(&mut data, "path", value.as_bytes());
        }
        let parsed = parse(&data).unwrap();
        assert!(
            parsed.iter().zip(&values).all(|((key, got), value)| *key == "path" && *got == value.as_bytes())
        );
        assert_eq!(parsed.len(), values.len());
    }

    #[test]
    fn broken_headers_are_refused() {
        for data in [
            "5",
            "x y=z\n",
            "99 a=b\n",
            "3 a=b\n",
            "7 a=bcd",
            "0 a=b\n",
            "6 abc\n",
            "18446744073709551615 a=b\n",
        ] {
            assert!(parse(data.as_bytes()).is_err(), "{data:?}");
        }
    }

    #[test]
    fn times_are_exact() {
        for ns in [0, 1, -1, 1_700_000_000_123_456_789, -5_000_000_001, i64::MAX] {
            assert_eq!(parse_time(format_time(ns).as_bytes()), Some(ns));
        }
        assert_eq!(parse_time(b"12.5"), Some(12_500_000_000));
        assert_eq!(parse_time(b"12"), Some(12_000_000_000));
        for bad in ["", "-", ".5", "1.x", "+1", "99999999999999999999"] {
            assert_eq!(parse_time(bad.as_bytes()), None, "{bad}");
        }
    }
}
