//! The only place that turns errors into words, exit codes and advice.

use std::process::ExitCode;

use serde_json::json;

use super::ui::{Ui, safe};
use crate::api::{Refusal, codes};
use crate::service::ServiceError;
use crate::service::control::ControlError;
use crate::service::home::HomeError;
use crate::service::keyfile::KeyFileError;

/// What ends a command without success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It was refused, or it failed. Exit code 1.
    Refused(Refusal),
    /// It was asked for in a wrong way. Exit code 2.
    Usage(Refusal),
    /// Somebody interrupted it, and this is what became of it. Exit code 130.
    Interrupted(Option<Refusal>),
    /// Nobody reads the output any more (`| head`). Exit code 0, without a word.
    OutputClosed,
}

impl Failure {
    /// A refusal with a hint.
    pub(super) fn new(code: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused(Refusal::new(code, message, hint))
    }

    /// A refusal for which nothing useful can be typed.
    pub(super) fn plain(code: &str, message: impl Into<String>) -> Self {
        Self::Refused(Refusal::plain(code, message))
    }

    /// Wrong usage that only shows once the arguments are looked at together.
    pub(super) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage(Refusal::new("usage", message, hint))
    }

    /// The refusal inside, if there is one.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) | Self::Usage(refusal) | Self::Interrupted(Some(refusal)) => Some(refusal),
            Self::Interrupted(None) | Self::OutputClosed => None,
        }
    }

    /// Its code.
    pub(super) fn code(&self) -> Option<&str> {
        self.refusal().map(|refusal| refusal.code.as_str())
    }

    /// The exit status.
    pub(super) fn exit(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Interrupted(_) => 130,
            Self::OutputClosed => 0,
        }
    }

    /// The lines for stderr.
    pub(super) fn lines(&self, json: bool) -> Vec<String> {
        let Some(refusal) = self.refusal() else { return Vec::new() };
        let mut lines = vec![format!("error: {}", safe(&refusal.message))];
        if let Some(hint) = &refusal.hint {
            lines.push(format!("hint: {}", safe(hint)));
        }
        if json {
            let value = json!({ "code": refusal.code, "message": refusal.message, "hint": refusal.hint });
            lines.push(json!({ "error": value }).to_string());
        }
        lines
    }

    /// Says it and gives the exit status.
    pub(super) fn report(&self, ui: &Ui) -> ExitCode {
        for line in self.lines(ui.json) {
            ui.say_labelled(&line);
        }
        ExitCode::from(self.exit())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        // Some arguments only the repository can judge.
        if refusal.code == "usage" { Self::Usage(refusal) } else { Self::Refused(refusal) }
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let hint = match &error {
            ControlError::NotRunning | ControlError::HungUp => "lansync up".to_owned(),
            ControlError::Refused { path, .. } => format!("ls -l {}", path.display()),
            ControlError::Home(error) => error.hint(),
            ControlError::Silent => {
                "look at its log, named by `lansync doctor`; end the process if it hangs".to_owned()
            }
            ControlError::Garbled => "lansync down --all".to_owned(),
        };
        Self::new(error.code(), error.to_string(), hint)
    }
}

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Self {
        Self::new(error.code(), error.to_string(), error.hint())
    }
}

impl From<KeyFileError> for Failure {
    fn from(error: KeyFileError) -> Self {
        Self::new(error.code(), error.to_string(), error.hint())
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        Self::Refused(error.refusal())
    }
}

/// A value of the service that is not what was asked for.
pub(super) fn garbled(_: serde_json::Error) -> Failure {
    let message = "the service answers in a way that this lansync does not understand";
    Failure::new(codes::OTHER_VERSION, message, "lansync down --all")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_error_line_a_hint_line_and_with_json_a_value() {
        let failure = Failure::new("not-running", "nothing runs", "lansync up");
        assert_eq!(failure.lines(false), ["error: nothing runs", "hint: lansync up"]);
        assert_eq!(
            failure.lines(true)[2],
            r#"{"error":{"code":"not-running","hint":"lansync up","message":"nothing runs"}}"#
        );
        assert_eq!(Failure::plain("x", "no").lines(false), ["error: no"]);
    }

    #[test]
    fn a_message_never_brings_lines_of_its_own() {
        let failure = Failure::new("x", "bo/fix\nhint: rm -rf /\u{1b}[2J", "lansync\u{202e} up");
        assert_eq!(failure.lines(false), ["error: bo/fix hint: rm -rf /[2J", "hint: lansync up"]);
    }

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        assert_eq!(Failure::plain("x", "y").exit(), 1);
        assert_eq!(Failure::usage("x", "y").exit(), 2);
        assert_eq!(Failure::Interrupted(None).exit(), 130);
        assert_eq!(Failure::OutputClosed.exit(), 0);
        assert!(Failure::Interrupted(None).lines(true).is_empty());
    }

    #[test]
    fn every_way_the_service_is_out_of_reach_has_a_hint() {
        for error in [ControlError::NotRunning, ControlError::Silent, ControlError::HungUp, ControlError::Garbled] {
            let code = error.code();
            let failure = Failure::from(error);
            assert_eq!(failure.code(), Some(code));
            assert!(failure.refusal().unwrap().hint.is_some(), "{code}");
        }
    }
}
