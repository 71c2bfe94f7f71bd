//! Passphrases: typed where nothing is echoed, or read from a file where there is no terminal.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::{disable_raw_mode, enable_raw_mode};

use super::error::Failure;
use crate::api::Passphrase;

/// Names a file with the passphrase, for where nobody can type it.
pub(super) const FILE: &str = "LANSYNC_PASSPHRASE_FILE";

/// The present passphrase; `None` where nobody can be asked.
pub(super) fn current(prompt: &str) -> Result<Option<Passphrase>, Failure> {
    match std::env::var_os(FILE).filter(|path| !path.is_empty()) {
        Some(path) => from_file(Path::new(&path)).map(Some),
        None => typed(prompt),
    }
}

/// The first line of a file.
pub(super) fn from_file(path: &Path) -> Result<Passphrase, Failure> {
    let failed = |why: String| {
        let message = format!("the passphrase cannot be read from {}: {why}", path.display());
        Failure::new("passphrase-file", message, format!("ls -l {}", path.display()))
    };
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?);
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(Passphrase::new(line.to_owned())),
        None => Err(failed("its first line is empty".to_owned())),
    }
}

/// Gives the terminal back as it was.
struct Raw;

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = disable_raw_mode();
        let _ = writeln!(std::io::stderr());
    }
}

/// What is typed, without a sign of it; `None` where there is no terminal.
pub(super) fn typed(prompt: &str) -> Result<Option<Passphrase>, Failure> {
    let failed = |error: std::io::Error| Failure::plain("terminal", format!("the terminal cannot be read: {error}"));
    let mut err = std::io::stderr();
    if !std::io::stdin().is_terminal() || !err.is_terminal() {
        return Ok(None);
    }
    // Before the prompt: what is typed at once must not be seen either.
    enable_raw_mode().map_err(failed)?;
    let _raw = Raw;
    write!(err, "{prompt}").and_then(|()| err.flush()).map_err(failed)?;
    let mut text = zeroize::Zeroizing::new(String::with_capacity(256));
    loop {
        let Event::Key(key) = event::read().map_err(failed)? else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        match (key.code, key.modifiers.contains(KeyModifiers::CONTROL)) {
            (KeyCode::Enter, _) => break,
            (KeyCode::Char('c' | 'd'), true) | (KeyCode::Esc, _) => return Err(Failure::Interrupted(None)),
            (KeyCode::Char('u'), true) => text.clear(),
            (KeyCode::Backspace, _) => drop(text.pop()),
            (KeyCode::Char(letter), false) => text.push(letter),
            _ => {}
        }
    }
    Ok(Some(Passphrase::new(text.to_string())))
}
