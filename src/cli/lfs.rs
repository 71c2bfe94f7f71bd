//! `lansync lfs`.

use super::context::{Context, typed};
use super::error::Failure;
use super::words::{bytes, count};
use crate::api::{MediaDone, Request};

/// Fetch the Git LFS files of a commit
///
/// The files of canonical branches and of open proposals come by themselves.
/// This fetches those of an older commit, before it is checked out; with
/// `--all` those of every commit below it as well. Afterwards `git lfs
/// checkout` puts them where pointers are checked out.
///
/// Examples:
///   lansync lfs v1.0
///   lansync lfs --all
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Lfs {
    /// The commit, in any way that git names one [default: HEAD]
    commit: Option<String>,
    /// The files of all commits below it too
    #[arg(long)]
    all: bool,
}

/// Fetches media.
pub(super) async fn run(context: &Context, lfs: Lfs) -> Result<(), Failure> {
    let value = context.ask_value(Request::Media { commit: lfs.commit, all: lfs.all }).await?;
    let done: MediaDone = typed(value.clone())?;
    context.print(value, |done: MediaDone| lines(&done))?;
    if done.missing == 0 {
        return Ok(());
    }
    let message = format!("{} not here, and nobody who is here has what is missing", are(done.missing));
    Err(Failure::new("media-missing", message, "lansync peers"))
}

fn are(files: u64) -> String {
    if files == 1 { "1 LFS file is".to_owned() } else { format!("{} are", count(files, "LFS file")) }
}

fn lines(done: &MediaDone) -> Vec<String> {
    if done.files == 0 {
        return vec!["It has no LFS files".to_owned()];
    }
    let here = done.files - done.fetched - done.missing;
    vec![format!("{} fetched ({}), {here} here before", count(done.fetched, "LFS file"), bytes(done.bytes))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_told_in_one_line() {
        let done = |files, fetched, missing| MediaDone { files, fetched, bytes: 3_400_000, missing };
        assert_eq!(lines(&done(0, 0, 0)), ["It has no LFS files"]);
        assert_eq!(lines(&done(5, 2, 1)), ["2 LFS files fetched (3.4 MB), 2 here before"]);
    }
}
