//! Names to addresses, off the receive path (RFC 3263 §4.2 as far as A and AAAA records; NAPTR and SRV will be looked up
//! here too).

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use tokio::sync::OnceCell;

/// How long an answer is used without asking again.
pub const REMEMBERED: Duration = Duration::from_secs(60);
/// How long a failure is.
pub const REMEMBERED_FAILURE: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(5);

/// The resolver of the system's configuration, made when the first name needs it.
#[derive(Default)]
pub struct Resolver(OnceCell<Option<TokioResolver>>);

impl Resolver {
    /// Every address of a name, IPv4 first; empty when there is none or the servers do not answer.
    pub async fn addresses(&self, host: &str) -> Vec<IpAddr> {
        let resolver = self
            .0
            .get_or_init(|| async {
                let built = TokioResolver::builder_tokio().and_then(|builder| builder.build());
                built.inspect_err(|error| tracing::warn!(%error, "no name resolver")).ok()
            })
            .await;
        let Some(resolver) = resolver else { return Vec::new() };
        match tokio::time::timeout(TIMEOUT, resolver.lookup_ip(host)).await {
            Ok(Ok(found)) => {
                let mut addresses: Vec<IpAddr> = found.iter().collect();
                addresses.sort_by_key(IpAddr::is_ipv6);
                addresses
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "a name could not be resolved");
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    }
}
