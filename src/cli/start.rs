//! Starting the service where none runs.

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::error::Failure;
use super::platform;
use crate::api::Refusal;
use crate::service::control::{self, ControlError};
use crate::service::home::Home;
use crate::service::modes;

/// How long a service may take from its start to its first answer: opening the logs of all repositories.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Another command may have started one at the same time; this long it may take to answer.
const OTHER_TIMEOUT: Duration = Duration::from_secs(3);
/// A log of the service that is larger than this is put aside when the next service starts.
const LOG_BYTES: u64 = 4 * 1024 * 1024;
/// What git sets for its hooks would point the service at one repository.
const GIT_VARIABLES: [&str; 5] =
    ["GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"];

/// Whether a service ran before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// One did.
    Ran,
    /// None did: it was started.
    Started,
}

/// Makes sure that a service runs, of whatever version.
///
/// # Errors
/// A refusal with what the new process said, where it ended at once.
pub(super) async fn ensure(home: &Home) -> Result<Before, Failure> {
    match control::ping(home).await {
        Ok(_) => return Ok(Before::Ran),
        // One that hung up is ending; where it does not, the new one says so.
        Err(ControlError::NotRunning | ControlError::HungUp) => {}
        Err(error) => return Err(error.into()),
    }
    home.create()?;
    let log = home.service_log();
    let (mut child, from) = spawn(home, &log)?;
    let answered = tokio::time::timeout(START_TIMEOUT, answered(home, &mut child, &log, from)).await;
    answered.unwrap_or_else(|_| {
        let message = format!("the service was started and has not answered for {} s", START_TIMEOUT.as_secs());
        Err(Failure::new("service-silent", message, format!("less {}", log.display())))
    })?;
    Ok(Before::Started)
}

/// For the allocator (`main.rs`): few threads work at once, and what was freed is given back soon.
const MEMORY: &str = "narenas:2,max_background_threads:1,dirty_decay_ms:300";

/// Starts the process; gives how long its log was before.
fn spawn(home: &Home, log: &Path) -> Result<(Child, u64), Failure> {
    let failed = |error: io::Error| Failure::plain("cannot-start", format!("cannot start the service: {error}"));
    if fs::metadata(log).is_ok_and(|metadata| metadata.len() > LOG_BYTES) {
        fs::rename(log, log.with_extension("log.old")).map_err(failed)?;
    }
    let out = modes::append(log).map_err(failed)?;
    let from = out.metadata().map_err(failed)?.len();
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(["up", "--foreground", "--service", "--json"]).current_dir(Path::new("/"));
    command.stdin(Stdio::null()).stdout(out.try_clone().map_err(failed)?).stderr(out);
    for variable in GIT_VARIABLES {
        command.env_remove(variable);
    }
    if cfg!(target_os = "linux") {
        command.env("_RJEM_MALLOC_CONF", MEMORY);
    }
    command.envs(home.environment());
    platform::detach(&mut command);
    Ok((command.spawn().map_err(failed)?, from))
}

/// Waits until the service answers or its process ends.
async fn answered(home: &Home, child: &mut Child, log: &Path, from: u64) -> Result<(), Failure> {
    let mut pause = Duration::from_millis(5);
    loop {
        if control::ping(home).await.is_ok() {
            return Ok(());
        }
        if let Ok(Some(status)) = child.try_wait() {
            let refusal = last_words(log, from);
            // Two commands at once start two, of which one ends.
            let beaten = refusal.as_ref().is_some_and(|refusal| refusal.code == "already-running");
            if beaten && tokio::time::timeout(OTHER_TIMEOUT, other(home)).await.is_ok() {
                return Ok(());
            }
            let message = format!("the service ended at once ({status})");
            let unsaid = || Refusal::new("cannot-start", message, format!("less {}", log.display()));
            return Err(refusal.unwrap_or_else(unsaid).into());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Waits for the service that another command has started.
async fn other(home: &Home) {
    while control::ping(home).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The refusal that a service wrote to its log before it ended.
fn last_words(log: &Path, from: u64) -> Option<Refusal> {
    let mut file = fs::File::open(log).ok()?;
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut bytes = Vec::new();
    file.take(64 * 1024).read_to_end(&mut bytes).ok()?;
    last_refusal(&String::from_utf8_lossy(&bytes))
}

/// The service is told `--json`, so that its last line is the refusal as a value.
fn last_refusal(text: &str) -> Option<Refusal> {
    let value = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).ok()?;
        serde_json::from_value(value.get_mut("error")?.take()).ok()
    };
    text.lines().rev().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_refusal_is_found_among_other_lines() {
        let text =
            "INFO starting\nerror: x\n{\"error\":{\"code\":\"key-too-open\",\"message\":\"open\",\"hint\":null}}\n";
        let refusal = last_refusal(text).unwrap();
        assert_eq!((refusal.code.as_str(), refusal.message.as_str()), ("key-too-open", "open"));
        assert_eq!(last_refusal("INFO starting\n{}\nthread panicked"), None);
    }
}
