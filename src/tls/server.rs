//! The listening side: which certificate is shown, and whose is asked for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme};

use super::{Certificate, Current, TlsError, certificates, der, provider, unusable};

/// Whose certificate a client is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// PEM file of the authorities that may have issued it.
    pub authorities: PathBuf,
    /// Whether a client without one is refused.
    pub required: bool,
}

/// The certificates of one or several listeners.
#[derive(Debug)]
pub struct ServerTls {
    sources: Vec<Certificate>,
    clients: Option<(ClientCertificates, Arc<Clients>)>,
    shown: Arc<Shown>,
}

impl ServerTls {
    /// Loads, or makes, the certificates: the first is shown to who names no host that another is for.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(
        sources: Vec<Certificate>,
        clients: Option<ClientCertificates>,
        now: SystemTime,
    ) -> Result<Self, TlsError> {
        let (keys, _) = fresh(&sources, now)?;
        let clients = match clients {
            Some(asked) => {
                let verifier = Clients { required: asked.required, current: Current::new(verifier(&asked)?) };
                Some((asked, Arc::new(verifier)))
            }
            None => None,
        };
        Ok(Self { sources, clients, shown: Arc::new(Shown(Current::new(keys))) })
    }

    /// What a listener accepts with, for good: it shows what is current at each handshake.
    ///
    /// # Errors
    /// [`TlsError`] when the versions of TLS that are on by default are not to be had.
    pub fn config(&self, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(std::path::Path::new("TLS"), error))?;
        let builder = match &self.clients {
            Some((_, verifier)) => builder.with_client_cert_verifier(verifier.clone()),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(self.shown.clone());
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// Reads the files again, renewing a self-made certificate that is about to expire. How long the first to expire still lives,
    /// seconds, where that can be told.
    ///
    /// # Errors
    /// [`TlsError`]; what was in use stays in use, all of it.
    pub fn refresh(&self, now: SystemTime) -> Result<Option<f64>, TlsError> {
        let (keys, left) = fresh(&self.sources, now)?;
        if let Some((asked, clients)) = &self.clients {
            clients.current.set(verifier(asked)?);
        }
        self.shown.0.set(keys);
        Ok(left)
    }
}

fn fresh(sources: &[Certificate], now: SystemTime) -> Result<(Vec<Arc<CertifiedKey>>, Option<f64>), TlsError> {
    let mut keys = Vec::new();
    let mut least: Option<f64> = None;
    for source in sources {
        let (key, left) = source.fresh(now)?;
        keys.push(key);
        least = [least, left].into_iter().flatten().reduce(f64::min);
    }
    Ok((keys, least))
}

fn verifier(asked: &ClientCertificates) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let path = &asked.authorities;
    let mut roots = RootCertStore::empty();
    for authority in certificates(path)? {
        roots.add(authority).map_err(|error| unusable(path, error))?;
    }
    let built = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let built = if asked.required { built } else { built.allow_unauthenticated() };
    built.build().map_err(|error| unusable(path, error))
}

/// Certificates by the name that a client asks for (RFC 6066 §3).
#[derive(Debug)]
struct Shown(Current<Vec<Arc<CertifiedKey>>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = self.0.get();
        let asked = hello.server_name().map(str::to_ascii_lowercase);
        let fits = |key: &&Arc<CertifiedKey>| {
            let names = key.cert.first().map(|leaf| der::names(leaf)).unwrap_or_default();
            asked.as_deref().is_some_and(|asked| names.dns.iter().any(|name| is_for(name, asked)))
        };
        keys.iter().find(fits).or(keys.first()).cloned()
    }
}

/// Whether a name of a certificate, perhaps `*.` and a domain, is for a host (RFC 9525 §6.3: one label, the leftmost).
fn is_for(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(domain) => host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == domain),
        None => name == host,
    }
}

/// Checks clients by the authorities that are current.
#[derive(Debug)]
struct Clients {
    required: bool,
    current: Current<Arc<dyn ClientCertVerifier>>,
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }
    /// None, since they may change: a client with one certificate sends it all the same.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.current.get().verify_client_cert(leaf, intermediates, now)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current.get().verify_tls12_signature(message, certificate, signed)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current.get().verify_tls13_signature(message, certificate, signed)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current.get().supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_one_label() {
        assert!(is_for("*.example.com", "a.example.com") && is_for("example.com", "example.com"));
        assert!(!is_for("*.example.com", "a.b.example.com") && !is_for("*.example.com", "example.com"));
        assert!(!is_for("*.example.com", ".example.com"));
    }
}
