//! Two words let in who says them, and nobody else: a machine in the middle of a pairing is caught.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests print figures and fail at once"
)]

mod common;
#[path = "common/hostile.rs"]
mod hostile;

use std::sync::Arc;

use common::{Person, lan_or_skip};
use hostile::{AnyName, CODE, Clone, Keys, keys, loopback, run, soon, until};
use lansync::api::{Reply, Request};
use lansync::discovery;
use lansync::id::ProjectId;
use lansync::limits;
use lansync::quic::{CloseCode, Connection, Endpoint, RecvStream, SendStream};
use lansync::service::control::Control;
use lansync::service::home::Home;
use lansync::sync::{Asker, AskerStep, JoinMessage, JoinRefusal, PairingError};

/// One end of a stream on which somebody joins.
struct Talk {
    connection: Connection,
    send: SendStream,
    recv: RecvStream,
}

impl Talk {
    async fn dial(keys: &Keys, endpoint: &Endpoint, to: std::net::SocketAddr) -> Self {
        let name = discovery::join_name(&CODE);
        let connection = endpoint.dial(&keys.feed, None, &name, &[to]).await.expect("it answers");
        let (send, recv) = connection.open_bi().await.expect("it is open");
        Self { connection, send, recv }
    }

    async fn say(&mut self, message: &JoinMessage) {
        self.send.write_frame(&message.encode()).await.expect("it is open");
    }

    /// What is said next, or with which words the connection was closed.
    async fn hear(&mut self) -> Result<JoinMessage, String> {
        match soon("a word", self.recv.read_frame(limits::STRANGER_FRAME_BYTES)).await {
            Ok(Some(frame)) => Ok(JoinMessage::decode(&frame).expect("in order")),
            Ok(None) => Err("the stream ended".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn asker(&self, keys: &Keys) -> (Asker, JoinMessage) {
        let exporter = self.connection.exporter(b"lansync join", b"");
        let (me, other, handle) = (keys.peer(), self.connection.peer(), keys.handle.to_string());
        Asker::begin(me, other, &keys.identity, exporter, [keys.peer().0[0]; 16], handle.clone(), handle)
    }
}

fn stranger(keys: &Keys) -> Endpoint {
    Endpoint::bind(0, Arc::new(AnyName(keys.feed.clone()))).expect("a port is free")
}

/// Bo asks whoever answers at `to`, up to his words; what comes then he says himself.
async fn bo_asks(bo: &Keys, to: std::net::SocketAddr) -> (Talk, Asker, [String; 2], String) {
    let mut talk = Talk::dial(bo, &stranger(bo), to).await;
    let (mut asker, ask) = talk.asker(bo);
    talk.say(&ask).await;
    let nonce = talk.hear().await.expect("a nonce");
    let AskerStep::Reveal { say, words, member, .. } = asker.received(nonce).expect("in order") else {
        panic!("words come next")
    };
    talk.say(&say).await;
    (talk, asker, words.words().map(str::to_owned), member)
}

fn accept(words: [String; 2]) -> Request {
    Request::Accept { words: Some(words), handle: None, role: None }
}

async fn is_asked(ana: &Clone) {
    ana.told("asks-to-join", "asks to join").await;
}

/// What must not change: the log, and who is a member.
async fn unchanged(ana: &Clone, digest: &str) {
    let status = ana.status().await;
    assert_eq!(status.log.digest, digest);
    assert_eq!(ana.members().await, ["ana"]);
    assert!(status.asking.is_empty(), "{:?}", status.asking);
}

#[test]
fn the_words_let_in_who_read_them_out() {
    run(async {
        let (ana, bo) = (Clone::found(&keys("ana", 1), &[]).await, keys("bo", 2));
        let (mut talk, mut asker, words, member) = bo_asks(&bo, ana.addr()).await;
        assert_eq!(member, "ana");
        is_asked(&ana).await;
        let done = ana.ask(accept(words)).await.expect("they are his words");
        assert_eq!((done["member"].as_str(), done["role"].as_str()), (Some("bo"), Some("contributor")));
        let admitted = asker.received(talk.hear().await.expect("a verdict")).expect("in order");
        assert_eq!(admitted, AskerStep::Admitted { project: ana.project(), handle: "bo".to_owned() });
        assert_eq!(ana.members().await, ["ana", "bo"]);
        // He is in: the log and the objects come, and what he commits lands.
        let bo = Clone::join(&bo, &ana).await;
        ana.works_with(&bo).await;
    });
}

#[test]
fn a_machine_in_the_middle_that_signs_everything_afresh_has_other_words() {
    run(async {
        let ana = Clone::found(&keys("ana", 1), &[]).await;
        let digest = ana.status().await.log.digest;
        let (bo, mallory) = (keys("bo", 2), keys("bo", 3));
        let house = stranger(&mallory);
        let door = loopback(&house);
        // Mallory answers Bo with Ana's own nonce and name, and asks Ana under Bo's name with Bo's nonce if she can.
        let relaying = tokio::spawn({
            let (house, mallory, to) = (house.clone(), mallory.clone(), ana.addr());
            async move {
                let from_bo = house.accept().await.expect("Bo dials");
                let (send, recv) = from_bo.accept_bi().await.expect("Bo asks");
                let mut bo = Talk { connection: from_bo, send, recv };
                let asked = bo.hear().await.expect("an ask");
                assert!(matches!(asked, JoinMessage::Ask { ref handle, .. } if handle == "bo"));
                let mut ana = Talk::dial(&mallory, &house, to).await;
                let (mut asker, ask) = ana.asker(&mallory);
                ana.say(&ask).await;
                let nonce = ana.hear().await.expect("a nonce");
                let AskerStep::Reveal { say, words, .. } = asker.received(nonce.clone()).expect("in order") else {
                    panic!("words come next")
                };
                bo.say(&nonce).await;
                bo.hear().await.expect("Bo reveals");
                ana.say(&say).await;
                // Ana's verdict goes on to Bo.
                let verdict = ana.hear().await;
                if let Ok(verdict) = &verdict {
                    bo.say(verdict).await;
                }
                let _ = soon("Bo leaves", bo.connection.closed()).await;
                (words.words().map(str::to_owned), verdict)
            }
        });
        let (mut talk, mut asker, words, member) = bo_asks(&bo, door).await;
        assert_eq!(member, "ana", "so he reads his words to Ana");
        is_asked(&ana).await;
        let refused = ana.ask(accept(words.clone())).await.expect_err("these are not Mallory's words");
        assert_eq!(refused.code, "wrong-words");
        assert!(refused.message.contains("they were all turned away"), "{}", refused.message);
        let told = asker.received(talk.hear().await.expect("a verdict"));
        assert_eq!(told, Err(PairingError::Refused(JoinRefusal::TurnedAway)));
        talk.connection.close(CloseCode::Bye, "turned away");
        let (hers, verdict) = relaying.await.expect("she ends");
        assert_ne!(hers, words);
        assert_eq!(verdict, Ok(JoinMessage::Refused { why: JoinRefusal::TurnedAway }));
        // Her own words are of no use to her any more, though they were right.
        assert_eq!(ana.ask(accept(hers)).await.expect_err("nobody asks").code, "nobody-asks");
        unchanged(&ana, &digest).await;
    });
}

#[test]
fn wrong_words_turn_away_all_who_ask() {
    run(async {
        let ana = Clone::found(&keys("ana", 1), &[]).await;
        let digest = ana.status().await.log.digest;
        let (mut bo, .., words, _) = bo_asks(&keys("bo", 2), ana.addr()).await;
        let (mut carl, ..) = bo_asks(&keys("carl", 3), ana.addr()).await;
        until("both ask", || async { ana.status().await.asking.len() == 2 }).await;
        let other = if words[0] == "zoo" { "zone" } else { "zoo" }.to_owned();
        let refused = ana.ask(accept([other, words[1].clone()])).await.expect_err("they are nobody's");
        assert_eq!(refused.code, "wrong-words");
        for talk in [&mut bo, &mut carl] {
            assert_eq!(talk.hear().await, Ok(JoinMessage::Refused { why: JoinRefusal::TurnedAway }));
        }
        assert_eq!(ana.ask(accept(words)).await.expect_err("nobody asks any more").code, "nobody-asks");
        unchanged(&ana, &digest).await;
    });
}

#[test]
fn a_proof_that_is_passed_on_is_refused() {
    run(async {
        let ana = Clone::found(&keys("ana", 1), &[]).await;
        let digest = ana.status().await.log.digest;
        let (bo, mallory) = (keys("bo", 2), keys("mallory", 3));
        // Bo's ask, made for a connection with Mallory, said to Ana by her.
        let house = stranger(&mallory);
        let to_mallory = Talk::dial(&bo, &stranger(&bo), loopback(&house)).await;
        let (_, ask) = to_mallory.asker(&bo);
        let mut talk = Talk::dial(&mallory, &house, ana.addr()).await;
        talk.say(&ask).await;
        let closed = talk.hear().await.expect_err("it is for another connection");
        assert!(closed.contains("the proof of the identity key does not hold"), "{closed}");
        unchanged(&ana, &digest).await;
    });
}

#[test]
fn another_nonce_than_was_committed_to_is_refused() {
    run(async {
        let ana = Clone::found(&keys("ana", 1), &[]).await;
        let digest = ana.status().await.log.digest;
        let mallory = keys("mallory", 3);
        let mut talk = Talk::dial(&mallory, &stranger(&mallory), ana.addr()).await;
        let (_, ask) = talk.asker(&mallory);
        talk.say(&ask).await;
        talk.hear().await.expect("a nonce");
        // Found by trying until the words were Bo's.
        talk.say(&JoinMessage::Reveal { nonce: [0xee; 16] }).await;
        let closed = talk.hear().await.expect_err("it is another");
        assert!(closed.contains("revealed another nonce"), "{closed}");
        until("nobody asks", || async { ana.status().await.asking.is_empty() }).await;
        unchanged(&ana, &digest).await;
        // Nor does it help to say that one is in, or to reveal before there was a nonce.
        for message in [
            JoinMessage::Admitted { project: ProjectId([0; 32]), handle: "mallory".to_owned() },
            JoinMessage::Reveal { nonce: [0; 16] },
        ] {
            let mut talk = Talk::dial(&mallory, &stranger(&mallory), ana.addr()).await;
            talk.say(&message).await;
            let closed = talk.hear().await.expect_err("that is not how one asks");
            assert!(closed.contains("does not keep to the protocol"), "{closed}");
        }
        unchanged(&ana, &digest).await;
    });
}

#[test]
fn one_whose_human_says_that_it_is_not_so_sends_nothing_and_keeps_nothing() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    ana.found("payroll");
    bo.found("other");
    let home = Home::at(&bo.lansync_home()).expect("it is there");
    let into = bo.home().join("payroll");
    // Twice: a no is not remembered as a yes.
    for admitted in [false, true] {
        run(async {
            let control = Control::connect(&home).await.expect("it runs");
            let clone = Request::Clone { project: "payroll".to_owned(), into: into.clone(), up: true };
            let mut replies = control.request(bo.home(), clone).await.expect("it runs");
            let refused = loop {
                match soon("a reply", replies.next()).await.expect("it runs") {
                    Some(Reply::Words { words, .. }) => {
                        assert!(!admitted, "Ana let him in before");
                        let [first, second] = &words;
                        let accepted = || ana.lansync(&["members", "accept", first, second]);
                        let _ = tokio::task::block_in_place(accepted).ok();
                    }
                    Some(Reply::Confirm { by }) => {
                        assert_eq!(by, "ana");
                        replies.answer(false).await.expect("it runs");
                    }
                    Some(Reply::Error(refusal)) => break refusal,
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(refused.code, "not-confirmed", "{refused:?}");
            assert!(refused.message.contains("ana did not let you in"), "{refused:?}");
        });
        assert!(!into.exists(), "nothing was made");
        let status = ana.status();
        assert_eq!((&status["log"]["feeds"], &status["log"]["events"]), (&1.into(), &2.into()), "no event of his");
        assert!(status["peers"].as_array().is_some_and(|peers| peers.iter().all(|peer| peer["connected"] == false)));
    }
}
