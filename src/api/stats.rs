//! The log in numbers, as `log --stats --json` prints it.

use serde::{Deserialize, Serialize};

/// The log in numbers: `log --stats --json`. Days are those of UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogStats {
    /// Events in the range.
    pub events: u64,
    /// Days from the first event in the range to the last, those without events among them.
    pub days: Vec<DayStats>,
    /// From the first offer of a proposal to its landing, for landings in the range.
    pub landing_time: LandingTime,
    /// By member, most events first.
    pub members: Vec<MemberStats>,
}

/// One day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayStats {
    /// `2026-11-24`.
    pub day: String,
    /// Events.
    pub events: u64,
    /// Proposals that began.
    pub proposals: u64,
    /// Proposals that landed.
    pub landings: u64,
}

/// How long landings took, in milliseconds; null where nothing landed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LandingTime {
    /// How many.
    pub count: u64,
    /// Half of them took no longer.
    pub median_ms: Option<u64>,
    /// Nine in ten took no longer.
    pub p90_ms: Option<u64>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStats {
    /// Handle.
    pub member: String,
    /// Events written.
    pub events: u64,
    /// Proposals begun.
    pub proposals: u64,
    /// Approvals given.
    pub approvals: u64,
    /// Own proposals that landed.
    pub landed: u64,
}
