//! Addresses of REST calls, with ids and paths in them.
//!
//! Invariant: an id is one segment and a name survives as it is, whatever is in them; a scan's address is never longer than
//! the HTTP client takes, however many paths are scanned.

/// Where all calls go. The host is never looked up: the connection is a Unix socket.
const BASE: &str = "http://localhost/rest/";
/// Longest address in bytes: `http::Uri` takes no longer one.
const LONGEST: usize = u16::MAX as usize - 1;

/// The whole address of a call, or none if the HTTP client takes none so long.
pub(crate) fn of(call: &str) -> Option<String> {
    let address = format!("{BASE}{call}");
    (address.len() <= LONGEST).then_some(address)
}

/// The path of the thing with this id: one segment, whatever the id is.
pub(crate) fn with_id(path: &str, id: &str) -> String {
    use std::fmt::Write;
    // These would lead elsewhere even when they are encoded; a NUL is in no id.
    if matches!(id, "" | "." | "..") {
        return format!("{path}/%00");
    }
    id.bytes().fold(format!("{path}/"), |mut path, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            path.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(path, "%{byte:02X}");
        }
        path
    })
}

pub(crate) fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let mut url = reqwest::Url::parse("http://localhost/").unwrap_or_else(|_| unreachable!("a constant URL"));
    url.query_pairs_mut().extend_pairs(query);
    format!("{path}?{}", url.query().unwrap_or_default())
}

/// The calls that scan `subs` of `folder`, as few as there can be; no `subs` are one call for all of it.
///
/// A path that fits in no address of its own is covered by the nearest directory above it that does.
pub(crate) fn scans(folder: &str, subs: &[String]) -> Vec<String> {
    let whole = with_query("db/scan", &[("folder", folder)]);
    let room = LONGEST.saturating_sub(BASE.len() + whole.len());
    let mut calls = Vec::new();
    let mut call = whole.clone();
    for sub in subs {
        let Some(part) = fitting(sub, room) else { return vec![whole] };
        if call.len() + part.len() > whole.len() + room {
            calls.push(std::mem::replace(&mut call, whole.clone()));
        }
        call.push_str(&part);
    }
    calls.push(call);
    calls
}

/// What names `sub`, or the nearest directory above it that fits in `room` bytes; none if only the root does.
fn fitting(sub: &str, room: usize) -> Option<String> {
    let mut path = sub;
    loop {
        let part = with_query("", &[("sub", path)]).replacen('?', "&", 1);
        if part.len() <= room {
            return Some(part);
        }
        path = path.rsplit_once('/')?.0;
    }
}

#[cfg(test)]
mod tests {
    use super::{BASE, LONGEST, of, scans, with_id, with_query};

    /// What a call scans.
    fn subs(call: &str) -> Vec<String> {
        let url = reqwest::Url::parse(&of(call).unwrap()).unwrap();
        assert_eq!(url.query_pairs().next().unwrap(), ("folder".into(), "f".into()));
        url.query_pairs().skip(1).map(|(_, sub)| sub.into_owned()).collect()
    }

    /// Whether the HTTP client takes this address.
    fn taken(address: &str) -> bool {
        http::Uri::try_from(address).is_ok()
    }

    #[test]
    fn a_query_keeps_odd_names() {
        let query = with_query("db/scan", &[("folder", "a b"), ("sub", "x&y=ü/+")]);
        assert_eq!(query, "db/scan?folder=a+b&sub=x%26y%3D%C3%BC%2F%2B");
    }

    #[test]
    fn an_id_stays_one_segment() {
        let url = |id: &str| {
            let url = format!("http://localhost/rest/{}", with_id("config/devices", id));
            reqwest::Url::parse(&url).unwrap().path().to_owned()
        };
        assert_eq!(url("ABC-2"), "/rest/config/devices/ABC-2");
        for (id, path) in
            [("../options", "..%2Foptions"), ("a?b#c", "a%3Fb%23c"), ("..", "%00"), ("%2e", "%252e")]
        {
            assert_eq!(url(id), format!("/rest/config/devices/{path}"));
        }
    }

    #[test]
    fn a_scan_at_the_limit_is_one_call_and_a_byte_more_makes_two() {
        let room = LONGEST - BASE.len() - "db/scan?folder=f".len();
        let names = |last: usize| vec!["d/a".to_owned(), "x".repeat(last)];
        let fill = room - "&sub=d%2Fa".len() - "&sub=".len();
        let at_limit = scans("f", &names(fill));
        let addresses: Vec<String> = at_limit.iter().map(|call| of(call).unwrap()).collect();
        assert_eq!(addresses.iter().map(String::len).collect::<Vec<_>>(), [LONGEST]);
        assert!(taken(&addresses[0]), "the client takes this many");
        assert!(!taken(&format!("{}x", addresses[0])), "and no more: else the limit is another one");
        assert!(of(&format!("{}x", at_limit[0])).is_none());
        assert_eq!(
            scans("f", &names(fill + 1)).iter().map(|call| subs(call).len()).collect::<Vec<_>>(),
            [1, 1]
        );
    }

    #[test]
    fn every_path_is_in_one_of_the_calls_however_many_and_long() {
        // As long as a path can be, and each byte three in the address.
        let longest = |n: usize| {
            let head = format!("{n:04}");
            format!("{head}{}", "/ü".repeat((4095 - head.len()) / 3))
        };
        let paths: Vec<String> =
            (0..300).map(longest).chain((0..4096).map(|n| format!("dir/f{n}"))).collect();
        let calls = scans("f", &paths);
        assert!(calls.len() > 50 && calls.iter().all(|call| taken(&of(call).unwrap())));
        assert_eq!(calls.iter().flat_map(|call| subs(call)).collect::<Vec<_>>(), paths);
    }

    #[test]
    fn no_paths_are_the_whole_and_one_that_fits_nowhere_is_its_directory() {
        assert_eq!(scans("f", &[]), ["db/scan?folder=f"]);
        let long = format!("d/e/{}", "y".repeat(LONGEST));
        assert_eq!(scans("f", &["a".to_owned(), long]), ["db/scan?folder=f&sub=a&sub=d%2Fe"]);
        assert_eq!(scans("f", &["a".to_owned(), "y".repeat(LONGEST)]), ["db/scan?folder=f"]);
    }
}
