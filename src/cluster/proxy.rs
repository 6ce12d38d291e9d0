//! Whether the cluster is reached through a proxy: as Go's programs decide it, so that ksync goes where kubectl goes.
//! A pure function of the environment (golang.org/x/net/http/httpproxy).

use std::net::IpAddr;

/// The proxy for `server`, or none. A proxy named in the kubeconfig is not subject to NO_PROXY.
pub(super) fn choose(
    named: Option<&str>,
    server: &http::Uri,
    env: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let set = |upper: &str| {
        [upper.to_owned(), upper.to_lowercase()]
            .iter()
            .find_map(|name| env(name).filter(|value| !value.is_empty()))
    };
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        return Some(named.to_owned());
    }
    let https = server.scheme_str() != Some("http");
    let proxy = set(if https { "HTTPS_PROXY" } else { "HTTP_PROXY" })?;
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = server.port_u16().unwrap_or(if https { 443 } else { 80 });
    if direct(&set("NO_PROXY").unwrap_or_default(), host, port) {
        return None;
    }
    Some(if proxy.contains("://") { proxy } else { format!("http://{proxy}") })
}

/// Whether a host is reached without the proxy.
fn direct(no_proxy: &str, host: &str, port: u16) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    if host.eq_ignore_ascii_case("localhost") || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    no_proxy.split(',').map(|entry| entry.trim().to_ascii_lowercase()).filter(|entry| !entry.is_empty()).any(
        |entry| {
            if entry == "*" {
                return true;
            }
            if let (Some((net, bits)), Some(address)) = (entry.split_once('/'), address) {
                return in_net(address, net, bits);
            }
            if let Ok(listed) = entry.trim_matches(['[', ']']).parse::<IpAddr>() {
                return address == Some(listed);
            }
            let (name, only) = match entry.rsplit_once(':') {
                Some((name, digits)) if digits.parse::<u16>().is_ok() => {
                    (name.trim_matches(['[', ']']), digits.parse().ok())
                }
                _ => (entry.as_str(), None),
            };
            if only.is_some_and(|only: u16| only != port) {
                return false;
            }
            let name = name.strip_prefix('*').unwrap_or(name);
            match name.strip_prefix('.') {
                Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
                None => host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')),
            }
        },
    )
}

fn in_net(address: IpAddr, net: &str, bits: &str) -> bool {
    let (Ok(net), Ok(bits)) = (net.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    match (address, net) {
        (IpAddr::V4(a), IpAddr::V4(b)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            a.to_bits() & mask == b.to_bits() & mask
        }
        (IpAddr::V6(a), IpAddr::V6(b)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            a.to_bits() & mask == b.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{choose, direct};

    #[test]
    fn no_proxy_is_matched_against_the_cluster() {
        let rows = [
            ("", "api.example.com", false),
            (",", "api.example.com", false),
            ("*", "api.example.com", true),
            ("a.com,, example.com ,", "api.example.com", true),
            (".example.com", "example.com", false),
            ("*.example.com", "api.example.com", true),
            ("example.com:6443", "example.com", true),
            ("example.com:443", "example.com", false),
            ("ample.com", "example.com", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("0.0.0.0/0", "11.1.2.3", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("fd00::/8", "fd00::1", true),
            ("", "localhost", true),
            ("", "127.0.0.1", true),
        ];
        for (no_proxy, host, expected) in rows {
            assert_eq!(direct(no_proxy, host, 6443), expected, "{no_proxy:?} {host}");
        }
    }

    #[test]
    fn the_proxy_comes_from_the_file_then_the_environment() {
        let server = "https://api.example.com:6443".parse().unwrap();
        let env = |name: &str| match name {
            "https_proxy" => Some("proxy:3128".to_owned()),
            "HTTP_PROXY" => Some("http://plain:1".to_owned()),
            _ => None,
        };
        assert_eq!(choose(None, &server, env).unwrap(), "http://proxy:3128");
        assert_eq!(choose(Some("socks5://s:1"), &server, env).unwrap(), "socks5://s:1");
        assert_eq!(choose(None, &"http://h:1".parse().unwrap(), env).unwrap(), "http://plain:1");
        assert_eq!(choose(None, &"https://127.0.0.1:1".parse().unwrap(), env), None);
        assert_eq!(choose(None, &server, |_| None), None);
    }
}
