//! `lansync passphrase`: the identity key behind a passphrase.

use std::path::PathBuf;

use super::context::Context;
use super::error::Failure;
use super::secret;
use super::times::parse_length;
use crate::api::{Passphrase as Text, Refusal, Request};
use crate::limits;
use crate::service::control::{Control, ControlError};
use crate::service::keyfile::{Kept, load_identity, write_identity};
use crate::service::passphrase::wrong_passphrase;

/// Put your identity key behind a passphrase, or change it
///
/// From then on it is asked for whatever uses your rights: founding and
/// joining, approving, inviting, removing, voting, the policy, a further
/// machine. Once given it holds for 30 seconds. All else, sharing and
/// syncing among it, goes on without. Who lets people in by tickets opens
/// the key for as long.
///
/// Where there is no terminal it is the first line of the file that
/// LANSYNC_PASSPHRASE_FILE names, and a new one that of --new-file. Nobody
/// can bring back a passphrase that is forgotten.
///
/// Examples:
///   lansync passphrase
///   lansync passphrase --open 1h
///   lansync passphrase --remove
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Passphrase {
    /// Open the key for some time, at most 12h: 90s, 30m or 1h
    #[arg(long, value_name = "TIME", value_parser = parse_length, conflicts_with_all = ["remove", "new_file"])]
    open: Option<u64>,
    /// Take the passphrase away again
    #[arg(long, conflicts_with = "new_file")]
    remove: bool,
    /// Read the new passphrase from the first line of FILE
    #[arg(long, value_name = "FILE")]
    new_file: Option<PathBuf>,
}

const PROMPT: &str = "Passphrase of your identity key: ";

/// The present passphrase, or the refusal that it is needed.
pub(super) fn present(refusal: impl Into<Failure>) -> Result<Text, Failure> {
    secret::current(PROMPT)?.ok_or_else(|| refusal.into())
}

/// Runs it.
pub(super) async fn run(context: &Context, passphrase: Passphrase) -> Result<(), Failure> {
    if let Some(millis) = passphrase.open {
        if u128::from(millis) > limits::KEY_OPEN_MOST.as_millis() {
            return Err(Failure::usage("a key is opened for 12 hours at most", "lansync passphrase --open 1h"));
        }
        let text = present(nobody())?;
        let done = context.ask_value(Request::Unlock { passphrase: text, millis }).await?;
        return context.print(done, |()| vec!["Your identity key is open".to_owned()]);
    }
    let home = context.home()?;
    home.create()?;
    let path = home.identity_key();
    let kept = load_identity(&path)?;
    let secret = match &kept {
        Kept::Open(secret) => secret.clone(),
        Kept::Sealed(_) => kept.open(present(nobody())?.bytes()).ok_or_else(wrong_passphrase)?,
    };
    let new = if passphrase.remove { None } else { Some(wanted(&passphrase)?) };
    write_identity(&path, &secret, new.as_ref().map(Text::bytes))?;
    match Control::connect(&home).await {
        Ok(_) => drop(context.ask_value(Request::KeyChanged).await?),
        Err(ControlError::NotRunning) => {}
        Err(error) => return Err(error.into()),
    }
    context.print(serde_json::Value::Null, |()| {
        let line = match (&new, &kept) {
            (None, Kept::Open(_)) => "Your identity key has no passphrase",
            (None, Kept::Sealed(_)) => "Your identity key has no passphrase any more",
            (Some(_), Kept::Open(_)) => {
                "Your identity key is behind a passphrase now; nobody can bring back one that is forgotten"
            }
            (Some(_), Kept::Sealed(_)) => "Your identity key has another passphrase now",
        };
        vec![line.to_owned()]
    })
}

fn wanted(passphrase: &Passphrase) -> Result<Text, Failure> {
    if let Some(path) = &passphrase.new_file {
        return secret::from_file(path);
    }
    let nobody =
        || Failure::usage("there is no terminal to type a new passphrase at", "lansync passphrase --new-file FILE");
    let first = secret::typed("New passphrase: ")?.ok_or_else(nobody)?;
    if first.bytes().is_empty() {
        return Err(Failure::usage("an empty passphrase protects nothing", "lansync passphrase --remove"));
    }
    let again = secret::typed("The same again: ")?.ok_or_else(nobody)?;
    if first == again {
        Ok(first)
    } else {
        Err(Failure::new("passphrases-differ", "the two are not the same; nothing was changed", "lansync passphrase"))
    }
}

fn nobody() -> Refusal {
    let message = "your identity key is behind a passphrase, and there is no terminal to type it at";
    Refusal::new(crate::api::codes::PASSPHRASE, message, format!("{}=FILE lansync ...", secret::FILE))
}
