//! The calling side: whom we believe to be who they say (RFC 5922 §7), and what we show.
//!
//! A server's certificate has to be issued by a trusted authority, or be in the file of them itself (a gateway's self-made one,
//! trusted as it is whatever its name). Its SIP domains ([`super::identities`]) have to have the host that was configured.
//!
//! Deviation from RFC 5922 §7.2, which allows no wildcards: `*.` of a DNS name counts for one label. The largest providers of trunks
//! show such certificates; it costs that another host of their own domain may pass for the one we asked for.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::{Current, TlsError, certificate, certificates, der, provider, unusable};

/// Whom to trust and what to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientSource {
    /// PEM file of authorities, or of the one certificate that is trusted as it is; `None`: the system's authorities.
    pub authorities: Option<PathBuf>,
    /// Certificate chain and private key of ours, PEM files.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// What connections to one peer are opened with.
#[derive(Debug)]
pub struct ClientTls {
    source: ClientSource,
    verifier: Arc<Verifier>,
    own: Arc<Own>,
}

impl ClientTls {
    /// Loads the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(source: ClientSource) -> Result<Self, TlsError> {
        let verifier =
            Verifier { trust: Current::new(trust(&source)?), algorithms: provider().signature_verification_algorithms };
        let own = Own(Current::new(own(&source)?));
        Ok(Self { source, verifier: Arc::new(verifier), own: Arc::new(own) })
    }

    /// What connections are opened with, for good: it trusts who is current at each handshake.
    ///
    /// # Errors
    /// [`TlsError`] when the versions of TLS that are on by default are not to be had.
    pub fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(std::path::Path::new("TLS"), error))?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier.clone())
            .with_client_cert_resolver(self.own.clone());
        // A resumed session would not be checked again after a refresh, and connections to trunks last.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// [`TlsError`]; what was in use stays in use, all of it.
    pub fn refresh(&self) -> Result<(), TlsError> {
        let (trust, own) = (trust(&self.source)?, own(&self.source)?);
        self.verifier.trust.set(trust);
        self.own.0.set(own);
        Ok(())
    }
}

#[derive(Debug)]
struct Trust {
    roots: RootCertStore,
    /// Certificates of the operator's own file: trusted as they are.
    as_they_are: Vec<CertificateDer<'static>>,
}

fn trust(source: &ClientSource) -> Result<Trust, TlsError> {
    let mut roots = RootCertStore::empty();
    match &source.authorities {
        Some(path) => {
            let as_they_are = certificates(path)?;
            // One that is no authority's is still trusted as it is.
            roots.add_parsable_certificates(as_they_are.iter().cloned());
            Ok(Trust { roots, as_they_are })
        }
        None => {
            let system = rustls_native_certs::load_native_certs();
            for error in &system.errors {
                tracing::warn!(%error, "some of the system's certificate authorities cannot be read");
            }
            let (added, _) = roots.add_parsable_certificates(system.certs);
            if added == 0 { Err(TlsError::NoAuthorities) } else { Ok(Trust { roots, as_they_are: Vec::new() }) }
        }
    }
}

fn own(source: &ClientSource) -> Result<Option<Arc<CertifiedKey>>, TlsError> {
    let load = |(chain, key): &(PathBuf, PathBuf)| certificate::load(chain, key).map(|(loaded, _)| Arc::new(loaded));
    source.own.as_ref().map(load).transpose()
}

#[derive(Debug)]
struct Own(Current<Option<Arc<CertifiedKey>>>);

impl ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.get().as_ref().clone()
    }
    fn has_certs(&self) -> bool {
        self.0.get().is_some()
    }
}

#[derive(Debug)]
struct Verifier {
    trust: Current<Trust>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let trust = self.trust.get();
        if trust.as_they_are.iter().any(|known| known == leaf) {
            return Ok(ServerCertVerified::assertion());
        }
        let parsed = ParsedCertificate::try_from(leaf)?;
        let roots = &trust.roots;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, self.algorithms.all)?;
        let names = der::names(leaf);
        if names.sip.is_empty() {
            verify_server_name(&parsed, host)?;
        } else if !names.sip.iter().any(|name| name.eq_ignore_ascii_case(&host.to_str())) {
            let expected = host.to_owned();
            return Err(CertificateError::NotValidForNameContext { expected, presented: names.sip }.into());
        }
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
