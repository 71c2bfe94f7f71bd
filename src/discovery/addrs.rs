//! Addresses: in which order to try them, and how people write them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

/// The UDP port where none is named.
pub const DEFAULT_PORT: u16 = 7483;
/// Longest host name, in bytes (RFC 1035).
const NAME_BYTES: usize = 253;

/// Addresses without doubles and without those that nobody can be at, the likeliest first: those of a local
/// network, then others, loopback last. Within each kind the order given stays.
pub fn in_order(addrs: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut ordered: Vec<SocketAddr> = Vec::new();
    for addr in addrs {
        let nobody = addr.port() == 0 || addr.ip().is_unspecified() || addr.ip().is_multicast();
        if !nobody && !ordered.contains(&addr) {
            ordered.push(addr);
        }
    }
    ordered.sort_by_key(rank);
    ordered
}

fn rank(addr: &SocketAddr) -> u8 {
    match addr.ip() {
        ip if ip.is_loopback() => 6,
        IpAddr::V4(ip) if ip.is_private() => 0,
        IpAddr::V6(ip) if ip.is_unique_local() => 1,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => 2,
        IpAddr::V4(ip) if ip.is_link_local() => 3,
        IpAddr::V6(_) => 4,
        IpAddr::V4(_) => 5,
    }
}

/// What stands before the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address, with the interface for an IPv6 address that holds on one link only: a number or a name.
    Ip(IpAddr, Option<String>),
    /// A name, to be looked up.
    Name(String),
}

/// `HOST[:PORT]`, as people write it: `192.168.1.7`, `ana.local:7484`, `[fe80::1%eth0]:7483`, `::1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The host.
    pub host: Host,
    /// The UDP port.
    pub port: u16,
}

/// A text that names no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPlace {
    /// Neither an address nor a name.
    #[error("not a host: expected HOST[:PORT], with an IPv6 address in brackets")]
    Host,
    /// The port is no number from 1 to 65535.
    #[error("not a port: expected a number from 1 to 65535")]
    Port,
}

impl Place {
    /// The address, where no name has to be looked up. `index` finds the number of an interface by its name.
    pub fn literal(&self, index: impl FnOnce(&str) -> Option<u32>) -> Option<SocketAddr> {
        let Host::Ip(ip, scope) = &self.host else { return None };
        match (ip, scope) {
            (IpAddr::V6(ip), Some(scope)) => {
                let scope = scope.parse().ok().or_else(|| index(scope))?;
                Some(SocketAddrV6::new(*ip, self.port, 0, scope).into())
            }
            (ip, _) => Some(SocketAddr::new(*ip, self.port)),
        }
    }
}

impl FromStr for Place {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix('[') {
            let (ip, rest) = rest.split_once(']').ok_or(BadPlace::Host)?;
            let port =
                if rest.is_empty() { DEFAULT_PORT } else { port(rest.strip_prefix(':').ok_or(BadPlace::Port)?)? };
            return Ok(Self { host: v6(ip).ok_or(BadPlace::Host)?, port });
        }
        if let Some(host) = v6(text) {
            return Ok(Self { host, port: DEFAULT_PORT });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, after)) => (host, port(after)?),
            None => (text, DEFAULT_PORT),
        };
        let host = match host.parse::<Ipv4Addr>() {
            Ok(ip) => Host::Ip(ip.into(), None),
            Err(_) if is_name(host) => Host::Name(host.to_owned()),
            Err(_) => return Err(BadPlace::Host),
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip), Some(scope)) => write!(f, "[{ip}%{scope}]:{}", self.port),
            Host::Ip(ip, _) => write!(f, "{}", SocketAddr::new(*ip, self.port)),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

fn v6(text: &str) -> Option<Host> {
    let (ip, scope) = match text.split_once('%') {
        Some((ip, scope)) if is_name(scope) => (ip, Some(scope.to_owned())),
        Some(_) => return None,
        None => (text, None),
    };
    Some(Host::Ip(ip.parse::<Ipv6Addr>().ok()?.into(), scope))
}

fn port(text: &str) -> Result<u16, BadPlace> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| *port != 0 && digits).ok_or(BadPlace::Port)
}

/// Letters, digits, hyphens, underscores and dots; not one that looks like a broken IPv4 address.
fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let numbers = text.contains('.') && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let edges = text.starts_with(['-', '.']) || text.contains("..");
    !text.is_empty() && text.len() <= NAME_BYTES && text.bytes().all(fits) && !numbers && !edges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_network_comes_first_and_loopback_last() {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        let given = [
            "127.0.0.1:1",
            "[::1]:1",
            "8.8.8.8:1",
            "[2001:db8::1]:1",
            "[fe80::1%3]:1",
            "192.168.1.7:1",
            "0.0.0.0:1",
            "224.0.0.251:1",
            "192.168.1.7:0",
            "10.0.0.1:1",
            "192.168.1.7:1",
            "169.254.0.1:1",
        ];
        let expected = [
            "192.168.1.7:1",
            "10.0.0.1:1",
            "[fe80::1%3]:1",
            "169.254.0.1:1",
            "[2001:db8::1]:1",
            "8.8.8.8:1",
            "127.0.0.1:1",
            "[::1]:1",
        ];
        assert_eq!(in_order(given.map(addr)), expected.map(addr));
    }

    #[test]
    fn places_are_read_as_people_write_them() {
        let place = |text: &str| text.parse::<Place>().map(|place| place.to_string());
        for (text, read) in [
            ("192.168.1.7", "192.168.1.7:7483"),
            ("192.168.1.7:99", "192.168.1.7:99"),
            ("ana.local", "ana.local:7483"),
            ("ana-2.local:7484", "ana-2.local:7484"),
            ("::1", "[::1]:7483"),
            ("[::1]", "[::1]:7483"),
            ("[fe80::1%eth0]:99", "[fe80::1%eth0]:99"),
            ("fe80::1%2", "[fe80::1%2]:7483"),
        ] {
            assert_eq!(place(text).as_deref(), Ok(read), "{text}");
            assert_eq!(place(read).as_deref(), Ok(read), "{read}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in
            ["", ":99", "a b", "[::1", "[ana]:1", "300.1.1.1", "1.2.3", "ana..local", "-x", "a/b", "é.local", "::g"]
        {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
        for text in ["ana:", "ana:0", "ana:65536", "ana:+1", "[::1]99", "[::1]:", "ana:1:2"] {
            assert_eq!(text.parse::<Place>(), Err(BadPlace::Port), "{text}");
        }
    }

    #[test]
    fn scopes_are_numbers_or_names_of_interfaces() {
        let literal = |text: &str| text.parse::<Place>().unwrap().literal(|name| (name == "eth0").then_some(4));
        assert_eq!(literal("[fe80::1%eth0]:1"), Some("[fe80::1%4]:1".parse().unwrap()));
        assert_eq!(literal("[fe80::1%7]:1"), Some("[fe80::1%7]:1".parse().unwrap()));
        assert_eq!(literal("[fe80::1%eth9]:1"), None);
        assert_eq!(literal("10.0.0.1"), Some("10.0.0.1:7483".parse().unwrap()));
        assert_eq!(literal("ana.local"), None);
    }
}
