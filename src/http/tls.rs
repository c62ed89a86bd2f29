//! The certificate of HTTPS: the operator's own files, or one made by the switch itself, kept in the data folder and renewed
//! before it expires. rustls with ring, named explicitly: no process-wide provider is installed.
//!
//! An expired certificate of the operator's is served all the same (phones and calls must not go down with it), with an error in
//! the log and a negative `tandem_http_certificate_expiry_seconds`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum_server::tls_rustls::RustlsConfig;
use metrics::gauge;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;

use super::metrics::CERTIFICATE;
use super::tokens::WallClock;

/// How long a self-made certificate is good for: the longest that browsers take from anyone.
const VALID_FOR: Duration = Duration::from_secs(397 * 86_400);
/// A self-made certificate is renewed when less than this is left.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 86_400);

/// Where the certificate comes from.
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
}

/// What is wrong with a certificate. Messages name the file and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error(
        "cannot read {path}: {error}; give a readable PEM file, or remove http.certificate and http.private_key to have one made"
    )]
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
}

/// Holds the certificate in use and keeps it fresh.
pub struct TlsKeeper {
    source: Certificate,
    config: RustlsConfig,
    wall: WallClock,
}

impl TlsKeeper {
    /// Loads, or makes, the certificate.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(source: Certificate, wall: WallClock) -> Result<Self, TlsError> {
        let config = RustlsConfig::from_config(fresh(&source, wall())?);
        Ok(Self { source, config, wall })
    }

    /// What the listener uses; follows [`Self::refresh`].
    pub fn config(&self) -> RustlsConfig {
        self.config.clone()
    }

    /// Reads the files again, renewing a self-made certificate that is about to expire.
    ///
    /// # Errors
    /// [`TlsError`]; what was in use stays in use.
    pub fn refresh(&self) -> Result<(), TlsError> {
        self.config.reload_from_config(fresh(&self.source, (self.wall)())?);
        Ok(())
    }
}

/// A configuration by the files as they are now, made or renewed where they are ours.
fn fresh(source: &Certificate, now: SystemTime) -> Result<Arc<ServerConfig>, TlsError> {
    let (certificate, key) = source.paths();
    if let Certificate::SelfMade { names, .. } = source {
        let good = read(&certificate, &key).is_ok_and(|(config_end, _)| {
            config_end.is_some_and(|end| end.duration_since(now).is_ok_and(|left| left > RENEW_BEFORE))
        });
        if !good {
            make(&certificate, &key, names, now)?;
            tracing::info!(path = %certificate.display(), "made a certificate for HTTPS");
        }
    }
    let (end, config) = read(&certificate, &key)?;
    match end {
        Some(end) => {
            let left =
                end.duration_since(now).map_or_else(|past| -past.duration().as_secs_f64(), |left| left.as_secs_f64());
            gauge!(CERTIFICATE).set(left);
            if left <= 0.0 {
                tracing::error!(path = %certificate.display(), "the HTTPS certificate has expired: browsers refuse it");
            }
        }
        None => tracing::warn!(path = %certificate.display(), "cannot tell when the HTTPS certificate expires"),
    }
    Ok(config)
}

/// Reads both files: when the leaf expires, and the configuration.
fn read(certificate: &Path, key: &Path) -> Result<(Option<SystemTime>, Arc<ServerConfig>), TlsError> {
    let bytes = |path: &Path| {
        fs::read(path).map_err(|error| TlsError::Read { path: path.to_owned(), error: error.to_string() })
    };
    let unusable = |path: &Path, error: String| TlsError::Unusable { path: path.to_owned(), error };
    let chain = CertificateDer::pem_slice_iter(&bytes(certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(certificate, error.to_string()))?;
    let leaf = chain.first().ok_or_else(|| unusable(certificate, "it holds no certificate".into()))?;
    let end = expiry(leaf);
    let private = PrivateKeyDer::from_pem_slice(&bytes(key)?).map_err(|error| unusable(key, error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(certificate, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| unusable(key, error.to_string()))?;
    // WebSockets are upgraded from HTTP/1.1 (RFC 6455); h2 would need RFC 8441 from every client.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((end, Arc::new(config)))
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

/// When a certificate expires: `tbsCertificate.validity.notAfter` (RFC 5280 §4.1). `None` when it cannot be told.
fn expiry(certificate: &[u8]) -> Option<SystemTime> {
    const SEQUENCE: u8 = 0x30;
    let (_, whole, _) = element(certificate)?;
    let (_, mut tbs, _) = element(whole)?;
    // [0] version (absent in v1), serial, signature, issuer, validity: the third SEQUENCE.
    let mut sequences = 0;
    while sequences < 3 {
        let (tag, content, rest) = element(tbs)?;
        tbs = rest;
        if tag == SEQUENCE {
            sequences += 1;
        }
        if sequences == 3 {
            let (_, _, after) = element(content)?;
            let (tag, text, _) = element(after)?;
            return moment(tag, std::str::from_utf8(text).ok()?);
        }
    }
    None
}

/// The first DER element: tag, content, what follows it (X.690 §8.1).
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let bytes = usize::from(first & 0x7f);
        if bytes == 0 || bytes > 4 {
            return None;
        }
        let (length, rest) = rest.split_at_checked(bytes)?;
        (length.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// UTCTime (tag 23, years 1950-2049) or GeneralizedTime (tag 24), both in `Z` with seconds (RFC 5280 §4.1.2.5).
fn moment(tag: u8, text: &str) -> Option<SystemTime> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u8>().ok();
    let (year, at) = match tag {
        0x17 => {
            let year = i32::from(number(0, 2)?);
            (if year < 50 { 2000 + year } else { 1900 + year }, 2)
        }
        0x18 => (text.get(0..4)?.parse().ok()?, 4),
        _ => return None,
    };
    let month = time::Month::try_from(number(at, at + 2)?).ok()?;
    let date = time::Date::from_calendar_date(year, month, number(at + 2, at + 4)?).ok()?;
    let clock =
        time::Time::from_hms(number(at + 4, at + 6)?, number(at + 6, at + 8)?, number(at + 8, at + 10)?).ok()?;
    Some(date.with_time(clock).assume_utc().into())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn keeper(folder: &Path, now: SystemTime) -> TlsKeeper {
        let source = Certificate::SelfMade { folder: folder.to_owned(), names: vec!["192.0.2.7".into()] };
        TlsKeeper::load(source, Arc::new(move || now)).expect("a certificate")
    }

    fn expires(folder: &Path) -> SystemTime {
        let (end, _) = read(&folder.join("https.crt"), &folder.join("https.key")).expect("files");
        end.expect("an end")
    }

    #[test]
    fn a_self_made_certificate_is_kept_until_it_is_about_to_expire() {
        let folder = tempfile::tempdir().expect("a folder");
        let start = at(1_700_000_000);
        keeper(folder.path(), start);
        assert_eq!(expires(folder.path()), start + VALID_FOR);
        let key = fs::read(folder.path().join("https.key")).expect("a key");
        keeper(folder.path(), start + Duration::from_secs(300 * 86_400));
        assert_eq!(fs::read(folder.path().join("https.key")).expect("a key"), key);
        let late = start + Duration::from_secs(380 * 86_400);
        keeper(folder.path(), late);
        assert_eq!(expires(folder.path()), late + VALID_FOR);
    }

    #[test]
    fn the_key_of_a_self_made_certificate_is_ours_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        keeper(folder.path(), at(1_700_000_000));
        let mode = fs::metadata(folder.path().join("https.key")).expect("a key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_missing_or_unusable_file_is_named_with_a_remedy() {
        let folder = tempfile::tempdir().expect("a folder");
        let certificate = folder.path().join("own.crt");
        let source = Certificate::Files { certificate: certificate.clone(), key: folder.path().join("own.key") };
        let wall: WallClock = Arc::new(|| UNIX_EPOCH);
        let words = |source: &Certificate| match TlsKeeper::load(source.clone(), Arc::clone(&wall)) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        assert!(words(&source).contains("own.crt"));
        fs::write(&certificate, "nothing").expect("a file");
        assert!(words(&source).contains("it holds no certificate"));
    }

    #[test]
    fn times_of_both_kinds_are_read() {
        assert_eq!(moment(0x17, "250101000000Z"), Some(at(1_735_689_600)));
        assert_eq!(moment(0x18, "20500101000000Z"), Some(at(2_524_608_000)));
        assert_eq!(moment(0x17, "2501"), None);
        assert_eq!(moment(0x17, "251301000000Z"), None);
    }

    #[test]
    fn bytes_that_are_no_certificate_have_no_expiry() {
        assert_eq!(expiry(&[]), None);
        assert_eq!(expiry(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(expiry(&[0x30, 0x02, 0x30, 0x00]), None);
    }
}
