//! The person's key: at hand where it has no passphrase, else for a short while after that was given.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::clock::Clock;
use crate::api::{Refusal, codes};
use crate::hlc::Millis;
use crate::id::IdentityId;
use crate::keys::IdentityKey;

/// The identity of this person on this machine, shared by all nodes.
#[derive(Debug)]
pub struct Keyring {
    identity: IdentityId,
    held: Mutex<Held>,
    clock: Clock,
}

#[derive(Debug)]
enum Held {
    /// It has no passphrase.
    Always(IdentityKey),
    /// It has one.
    Locked,
    /// The passphrase was given. Until when, by the steady clock.
    Open(IdentityKey, Millis),
}

impl Keyring {
    /// A key without a passphrase.
    pub fn open(key: IdentityKey) -> Self {
        Self { identity: key.identity(), held: Mutex::new(Held::Always(key)), clock: Clock::default() }
    }

    /// A key behind one.
    pub fn locked(identity: IdentityId) -> Self {
        Self { identity, held: Mutex::new(Held::Locked), clock: Clock::default() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose it is.
    pub fn identity(&self) -> IdentityId {
        self.identity
    }

    /// The key, to sign with now.
    ///
    /// # Errors
    /// A [`Refusal`] of code [`codes::PASSPHRASE`] while the passphrase was not given.
    pub fn key(&self) -> Result<IdentityKey, Refusal> {
        self.lock_if_due();
        match &*self.held() {
            Held::Always(key) | Held::Open(key, _) => Ok(key.clone()),
            Held::Locked => Err(Refusal::new(
                codes::PASSPHRASE,
                "this uses your rights, and your identity key is behind a passphrase",
                "lansync passphrase --open 5m  (without a terminal: LANSYNC_PASSPHRASE_FILE=FILE lansync ...)",
            )),
        }
    }

    /// Is it at hand now?
    pub fn is_open(&self) -> bool {
        self.lock_if_due();
        !matches!(*self.held(), Held::Locked)
    }

    /// Has it a passphrase?
    pub fn has_passphrase(&self) -> bool {
        !matches!(*self.held(), Held::Always(_))
    }

    /// The passphrase was given: the key is at hand for so many milliseconds, or longer where it was to be already.
    pub fn open_for(&self, key: IdentityKey, millis: Millis) {
        let until = self.clock.steady().saturating_add(millis);
        let mut held = self.held();
        *held = match &*held {
            Held::Open(_, longer) if *longer > until => Held::Open(key, *longer),
            _ => Held::Open(key, until),
        };
    }

    /// The key has no passphrase any more, or (`None`) has one.
    pub fn replace(&self, key: Option<IdentityKey>) {
        *self.held() = key.map_or(Held::Locked, Held::Always);
    }

    /// Lets go of the key when its time is over, which wipes it.
    pub fn lock_if_due(&self) {
        let now = self.clock.steady();
        let mut held = self.held();
        if matches!(&*held, Held::Open(_, until) if *until <= now) {
            *held = Held::Locked;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Secret;

    #[test]
    fn a_key_is_at_hand_as_long_as_it_was_opened_for() {
        let key = || IdentityKey(Secret::from_seed([1; 32]));
        let ring = Keyring::locked(key().identity());
        assert_eq!(ring.key().unwrap_err().code, codes::PASSPHRASE);
        ring.open_for(key(), 60_000);
        ring.open_for(key(), 0);
        assert_eq!(ring.key().unwrap().identity(), ring.identity());
        assert!(ring.is_open());
        ring.replace(None);
        ring.open_for(key(), 0);
        assert!(ring.key().is_err() && !ring.is_open());
        assert!(ring.has_passphrase());
        ring.replace(Some(key()));
        assert!(ring.key().is_ok() && !ring.has_passphrase());
    }
}
