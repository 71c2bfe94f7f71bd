//! Somebody who holds keys and says whatever he likes, in sessions of his own.

use std::path::PathBuf;
use std::sync::Arc;

use lansync::approval::State;
use lansync::discovery;
use lansync::eventlog::{Certify, Draft, Event, Extensions, Payload, Propose};
use lansync::id::{EventId, Media, ObjectId, ProjectId};
use lansync::limits;
use lansync::node::{clock, discovery_key};
use lansync::quic::{Closed, Connection, Endpoint, RecvStream, SendStream};
use lansync::sync::{FetchReply, FetchRequest, Hello, MediaReply, MediaRequest, Message, VERSION};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{AnyName, Clone, Keys, branch, git, soon};

/// Somebody who holds keys and says whatever he likes.
pub struct Raw {
    pub keys: Keys,
    pub state: State,
    pub endpoint: Endpoint,
    /// How many milliseconds the clock of his hello is ahead.
    pub ahead: i64,
    top: TempDir,
    /// His repository, once he has one.
    pub dir: PathBuf,
}

impl Raw {
    /// He knows the project's id and the first events of its log, as a member would.
    pub fn new(keys: Keys, of: &Clone) -> Self {
        let mut state = State::new(of.project());
        for event in &of.events {
            assert!(state.take(event.clone()).expect("it fits").is_some());
        }
        let endpoint = Endpoint::bind(0, Arc::new(AnyName(keys.feed.clone()))).expect("a port is free");
        let top = tempfile::tempdir().expect("a temporary directory");
        let dir = top.path().join("repo");
        git(top.path(), &["clone", "-q", &of.dir.to_string_lossy(), "repo"]);
        Self { keys, state, endpoint, ahead: 0, top, dir }
    }

    /// Dials as a member does, who knows the project's id.
    pub async fn dial(&self, to: &Clone) -> Connection {
        let name = discovery::member_name(&discovery_key(&to.project()), &to.keys.peer(), [3; 8]);
        self.endpoint.dial(&self.keys.feed, Some(to.keys.peer()), &name, &[to.addr()]).await.expect("it answers")
    }

    pub fn hello(&self, project: &ProjectId) -> Hello {
        Hello {
            version: VERSION,
            features: Hello::features(false),
            program: "mallory".to_owned(),
            clock: clock::now().saturating_add_signed(self.ahead),
            certificate: self.keys.identity.certify(project, &self.keys.peer()),
            digest: self.state.frontier().digest(),
        }
    }

    /// A session of a member.
    pub async fn session(&self, to: &Clone) -> Session {
        let connection = self.dial(to).await;
        let (mut send, mut recv) = connection.open_bi().await.expect("it is open");
        send.write_frame(&self.hello(&to.project()).encode()).await.expect("it is open");
        let first = soon("a hello", recv.read_frame(limits::FRAME_BYTES)).await.expect("it is open");
        Hello::decode(&first.expect("it is open")).expect("a hello");
        // From now on as much may be on its way as between members.
        connection.admit();
        let (said, messages) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(frame)) = recv.read_frame(limits::FRAME_BYTES).await {
                if said.send(Message::decode(&frame).expect("honest nodes say what is in order")).is_err() {
                    break;
                }
            }
        });
        Session { connection, send, messages }
    }

    /// A session in which he has said who he is, and that he lacks nothing.
    pub async fn joined(&mut self, to: &Clone) -> Session {
        let mut session = self.session(to).await;
        let certificate = self.certificate();
        session.send(&[&certificate]).await;
        session.say(&Message::Frontier { entries: vec![], last: true }).await;
        session
    }

    /// Writes the next event of his feed as an honest node would, and keeps it.
    pub fn write(&mut self, payload: Payload, refs: Vec<EventId>) -> Event {
        let mut pen = self.state.pen(&self.keys.peer());
        let event = pen.write(clock::now(), payload, refs, &self.keys.feed, &self.keys.identity).expect("it fits");
        assert!(self.state.take(event.clone()).expect("Mallory means to be understood").is_some());
        event
    }

    /// The first event of his feed.
    pub fn certificate(&mut self) -> Event {
        let certificate = self.keys.identity.certify(&self.state.project(), &self.keys.peer());
        self.write(Payload::Certify(Certify { certificate, extensions: Extensions::default() }), vec![])
    }

    /// What would come next in his feed, to be spoilt.
    pub fn draft(&self, payload: Payload, refs: Vec<EventId>) -> Draft {
        let head = self.state.feed_head(&self.keys.peer());
        Draft {
            project: self.state.project(),
            seq: head.map_or(0, |head| head.seq + 1),
            prev: head.map(|head| head.id),
            hlc: self.state.latest().next(clock::now()),
            seen: vec![],
            refs,
            payload,
        }
    }

    pub fn sign(&self, draft: Draft) -> Event {
        draft.sign(&self.keys.feed, &self.keys.identity).expect("it is in form")
    }

    /// Keeps what was said of the log.
    pub fn hear(&mut self, message: &Message) {
        if let Message::Events(events) = message {
            for bytes in events {
                let event = Event::decode(bytes).expect("honest nodes send what is in order");
                // He may hold it, or miss what comes before it.
                let _ = self.state.take(event);
            }
        }
    }

    /// Listens until he knows enough.
    pub async fn learn(&mut self, session: &mut Session, what: &str, enough: impl Fn(&State) -> bool) {
        while !enough(&self.state) {
            let message = soon(what, session.messages.recv()).await.unwrap_or_else(|| panic!("in vain: {what}"));
            self.hear(&message);
        }
    }
}

/// An offer of a branch at a tip.
pub fn offer(name: &str, tip: ObjectId) -> Payload {
    Payload::Propose(Propose {
        branch: branch(name),
        target: branch("main"),
        tip,
        title: format!("Offer {name}"),
        previous: None,
        extensions: Extensions::default(),
    })
}

/// His end of a session.
pub struct Session {
    pub connection: Connection,
    pub send: SendStream,
    pub messages: mpsc::UnboundedReceiver<Message>,
}

impl Session {
    pub async fn say(&mut self, message: &Message) {
        self.frame(&message.encode()).await;
    }

    pub async fn frame(&mut self, bytes: &[u8]) {
        // Closed already: then how it was closed is looked at.
        let _ = self.send.write_frame(bytes).await;
    }

    pub async fn send(&mut self, events: &[&Event]) {
        self.say(&Message::Events(events.iter().map(|event| event.bytes().to_vec()).collect())).await;
    }

    /// How the other side ended it.
    pub async fn closed(&self) -> Closed {
        let closed = soon("the session is closed", self.connection.closed()).await;
        assert!(closed.by_peer, "{closed:?}");
        closed
    }

    /// Asks for objects; gives the reply and what follows it.
    pub async fn fetch(&self, want: &[ObjectId]) -> (FetchReply, RecvStream) {
        let request =
            FetchRequest { want: want.to_vec(), have: vec![], also: vec![], prefix: None, skip: 0, sources: 1 };
        let (mut send, mut recv) = self.connection.open_bi().await.expect("it is open");
        send.write_frame(&request.encode()).await.expect("it is open");
        let reply = recv.read_frame(limits::STRANGER_FRAME_BYTES);
        let reply = soon("a reply", reply).await.expect("it is open").expect("it is open");
        (FetchReply::decode(&reply).expect("a reply"), recv)
    }

    /// Asks for media files; gives the reply.
    pub async fn media(&self, commit: ObjectId, wants: Vec<(Media, u64)>) -> MediaReply {
        let (mut send, mut recv) = self.connection.open_bi().await.expect("it is open");
        send.write_frame(&MediaRequest { commit, wants }.encode()).await.expect("it is open");
        let reply = soon("a reply", recv.read_frame(64)).await.expect("it is open").expect("it is open");
        MediaReply::decode(&reply).expect("a reply")
    }

    /// From now on answers every fetch with these frames after the reply. `[]` ends a body.
    pub fn serve(&self, frames: Vec<Vec<u8>>) {
        let connection = self.connection.clone();
        tokio::spawn(async move {
            while let Ok((mut send, mut recv)) = connection.accept_bi().await {
                let Ok(Some(request)) = recv.read_frame(limits::FRAME_BYTES).await else { return };
                FetchRequest::decode(&request).expect("honest nodes ask for what is in order");
                let reply = FetchReply::Pack.encode();
                for frame in std::iter::once(&reply).chain(&frames) {
                    if send.write_frame(frame).await.is_err() {
                        break;
                    }
                }
                let _ = send.finish().await;
            }
        });
    }
}
