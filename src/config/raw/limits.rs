//! `[limits]`.

use serde::{Deserialize, Serialize};

/// `[limits]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Calls at once; one more is answered 503 with Retry-After. Default: `2000`. Why: calls that are up stay good.
    pub max_calls: u32,
    /// Calls from SIP that may begin a second; more are answered 503 with Retry-After; 0 is any. Unit: calls a second. Default: `0`. Why:
    /// what is too much depends on the machine, and is noticed by itself: when requests wait, new ones are refused.
    pub max_cps: u32,
    /// Calls by trunks that one user, phone or app, may have at once; 0 is any. Default: `10`. Why: toll fraud; a stolen password
    /// then costs little.
    pub user_trunk_calls: u32,
    /// Calls by trunks that one user may begin; 0 is any. Unit: calls a minute. Default: `60`. Why: as above; machines that dial
    /// need more.
    pub user_trunk_calls_per_minute: u32,
    /// How long a phone rings. Unit: seconds. Default: `60`. Why: the field's habit.
    pub ring_timeout_s: u64,
    /// A call without RTP for this long is ended; 0 never. Unit: seconds. Default: `60`. Why: the other side is gone and did not
    /// say so; a hold is not counted.
    pub no_rtp_timeout_s: u64,
    /// A phone alone in a room leaves after this. Unit: seconds. Default: `60`. Why: time for the others to come back.
    pub alone_grace_s: u64,
    /// An app user's lost connection is kept for this long. Unit: seconds. Default: `30`. Why: a change of network takes some
    /// seconds, and the call goes on meanwhile.
    pub resume_window_s: u64,
    /// No call lasts longer. Unit: seconds. Default: `43200`. Why: twelve hours is a forgotten handset.
    pub max_duration_s: u64,
    /// Life of a call started by the API without a `ttl`. Unit: seconds. Default: `1800`. Why: the connector API's own default.
    pub connector_ttl_s: u64,
    /// Retry-After of our 503: the least, up to twice as much is said. Unit: seconds. Default: `5`. Why: long enough to matter, short
    /// enough to be noticed by nobody; spread, so that those refused together do not come back together.
    pub retry_after_s: u64,
    /// Connections an app user may have at once; one login more ends the oldest. Default: `1`. Why: as the SDKs that apps come
    /// from do; more rings every device.
    pub devices_per_user: u32,
    /// How long a drain (SIGTERM) waits for calls to end. Unit: seconds. Default: `600`. Why: most calls are shorter; the unit
    /// file waits a little longer.
    pub drain_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_calls: 2000,
            max_cps: 0,
            user_trunk_calls: 10,
            user_trunk_calls_per_minute: 60,
            ring_timeout_s: 60,
            no_rtp_timeout_s: 60,
            alone_grace_s: 60,
            resume_window_s: 30,
            max_duration_s: 43200,
            connector_ttl_s: 1800,
            retry_after_s: 5,
            devices_per_user: 1,
            drain_s: 600,
        }
    }
}
