//! Pairing: two people compare two words, and no machine in the middle can make them agree.
//!
//! Commit, then reveal (as in ZRTP, RFC 6189 section 4.4.1, and vodozemac's SAS): the asker commits to a nonce
//! and its keys before it learns the greeter's nonce, so neither a machine in the middle nor either side can
//! look for keys that give certain words. The words are 22 bits of a hash over both keys, both nonces and the
//! TLS exporter of this very connection. A machine in the middle has two connections with two exporters, and
//! one try at one in four million.

use super::message::{JoinMessage, JoinRefusal, join_proof};
use crate::id::{IdentityId, PeerId, ProjectId};
use crate::keys::{self, Context, IdentityKey};

/// The two words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Words(u32);

impl Words {
    /// The words as people read them, from the BIP 39 list of 2,048.
    pub fn words(self) -> [&'static str; 2] {
        let list = bip39::Language::English.word_list();
        [list[(self.0 >> 11 & 2_047) as usize], list[(self.0 & 2_047) as usize]]
    }

    /// Reads two words in either case; `None` where one is not on the list.
    pub fn parse(first: &str, second: &str) -> Option<Self> {
        let list = bip39::Language::English.word_list();
        let find = |word: &str| list.binary_search(&word.trim().to_ascii_lowercase().as_str()).ok();
        let (first, second) = (u32::try_from(find(first)?).ok()?, u32::try_from(find(second)?).ok()?);
        Some(Self(first << 11 | second))
    }
}

/// What both sides hash.
struct Transcript<'a> {
    asker: &'a PeerId,
    greeter: &'a PeerId,
    identity: &'a IdentityId,
    exporter: &'a [u8; 32],
}

impl Transcript<'_> {
    fn commitment(&self, nonce: &[u8; 16]) -> [u8; 32] {
        Context::PairingCommit.hash(&[nonce, &self.asker.0, &self.identity.0])
    }

    fn words(&self, asker_nonce: &[u8; 16], greeter_nonce: &[u8; 16]) -> Words {
        let parts: [&[u8]; 6] =
            [&self.asker.0, &self.greeter.0, &self.identity.0, asker_nonce, greeter_nonce, self.exporter];
        let hash = Context::Pairing.hash(&parts);
        Words(u32::from_le_bytes([hash[0], hash[1], hash[2], 0]) & 0x3f_ffff)
    }
}

/// Why a pairing ends. The other side's mistake, unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PairingError {
    /// It said something else than what comes next.
    #[error("the other side does not keep to the protocol")]
    OutOfOrder,
    /// What it revealed is not what it committed to.
    #[error("the other side revealed another nonce than it committed to")]
    Commitment,
    /// Its identity key did not sign this connection.
    #[error("the proof of the identity key does not hold")]
    Proof,
    /// It said no.
    #[error("{0}")]
    Refused(JoinRefusal),
}

/// The side that asks to join.
#[derive(Debug)]
pub struct Asker {
    asker: PeerId,
    greeter: PeerId,
    identity: IdentityId,
    exporter: [u8; 32],
    nonce: [u8; 16],
    greeted: bool,
}

/// What the asker does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskerStep {
    /// Say this, and show these words to be read to that member of that project.
    Reveal {
        /// To say.
        say: Box<JoinMessage>,
        /// To show.
        words: Words,
        /// Whose screen they are for.
        member: String,
        /// The project's name.
        project: String,
    },
    /// The other side says we are in: ask our human whether that is so.
    Admitted {
        /// The project.
        project: ProjectId,
        /// The handle we got.
        handle: String,
    },
}

impl Asker {
    /// Begins: the machine and what to say first. `nonce` is fresh randomness.
    pub fn begin(
        asker: PeerId,
        greeter: PeerId,
        identity: &IdentityKey,
        exporter: [u8; 32],
        nonce: [u8; 16],
        handle: String,
        name: String,
    ) -> (Self, JoinMessage) {
        let this = Self { asker, greeter, identity: identity.identity(), exporter, nonce, greeted: false };
        let proof = identity.0.sign(&join_proof(&exporter, &this.identity, &asker));
        let commitment = this.transcript().commitment(&nonce);
        let ask = JoinMessage::Ask { identity: this.identity, handle, name, proof, commitment };
        (this, ask)
    }

    fn transcript(&self) -> Transcript<'_> {
        Transcript { asker: &self.asker, greeter: &self.greeter, identity: &self.identity, exporter: &self.exporter }
    }

    /// Takes what the other side said.
    ///
    /// # Errors
    /// [`PairingError`] ends it.
    pub fn received(&mut self, message: JoinMessage) -> Result<AskerStep, PairingError> {
        match message {
            JoinMessage::Nonce { nonce, member, project } if !self.greeted => {
                self.greeted = true;
                let words = self.transcript().words(&self.nonce, &nonce);
                Ok(AskerStep::Reveal {
                    say: Box::new(JoinMessage::Reveal { nonce: self.nonce }),
                    words,
                    member,
                    project,
                })
            }
            JoinMessage::Admitted { project, handle } if self.greeted => Ok(AskerStep::Admitted { project, handle }),
            JoinMessage::Refused { why } => Err(PairingError::Refused(why)),
            JoinMessage::Ask { .. }
            | JoinMessage::Nonce { .. }
            | JoinMessage::Reveal { .. }
            | JoinMessage::Redeem { .. }
            | JoinMessage::RedeemLink { .. }
            | JoinMessage::Admitted { .. } => Err(PairingError::OutOfOrder),
        }
    }
}

/// The side that is asked.
#[derive(Debug)]
pub struct Greeter {
    asker: PeerId,
    greeter: PeerId,
    exporter: [u8; 32],
    nonce: [u8; 16],
    asked: Option<(IdentityId, [u8; 32])>,
}

/// What the greeter does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GreeterStep {
    /// Someone asks: say the nonce (with one's handle and project).
    SayNonce {
        /// The asker's identity key, whose proof holds.
        identity: IdentityId,
        /// The handle it would like.
        handle: String,
        /// Its name.
        name: String,
        /// To say.
        nonce: [u8; 16],
    },
    /// The asker revealed: these are the words that the human must type.
    Expect(Words),
}

impl Greeter {
    /// Waits for an ask. `nonce` is fresh randomness.
    pub fn new(asker: PeerId, greeter: PeerId, exporter: [u8; 32], nonce: [u8; 16]) -> Self {
        Self { asker, greeter, exporter, nonce, asked: None }
    }

    /// Takes what the asker said.
    ///
    /// # Errors
    /// [`PairingError`] ends it.
    pub fn received(&mut self, message: JoinMessage) -> Result<GreeterStep, PairingError> {
        match (message, self.asked) {
            (JoinMessage::Ask { identity, handle, name, proof, commitment }, None) => {
                let hash = join_proof(&self.exporter, &identity, &self.asker);
                keys::verify(&identity.0, &hash, &proof).map_err(|_| PairingError::Proof)?;
                self.asked = Some((identity, commitment));
                Ok(GreeterStep::SayNonce { identity, handle, name, nonce: self.nonce })
            }
            (JoinMessage::Reveal { nonce }, Some((identity, commitment))) => {
                let transcript = Transcript {
                    asker: &self.asker,
                    greeter: &self.greeter,
                    identity: &identity,
                    exporter: &self.exporter,
                };
                if transcript.commitment(&nonce) != commitment {
                    return Err(PairingError::Commitment);
                }
                Ok(GreeterStep::Expect(transcript.words(&nonce, &self.nonce)))
            }
            _ => Err(PairingError::OutOfOrder),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Secret;

    const BO: PeerId = PeerId([1; 32]);
    const ANA: PeerId = PeerId([2; 32]);
    const MALLORY: PeerId = PeerId([3; 32]);

    fn identity(n: u8) -> IdentityKey {
        IdentityKey(Secret::from_seed([n; 32]))
    }

    fn nonce_of(step: GreeterStep) -> JoinMessage {
        let GreeterStep::SayNonce { nonce, .. } = step else { panic!("{step:?}") };
        JoinMessage::Nonce { nonce, member: "ana".to_owned(), project: "payroll".to_owned() }
    }

    fn reveal_of(step: AskerStep) -> (JoinMessage, Words) {
        let AskerStep::Reveal { say, words, .. } = step else { panic!("{step:?}") };
        (*say, words)
    }

    #[test]
    fn both_sides_see_the_same_words() {
        let (mut bo, ask) = Asker::begin(BO, ANA, &identity(1), [7; 32], [8; 16], "bo".into(), "Bo".into());
        let mut ana = Greeter::new(BO, ANA, [7; 32], [9; 16]);
        let nonce = nonce_of(ana.received(ask).unwrap());
        let (reveal, words) = reveal_of(bo.received(nonce).unwrap());
        assert_eq!(ana.received(reveal), Ok(GreeterStep::Expect(words)));
        let [first, second] = words.words();
        assert_eq!(Words::parse(first, &second.to_uppercase()), Some(words));
        assert_eq!(Words::parse("maple", "river").map(Words::words), Some(["maple", "river"]));
        assert_eq!(Words::parse("maple", "rivre"), None);
    }

    #[test]
    fn a_machine_in_the_middle_makes_the_words_differ() {
        let mut same = 0;
        for turn in 0..200u8 {
            // Mallory talks to each of them on a connection of its own, so under an exporter of its own.
            let (mut bo, ask) = Asker::begin(BO, MALLORY, &identity(1), [7; 32], [turn; 16], "bo".into(), "".into());
            let mut to_bo = Greeter::new(BO, MALLORY, [7; 32], [turn ^ 1; 16]);
            let (_, words_bo) = reveal_of(bo.received(nonce_of(to_bo.received(ask).unwrap())).unwrap());
            let (mut to_ana, ask) =
                Asker::begin(MALLORY, ANA, &identity(3), [6; 32], [turn ^ 2; 16], "bo".into(), "".into());
            let mut ana = Greeter::new(MALLORY, ANA, [6; 32], [turn ^ 3; 16]);
            let (reveal, _) = reveal_of(to_ana.received(nonce_of(ana.received(ask).unwrap())).unwrap());
            let GreeterStep::Expect(words_ana) = ana.received(reveal).unwrap() else { panic!() };
            same += usize::from(words_bo == words_ana);
        }
        assert_eq!(same, 0);
    }

    #[test]
    fn whoever_changes_a_nonce_or_relays_a_proof_is_caught() {
        let (mut bo, ask) = Asker::begin(BO, ANA, &identity(1), [7; 32], [8; 16], "bo".into(), "".into());
        let mut ana = Greeter::new(BO, ANA, [7; 32], [9; 16]);
        assert_eq!(ana.received(JoinMessage::Reveal { nonce: [8; 16] }), Err(PairingError::OutOfOrder));
        // The same ask on another connection.
        let mut other = Greeter::new(MALLORY, ANA, [6; 32], [9; 16]);
        assert_eq!(other.received(ask.clone()), Err(PairingError::Proof));
        bo.received(nonce_of(ana.received(ask.clone()).unwrap())).unwrap();
        assert_eq!(ana.received(JoinMessage::Reveal { nonce: [5; 16] }), Err(PairingError::Commitment));
        assert_eq!(ana.received(ask), Err(PairingError::OutOfOrder));
        let early = JoinMessage::Admitted { project: ProjectId([0; 32]), handle: "bo".into() };
        let (mut eager, _) = Asker::begin(BO, ANA, &identity(1), [7; 32], [8; 16], "bo".into(), "".into());
        assert_eq!(eager.received(early), Err(PairingError::OutOfOrder));
    }
}
