//! What a node says of itself on the network: the TXT record, as bytes and back.
//!
//! | key | value |
//! | --- | --- |
//! | `v` | `1`, the version of this table |
//! | `t` | the tag: base32 of a nonce (8 bytes), the peer's key under a keystream (32), and a code (16); only who has the project's discovery key can read it, or tell it from noise |
//! | `p`, `h`, `j`, `r` | only while joining is open: the project's name, the member's handle, the join code, and the tag of the root commits |

use std::fmt;
use std::str::FromStr;

use crate::codec;
use crate::id::{self, BadId, Handle, PeerId};
use crate::keys::Context;

/// Longest name of a project in an announcement, in bytes.
const NAME_BYTES: usize = 64;
/// Bytes of a tag: nonce, hidden key, code.
const TAG: usize = 8 + 32 + 16;
/// Strings of a TXT record that are looked at.
const ENTRIES: usize = 16;

macro_rules! hex8 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 8]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&id::hex(&self.0))
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                let bytes = id::unhex(text).ok_or(BadId { expected: 16 })?;
                Ok(Self(bytes.try_into().map_err(|_| BadId { expected: 16 })?))
            }
        }
    };
}

hex8! {
    /// Random, and new each time joining is opened: by it a stranger dials the node that it saw.
    JoinCode
}
hex8! {
    /// What repositories with the same history have in common.
    RootsTag
}

impl RootsTag {
    /// The tag of root commits, which the caller gives in one order, sorted.
    pub fn of<'a>(roots: impl IntoIterator<Item = &'a str>) -> Self {
        let roots: Vec<&[u8]> = roots.into_iter().map(str::as_bytes).collect();
        let hash = Context::Roots.hash(&roots);
        Self(hash[..8].try_into().expect("8 of 32 bytes"))
    }
}

/// What strangers are told while joining is open. Anybody can announce anything: it is for people to choose by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joining {
    /// The project's name, at most 64 bytes, without control or direction characters, never empty.
    pub project: String,
    /// The member whose machine it is.
    pub handle: Handle,
    /// By which to dial.
    pub code: JoinCode,
    /// By which a repository with the same history is recognised.
    pub roots: Option<RootsTag>,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    tag: Option<[u8; TAG]>,
    joining: Option<Joining>,
}

impl Announcement {
    /// Announces `peer` to those who have `discovery_key`, and to all what `joining` says. The nonce is random
    /// and new each time, so that two announcements of one peer have nothing in common.
    pub fn seal(discovery_key: &[u8; 32], peer: &PeerId, nonce: [u8; 8], joining: Option<Joining>) -> Self {
        let mut tag = [0; TAG];
        tag[..8].copy_from_slice(&nonce);
        tag[8..40].copy_from_slice(&hidden(discovery_key, &nonce, &peer.0));
        let code = code(discovery_key, &tag[..40]);
        tag[40..].copy_from_slice(&code);
        let joining = joining.map(|joining| Joining { project: cleaned(&joining.project), ..joining });
        Self { tag: Some(tag), joining: joining.filter(|joining| !joining.project.is_empty()) }
    }

    /// The peer, where it announced itself to those who have `discovery_key`. Costs two short hashes.
    pub fn open_tag(&self, discovery_key: &[u8; 32]) -> Option<PeerId> {
        let tag = self.tag?;
        let known = equal(&tag[40..], &code(discovery_key, &tag[..40]));
        let (nonce, key) = (tag[..8].try_into().ok()?, tag[8..40].try_into().ok()?);
        let peer = PeerId(hidden(discovery_key, nonce, key));
        known.then_some(peer)
    }

    /// What it says to those who want to join, if it is open to them.
    pub fn joining(&self) -> Option<&Joining> {
        self.joining.as_ref()
    }

    /// The TXT record's keys and values, in order; at most 400 bytes on the wire.
    pub fn to_txt(&self) -> Vec<(&'static str, String)> {
        let mut txt = vec![("v", "1".to_owned())];
        txt.extend(self.tag.iter().map(|tag| ("t", codec::base32(tag))));
        if let Some(Joining { project, handle, code, roots }) = &self.joining {
            txt.extend([("p", project.clone()), ("h", handle.to_string()), ("j", code.to_string())]);
            txt.extend(roots.iter().map(|roots| ("r", roots.to_string())));
        }
        txt
    }

    /// Reads a TXT record, which anybody may have written. `None` where it is not of this version or says
    /// nothing; what is malformed in it counts as not said.
    pub fn from_txt<'a>(txt: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Option<Self> {
        let [mut version, mut tag, mut project, mut handle, mut code, mut roots] = [None; 6];
        for (key, value) in txt.into_iter().take(ENTRIES) {
            let Ok(value) = std::str::from_utf8(value) else { continue };
            let slot = match key {
                "v" => &mut version,
                "t" => &mut tag,
                "p" => &mut project,
                "h" => &mut handle,
                "j" => &mut code,
                "r" => &mut roots,
                _ => continue,
            };
            // The first of a key counts (RFC 6763, 6.4).
            slot.get_or_insert(value);
        }
        if version != Some("1") {
            return None;
        }
        let tag = tag.and_then(codec::unbase32).and_then(|bytes| bytes.try_into().ok());
        let joining = || {
            let project = cleaned(project?);
            let (handle, code) = (Handle::new(handle?).ok()?, code?.parse().ok()?);
            let roots = roots.and_then(|roots: &str| roots.parse().ok());
            (!project.is_empty()).then_some(Joining { project, handle, code, roots })
        };
        let read = Self { tag, joining: joining() };
        (read.tag.is_some() || read.joining.is_some()).then_some(read)
    }
}

/// `key` hidden under the keystream of `nonce`, or shown again: it is the same.
fn hidden(discovery_key: &[u8; 32], nonce: &[u8; 8], key: &[u8; 32]) -> [u8; 32] {
    let stream = blake3::Hasher::new_keyed(discovery_key).update(b"lansync tag stream v1").update(nonce).finalize();
    let mut hidden = *key;
    for (byte, mask) in hidden.iter_mut().zip(stream.as_bytes()) {
        *byte ^= mask;
    }
    hidden
}

fn code(discovery_key: &[u8; 32], tag: &[u8]) -> [u8; 16] {
    let hash = blake3::Hasher::new_keyed(discovery_key).update(b"lansync tag code v1").update(tag).finalize();
    hash.as_bytes()[..16].try_into().expect("16 of 32 bytes")
}

/// Compares in a time that does not tell where two codes differ.
pub(super) fn equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

/// A name as it may be shown: no control or direction characters, at most `NAME_BYTES` bytes.
fn cleaned(name: &str) -> String {
    let shown = |c: &char| !c.is_control() && !id::is_bidi_override(*c) && *c != '\u{feff}';
    let mut clean = String::new();
    for c in name.trim().chars().filter(shown) {
        if clean.len() + c.len_utf8() > NAME_BYTES {
            break;
        }
        clean.push(c);
    }
    clean.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: [u8; 32] = [1; 32];
    const ANA: PeerId = PeerId([2; 32]);

    fn joining(project: &str) -> Joining {
        let roots = Some(RootsTag::of(["aa", "bb"]));
        Joining { project: project.to_owned(), handle: Handle::new("ana").unwrap(), code: JoinCode([7; 8]), roots }
    }

    fn reread(announcement: &Announcement) -> Option<Announcement> {
        let txt = announcement.to_txt();
        Announcement::from_txt(txt.iter().map(|(key, value)| (*key, value.as_bytes())))
    }

    #[test]
    fn members_see_the_peer_and_others_see_noise() {
        let sealed = Announcement::seal(&KEY, &ANA, [3; 8], None);
        assert_eq!(sealed.open_tag(&KEY), Some(ANA));
        assert_eq!(sealed.open_tag(&[9; 32]), None);
        assert_eq!(sealed.joining(), None);
        let again = Announcement::seal(&KEY, &ANA, [4; 8], None);
        let differ = (0..TAG).filter(|at| sealed.tag.unwrap()[*at] != again.tag.unwrap()[*at]).count();
        assert!(differ > TAG * 3 / 4, "{differ}");
    }

    #[test]
    fn a_changed_tag_is_not_recognised() {
        let sealed = Announcement::seal(&KEY, &ANA, [3; 8], None);
        for at in 0..TAG {
            let mut tag = sealed.tag.unwrap();
            tag[at] ^= 1;
            assert_eq!(Announcement { tag: Some(tag), joining: None }.open_tag(&KEY), None, "{at}");
        }
    }

    #[test]
    fn it_reads_back_and_stays_small() {
        let longest = Joining { handle: Handle::new("a".repeat(32)).unwrap(), ..joining(&"é".repeat(100)) };
        for said in [None, Some(joining("lansync")), Some(longest)] {
            let sealed = Announcement::seal(&KEY, &ANA, [3; 8], said);
            assert_eq!(reread(&sealed), Some(sealed.clone()));
            let bytes: usize = sealed.to_txt().iter().map(|(key, value)| 1 + key.len() + 1 + value.len()).sum();
            assert!(bytes <= 400, "{bytes}");
        }
    }

    #[test]
    fn names_are_cleaned_on_both_sides() {
        let name = " ev\u{202e}il\u{1b}[2J\n ";
        let sealed = Announcement::seal(&KEY, &ANA, [3; 8], Some(joining(name)));
        assert_eq!(sealed.joining().unwrap().project, "evil[2J");
        let code = JoinCode([7; 8]).to_string();
        let txt = [("v", "1"), ("p", name), ("h", "ana"), ("j", &code)];
        let read = Announcement::from_txt(txt.map(|(key, value)| (key, value.as_bytes()))).unwrap();
        assert_eq!(read.joining().unwrap().project, "evil[2J");
    }

    #[test]
    fn what_is_malformed_was_not_said() {
        let code = JoinCode([7; 8]).to_string();
        let read = |txt: &[(&'static str, &str)]| {
            Announcement::from_txt(txt.iter().map(|(key, value)| (*key, value.as_bytes())))
        };
        assert_eq!(read(&[("v", "2"), ("p", "x"), ("h", "ana"), ("j", &code)]), None);
        assert_eq!(read(&[("p", "x"), ("h", "ana"), ("j", &code)]), None);
        assert_eq!(read(&[("v", "1"), ("t", "short")]), None);
        assert_eq!(read(&[("v", "1"), ("p", "x"), ("h", "Not A Handle"), ("j", &code)]), None);
        assert_eq!(read(&[("v", "1"), ("p", "\n"), ("h", "ana"), ("j", &code)]), None);
        assert_eq!(read(&[("v", "1"), ("p", "x"), ("h", "ana"), ("j", "12")]), None);
        let first = read(&[("v", "1"), ("p", "x"), ("p", "y"), ("h", "ana"), ("j", &code), ("r", "?")]).unwrap();
        assert_eq!((first.joining().unwrap().project.as_str(), first.joining().unwrap().roots), ("x", None));
    }

    proptest! {
        #[test]
        fn any_record_is_read_without_harm(txt in prop::collection::vec(("[vtphjr]", any::<Vec<u8>>()), 0..20)) {
            let read = Announcement::from_txt(txt.iter().map(|(key, value)| (key.as_str(), value.as_slice())));
            if let Some(joining) = read.as_ref().and_then(Announcement::joining) {
                prop_assert!(joining.project.len() <= NAME_BYTES && !joining.project.chars().any(char::is_control));
            }
        }
    }
}
