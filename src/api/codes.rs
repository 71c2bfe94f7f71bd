//! Codes of refusals that both sides act on. The whole list is in docs/json.md.

/// The service runs and does not share this repository. Reading commands then look themselves.
pub const NOT_UP: &str = "not-up";
/// This repository was never shared.
pub const NOT_SHARED: &str = "not-shared";
/// The command line and the service are of different versions.
pub const OTHER_VERSION: &str = "other-version";
/// A request that is malformed or too long.
pub const BAD_REQUEST: &str = "bad-request";
/// `up` needs a decision: join one of the projects seen, or found a new one.
pub const CHOOSE: &str = "choose";
/// What was asked uses rights, and the passphrase of the identity key was not given.
pub const PASSPHRASE: &str = "passphrase";
