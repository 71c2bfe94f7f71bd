//! What reaches the terminal: what was asked for on stdout, all else on stderr, nothing of others unwashed.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use super::error::Failure;

/// How to talk: decided once, from the flags and the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ui {
    /// One JSON value (or one a line) on stdout, and nothing else there.
    pub(super) json: bool,
    /// Questions are answered with yes.
    pub(super) yes: bool,
    /// stdout is a terminal.
    pub(super) screen: bool,
    /// stderr is a terminal.
    pub(super) talk: bool,
    /// stdin and stderr are terminals: somebody can be asked.
    pub(super) ask: bool,
    /// Bold and dim are wanted.
    pub(super) styled: bool,
}

impl Ui {
    /// As the flags, the terminal and `NO_COLOR` say.
    pub(super) fn new(json: bool, yes: bool) -> Self {
        let talk = io::stderr().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self {
            json,
            yes,
            screen: io::stdout().is_terminal(),
            talk,
            ask: talk && io::stdin().is_terminal(),
            styled: !plain,
        }
    }

    /// A line of what was asked for.
    pub(super) fn out(&self, line: &str) -> Result<(), Failure> {
        self.write(format!("{line}\n").as_bytes())
    }

    /// Several lines of it.
    pub(super) fn out_all(&self, lines: &[String]) -> Result<(), Failure> {
        lines.iter().try_for_each(|line| self.out(line))
    }

    /// A JSON value on a line of its own.
    pub(super) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let line = serde_json::to_string(value).map_err(super::error::garbled)?;
        self.out(&line)
    }

    /// Bytes for stdout as they are.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::OutputClosed),
            Err(error) => Err(Failure::plain("output", format!("cannot write the output: {error}"))),
        }
    }

    /// A line of talk.
    pub(super) fn say(&self, line: &str) {
        // Where stderr is closed nobody wants to hear it.
        let _ = writeln!(io::stderr().lock(), "{line}");
    }

    /// Something to know that does not keep the command from succeeding.
    pub(super) fn warn(&self, message: &str) {
        self.say_labelled(&format!("warning: {}", safe(message)));
    }

    /// A line whose label (`error:`, `warning:`, `hint:`) stands out.
    pub(super) fn say_labelled(&self, line: &str) {
        match line.split_once(": ") {
            Some((label @ ("error" | "warning" | "hint"), rest)) if self.talk && self.styled => {
                self.say(&format!("\x1b[1m{label}:\x1b[0m {rest}"));
            }
            _ => self.say(line),
        }
    }

    /// Bold on a terminal that can.
    pub(super) fn bold(&self, text: &str) -> String {
        if self.screen && self.styled { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Struck through on a terminal that can.
    pub(super) fn struck(&self, text: &str) -> String {
        if self.screen && self.styled { format!("\x1b[9m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Asks a yes or no question; an empty answer is `default`.
    ///
    /// # Errors
    /// A refusal where nobody can be asked and `--yes` was not given.
    pub(super) fn confirm(&self, question: &str, default: bool) -> Result<bool, Failure> {
        if self.yes {
            return Ok(true);
        }
        let choices = if default { "[Y/n]" } else { "[y/N]" };
        loop {
            let answer = self.question(&format!("{question} {choices} "))?;
            match answer.to_ascii_lowercase().as_str() {
                "" => return Ok(default),
                "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                _ => self.say("Please answer y or n."),
            }
        }
    }

    /// Asks for a line.
    ///
    /// # Errors
    /// A refusal where nobody can be asked.
    pub(super) fn question(&self, prompt: &str) -> Result<String, Failure> {
        if !self.ask {
            let message = format!("nobody can be asked here: {}", prompt.trim_end());
            return Err(Failure::new("needs-answer", message, "run it in a terminal, or with --yes"));
        }
        let mut talk = io::stderr().lock();
        let _ = write!(talk, "{prompt}").and_then(|()| talk.flush());
        drop(talk);
        let mut line = String::new();
        match io::stdin().lock().read_line(&mut line) {
            Ok(0) => Err(Failure::Interrupted(None)),
            Ok(_) => Ok(line.trim().to_owned()),
            Err(error) => Err(Failure::plain("needs-answer", format!("cannot read the answer: {error}"))),
        }
    }
}

/// A text of somebody else, made safe for a terminal: no control characters, none that reorder or hide what
/// follows. Line ends and tabs become spaces.
pub(super) fn safe(text: &str) -> String {
    text.chars()
        .filter_map(|c| match c {
            '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => Some(' '),
            // Marks, embeddings, overrides and isolates of the bidirectional algorithm.
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => None,
            // Without width: names that look the same and differ.
            '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{ad}' => None,
            '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => None,
            c if c.is_control() => None,
            c => Some(c),
        })
        .collect()
}

/// Cells that a text takes on a terminal.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// The text cut to so many cells, with an ellipsis where something was cut.
pub(super) fn fit(text: &str, cells: usize) -> String {
    if width(text) <= cells {
        return text.to_owned();
    }
    let mut cut = String::new();
    for c in text.chars() {
        cut.push(c);
        if width(&cut) > cells.saturating_sub(1) {
            cut.pop();
            break;
        }
    }
    if cells > 0 {
        cut.push('…');
    }
    cut
}

/// Rows as plain columns, two spaces apart. Columns that are empty everywhere are left out.
pub(super) fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let widths = widths(rows);
    rows.iter().map(|row| in_columns(row, &widths)).collect()
}

/// How wide each column of these rows is.
pub(super) fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell)).max().unwrap_or(0);
    (0..count).map(widest).collect()
}

/// A row in columns of these widths. A cell that is wider moves what follows.
pub(super) fn in_columns(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, wide) in row.iter().zip(widths).filter(|(cell, wide)| **wide > 0 || !cell.is_empty()) {
        if !line.is_empty() {
            line.push_str("  ");
        }
        line.push_str(cell);
        line.extend(std::iter::repeat_n(' ', wide.saturating_sub(width(cell))));
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_others_moves_the_cursor_or_turns_the_text() {
        assert_eq!(safe("Fix \u{1b}[31mred\u{7}\r\nnext\tcolumn\u{9b}2J"), "Fix [31mred  next column2J");
        assert_eq!(safe("user\u{202e}txt.exe\u{2066}\u{200f}\u{200b}"), "usertxt.exe");
        assert_eq!(safe("a\u{2028}b\u{0}c\u{7f}d\u{e0041}"), "a bcd");
        assert_eq!(safe("Füße, 日本, 👩\u{200d}💻"), "Füße, 日本, 👩\u{200d}💻", "ordinary text stays");
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let rows = [row(&["bo/fix", "", "日本", "x"]), row(&["ana/rounding", "", "a", "y"])];
        assert_eq!(columns(&rows), ["bo/fix        日本  x", "ana/rounding  a     y"]);
        assert!(columns(&[]).is_empty());
    }

    #[test]
    fn what_does_not_fit_is_cut_and_shows_it() {
        assert_eq!(fit("payroll", 7), "payroll");
        assert_eq!(fit("payroll", 6), "payro…");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日…");
        assert_eq!(fit("x", 0), "");
    }

    #[test]
    fn without_a_terminal_nobody_is_asked() {
        let ui = Ui { json: false, yes: false, screen: false, talk: false, ask: false, styled: false };
        assert_eq!(ui.confirm("Is that so?", true).unwrap_err().code(), Some("needs-answer"));
        assert_eq!(Ui { yes: true, ..ui }.confirm("Is that so?", false), Ok(true));
    }
}
