//! Targets that read one value: nothing panics, and what is read is written as it was.

use std::path::{Component, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::script::Script;
use crate::api::Request;
use crate::codec;
use crate::discovery::{self, Announcement, JoinCode, Joining, Place, RootsTag};
use crate::eventlog::{Event, Kind, Payload};
use crate::git::{self, PackLimits};
use crate::id::{self, BranchName, EventId, Handle, ObjectId, PeerId};
use crate::limits;
use crate::quic::{self, Coming};
use crate::service::control::read_envelope;
use crate::sync::{FetchReply, FetchRequest, Hello, JoinMessage, MediaReply, MediaRequest, Message, Ticket, Words};

/// A stream of frames that comes in pieces: the first byte says of which length. Every frame is read as a message.
pub fn frame(bytes: &[u8]) {
    let Some((piece, stream)) = bytes.split_first() else { return };
    let piece = usize::from(*piece).max(1);
    let (mut coming, mut at, mut begin) = (Coming::default(), 0, 0);
    loop {
        let Ok(room) = coming.room(limits::FRAME_BYTES) else {
            let len = u32::from_le_bytes(stream[begin..at].try_into().expect("the length has come, and no more"));
            assert!(len as usize > limits::FRAME_BYTES);
            return;
        };
        if room.is_empty() {
            let frame = coming.take();
            assert_eq!(frame, stream[begin + 4..at], "a frame is what stood between two lengths");
            message(&frame);
            begin = at;
            continue;
        }
        // No more is taken for a frame than one step ahead of what has come.
        assert!(room.len() <= 64 * 1024);
        let len = room.len().min(piece).min(stream.len() - at);
        if len == 0 {
            assert_eq!(coming.is_empty(), begin == at, "an end between frames is no broken frame");
            return;
        }
        room[..len].copy_from_slice(&stream[at..at + len]);
        coming.filled(len);
        at += len;
    }
}

fn message(frame: &[u8]) {
    let Ok(message) = Message::decode(frame) else { return };
    match &message {
        Message::Unknown(tag) => assert_eq!(*tag, frame[0]),
        Message::Events(events) => events.iter().for_each(|bytes| event(bytes)),
        Message::Frontier { .. }
        | Message::Held(_)
        | Message::Objects(_)
        | Message::Clock(_)
        | Message::Chain(_)
        | Message::Over { .. } => {}
        Message::Enough => assert_eq!(frame, [8], "it has no content"),
        Message::Answered => assert_eq!(frame, [10], "it has no content"),
    }
    assert!(matches!(message, Message::Unknown(_)) || message.encode() == frame);
}

/// The first frame of a session.
pub fn hello(bytes: &[u8]) {
    if let Ok(hello) = Hello::decode(bytes) {
        assert_eq!(hello.encode(), bytes);
        assert!(hello.certificate.verify(&id::ProjectId([0xfe; 32]), &PeerId([2; 32])).is_err());
    }
}

/// One event: as it comes, and with its signatures believed, which no chance would make.
pub fn event(bytes: &[u8]) {
    let stored = Event::decode_stored(bytes);
    if let Ok(event) = Event::decode(bytes) {
        assert_eq!(Ok(&event), stored.as_ref());
    }
    let Ok(event) = stored else { return };
    assert_eq!(event.bytes(), bytes);
    let (kind, payload) = event.payload().encode();
    let body = event.body();
    assert_eq!((kind, payload.len()), (body.kind, body.payload_len as usize));
    assert!(bytes.starts_with(&codec::encode(body)) && bytes.ends_with(&payload));
    assert!(body.deps().count() <= 2 * limits::EVENT_LINKS + 1);
}

/// The payload of a kind, which the first two bytes give.
pub fn payload(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first_chunk() else { return };
    let kind = Kind(u16::from_le_bytes(*kind));
    if let Ok(payload) = Payload::decode(kind, bytes) {
        assert_eq!(payload.encode(), (kind, bytes.to_vec()));
        assert_eq!(matches!(payload, Payload::Unknown(..)), kind.name().is_none());
        if let Payload::Genesis(genesis) = &payload {
            assert!(genesis.tips.iter().all(|(branch, _)| genesis.landing(branch).is_some()));
        }
    }
}

/// A ticket as text; and the same bytes with the checksum of one, which no chance would make.
pub fn ticket(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(ticket) = Ticket::parse(&text) {
        assert!(Ticket::looks_like(&text));
        assert_eq!(ticket.to_text(), text.trim().to_ascii_lowercase(), "one ticket has one text");
        crate::cli::fuzzing::folder(&text).inspect(|folder| inside(folder));
    }
    let hash = blake3::hash(bytes);
    let text = format!("lansync1{}", codec::base32(&[bytes, &hash.as_bytes()[..4]].concat()));
    if let Ok(ticket) = Ticket::parse(&text) {
        assert_eq!(ticket.to_text(), text);
        crate::cli::fuzzing::folder(&text).inspect(|folder| inside(folder));
        for addr in &ticket.addrs {
            place(addr);
        }
    }
}

/// What a stranger says who asks to join, and what is said to one.
pub fn join(bytes: &[u8]) {
    if let Ok(message) = JoinMessage::decode(bytes) {
        assert_eq!(message.encode(), bytes);
        assert!(bytes.len() <= limits::STRANGER_FRAME_BYTES + 1);
    }
}

/// Both sides of the stream on which objects are asked for.
pub fn fetch(bytes: &[u8]) {
    if let Ok(request) = FetchRequest::decode(bytes) {
        assert_eq!(request.encode(), bytes);
        assert!(request.want.len().max(request.have.len()) <= limits::FETCH_TIPS);
    }
    if let Ok(reply) = FetchReply::decode(bytes) {
        assert_eq!(reply.encode(), bytes);
    }
    if let Ok(request) = MediaRequest::decode(bytes) {
        assert_eq!(request.encode(), bytes);
        assert!(request.wants.len() <= limits::MEDIA_FILES);
        assert!(request.wants.iter().all(|(media, begun)| *begun < media.size));
    }
    if let Ok(reply) = MediaReply::decode(bytes) {
        assert_eq!(reply.encode(), bytes);
    }
}

/// A TXT record: a key, by a number or spelled out, and a value, as often as there are bytes.
pub fn announcement(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let mut entries = Vec::new();
    while !script.ended() {
        let key = match script.byte() {
            at @ 0..6 => ["v", "t", "p", "h", "j", "r"][usize::from(at)],
            _ => std::str::from_utf8(script.piece()).unwrap_or_default(),
        };
        entries.push((key, script.piece()));
    }
    let Some(read) = Announcement::from_txt(entries) else { return };
    let txt = read.to_txt();
    assert!(txt.iter().map(|(key, value)| 2 + key.len() + value.len()).sum::<usize>() <= 400);
    let again = Announcement::from_txt(txt.iter().map(|(key, value)| (*key, value.as_bytes())));
    assert_eq!(again.as_ref(), Some(&read), "what is read is announced as it was");
    assert_eq!(read.open_tag(&[0; 32]), None, "nobody seals by chance");
    if let Some(Joining { project, .. }) = read.joining() {
        assert!(!project.is_empty() && project.len() <= 64);
        plain(project);
    }
}

/// The server name by which a stranger dials.
pub fn name(bytes: &[u8]) {
    let name = String::from_utf8_lossy(bytes);
    assert!(!discovery::is_member_name(&name, &[0; 32], &PeerId([1; 32])), "nobody finds a code by chance");
    if let Some(code) = discovery::parse_join_name(&name) {
        assert_eq!(discovery::parse_join_name(&discovery::join_name(&code)), Some(code));
    }
    for text in
        [name.parse::<JoinCode>().map(|code| code.to_string()), name.parse::<RootsTag>().map(|tag| tag.to_string())]
    {
        assert!(text.is_err() || text.is_ok_and(|text| text == name.to_ascii_lowercase()));
    }
}

/// The first line of a command, and what follows it.
pub fn control(bytes: &[u8]) {
    if let Ok(envelope) = read_envelope(bytes) {
        let line = serde_json::to_vec(&envelope).expect("what was read as text can be written as text");
        assert!(serde_json::from_slice(&line).is_ok_and(|again: crate::api::Envelope| again == envelope));
    }
    if let Ok(request) = serde_json::from_slice::<Request>(bytes) {
        let line = serde_json::to_vec(&request).expect("what was read as text can be written as text");
        assert!(serde_json::from_slice(&line).is_ok_and(|again: Request| again == request));
    }
}

/// A tree and a commit that somebody offers.
pub fn object(bytes: &[u8]) {
    if git::fuzzing::takes_tree(bytes) {
        let tree = gix::objs::TreeRef::from_bytes(bytes, gix::hash::Kind::Sha1).expect("gix reads what is taken");
        for entry in &tree.entries {
            let name = entry.filename.to_ascii_lowercase();
            assert!(!name.is_empty() && name != b"." && name != b".." && name != b".git" && name != b"git~1");
            assert!(!name.contains(&b'/'));
        }
    }
    if git::fuzzing::takes_commit(bytes) {
        let commit = gix::objs::CommitRef::from_bytes(bytes, gix::hash::Kind::Sha1).expect("it was read before");
        let links = (commit.tree(), commit.parents().collect::<Vec<_>>());
        assert_eq!(git::fuzzing::links(bytes), Some(links), "walks go where git would");
    }
    if git::fuzzing::takes_tag(bytes) {
        assert!(gix::objs::TagRef::from_bytes(bytes, gix::hash::Kind::Sha1).is_ok());
    }
    let _ = git::fuzzing::takes_modules(bytes);
}

/// A pack on its way into quarantine. Its checksum is made good where it is the only thing that is wrong, or nothing
/// would get past it.
pub fn pack(bytes: &[u8]) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    static HOOK: OnceLock<()> = OnceLock::new();
    // A panic of gix is caught where packs are received, and is no finding: fuzzing aborts at every panic by its hook.
    if cfg!(fuzzing) {
        HOOK.get_or_init(|| drop(std::panic::take_hook()));
    }
    let small = PackLimits { objects: 64, bytes: 1 << 20, object_bytes: 1 << 20, all_object_bytes: 1 << 22, depth: 50 };
    let (content, _) = bytes.split_at(bytes.len().saturating_sub(20));
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    hasher.update(content);
    let Ok(checksum) = hasher.try_finalize() else { return };
    for bytes in [bytes, &[content, checksum.as_slice()].concat()] {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir: PathBuf = std::env::temp_dir().join(format!("lansync-pack-{}-{number}", std::process::id()));
        std::fs::create_dir(&dir).expect("a directory can be made");
        let received = git::fuzzing::receive(&dir, bytes, &small);
        std::fs::remove_dir_all(&dir).expect("it was made before");
        if let Err(refused) = received {
            assert!(!refused.to_string().is_empty());
        }
    }
}

/// Text of others: how it is shown, and what it is read as.
pub fn text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let safe = crate::cli::fuzzing::safe(&text);
    plain(&safe);
    assert_eq!(crate::cli::fuzzing::safe(&safe), safe);
    let (cut, width) = crate::cli::fuzzing::fit(&safe, bytes.len() / 2);
    assert!(width <= bytes.len() / 2);
    plain(&cut);
    plain(&quic::shown(bytes));
    if let Some(handle) = Handle::slug(&text) {
        assert_eq!(Handle::new(handle.as_str()), Ok(handle));
    }
    if let Ok(branch) = BranchName::new(text.as_ref()) {
        plain(branch.as_str());
        assert!(gix::validate::reference::name(format!("refs/heads/{branch}").as_str().into()).is_ok());
    }
    if let Some((first, second)) = text.split_once(' ')
        && let Some(words) = Words::parse(first, second)
    {
        let [first, second] = words.words();
        assert_eq!(Words::parse(first, second), Some(words));
    }
    if let Ok(id) = text.parse::<EventId>() {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
    }
    if let Ok(id) = text.parse::<ObjectId>() {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
    }
    place(&text);
    crate::cli::fuzzing::folder(&text).inspect(|folder| inside(folder));
}

fn place(text: &str) {
    if let Ok(place) = text.parse::<Place>() {
        assert_eq!(place.to_string().parse(), Ok(place));
    }
}

/// Nothing in it moves a terminal's cursor or turns its text round.
fn plain(text: &str) {
    assert!(!text.chars().any(|c| c.is_control() || id::is_bidi_override(c)), "{text:?}");
}

/// It lies in the directory in which it is looked for, and can be seen there.
fn inside(folder: &std::path::Path) {
    let mut parts = folder.components();
    assert!(matches!(parts.next(), Some(Component::Normal(_))) && parts.next().is_none(), "{folder:?}");
    assert!(!folder.to_string_lossy().starts_with('.'));
}
