//! A certificate and where it comes from: the operator's own files, or one made by the switch itself, kept in the data folder and
//! renewed before it expires.
//!
//! An expired certificate of the operator's is served all the same (phones and calls must not go down with it), with an error in
//! the log and a negative `tandem_certificate_expiry_seconds`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use super::der::expiry;
use super::{TlsError, certificates, provider, read, unusable};

/// How long a self-made certificate is good for: the longest that browsers take from anyone.
pub(super) const VALID_FOR: Duration = Duration::from_secs(397 * 86_400);
/// A self-made certificate is renewed when less than this is left.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 86_400);

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {
    /// The operator's own: PEM files, the chain leaf first.
    Files {
        /// The chain.
        certificate: PathBuf,
        /// Its key: PKCS#8, PKCS#1 or SEC1.
        key: PathBuf,
    },
    /// Made by the switch: `https.crt` and `https.key` in this folder, made again when they are missing or about to expire.
    SelfMade {
        /// The data folder.
        folder: PathBuf,
        /// DNS names and addresses it is for, beside `localhost`, `127.0.0.1` and `::1`.
        names: Vec<String>,
    },
}

impl Certificate {
    fn paths(&self) -> (PathBuf, PathBuf) {
        match self {
            Self::Files { certificate, key } => (certificate.clone(), key.clone()),
            Self::SelfMade { folder, .. } => (folder.join("https.crt"), folder.join("https.key")),
        }
    }

    /// The certificate as the files are now, made or renewed where they are ours; and what is left of its life, seconds, where
    /// that can be told.
    pub(super) fn fresh(&self, now: SystemTime) -> Result<(Arc<CertifiedKey>, Option<f64>), TlsError> {
        let (certificate, key) = self.paths();
        if let Certificate::SelfMade { names, .. } = self {
            let good = load(&certificate, &key).is_ok_and(|(_, end)| {
                end.is_some_and(|end| end.duration_since(now).is_ok_and(|left| left > RENEW_BEFORE))
            });
            if !good {
                make(&certificate, &key, names, now)?;
                tracing::info!(path = %certificate.display(), "made a certificate");
            }
        }
        let (loaded, end) = load(&certificate, &key)?;
        let left = end.map(|end| {
            end.duration_since(now).map_or_else(|past| -past.duration().as_secs_f64(), |left| left.as_secs_f64())
        });
        match left {
            Some(left) if left <= 0.0 => {
                tracing::error!(path = %certificate.display(), "the certificate has expired: browsers and trunks refuse it");
            }
            Some(_) => {}
            None => tracing::warn!(path = %certificate.display(), "cannot tell when the certificate expires"),
        }
        Ok((Arc::new(loaded), left))
    }
}

/// Reads both files: the chain with its key, and when the leaf expires.
pub(super) fn load(certificate: &Path, key: &Path) -> Result<(CertifiedKey, Option<SystemTime>), TlsError> {
    let chain = certificates(certificate)?;
    let end = chain.first().and_then(|leaf| expiry(leaf));
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| unusable(key, error))?;
    let loaded = CertifiedKey::from_der(chain, private, &provider()).map_err(|error| unusable(key, error))?;
    Ok((loaded, end))
}

/// Makes a key and a certificate and puts both in place.
fn make(certificate: &Path, key: &Path, names: &[String], now: SystemTime) -> Result<(), TlsError> {
    let mut all: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
    all.extend(names.iter().filter(|name| !["localhost", "127.0.0.1", "::1"].contains(&name.as_str())).cloned());
    let failed = |error: rcgen::Error| TlsError::Make { names: all.join(", "), error: error.to_string() };
    let mut params = rcgen::CertificateParams::new(all.clone()).map_err(failed)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Tandem (self-made)");
    // A day of grace for clients whose clock is behind.
    params.not_before = OffsetDateTime::from(now) - time::Duration::DAY;
    params.not_after = OffsetDateTime::from(now + VALID_FOR);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let pair = rcgen::KeyPair::generate().map_err(failed)?;
    let signed = params.self_signed(&pair).map_err(failed)?;
    // The key first: a certificate without its key would be served with the old one.
    write(key, &pair.serialize_pem(), 0o600)?;
    write(certificate, &signed.pem(), 0o644)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let failed = |error| TlsError::Write { path: path.to_owned(), error };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let part = path.with_extension("part");
    // An earlier attempt may have left one with other permissions.
    let _ = fs::remove_file(&part);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&part).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&part, path).map_err(failed)
}
