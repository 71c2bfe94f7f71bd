//! The live view: who is here, whose turn it is, what just happened. Leaving it does not end the sharing.

mod draw;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::context::{Context, typed, unfinished};
use super::error::Failure;
use super::times;
use super::ui::safe;
use super::words::{count, not_shared};
use crate::api::{Reply, Request, Status, View};

/// How often relative times are said anew; nothing else moves by itself.
const TICK: Duration = Duration::from_secs(1);
/// How long after the end the thread that reads keys may still be there.
const KEY_WAIT: Duration = Duration::from_millis(200);
/// Notices kept; more do not fit any screen.
const NOTICES: usize = 200;

/// Shows the view until somebody leaves it or the sharing ends.
pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    let mut stream = context.ask(Request::Watch).await?;
    let mut screen = Screen::open().map_err(no_terminal)?;
    let mut keys = Keys::listen();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut view: Option<View> = None;
    let ended = loop {
        tokio::select! {
            reply = stream.next() => match reply {
                Ok(Some(Reply::Line { value })) => match typed(value) {
                    Ok(new) => view = Some(new),
                    Err(failure) => break Err(failure),
                },
                Ok(Some(Reply::Notice(notice))) => if let Some(view) = &mut view {
                    // The next view has it as well.
                    view.notices.push(notice);
                    let surplus = view.notices.len().saturating_sub(NOTICES);
                    view.notices.drain(..surplus);
                },
                Ok(Some(_)) => {}
                Ok(None) => break Err(unfinished()),
                Err(failure) => break Err(failure),
            },
            key = keys.next() => match key {
                Some(Key::Leave) | None => break Ok(()),
                Some(Key::Resized) => {}
            },
            _ = tick.tick() => {}
        }
        if let Some(view) = &view {
            let now = times::now().timestamp();
            let drawn = screen.0.draw(|frame| draw::draw(frame, view, now));
            if let Err(error) = drawn {
                break Err(no_terminal(error));
            }
        }
    };
    drop(screen);
    match ended {
        Ok(()) | Err(Failure::Interrupted(None)) => {
            if let Some(view) = &view {
                context.ui.out_all(&parting(&view.status))?;
            }
            ended
        }
        Err(failure) => Err(failure),
    }
}

fn no_terminal(error: io::Error) -> Failure {
    Failure::new("no-terminal", format!("cannot draw on this terminal: {error}"), "lansync up -d")
}

/// What is said after the view: the sharing goes on, and what nobody else has yet.
fn parting(status: &Status) -> Vec<String> {
    let mut lines = vec![format!("{} is still being shared. To stop: lansync down", safe(&status.project.name))];
    let unsent = status.waiting.unsent;
    if unsent > 0 {
        lines
            .push(format!("{} of yours nobody else has yet: sent as soon as somebody is here", count(unsent, "event")));
    }
    for branch in &status.not_shared {
        lines.push(format!("Only here: {}", not_shared(branch)));
    }
    lines
}

/// The terminal while it is ours. It is given back when this is dropped, and after a panic.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> io::Result<Self> {
        ratatui::try_init().map(Self).inspect_err(|_| ratatui::restore())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// What was typed, as far as it means something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Leave,
    Resized,
}

/// Reads the keyboard on a thread of its own, as that blocks.
struct Keys {
    keys: mpsc::Receiver<Key>,
    over: Arc<AtomicBool>,
}

impl Keys {
    fn listen() -> Self {
        let (sender, keys) = mpsc::channel(16);
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let key = match event::poll(KEY_WAIT) {
                    Ok(false) => continue,
                    Ok(true) => event::read().map(|event| meaning(&event)),
                    Err(error) => Err(error),
                };
                match key {
                    Ok(None) => {}
                    Ok(Some(key)) => {
                        if sender.blocking_send(key).is_err() {
                            break;
                        }
                    }
                    // The terminal is gone: dropping the sender ends the view.
                    Err(_) => break,
                }
            }
        });
        Self { keys, over }
    }

    /// The next key; `None` where the terminal is gone.
    async fn next(&mut self) -> Option<Key> {
        self.keys.recv().await
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn meaning(event: &Event) -> Option<Key> {
    match event {
        Event::Key(key) if key.kind == KeyEventKind::Press => {
            let control = key.modifiers.contains(KeyModifiers::CONTROL);
            match key.code {
                KeyCode::Char('q') | KeyCode::Esc => Some(Key::Leave),
                KeyCode::Char('c' | 'd') if control => Some(Key::Leave),
                _ => None,
            }
        }
        Event::Resize(..) => Some(Key::Resized),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::status;
    use super::*;
    use ratatui::crossterm::event::KeyEvent;

    #[test]
    fn leaving_says_that_the_sharing_goes_on_and_what_is_only_here() {
        insta::assert_snapshot!(parting(&status()).join("\n"), @r"
        payroll is still being shared. To stop: lansync down
        2 events of yours nobody else has yet: sent as soon as somebody is here
        Only here: old (3 commits): it has not moved since the first up
        ");
    }

    #[test]
    fn q_escape_and_control_c_leave() {
        let key = |code, modifiers| meaning(&Event::Key(KeyEvent::new(code, modifiers)));
        assert_eq!(key(KeyCode::Char('q'), KeyModifiers::NONE), Some(Key::Leave));
        assert_eq!(key(KeyCode::Esc, KeyModifiers::NONE), Some(Key::Leave));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Leave));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), None);
        assert_eq!(meaning(&Event::Resize(10, 10)), Some(Key::Resized));
    }
}
