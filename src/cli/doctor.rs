//! `lansync doctor`.

use serde_json::Value;

use super::context::{Context, typed};
use super::error::Failure;
use super::ui::{columns, safe};
use crate::api::{self, Check, Request};
use crate::service::control::{self, ControlError};

/// Find out why nobody sees you
///
/// Looks at the service, the network, the clock and this repository, and says
/// what to do about each trouble.
///
/// Examples:
///   lansync doctor
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Doctor {}

/// Looks and prints.
pub(super) async fn run(context: &Context, _: Doctor) -> Result<(), Failure> {
    let service = service(context).await;
    let mut doctor: api::Doctor = match context.read_value(Request::Doctor).await {
        Ok(value) => typed(value)?,
        Err(Failure::Refused(refusal)) => api::Doctor {
            checks: vec![Check {
                name: "repository".to_owned(),
                ok: false,
                found: refusal.message,
                hint: refusal.hint,
            }],
        },
        Err(other) => return Err(other),
    };
    doctor.checks.insert(0, service);
    let value: Value = serde_json::to_value(doctor).map_err(super::error::garbled)?;
    context.print(value, |doctor: api::Doctor| lines(&doctor))
}

/// Is the service there?
async fn service(context: &Context) -> Check {
    let name = "service".to_owned();
    let home = match context.home() {
        Ok(home) => home,
        Err(failure) => {
            let refusal = failure.refusal().cloned();
            let (found, hint) = refusal.map_or_else(Default::default, |refusal| (refusal.message, refusal.hint));
            return Check { name, ok: false, found, hint };
        }
    };
    let log = home.service_log();
    match control::ping(&home).await {
        Ok(pong) if pong.version != env!("CARGO_PKG_VERSION") => Check {
            name,
            ok: false,
            found: format!("is lansync {}, this is {}", safe(&pong.version), env!("CARGO_PKG_VERSION")),
            hint: Some("lansync down --all".to_owned()),
        },
        Ok(pong) => Check {
            name,
            ok: true,
            found: format!("process {}, UDP port {}, log {}", pong.pid, pong.port, log.display()),
            hint: None,
        },
        Err(ControlError::NotRunning) => {
            Check { name, ok: false, found: "does not run".to_owned(), hint: Some("lansync up".to_owned()) }
        }
        Err(error) => {
            Check { name, ok: false, found: error.to_string(), hint: Some(format!("less {}", log.display())) }
        }
    }
}

fn lines(doctor: &api::Doctor) -> Vec<String> {
    let mut rows = Vec::new();
    for check in &doctor.checks {
        let sign = if check.ok { "ok" } else { "NO" };
        rows.push(vec![sign.to_owned(), safe(&check.name), safe(&check.found)]);
        if let Some(hint) = &check.hint {
            rows.push(vec![String::new(), String::new(), format!("hint: {}", safe(hint))]);
        }
    }
    columns(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_has_its_hint_below() {
        let check = |name: &str, ok, found: &str, hint: Option<&str>| Check {
            name: name.to_owned(),
            ok,
            found: found.to_owned(),
            hint: hint.map(str::to_owned),
        };
        let doctor = api::Doctor {
            checks: vec![
                check("service", true, "process 7, UDP port 7483", None),
                check("clock", false, "is 12 minutes ahead of the others", Some("timedatectl set-ntp true")),
            ],
        };
        insta::assert_snapshot!(lines(&doctor).join("\n"), @r"
        ok  service  process 7, UDP port 7483
        NO  clock    is 12 minutes ahead of the others
                     hint: timedatectl set-ntp true
        ");
    }
}
