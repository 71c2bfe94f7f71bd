//! Real values as first inputs. They always pass as they are now; `LANSYNC_BLESS=1` writes them to `fuzz/corpus/`.

use std::path::Path;

use super::TARGETS;
use crate::api::{CONTROL_VERSION, Envelope, Request};
use crate::codec;
use crate::discovery::{Announcement, JoinCode, Joining, RootsTag, join_name, member_name};
use crate::eventlog::{Event, FrontierEntry};
use crate::git::testing::Fixture;
use crate::id::{EventId, Handle, Media, MediaId, ObjectId, PackId, PeerId, ProjectId, unhex};
use crate::keys::{IdentityKey, Secret};
use crate::sync::{
    Asker, FetchReply, FetchRequest, Hello, JoinMessage, JoinRefusal, MediaReply, MediaRequest, Message, PieceReply,
    PieceRequest, PieceSet, Ticket, VERSION,
};

/// A target, what the value is, its bytes.
type Seed = (&'static str, String, Vec<u8>);

const PROJECT: ProjectId = ProjectId([1; 32]);
const ANA: PeerId = PeerId([2; 32]);
const BO: PeerId = PeerId([3; 32]);

/// Events in the bytes that they have for ever, and some that are refused.
fn events() -> Vec<Seed> {
    let golden = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/events.txt")).unwrap();
    let mut seeds = Vec::new();
    for line in golden.lines() {
        let [what, name, _, bytes] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
        let Some(bytes) = unhex(bytes) else { continue };
        if what == "good" {
            let (kind, payload) = Event::decode(&bytes).unwrap().payload().encode();
            seeds.push(("payload", name.to_owned(), [kind.0.to_le_bytes().to_vec(), payload].concat()));
        }
        seeds.push(("event", name.to_owned(), bytes));
    }
    seeds
}

fn messages() -> Vec<Seed> {
    let entry = FrontierEntry { feed: ANA, seq: 3, id: [2; 8] };
    let (tip, other) = (ObjectId::Sha1([4; 20]), ObjectId::Sha256([5; 32]));
    let event = events().into_iter().find(|(_, name, _)| name == "propose").unwrap().2;
    let messages = [
        ("frontier", Message::Frontier { entries: vec![entry], last: true }.encode()),
        ("events", Message::Events(vec![event.clone(), event]).encode()),
        ("held", Message::Held(vec![entry, entry]).encode()),
        ("objects", Message::Objects(vec![tip, other]).encode()),
        ("pieces", Message::Pieces { pack: PackId([4; 32]), here: PieceSet::all(3), asks: true }.encode()),
        ("clock", Message::Clock(1_800_000_000_000).encode()),
        ("chain", Message::Chain(vec![entry, FrontierEntry { seq: 9, ..entry }]).encode()),
        ("enough", Message::Enough.encode()),
        ("over", Message::Over { heard: true }.encode()),
        ("answered", Message::Answered.encode()),
        ("later", vec![200, 1, 2]),
    ];
    let framed = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat();
    let all: Vec<u8> = messages.iter().flat_map(|(_, bytes)| framed(bytes)).collect();
    let seed = |piece: u8, name: &str, bytes: &[u8]| ("frame", name.to_owned(), [&[piece], bytes].concat());
    let mut seeds: Vec<Seed> = messages.iter().map(|(name, bytes)| seed(255, name, &framed(bytes))).collect();
    seeds.push(seed(7, "all", &all));
    seeds.push(seed(1, "broken-off", &all[..all.len() - 1]));
    seeds.push(seed(255, "too-large", &[0xff; 8]));
    let identity = IdentityKey(Secret::from_seed([2; 32]));
    let hello = Hello {
        version: VERSION,
        features: Hello::features(false),
        program: "0.1.0".to_owned(),
        clock: 1_800_000_000_000,
        certificate: identity.certify(&PROJECT, &ANA),
        digest: [7; 32],
    };
    seeds.push(("hello", "hello".to_owned(), hello.encode()));
    let hearing = Hello { features: Hello::features(true), ..hello };
    seeds.push(("hello", "hearing".to_owned(), hearing.encode()));
    let request =
        FetchRequest { want: vec![tip], have: vec![other, tip], also: vec![], prefix: None, skip: 0, sources: 1 };
    seeds.push(("fetch", "request".to_owned(), request.encode()));
    let media = Media { id: MediaId([3; 32]), size: 1_000 };
    let request = MediaRequest { commit: tip, wants: vec![(media, 0), (media, 999)] };
    seeds.push(("fetch", "media".to_owned(), request.encode()));
    seeds.push(("fetch", "media-here".to_owned(), MediaReply::Here(vec![true, false]).encode()));
    let shared = FetchReply::Shared { pack: PackId([4; 32]), bytes: 200 << 20 };
    let busy = FetchReply::Busy { others: vec![ANA, BO] };
    for (name, reply) in [("pack", FetchReply::Pack), ("busy", busy), ("shared", shared)] {
        seeds.push(("fetch", name.to_owned(), reply.encode()));
    }
    let piece = PieceRequest { pack: PackId([4; 32]), of: PieceSet::all(11) };
    seeds.push(("fetch", "piece".to_owned(), piece.encode()));
    seeds.push(("fetch", "piece-reply".to_owned(), PieceReply::Piece(10).encode()));
    seeds
}

fn joining() -> Vec<Seed> {
    let identity = IdentityKey(Secret::from_seed([2; 32]));
    let (_, ask) = Asker::begin(BO, ANA, &identity, [7; 32], [8; 16], "bo".to_owned(), "Bo Núñez".to_owned());
    let ticket = Ticket {
        project: PROJECT,
        invite: EventId([2; 32]),
        inviter: ANA,
        secret: [4; 32],
        addrs: vec!["10.0.0.1:7483".to_owned(), "[fe80::1%eth0]:7483".to_owned(), "ana.local:7484".to_owned()],
        name: "payroll".to_owned(),
        link: None,
    };
    let (id, signature) = (identity.identity(), ticket.redeem(&BO, &identity.identity(), &[7; 32]));
    let (handle, name) = ("bo".to_owned(), "Bo".to_owned());
    let redeem = JoinMessage::Redeem { identity: id, handle, name, proof: signature, invite: ticket.invite, signature };
    let redeem_link = JoinMessage::RedeemLink {
        identity: id,
        name: "laptop".to_owned(),
        proof: signature,
        ticket: ticket.invite,
        signature,
        link: signature,
    };
    let nonce = JoinMessage::Nonce { nonce: [9; 16], member: "ana".to_owned(), project: "payroll".to_owned() };
    let messages = [
        ("ask", ask),
        ("nonce", nonce),
        ("reveal", JoinMessage::Reveal { nonce: [8; 16] }),
        ("redeem", redeem),
        ("redeem-link", redeem_link),
        ("admitted", JoinMessage::Admitted { project: PROJECT, handle: "bo".to_owned() }),
        ("refused", JoinMessage::Refused { why: JoinRefusal::BadProof }),
    ];
    let mut seeds: Vec<Seed> =
        messages.iter().map(|(name, message)| ("join", (*name).to_owned(), message.encode())).collect();
    seeds.push(("ticket", "text".to_owned(), ticket.to_text().into_bytes()));
    seeds.push(("ticket", "fields".to_owned(), codec::encode(&ticket)));
    // Three nonces; then (to the greeter?, handed on, which): ask, nonce, reveal; the second says the ask twice.
    let nonces = [5; 48];
    seeds.push(("pairing", "honest".to_owned(), [&nonces[..], &[0, 1, 1, 1, 1, 0, 0, 1, 2]].concat()));
    seeds.push(("pairing", "twice".to_owned(), [&nonces[..], &[0, 1, 1, 0, 1, 1, 1, 1, 0, 0, 1, 2, 0, 1, 2]].concat()));
    seeds.push(("pairing", "other".to_owned(), [&nonces[..], &[0, 1, 0, 0, 1, 1, 1, 0, 1, 0, 4]].concat()));
    seeds
}

fn network() -> Vec<Seed> {
    let said = Joining {
        project: "payroll".to_owned(),
        handle: Handle::new("ana").unwrap(),
        code: JoinCode([7; 8]),
        roots: Some(RootsTag::of(["aa", "bb"])),
    };
    let record = |announcement: &Announcement| {
        let entry = |(key, value): (&str, String)| {
            let at = ["v", "t", "p", "h", "j", "r"].iter().position(|known| *known == key).unwrap();
            [&[u8::try_from(at).unwrap(), u8::try_from(value.len()).unwrap()], value.as_bytes()].concat()
        };
        announcement.to_txt().into_iter().flat_map(entry).collect::<Vec<u8>>()
    };
    let open = record(&Announcement::seal(&[9; 32], &ANA, [3; 8], Some(said)));
    let mut seeds = vec![
        ("announcement", "open".to_owned(), open.clone()),
        ("announcement", "members".to_owned(), record(&Announcement::seal(&[9; 32], &ANA, [3; 8], None))),
        ("announcement", "spelled-out".to_owned(), [&[6, 1, b'v', 1, b'1', 9, 1, b'x', 0], &open[..]].concat()),
    ];
    for (name, text) in [
        ("member", member_name(&[9; 32], &ANA, [3; 8])),
        ("join", join_name(&JoinCode([7; 8]))),
        ("code", JoinCode([7; 8]).to_string()),
    ] {
        seeds.push(("name", name.to_owned(), text.into_bytes()));
    }
    seeds
}

fn commands() -> Vec<Seed> {
    let proposal = || "bo/fix".to_owned();
    let requests = [
        ("ping", Request::Ping),
        ("up", Request::Up { join: Some("payroll".to_owned()), new: false }),
        ("clone", Request::Clone { project: "payroll".to_owned(), into: "/x".into(), up: true }),
        ("approve", Request::Approve { proposal: proposal(), commit: Some("4f2c".to_owned()), message: None }),
        ("reject", Request::Reject { proposal: proposal(), message: Some("Nicht jetzt 👋".to_owned()) }),
    ];
    let mut seeds = Vec::new();
    for (name, request) in requests {
        let envelope = Envelope { v: CONTROL_VERSION, version: "0.1.0".to_owned(), dir: "/x".into(), request };
        seeds.push(("control", name.to_owned(), serde_json::to_vec(&envelope).unwrap()));
    }
    let other = br#"{"v":99,"version":"9.9.9","later":[],"request":{"do":"down","all":true}}"#;
    seeds.push(("control", "other-version".to_owned(), other.to_vec()));
    seeds.push(("control", "answer".to_owned(), br#"{"do":"answer","yes":true}"#.to_vec()));
    for (name, text) in [
        ("escape", "Fix \u{1b}[31mred\u{7}\r\nnext\tcolumn\u{9b}2J"),
        ("turned", "user\u{202e}txt.exe\u{2066}\u{200f}\u{200b}\u{feff}"),
        ("wide", "Füße, 日本, 👩\u{200d}💻 u\u{308}"),
        ("branch", "fix/übung@2"),
        ("words", "maple river"),
        ("id", "4b825dc642cb6eb9a060e54bf8d69288fbee4904"),
        ("place", "[fe80::1%eth0]:7483"),
    ] {
        seeds.push(("text", name.to_owned(), text.as_bytes().to_vec()));
    }
    seeds
}

/// Objects as git itself writes them.
fn objects() -> Vec<Seed> {
    let fixture = Fixture::new();
    let lines: String = (0..40).map(|n| format!("line {n}\n")).collect();
    fixture.commit("src/a.txt", &lines);
    fixture.commit("src/a.txt", &lines.replace("line 7", "line seven"));
    let git = |args: &[&str], input: &[u8]| fixture.git_with(args, input).stdout;
    let delta = ["pack-objects", "--stdout", "--revs", "--delta-base-offset", "-q"];
    let mut seeds = vec![
        ("object", "tree".to_owned(), git(&["cat-file", "tree", "HEAD^{tree}"], b"")),
        ("object", "commit".to_owned(), git(&["cat-file", "commit", "HEAD"], b"")),
        ("pack", "deltas".to_owned(), git(&delta, b"HEAD\n")),
        ("pack", "whole".to_owned(), git(&["pack-objects", "--stdout", "--revs", "--window=0", "-q"], b"HEAD\n")),
        ("pack", "thin".to_owned(), git(&["pack-objects", "--stdout", "--revs", "--thin", "-q"], b"HEAD\n^HEAD^\n")),
        ("pack", "nothing".to_owned(), git(&["pack-objects", "--stdout", "-q"], b"")),
    ];
    for (name, mode, entry) in
        [("link", "120000", ".gitmodules"), ("long-mode", "00040000", "a"), ("dot-git", "40000", "a\\.git\\hooks")]
    {
        let tree = [mode.as_bytes(), b" ", entry.as_bytes(), &[0], &[7; 20]].concat();
        seeds.push(("object", name.to_owned(), tree));
    }
    seeds
}

/// Node, what it does, and what that takes.
fn scripts() -> Vec<Seed> {
    let script = |name: &str, steps: &[&[u8]]| ("sessions", name.to_owned(), steps.concat());
    let (write, connect, cut): (&[u8], &[u8], &[u8]) = (&[0, 0], &[0, 2], &[0, 3]);
    let (liar, gone): (&[u8], &[u8]) = (&[0, 6, 1], &[0, 7]);
    let digest: &[u8] = &[4; 32];
    vec![
        script("honest", &[write, write, connect, &[0, 4], &[1, 4], write, &[0, 4], cut, write, connect]),
        script("frontier", &[write, liar, digest, &[0, 8, 0, 2, 0, 9, 1, 210, 1], write, gone]),
        script("held", &[write, connect, liar, digest, &[0, 9, 2, 1, 0, 219], &[0, 10, 1, 0, 200], write, &[0, 4]]),
        script("due", &[liar, digest, &[0, 11, 1, 5], &[0, 11, 2, 9], write, &[0, 11, 0], gone, write]),
    ]
}

#[test]
fn real_values_pass() {
    let seeds = [events(), messages(), joining(), network(), commands(), objects(), scripts()].concat();
    let bless = std::env::var_os("LANSYNC_BLESS").is_some();
    for (target, run) in TARGETS {
        let mut count = 0;
        for (_, name, bytes) in seeds.iter().filter(|(of, ..)| *of == target) {
            run(bytes);
            count += 1;
            if bless {
                let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
                std::fs::create_dir_all(&dir).unwrap();
                std::fs::write(dir.join(format!("seed-{name}")), bytes).unwrap();
            }
        }
        assert!(count > 0, "{target} has a real value");
    }
}
