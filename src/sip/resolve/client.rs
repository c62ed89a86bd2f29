//! The questions, put to the name servers by hickory-resolver. Its own cache is off: the core's knows stale answers and bounds.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::sync::OnceCell;

use super::cache::Heard;
use super::{Answer, Naptr, Question, RecordKind, Srv};

/// One try of one server.
const TRY: Duration = Duration::from_secs(2);
/// All tries of all servers: a caller waits while this lasts.
const LIMIT: Duration = Duration::from_secs(5);

/// The name servers: those of the configuration, else those of the system. Made when the first name needs them.
#[derive(Default)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
    made: OnceCell<Option<TokioResolver>>,
}

impl Resolver {
    /// With these servers; none: the system's.
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers, made: OnceCell::new() }
    }

    /// Asks.
    pub async fn ask(&self, question: &Question) -> Heard {
        let resolver = self.made.get_or_init(|| async { self.make() }).await;
        let Some(resolver) = resolver else { return Heard::Failed };
        let (kind, Some(name)) = (record_type(question.kind), name_of(question)) else { return Heard::Nothing(None) };
        match tokio::time::timeout(LIMIT, resolver.lookup(name, kind)).await {
            Ok(Ok(lookup)) => {
                let records = lookup.answers();
                let ttl = records.iter().map(|record| record.ttl).min().unwrap_or_default();
                found(question.kind, records.iter().map(|record| &record.data), Duration::from_secs(ttl.into()))
            }
            Ok(Err(error)) => {
                tracing::debug!(name = %question.name, kind = ?question.kind, %error, "a name has no such record");
                failure(&error)
            }
            Err(_) => {
                tracing::debug!(name = %question.name, kind = ?question.kind, "no name server answers");
                Heard::Failed
            }
        }
    }

    fn make(&self) -> Option<TokioResolver> {
        let builder = if self.servers.is_empty() {
            TokioResolver::builder_tokio()
        } else {
            let servers = self.servers.iter().map(|server| {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                    connection.port = server.port();
                    connection
                });
                NameServerConfig::new(server.ip(), true, connections.into())
            });
            let config = ResolverConfig::from_name_servers(servers.collect());
            Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
        };
        let built = builder.and_then(|mut builder| {
            let options = builder.options_mut();
            options.cache_size = 0;
            options.timeout = TRY;
            options.attempts = 1;
            builder.build()
        });
        built.inspect_err(|error| tracing::error!(%error, "no name resolver: names cannot be called")).ok()
    }
}

fn record_type(kind: RecordKind) -> RecordType {
    match kind {
        RecordKind::Naptr => RecordType::NAPTR,
        RecordKind::Srv => RecordType::SRV,
        RecordKind::A => RecordType::A,
        RecordKind::Aaaa => RecordType::AAAA,
    }
}

/// The name to ask. The search list of the system serves bare host names only: services are those of whole domains.
fn name_of(question: &Question) -> Option<Name> {
    let mut name = Name::from_utf8(&question.name).ok()?;
    let bare = !question.name.contains('.') && matches!(question.kind, RecordKind::A | RecordKind::Aaaa);
    name.set_fqdn(!bare);
    Some(name)
}

fn found<'a>(kind: RecordKind, records: impl Iterator<Item = &'a RData>, ttl: Duration) -> Heard {
    let mut answer = Answer::nothing(kind);
    for record in records {
        match (&mut answer, record) {
            (Answer::Naptr(list), RData::NAPTR(record)) => list.push(Naptr {
                order: record.order,
                preference: record.preference,
                flags: String::from_utf8_lossy(&record.flags).into_owned(),
                service: String::from_utf8_lossy(&record.services).into_owned(),
                replacement: record.replacement.to_ascii(),
            }),
            (Answer::Srv(list), RData::SRV(record)) => list.push(Srv {
                priority: record.priority,
                weight: record.weight,
                port: record.port,
                host: record.target.to_ascii().trim_end_matches('.').to_owned(),
            }),
            (Answer::Addresses(list), record) => list.extend(record.ip_addr()),
            // A CNAME on the way.
            (Answer::Naptr(_) | Answer::Srv(_), _) => {}
        }
    }
    // Servers turn their lists from answer to answer: in one order, a target keeps its place.
    match &mut answer {
        Answer::Naptr(_) => {}
        Answer::Srv(list) => list.sort_by(|a, b| (a.priority, &a.host, a.port).cmp(&(b.priority, &b.host, b.port))),
        Answer::Addresses(list) => list.sort(),
    }
    if answer == Answer::nothing(kind) { Heard::Nothing(Some(ttl)) } else { Heard::Found(answer, ttl) }
}

/// RFC 2308 §2, §7: "there is none" is an answer; that nobody can say so is not.
fn failure(error: &NetError) -> Heard {
    if let NetError::Dns(DnsError::NoRecordsFound(none)) = error
        && matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError)
    {
        return Heard::Nothing(none.negative_ttl.map(|ttl| Duration::from_secs(ttl.into())));
    }
    Heard::Failed
}

#[cfg(test)]
mod tests;
