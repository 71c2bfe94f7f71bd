//! The passphrase of the identity key, as commands give it to the service.

use std::sync::Arc;
use std::time::Duration;

use super::Service;
use super::keyfile::{Kept, load_identity};
use super::open::key_refusal;
use crate::api::{Passphrase, Refusal};
use crate::keys::IdentityKey;

impl Service {
    /// Has the key at hand for some time.
    pub(super) async fn unlock(self: &Arc<Self>, passphrase: Passphrase, millis: u64) -> Result<(), Refusal> {
        if !self.identity.has_passphrase() {
            return Ok(());
        }
        let kept = self.kept().await?;
        let opened = tokio::task::spawn_blocking(move || kept.open(passphrase.bytes())).await;
        let opened = opened.map_err(|error| Refusal::plain("failed", error.to_string()))?;
        let Some(secret) = opened else { return Err(wrong_passphrase()) };
        self.identity.open_for(IdentityKey(secret), millis);
        let ring = self.identity.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(millis.saturating_add(1))).await;
            ring.lock_if_due();
        });
        Ok(())
    }

    /// The file was written anew, with a passphrase, with another one, or without.
    pub(super) async fn key_changed(&self) -> Result<(), Refusal> {
        self.identity.replace(match self.kept().await? {
            Kept::Open(secret) => Some(IdentityKey(secret)),
            Kept::Sealed(_) => None,
        });
        Ok(())
    }

    async fn kept(&self) -> Result<Kept, Refusal> {
        let path = self.home.identity_key();
        let read = tokio::task::spawn_blocking(move || load_identity(&path)).await;
        let kept = read.map_err(|error| Refusal::plain("failed", error.to_string()))?;
        let kept = kept.map_err(|error| key_refusal(&error))?;
        if kept.public() == self.identity.identity().0 {
            return Ok(kept);
        }
        let message = "the identity's file holds another key than the service began with";
        Err(Refusal::new("key-changed", message, "lansync down --all"))
    }
}

/// What is said of a passphrase that is not the one.
pub(crate) fn wrong_passphrase() -> Refusal {
    Refusal::new("wrong-passphrase", "the passphrase is wrong; nothing was changed", "try again")
}
