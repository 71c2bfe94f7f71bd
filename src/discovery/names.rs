//! Server names: how a dialler says which node it wants, so that only members and those who ask to join get
//! an answer, and nobody who listens can tell whom is meant.
//!
//! A name is one label under `.lansync.invalid`, a domain that never resolves.

use super::announcement::{JoinCode, equal};
use crate::codec;
use crate::id::PeerId;

/// Behind every server name.
const DOMAIN: &str = ".lansync.invalid";
/// Bytes of the nonce and of the code that proves knowledge of the discovery key.
const NONCE: usize = 8;
const MAC: usize = 16;

/// Stands for any peer of the project in a server name, where an address is known and the peer is not. No peer
/// can have this key: it is a point of small order, which connections refuse.
pub const ANY_PEER: PeerId = PeerId([0; 32]);

/// The name by which a member dials `target`, or [`ANY_PEER`]. The nonce makes it differ each time.
pub fn member_name(discovery_key: &[u8; 32], target: &PeerId, nonce: [u8; 8]) -> String {
    let label = [&nonce[..], &mac(discovery_key, target, nonce)].concat();
    format!("m{}{DOMAIN}", codec::base32(&label))
}

/// Is this the name by which a member dials `own`, or any peer of the project?
pub fn is_member_name(name: &str, discovery_key: &[u8; 32], own: &PeerId) -> bool {
    let parsed = label(name, 'm').and_then(codec::unbase32).filter(|bytes| bytes.len() == NONCE + MAC);
    let Some(bytes) = parsed else { return false };
    let (nonce, given) = bytes.split_at(NONCE);
    let nonce = <[u8; NONCE]>::try_from(nonce).expect("it was split there");
    // Both are worked out always, so that the time says nothing.
    let this = equal(given, &mac(discovery_key, own, nonce));
    let any = equal(given, &mac(discovery_key, &ANY_PEER, nonce));
    this | any
}

fn mac(discovery_key: &[u8; 32], target: &PeerId, nonce: [u8; NONCE]) -> [u8; MAC] {
    let mut hasher = blake3::Hasher::new_keyed(discovery_key);
    hasher.update(b"lansync server name v1").update(&nonce).update(&target.0);
    let mut mac = [0; MAC];
    hasher.finalize_xof().fill(&mut mac);
    mac
}

/// The name by which a stranger dials a node that is open to joining.
pub fn join_name(code: &JoinCode) -> String {
    format!("j{code}{DOMAIN}")
}

/// The code in the name of one who wants to join.
pub fn parse_join_name(name: &str) -> Option<JoinCode> {
    label(name, 'j')?.parse().ok()
}

fn label(name: &str, kind: char) -> Option<&str> {
    name.strip_suffix(DOMAIN)?.strip_prefix(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [1; 32];
    const BO: PeerId = PeerId([2; 32]);

    #[test]
    fn only_whom_is_meant_recognises_a_name() {
        let name = member_name(&KEY, &BO, [3; 8]);
        assert!(is_member_name(&name, &KEY, &BO));
        assert!(is_member_name(
            &name.to_ascii_uppercase().replace("LANSYNC.INVALID", "lansync.invalid").replacen('M', "m", 1),
            &KEY,
            &BO
        ));
        assert!(!is_member_name(&name, &KEY, &PeerId([4; 32])));
        assert!(!is_member_name(&name, &[9; 32], &BO));
        assert_ne!(name, member_name(&KEY, &BO, [4; 8]));
        let any = member_name(&KEY, &ANY_PEER, [3; 8]);
        assert!(is_member_name(&any, &KEY, &BO));
        assert!(is_member_name(&any, &KEY, &PeerId([4; 32])));
        assert!(!is_member_name(&any, &[9; 32], &BO));
    }

    #[test]
    fn names_fit_a_dns_label() {
        let label = member_name(&KEY, &BO, [0xff; 8]).strip_suffix(DOMAIN).unwrap().len();
        assert!(label <= 63, "{label}");
        assert!(rustls::pki_types::DnsName::try_from(member_name(&KEY, &BO, [0xff; 8])).is_ok());
    }

    #[test]
    fn what_is_no_name_is_not_recognised() {
        for name in ["", "m", ".lansync.invalid", "m.lansync.invalid", "maaaa.lansync.invalid", "mü.lansync.invalid"] {
            assert!(!is_member_name(name, &KEY, &BO), "{name}");
            assert_eq!(parse_join_name(name), None);
        }
    }

    #[test]
    fn a_join_name_carries_its_code() {
        let code = JoinCode([0xab; 8]);
        assert_eq!(parse_join_name(&join_name(&code)), Some(code));
        assert_eq!(parse_join_name("jabab.lansync.invalid"), None);
        assert_eq!(parse_join_name(&member_name(&KEY, &BO, [0; 8])), None);
    }
}
