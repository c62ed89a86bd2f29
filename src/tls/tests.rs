//! Files that come, change and go, and handshakes in memory over what was loaded of them.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

use super::certificate::{VALID_FOR, load};
use super::client::ClientSource;
use super::server::ClientCertificates;
use super::*;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn self_made(folder: &Path, now: SystemTime) {
    let source = Certificate::SelfMade { folder: folder.to_owned(), names: vec!["192.0.2.7".into()] };
    ServerTls::load(vec![source], None, now).expect("a certificate");
}

fn expires(folder: &Path) -> SystemTime {
    let (_, end) = load(&folder.join("https.crt"), &folder.join("https.key")).expect("files");
    end.expect("an end")
}

#[test]
fn a_self_made_certificate_is_kept_until_it_is_about_to_expire() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = at(1_700_000_000);
    self_made(folder.path(), start);
    assert_eq!(expires(folder.path()), start + VALID_FOR);
    let key = fs::read(folder.path().join("https.key")).expect("a key");
    self_made(folder.path(), start + Duration::from_secs(300 * 86_400));
    assert_eq!(fs::read(folder.path().join("https.key")).expect("a key"), key);
    let late = start + Duration::from_secs(380 * 86_400);
    self_made(folder.path(), late);
    assert_eq!(expires(folder.path()), late + VALID_FOR);
}

#[test]
fn the_key_of_a_self_made_certificate_is_ours_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    self_made(folder.path(), at(1_700_000_000));
    let mode = fs::metadata(folder.path().join("https.key")).expect("a key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_missing_or_unusable_file_is_named_with_a_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = folder.path().join("own.crt");
    let source = Certificate::Files { certificate: certificate.clone(), key: folder.path().join("own.key") };
    let words = || match ServerTls::load(vec![source.clone()], None, UNIX_EPOCH) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    assert!(words().contains("own.crt"));
    fs::write(&certificate, "nothing").expect("a file");
    assert!(words().contains("it holds no certificate"));
}

/// An authority and a folder for what it issues.
struct Office {
    folder: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Office {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
        fs::write(folder.path().join("ca.crt"), AsRef::<rcgen::Certificate>::as_ref(&authority).pem()).expect("a file");
        Self { folder, authority }
    }
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
    /// Issues `NAME.crt` with `NAME.key` for DNS names and SIP domains.
    fn issue(&self, name: &str, dns: &[&str], sip: &[&str]) -> (PathBuf, PathBuf) {
        let mut params =
            CertificateParams::new(dns.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("params");
        for domain in sip {
            let uri = Ia5String::try_from(format!("sip:{domain}")).expect("ASCII");
            params.subject_alt_names.push(SanType::URI(uri));
        }
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.authority).expect("a certificate");
        let paths = (self.path(&format!("{name}.crt")), self.path(&format!("{name}.key")));
        fs::write(&paths.0, signed.pem()).expect("a file");
        fs::write(&paths.1, key.serialize_pem()).expect("a file");
        paths
    }
    fn server(&self, own: &[(PathBuf, PathBuf)], clients: Option<bool>) -> ServerTls {
        let source = |(certificate, key): &(PathBuf, PathBuf)| Certificate::Files {
            certificate: certificate.clone(),
            key: key.clone(),
        };
        let clients = clients.map(|required| ClientCertificates { authorities: self.path("ca.crt"), required });
        ServerTls::load(own.iter().map(source).collect(), clients, at(1_700_000_000)).expect("a server")
    }
    fn client(&self, own: Option<(PathBuf, PathBuf)>) -> ClientTls {
        ClientTls::load(ClientSource { authorities: Some(self.path("ca.crt")), own }).expect("a client")
    }
}

/// A handshake in memory: the names of the server's certificate as the client saw it, whether the client showed one, or why not.
fn meet(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>, host: &str) -> Result<(Vec<String>, bool), String> {
    let name = ServerName::try_from(host.to_owned()).expect("a name");
    let mut client = ClientConnection::new(client.clone(), name).expect("a client");
    let mut server = ServerConnection::new(server.clone()).expect("a server");
    for _ in 0..10 {
        let mut octets = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut octets).expect("memory");
        }
        let mut rest = octets.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).expect("memory");
            server.process_new_packets().map_err(|error| error.to_string())?;
        }
        let mut octets = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut octets).expect("memory");
        }
        let mut rest = octets.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("memory");
            client.process_new_packets().map_err(|error| error.to_string())?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    let leaf = client.peer_certificates().and_then(<[_]>::first).expect("a certificate");
    Ok((identities(leaf), server.peer_certificates().is_some()))
}

#[test]
fn each_host_is_shown_its_own_certificate_and_a_stranger_the_first() {
    let office = Office::new();
    let own = [office.issue("one", &["one.example.com"], &[]), office.issue("two", &["*.two.example.com"], &[])];
    let server = office.server(&own, None).config(&[]).expect("a config");
    let client = office.client(None).config().expect("a config");
    assert_eq!(meet(&server, &client, "one.example.com").expect("met").0, ["one.example.com"]);
    assert_eq!(meet(&server, &client, "a.two.example.com").expect("met").0, ["*.two.example.com"]);
    let why = meet(&server, &client, "three.example.com").expect_err("not for it");
    assert!(why.contains("three.example.com") && why.contains("one.example.com"), "{why}");
}

#[test]
fn a_sip_uri_in_the_certificate_is_what_counts_as_rfc_5922_has_it() {
    let office = Office::new();
    let own = [office.issue("edge", &["edge.example.com"], &["example.com"])];
    let server = office.server(&own, None).config(&[]).expect("a config");
    let client = office.client(None).config().expect("a config");
    assert!(meet(&server, &client, "example.com").is_ok());
    // RFC 5922 §7.1: with a SIP domain in it, its DNS names count no more.
    assert!(meet(&server, &client, "edge.example.com").is_err());
}

#[test]
fn a_client_without_a_certificate_is_refused_where_one_is_required() {
    let office = Office::new();
    let own = [office.issue("own", &["example.com"], &[])];
    let (required, optional) = (office.server(&own, Some(true)), office.server(&own, Some(false)));
    let (required, optional) = (required.config(&[]).expect("a config"), optional.config(&[]).expect("a config"));
    let bare = office.client(None).config().expect("a config");
    let shown = office.client(Some(office.issue("peer", &["peer.example.com"], &[]))).config().expect("a config");
    assert!(meet(&required, &bare, "example.com").is_err());
    assert_eq!(meet(&required, &shown, "example.com").map(|(_, shown)| shown), Ok(true));
    assert_eq!(meet(&optional, &bare, "example.com").map(|(_, shown)| shown), Ok(false));
    let stranger = Office::new();
    let foreign = stranger.issue("peer", &["peer.example.com"], &[]);
    let source = ClientSource { authorities: Some(office.path("ca.crt")), own: Some(foreign) };
    let foreign = ClientTls::load(source).expect("a client").config().expect("a config");
    assert!(meet(&optional, &foreign, "example.com").is_err(), "of another authority");
}

#[test]
fn a_refresh_is_seen_by_the_next_handshake_and_a_bad_file_changes_nothing() {
    let office = Office::new();
    let own = [office.issue("own", &["old.example.com"], &[])];
    let tls = office.server(&own, None);
    let server = tls.config(&[]).expect("a config");
    let client = office.client(None).config().expect("a config");
    office.issue("own", &["new.example.com"], &[]);
    assert!(meet(&server, &client, "new.example.com").is_err(), "not yet");
    tls.refresh(at(1_700_000_000)).expect("refreshed");
    assert!(meet(&server, &client, "new.example.com").is_ok());
    fs::write(office.path("own.crt"), "spoiled").expect("a file");
    assert!(tls.refresh(at(1_700_000_000)).is_err());
    assert!(meet(&server, &client, "new.example.com").is_ok());
}

#[test]
fn a_certificate_in_the_file_of_authorities_is_trusted_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    self_made(folder.path(), at(1_700_000_000));
    let source = Certificate::SelfMade { folder: folder.path().to_owned(), names: Vec::new() };
    let server =
        ServerTls::load(vec![source], None, at(1_700_000_000)).expect("a server").config(&[]).expect("a config");
    let client = |path: PathBuf| {
        let source = ClientSource { authorities: Some(path), own: None };
        ClientTls::load(source).expect("a client").config().expect("a config")
    };
    assert!(meet(&server, &client(folder.path().join("https.crt")), "gateway.example.com").is_ok());
    assert!(meet(&server, &client(Office::new().path("ca.crt")), "localhost").is_err());
}
