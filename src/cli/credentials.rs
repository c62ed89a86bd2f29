//! What the first start shows: where to go, and the secrets that were just made. Written to `credentials.txt` and the screen,
//! never to a log.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use tandem_actors::model::ids::UserId;

use super::Failure;
use crate::config::Config;
use crate::config::meant::default_address;
use crate::http::tokens::TokenKey;
use crate::store::{FIRST_USERS, FirstCredentials};

/// How long the first users' tokens are good: long enough to try everything, short enough to be no password.
const FIRST_TTL: Duration = Duration::from_secs(30 * 86_400);

/// Login tokens of the first users.
pub(super) fn first_tokens(key: &TokenKey, now: SystemTime) -> Result<Vec<(UserId, String)>, Failure> {
    let refused = |error: String| Failure::Refused(error);
    FIRST_USERS
        .iter()
        .map(|name| {
            let user = UserId::new(name).map_err(|error| refused(error.to_string()))?;
            let (token, _) = key.issue(&user, FIRST_TTL, now).map_err(|error| refused(error.to_string()))?;
            Ok((user, token))
        })
        .collect()
}

/// The text of `credentials.txt`.
pub(super) fn render(config: &Config, first: &FirstCredentials, tokens: &[(UserId, String)]) -> String {
    let mut text = String::from(
        "Made at the first start. Keep this file to yourself; delete it once you have noted what you need.\n",
    );
    // Writing to a String cannot fail.
    let _ =
        writeln!(text, "\nWeb phone: open one of these, each on its own device or browser profile (good for 30 days).");
    for (user, token) in tokens {
        match config.http.https_listen.or(config.http.listen) {
            Some(at) => {
                let scheme = if config.http.https_listen.is_some() { "https" } else { "http" };
                let _ = writeln!(text, "  {user}:  {scheme}://{}/phone/#token={token}", shown(at));
            }
            None => {
                let _ = writeln!(text, "  {user}:  token {token}");
            }
        }
    }
    let _ = writeln!(text, "  another:  tandem token --user NAME");
    let _ = writeln!(text, "\nSIP phone:");
    let _ = writeln!(text, "  user      {}", first.subscriber);
    let _ = writeln!(text, "  password  {}", first.password);
    let _ = writeln!(text, "  domain    {}", config.brain.domain);
    for listener in &config.sip.listeners {
        let _ = writeln!(
            text,
            "  server    {} ({})",
            reached(config, listener.address),
            listener.transports.iter().map(|t| format!("{t:?}").to_uppercase()).collect::<Vec<_>>().join(", ")
        );
    }
    let _ = writeln!(text, "  another:  tandem subscriber add NUMBER");
    let _ = writeln!(text, "\nAPI: Authorization: Bearer {}", first.api_key);
    text
}

/// What to open, printed at every start.
pub(super) fn welcome(config: &Config, http: Option<SocketAddr>, https: Option<SocketAddr>) -> String {
    let mut text = format!("Tandem {} is running.\n", env!("CARGO_PKG_VERSION"));
    if let Some(at) = https {
        let _ = writeln!(
            text,
            "  web phone    https://{}/phone/  (a self-made certificate: the browser asks once)",
            shown(at)
        );
    }
    if let Some(at) = http {
        let _ = writeln!(text, "  API          http://{}/api/docs/  metrics http://{}/metrics", shown(at), shown(at));
    }
    for service in config.brain.services.values() {
        let _ = writeln!(text, "  call         \"{}\" {}", service.id, service.numbers.join(", "));
    }
    // Without the detours of a relative data_dir; as it was written where the operator has deleted the file.
    let file = config.data_dir.join("credentials.txt");
    let _ = writeln!(text, "  credentials  {}", file.canonicalize().unwrap_or(file).display());
    text
}

/// An address as a phone elsewhere is told.
fn reached(config: &Config, at: SocketAddr) -> SocketAddr {
    if at.ip().is_unspecified() {
        SocketAddr::new(config.sip.external_ip.unwrap_or_else(default_address), at.port())
    } else {
        at
    }
}

/// An address as one can open it on this machine.
fn shown(at: SocketAddr) -> String {
    if at.ip().is_unspecified() { format!("localhost:{}", at.port()) } else { at.to_string() }
}
