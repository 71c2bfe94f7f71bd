//! Reflogs: a line for a ref of ours where git would write one.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use super::RefError;
use super::write::Change;
use crate::git::Repository;

/// Appends the line for a change that is about to be made, if git would.
pub(super) fn append(
    repo: &Repository,
    change: &Change<'_>,
    old: Option<gix::ObjectId>,
    new: gix::ObjectId,
) -> Result<(), RefError> {
    let path = repo.common_dir().join("logs").join(change.name);
    // What is kept for a reason has no history, which would keep it on.
    if change.name.starts_with("refs/lansync/") {
        return Ok(());
    }
    if !path.is_file() && !is_wanted(repo) {
        return Ok(());
    }
    let failed = RefError::io(change.name);
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(&failed)?;
    }
    let mut file = OpenOptions::new().append(true).create(true).open(&path).map_err(&failed)?;
    let old = old.unwrap_or(gix::ObjectId::null(gix::hash::Kind::Sha1));
    let name = ident(repo.config("user.name"), "lansync");
    let email = ident(repo.config("user.email"), "lansync@localhost.invalid");
    let time = gix::date::Time::now_local_or_utc();
    let sign = if time.offset < 0 { '-' } else { '+' };
    let (hours, minutes) = (time.offset.abs() / 3600, time.offset.abs() / 60 % 60);
    let message = one_line(change.message);
    let line = format!("{old} {new} {name} <{email}> {} {sign}{hours:02}{minutes:02}\t{message}\n", time.seconds);
    file.write_all(line.as_bytes()).map_err(&failed)
}

/// What `core.logAllRefUpdates` says about remote-tracking refs: yes unless it is off.
fn is_wanted(repo: &Repository) -> bool {
    match repo.config("core.logAllRefUpdates") {
        Some(value) if value.eq_ignore_ascii_case("always") => true,
        _ => repo.config_bool("core.logAllRefUpdates").unwrap_or(true),
    }
}

fn ident(value: Option<String>, default: &str) -> String {
    let text = value.unwrap_or_default().replace(['<', '>', '\n', '\r', '\0', '\t'], "");
    let text = text.trim();
    if text.is_empty() { default.to_owned() } else { text.to_owned() }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Removes the reflog of a deleted ref, and directories that it leaves empty.
pub(super) fn delete(common: &Path, name: &str) {
    let path = common.join("logs").join(name);
    if fs::remove_file(&path).is_err() {
        return;
    }
    let top = common.join("logs").join("refs").join("remotes");
    for dir in path.ancestors().skip(1).take_while(|dir| dir.starts_with(&top) && **dir != *top) {
        if fs::remove_dir(dir).is_err() {
            return;
        }
    }
}
