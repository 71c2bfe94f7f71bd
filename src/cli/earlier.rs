//! `--at T`: the project as it was.

use jiff::Timestamp;

use super::error::Failure;
use super::times;
use crate::api::Request;

/// As of when.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct At {
    /// Show it as of this time: 2h, yesterday, 2026-11-24T12:00, ...
    #[arg(long, value_name = "T")]
    at: Option<String>,
}

/// An earlier time that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Then(Option<Timestamp>);

impl At {
    /// Reads the time.
    pub(super) fn then(&self) -> Result<Then, Failure> {
        let Some(text) = &self.at else { return Ok(Then(None)) };
        let now = times::now();
        let usage = |message: String| Failure::usage(message, "lansync status --at yesterday");
        let at = times::parse_time(text, &now).map_err(usage)?;
        let at = i64::try_from(at).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
        match at.filter(|at| *at <= now.timestamp()) {
            Some(at) => Ok(Then(Some(at))),
            None => Err(usage(format!("`{text}` has not come yet"))),
        }
    }
}

impl Then {
    /// The request, as of then.
    pub(super) fn ask(self, request: Request) -> Request {
        match self.0.and_then(|at| u64::try_from(at.as_millisecond()).ok()) {
            Some(at) => Request::At { at, request: Box::new(request) },
            None => request,
        }
    }

    /// Is it another time than now?
    pub(super) fn is_earlier(self) -> bool {
        self.0.is_some()
    }

    /// What ages are counted from.
    pub(super) fn timestamp(self) -> Timestamp {
        self.0.unwrap_or_else(|| times::now().timestamp())
    }

    /// The lines under a heading that says when, if not now.
    pub(super) fn headed(self, mut lines: Vec<String>) -> Vec<String> {
        if let Some(at) = self.0 {
            lines.insert(0, heading(&at.to_string()));
        }
        lines
    }
}

/// `As of 2026-11-24 12:00:00:`
pub(super) fn heading(at: &str) -> String {
    format!("As of {}:", super::words::local(at))
}
