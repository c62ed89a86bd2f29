//! TLS for every adapter that listens or calls by it: certificates with their keys, read again while connections go on, and the
//! checks of who the other side is. rustls with ring, named explicitly: no process-wide provider is installed.
//!
//! ```text
//!   PEM files --load, refresh--> ServerTls | ClientTls --(behind a lock)--> resolver, verifier
//!                                                                             ^ asked at each handshake
//!   HTTPS, SIP: one Arc<ServerConfig> | Arc<ClientConfig> for the life of the process
//! ```
//!
//! Implemented: certificates by SNI (RFC 6066 §3), client certificates, the SIP domain rules of RFC 5922 §7 towards servers with one
//! deviation, stated at [`client`]. Deliberately not: revocation lists and OCSP, which no operator of a trunk was seen to keep;
//! a certificate that may not be used any more is taken out of the file that trusts it.

mod certificate;
pub mod client;
mod der;
pub mod server;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

pub use certificate::Certificate;
pub use client::ClientTls;
pub use der::identities;
pub use server::ServerTls;

/// What is wrong with a certificate. Messages name the file and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {error}; name a PEM file that we may read, or leave the key out of the configuration")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// A file has nothing usable in it, or key and certificate do not belong together.
    #[error("{path} cannot be used: {error}; give a PEM certificate chain and its own unencrypted key")]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// A self-made one cannot be kept.
    #[error("cannot write {path}: {error}; make the data folder writable")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A self-made one cannot be made.
    #[error("cannot make a certificate for {names}: {error}; check domain and external_ip")]
    Make {
        /// For which names.
        names: String,
        /// Why.
        error: String,
    },
    /// The system trusts nobody.
    #[error("this system has no certificate authorities: install ca-certificates, or name a file of them")]
    NoAuthorities,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What handshakes read and a refresh replaces.
#[derive(Debug)]
struct Current<T>(RwLock<Arc<T>>);

impl<T> Current<T> {
    fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }
    fn get(&self) -> Arc<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Read { path: path.to_owned(), error: error.to_string() })
}

fn unusable(path: &Path, error: impl ToString) -> TlsError {
    TlsError::Unusable { path: path.to_owned(), error: error.to_string() }
}

/// Every certificate of a PEM file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(path, error))?;
    if found.is_empty() { Err(unusable(path, "it holds no certificate")) } else { Ok(found) }
}

#[cfg(test)]
mod tests;
