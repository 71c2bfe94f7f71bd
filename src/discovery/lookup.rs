//! From a place as people write it to addresses.

use std::io;
use std::net::SocketAddr;

use super::addrs::{Host, Place, in_order};
use super::interfaces::is_inward;

/// The addresses of a place, the likeliest first. A name is looked up by the system, an interface by its name.
///
/// # Errors
/// Where there is no such name, or no such interface.
pub async fn look_up(place: &Place) -> io::Result<Vec<SocketAddr>> {
    let addrs = match &place.host {
        Host::Name(name) => tokio::net::lookup_host((name.as_str(), place.port)).await?.collect(),
        Host::Ip(..) => Vec::from_iter(place.literal(interface)),
    };
    let addrs = in_order(addrs);
    if addrs.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(addrs) }
}

/// Addresses of this machine at which others may reach UDP port `port`, the likeliest first. Link-local ones, which
/// say nothing without an interface of the reader's, are left out, and so are bridges of containers. Loopback is
/// given where there is nothing else: then only this machine can be meant.
pub fn local_addrs(port: u16) -> Vec<SocketAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let usable = |one: &&if_addrs::Interface| one.is_oper_up() && !one.is_link_local() && !is_inward(&one.name);
    let (loopback, outward): (Vec<_>, Vec<_>) = interfaces.iter().filter(usable).partition(|one| one.is_loopback());
    let told = if outward.is_empty() { loopback } else { outward };
    in_order(told.into_iter().map(|one| SocketAddr::new(one.ip(), port)))
}

/// The number of an interface.
fn interface(name: &str) -> Option<u32> {
    let interfaces = if_addrs::get_if_addrs().ok()?;
    interfaces.into_iter().find(|interface| interface.name == name)?.index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_such_that_others_can_use_them() {
        let addrs = local_addrs(7483);
        let loopback = addrs.iter().filter(|addr| addr.ip().is_loopback()).count();
        assert!(loopback == 0 || loopback == addrs.len(), "{addrs:?}");
        for addr in addrs {
            assert_eq!(addr.port(), 7483);
            assert!(!matches!(addr, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local()), "{addr}");
        }
    }

    #[tokio::test]
    async fn an_address_needs_no_lookup_and_an_unknown_interface_is_an_error() {
        let addrs = look_up(&"127.0.0.1:99".parse().unwrap()).await.unwrap();
        assert_eq!(addrs, ["127.0.0.1:99".parse().unwrap()]);
        let unknown = look_up(&"[fe80::1%none]:99".parse().unwrap()).await.unwrap_err();
        assert_eq!(unknown.kind(), io::ErrorKind::NotFound);
        let none = look_up(&"0.0.0.0".parse().unwrap()).await;
        assert!(none.is_err(), "nobody is there");
    }
}
