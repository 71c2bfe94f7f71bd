//! Golden vectors: the bytes of events, and what is refused and why. They are the format (docs/format.md);
//! a change that alters one of them would split every project that exists.

use super::*;
use crate::codec;
use crate::hlc::Hlc;
use crate::id::{BranchName, EventId, Handle, IdentityId, Lid, MemberId, ObjectId, hex, unhex};
use crate::keys::{FeedKey, IdentityKey, Secret};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/events.txt");

fn feed() -> FeedKey {
    FeedKey(Secret::from_seed([1; 32]))
}

fn identity() -> IdentityKey {
    IdentityKey(Secret::from_seed([2; 32]))
}

fn branch(name: &str) -> BranchName {
    BranchName::new(name).unwrap()
}

fn genesis() -> Genesis {
    Genesis {
        founder: identity().identity(),
        handle: Handle::new("ana").unwrap(),
        founder_name: "Ana".to_owned(),
        name: "payroll".to_owned(),
        nonce: [3; 16],
        tips: vec![(branch("main"), ObjectId::Sha1([4; 20]))],
        roots: vec![ObjectId::Sha1([5; 20])],
        rules: 1,
        policy: Policy { approvals: 1, own_counts: true },
        extensions: Extensions::default(),
    }
}

fn signed(seq: u64, payload: Payload, refs: Vec<EventId>) -> Event {
    let draft = Draft {
        project: genesis().project(),
        seq,
        prev: (seq > 0).then_some(EventId([6; 32])),
        hlc: Hlc::new(1_800_000_000_000 + seq, 7),
        seen: if seq > 2 { vec![EventId([7; 32])] } else { vec![] },
        refs,
        payload,
    };
    draft.sign(&feed(), &identity()).unwrap()
}

/// One event of each kind.
pub(super) fn good() -> Vec<(&'static str, Event)> {
    let (extensions, revision) = (Extensions::default(), EventId([8; 32]));
    let other = IdentityId([9; 32]);
    let project = genesis().project();
    let lid = genesis().landing(&branch("main")).unwrap().lid(&project);
    let certificate = identity().certify(&project, &feed().peer());
    let invite = Invite {
        key: [10; 32],
        role: Role::Reader,
        expires: 1_800_000_000_000,
        uses: 3,
        extensions: extensions.clone(),
    };
    let grant = Grant {
        member: MemberId::of(&other),
        identity: other,
        handle: Handle::new("bo").unwrap(),
        name: "Bo Núñez".to_owned(),
        role: Role::Contributor,
        invite: Some(revision),
        extensions: extensions.clone(),
    };
    let propose = Propose {
        branch: branch("fix/rounding"),
        target: branch("main"),
        tip: ObjectId::Sha1([11; 20]),
        title: "Fix rounding".to_owned(),
        previous: Some(revision),
        extensions: Extensions(vec![(1, vec![1, 2]), (9, vec![])]),
    };
    let approve = Approve {
        revision,
        commit: ObjectId::Sha1([11; 20]),
        onto: vec![lid],
        message: "Good.".to_owned(),
        extensions: extensions.clone(),
    };
    let land = Land {
        branch: branch("main"),
        heads: vec![lid],
        revision: Some(revision),
        tip: ObjectId::Sha1([11; 20]),
        approvals: vec![EventId([12; 32])],
        new: ObjectId::Sha1([13; 20]),
        rules: 1,
        extensions: extensions.clone(),
    };
    let reject = Reject { revision, reason: "Not yet.".to_owned(), extensions: extensions.clone() };
    let none = Extensions::default;
    let revoke = Revoke {
        targets: vec![Target::Member(MemberId([15; 32])), Target::Identity(other), Target::Feed(feed().peer())],
        pins: vec![revision],
        reason: "Left the team.".to_owned(),
        extensions: none(),
    };
    let policy = SetPolicy { approvals: 2, own_counts: false, votes: 2, rules: 1, extensions: none() };
    let laptop = IdentityKey(Secret::from_seed([16; 32]));
    let member = MemberId::of(&identity().identity());
    let proof = Link::prove(&project, &member, &laptop);
    let link = Link { identity: laptop.identity(), proof, name: "laptop".to_owned(), extensions: none() };
    assert_eq!(link.verify(&project, &member), Ok(()));
    assert!(link.verify(&project, &MemberId([15; 32])).is_err());
    let tag = Tag {
        tags: vec![
            (branch("v1.0"), ObjectId::Sha1([20; 20]), ObjectId::Sha1([21; 20])),
            (branch("v1.1"), ObjectId::Sha1([22; 20]), ObjectId::Sha1([22; 20])),
        ],
        extensions: none(),
    };
    let sha256 = Propose { tip: ObjectId::Sha256([14; 32]), ..propose.clone() };
    vec![
        ("genesis", signed(0, Payload::Genesis(genesis()), vec![])),
        (
            "certificate",
            signed(0, Payload::Certify(Certify { certificate, extensions: extensions.clone() }), vec![revision]),
        ),
        ("grant", signed(1, Payload::Grant(grant), vec![revision])),
        ("invite", signed(2, Payload::Invite(invite), vec![])),
        ("propose", signed(3, Payload::Propose(propose), vec![revision])),
        ("propose-sha256", signed(4, Payload::Propose(sha256), vec![revision])),
        ("approve", signed(5, Payload::Approve(approve), vec![revision, EventId([1; 32])])),
        ("reject", signed(6, Payload::Reject(reject), vec![revision])),
        ("withdraw", signed(7, Payload::Withdraw(Withdraw { revision, extensions }), vec![revision])),
        ("land", signed(8, Payload::Land(land), vec![revision, EventId([12; 32])])),
        ("revoke", signed(10, Payload::Revoke(revoke), vec![revision])),
        (
            "vote",
            signed(
                11,
                Payload::Vote(Vote { on: revision, message: "Yes.".to_owned(), extensions: none() }),
                vec![revision],
            ),
        ),
        ("policy", signed(12, Payload::Policy(policy), vec![])),
        ("link", signed(13, Payload::Link(link), vec![])),
        ("ack", signed(14, Payload::Ack(Ack { extensions: none() }), vec![])),
        ("tag", signed(15, Payload::Tag(tag), vec![])),
        ("unknown", signed(9, Payload::Unknown(Kind(0o7777), b"from later".to_vec()), vec![])),
    ]
}

/// Bytes that must be refused, and why.
fn refused() -> Vec<(&'static str, Vec<u8>)> {
    let propose = good().into_iter().find(|(name, _)| *name == "propose").unwrap().1;
    let bytes = propose.bytes().to_vec();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        bytes
    };
    let seq_at = 1 + 32 + 32;
    vec![
        ("empty", vec![]),
        ("other-format", with(&|bytes| bytes[0] = 2)),
        ("trailing-byte", with(&|bytes| bytes.push(0))),
        ("truncated", with(&|bytes| bytes.truncate(bytes.len() - 1))),
        // 3 written in two bytes instead of one.
        ("long-number", with(&|bytes| bytes.splice(seq_at..=seq_at, [0x83, 0x00]).for_each(drop))),
        ("wrong-project", with(&|bytes| bytes[1] ^= 1)),
        ("wrong-author", with(&|bytes| bytes[33] ^= 1)),
        ("other-payload", with(&|bytes| *bytes.last_mut().unwrap() ^= 1)),
        ("prev-at-zero", with(&|bytes| bytes[seq_at] = 0)),
        ("wrong-signature", {
            let id = propose.by_feed_at();
            with(&|bytes| bytes[id] ^= 1)
        }),
        ("too-large", vec![1; crate::limits::EVENT_BYTES + 1]),
    ]
}

impl Event {
    /// Where in the bytes the feed's signature begins.
    fn by_feed_at(&self) -> usize {
        codec::encode(self.body()).len()
    }
}

fn listing() -> String {
    let mut text =
        String::from("# Written by src/eventlog/golden.rs. `good NAME ID BYTES`, `refused NAME WHY BYTES`.\n");
    for (name, event) in good() {
        text += &format!("good {name} {} {}\n", event.id(), hex(event.bytes()));
    }
    for (name, bytes) in refused() {
        let why = Event::decode(&bytes).expect_err(name);
        let why = format!("{why:?}").replace(' ', "");
        // The large one is 16 KiB of ones: its length says it all.
        let bytes = if bytes.len() > 10_000 { format!("01x{}", bytes.len()) } else { hex(&bytes) };
        text += &format!("refused {name} {why} {bytes}\n");
    }
    text
}

#[test]
fn events_have_the_bytes_that_they_always_had() {
    let path = std::path::Path::new(FILE);
    if std::env::var_os("LANSYNC_BLESS").is_some() {
        std::fs::write(path, listing()).unwrap();
    }
    let stored = std::fs::read_to_string(path).unwrap();
    assert_eq!(listing(), stored, "the format changed; if that is meant, it needs a new format number");
}

#[test]
fn golden_events_decode_encode_and_verify() {
    let stored = std::fs::read_to_string(FILE).unwrap();
    let mut seen = 0;
    for line in stored.lines().filter(|line| line.starts_with("good ")) {
        let [_, name, id, bytes] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let event = Event::decode(&unhex(bytes).unwrap()).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(event.id().to_string(), id, "{name}");
        assert_eq!(event.verify_identity(&identity().identity()), Ok(()), "{name}");
        if event.body().kind.uses_rights() {
            assert!(event.verify_identity(&IdentityId([3; 32])).is_err(), "{name}");
        }
        seen += 1;
    }
    assert_eq!(seen, good().len());
}

#[test]
fn a_landing_is_known_by_its_content() {
    let content = genesis().landing(&branch("main")).unwrap();
    let lid: Lid = content.lid(&genesis().project());
    assert_eq!(lid.to_string(), include_str!("../../tests/data/lid.txt").trim());
}

proptest::proptest! {
    /// Whatever byte of a good event is changed, it is refused.
    #[test]
    fn no_change_of_bytes_passes_for_the_same_event(which in 0usize..16, at in 0usize..2_000, flip in 1u8..) {
        let event = good().swap_remove(which).1;
        let mut bytes = event.bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        let passes = Event::decode(&bytes).is_ok_and(|event| event.verify_identity(&identity().identity()).is_ok());
        proptest::prop_assert!(!passes);
    }
}
