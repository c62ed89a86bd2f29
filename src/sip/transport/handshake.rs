//! From a TCP connection to one that carries SIP: TLS, and why it did not come to be.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, Error, ServerConfig};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::Flow;
use crate::tls;

/// A handshake, TLS and WebSocket each, takes no longer: a slow one holds a place that others want.
pub(super) const WITHIN: Duration = Duration::from_secs(10);

/// Why a handshake failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// For the metric.
    pub reason: &'static str,
    /// For the log.
    pub what: String,
    /// What to do about it, where we are the one who calls.
    pub remedy: &'static str,
}

impl Failed {
    pub(super) fn new(reason: &'static str) -> Self {
        Self { reason, what: reason.replace('_', " "), remedy: "" }
    }

    fn of(error: &io::Error) -> Self {
        let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            return Self { what: error.to_string(), ..Self::new("closed") };
        };
        // The errors of a library, which grow: the rest is one reason.
        #[allow(clippy::wildcard_enum_match_arm)]
        let (reason, remedy) = match tls {
            Error::InvalidCertificate(why) => match why {
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    ("wrong_name", "if that is whom you mean, write one of its names as the trunk's `tls_name`")
                }
                CertificateError::UnknownIssuer => (
                    "untrusted",
                    "name the file of the authority that issued it, or of that certificate itself, as the trunk's `tls_ca`",
                ),
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    ("expired", "ask the provider for a new one, and look at this machine's clock")
                }
                _ => ("bad_certificate", "ask the provider for another, or trust it as it is by `tls_ca`"),
            },
            Error::NoCertificatesPresented => ("no_certificate", ""),
            Error::AlertReceived(_) => (
                "alert",
                "the peer refused us: it may want a certificate of ours, `tls_certificate`, of an authority that it trusts",
            ),
            _ => ("protocol", "look whether the port is the one for TLS"),
        };
        Self { reason, what: tls.to_string(), remedy }
    }
}

/// Why a connection that was open broke. In TLS 1.3 a server that will not have our certificate, or misses one, says so only after
/// the handshake is over for us (RFC 8446 §4.4.2.4): of what we opened it is said to the operator as a failed handshake is.
pub(super) fn broken(flow: Flow, opened: bool, error: &io::Error) -> &'static str {
    let Failed { reason, what, remedy } = Failed::of(error);
    if !opened || reason != "alert" {
        return "broken";
    }
    let transport = flow.transport.label();
    tracing::warn!(remote = %flow.remote, transport, reason, remedy, "a SIP connection was refused: {what}");
    reason
}

/// Answers a client; its stream, and the SIP domains it has proved to be (RFC 5922 §7.1), where it showed a certificate.
pub(super) async fn accept(
    config: Arc<ServerConfig>,
    stream: TcpStream,
) -> Result<(server::TlsStream<TcpStream>, Vec<String>), Failed> {
    match timeout(WITHIN, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(stream)) => {
            let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let proved = leaf.map(tls::identities).unwrap_or_default();
            Ok((stream, proved))
        }
        Ok(Err(error)) => Err(Failed::of(&error)),
        Err(_) => Err(Failed::new("timeout")),
    }
}

/// Asks a server, who has to be this one.
pub(super) async fn connect(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    stream: TcpStream,
) -> Result<client::TlsStream<TcpStream>, Failed> {
    match timeout(WITHIN, TlsConnector::from(config).connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Failed::of(&error)),
        Err(_) => Err(Failed::new("timeout")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_comes_after_the_handshake_is_told_apart_from_a_connection_that_broke() {
        let flow = Flow::accepted(0, tandem_actors::model::address::Transport::Tls, ([192, 0, 2, 1], 5061).into());
        let refused = io::Error::other(Error::AlertReceived(rustls::AlertDescription::CertificateRequired));
        assert_eq!((broken(flow, true, &refused), broken(flow, false, &refused)), ("alert", "broken"));
        assert_eq!(broken(flow, true, &io::ErrorKind::ConnectionReset.into()), "broken");
    }

    #[test]
    fn every_failure_has_a_reason_and_those_of_the_operator_a_remedy() {
        let of = |error: Error| Failed::of(&io::Error::other(error));
        let wrong = of(CertificateError::NotValidForName.into());
        assert!(wrong.reason == "wrong_name" && wrong.remedy.contains("tls_name"));
        let untrusted = of(CertificateError::UnknownIssuer.into());
        assert!(untrusted.reason == "untrusted" && untrusted.remedy.contains("tls_ca"));
        assert_eq!(Failed::of(&io::ErrorKind::UnexpectedEof.into()).reason, "closed");
    }
}
