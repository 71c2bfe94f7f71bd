//! Two people who pair, and somebody in the middle who says to both whatever the input says.

use super::script::Script;
use crate::id::{IdentityId, PeerId, ProjectId};
use crate::keys::{IdentityKey, Secret};
use crate::sync::{Asker, AskerStep, Greeter, GreeterStep, JoinMessage, Words};

const ASKER: PeerId = PeerId([1; 32]);
const GREETER: PeerId = PeerId([2; 32]);

/// What each side has come to.
#[derive(Default)]
struct Came {
    asked: Option<IdentityId>,
    revealed: Option<Words>,
    expected: Option<Words>,
    admitted: bool,
}

/// Messages are handed on, held back, said twice, altered and made up: each side keeps to the order, and where the
/// greeter heard what the asker said, both show the same words.
pub fn pairing(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let (identity, mallory) = (key(3), key(4));
    let (mut asker, ask) =
        Asker::begin(ASKER, GREETER, &identity, [7; 32], script.array(), "bo".to_owned(), "Bo".to_owned());
    let mut greeter = Greeter::new(ASKER, GREETER, [7; 32], script.array());
    let mut came = Came::default();
    // What was said so far; the first is an ask of somebody else on this same connection.
    let (_, other_ask) =
        Asker::begin(ASKER, GREETER, &mallory, [7; 32], script.array(), "mallory".to_owned(), String::new());
    let (mut to_greeter, mut to_asker) = (vec![other_ask, ask], Vec::new());
    let (mut nonce_said, mut nonce_heard) = (None, None);
    while !script.ended() {
        let for_greeter = script.below(2) == 0;
        let said = if for_greeter { &to_greeter } else { &to_asker };
        let message = match script.below(4) {
            0 => made_up(&mut script),
            _ if said.is_empty() => continue,
            _ => said[script.below(said.len())].clone(),
        };
        if for_greeter {
            match greeter.received(message.clone()) {
                Ok(GreeterStep::SayNonce { identity, nonce, .. }) => {
                    assert!(came.asked.replace(identity).is_none(), "one ask on a connection");
                    nonce_said = Some(nonce);
                    let (member, project) = ("ana".to_owned(), "payroll".to_owned());
                    to_asker.push(JoinMessage::Nonce { nonce, member, project });
                }
                Ok(GreeterStep::Expect(words)) => {
                    assert!(came.asked.is_some() && matches!(message, JoinMessage::Reveal { .. }));
                    assert!(came.expected.replace(words).is_none_or(|before| before == words), "words do not change");
                }
                Err(_) => {}
            }
        } else {
            match asker.received(message.clone()) {
                Ok(AskerStep::Reveal { say, words, .. }) => {
                    assert!(came.revealed.replace(words).is_none(), "a nonce is answered once");
                    let JoinMessage::Nonce { nonce, .. } = message else { panic!("{message:?} is no nonce") };
                    nonce_heard = Some(nonce);
                    to_greeter.push(*say);
                }
                Ok(AskerStep::Admitted { .. }) => {
                    assert!(came.revealed.is_some(), "nobody is admitted before words were shown");
                    came.admitted = true;
                }
                Err(_) => {}
            }
        }
        // Little is kept: an input is no longer than what it does.
        if to_asker.len() > 8 || to_greeter.len() > 8 {
            return;
        }
    }
    if let (Some(shown), Some(expected)) = (came.revealed, came.expected)
        && came.asked == Some(identity.identity())
        && nonce_said == nonce_heard
    {
        assert_eq!(shown, expected, "nobody changed anything, so the words are the same");
    }
}

fn key(seed: u8) -> IdentityKey {
    IdentityKey(Secret::from_seed([seed; 32]))
}

fn made_up(script: &mut Script<'_>) -> JoinMessage {
    let text = |script: &mut Script<'_>| String::from_utf8_lossy(script.piece()).into_owned();
    match script.below(5) {
        0 => JoinMessage::Nonce { nonce: script.array(), member: text(script), project: text(script) },
        1 => JoinMessage::Reveal { nonce: script.array() },
        2 => JoinMessage::Admitted { project: ProjectId(script.array()), handle: text(script) },
        3 => JoinMessage::decode(script.piece()).unwrap_or(JoinMessage::Reveal { nonce: [0; 16] }),
        _ => {
            // The proof of one who asked on another connection.
            let (_, ask) = Asker::begin(ASKER, GREETER, &key(5), script.array(), [0; 16], text(script), text(script));
            ask
        }
    }
}
