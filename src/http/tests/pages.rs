//! Health, documents, pages, and the two listeners.

use super::*;
use crate::tls::{Certificate, ServerTls};

#[tokio::test]
async fn readiness_follows_the_switch_and_says_why_not() {
    let stand = stand().await;
    assert_eq!(stand.get("/healthz").await.0, 200);
    assert_eq!(stand.get("/readyz").await.0, 200);
    stand.desk.drain();
    let (status, head, body) = stand.get("/readyz").await;
    assert_eq!((status, body.as_str()), (503, "draining: 1 call left\n"));
    assert!(head.contains("retry-after:"));
    assert_eq!(stand.get("/healthz").await.0, 200);
    assert!(stand.get("/metrics").await.2.contains("tandem_calls 1"));
}

#[tokio::test]
async fn the_document_and_the_pages_are_served_with_a_policy() {
    let stand = stand().await;
    let (_, _, text) = stand.get("/api/openapi.json").await;
    let document: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document["openapi"], "3.0.3");
    for path in ["/api/docs/", "/api/docs/swagger-initializer.js", "/phone/", "/phone/app.js", "/phone/style.css"] {
        let (status, head, _) = stand.get(path).await;
        assert_eq!(status, 200, "{path}");
        assert!(head.contains("content-security-policy: default-src 'none'"), "{path}");
        assert!(head.contains("x-content-type-options: nosniff"), "{path}");
    }
    let (status, head, sdk) = stand.get("/sdk/tandem.js").await;
    assert!(status == 200 && sdk.contains("class TandemClient") && head.contains("access-control-allow-origin: *"));
    assert_eq!(stand.get("/phone/../secret").await.0, 404);
    assert_eq!(stand.get("/").await.0, 307);
}

#[tokio::test]
async fn every_file_a_page_names_is_served() {
    let stand = stand().await;
    let (_, _, page) = stand.get("/phone/").await;
    let named = page
        .split(['"', '\''])
        .filter(|word| word.ends_with(".js") || word.ends_with(".css") || word.ends_with(".svg"));
    for file in named {
        assert_eq!(stand.get(&format!("/phone/{file}")).await.0, 200, "{file}");
    }
    let (_, _, script) = stand.get("/phone/app.js").await;
    for file in script.lines().filter_map(|line| line.strip_prefix("import ")?.split('\'').nth(1)?.strip_prefix("./")) {
        assert_eq!(stand.get(&format!("/phone/{file}")).await.0, 200, "{file}");
    }
}

/// The protocol as it is told to those who write apps: every type it has, every error, and examples that are what they say.
#[tokio::test]
async fn the_protocols_document_has_every_type_and_true_examples() {
    let stand = stand().await;
    let (status, _, document) = stand.get("/sdk/protocol.md").await;
    assert_eq!(status, 200);
    use tandem_actors::client::protocol::{ErrorCode, Request};
    let definition = include_str!("../../../actors/src/client/protocol.rs");
    let types =
        definition.lines().filter_map(|line| line.trim().strip_prefix("#[serde(rename = \"")?.strip_suffix("\")]"));
    for name in types {
        assert!(document.contains(&format!("`{name}`")), "{name} is not in the document");
    }
    for code in ErrorCode::ALL {
        let name = serde_json::to_value(code).expect("a word");
        assert!(document.contains(&format!("| `{}` |", name.as_str().expect("a word"))), "{name}");
    }
    let mut examples = 0;
    for line in document.lines().filter(|line| line.starts_with("{\"v\":1,")) {
        examples += 1;
        if line.contains("\"id\":") {
            let request: Result<Request, _> = serde_json::from_str(line);
            assert!(request.is_ok(), "{line}: {request:?}");
        } else {
            let frame: Result<Frame, _> = serde_json::from_str(line);
            assert!(frame.is_ok(), "{line}: {frame:?}");
        }
    }
    assert!(examples >= 10, "{examples}");
}

#[tokio::test]
async fn a_taken_address_is_named_with_its_remedy() {
    let stand = stand().await;
    let config =
        HttpConfig { http: Some(stand.address()), https: None, allowed_origins: Vec::new(), token_key: token_key() };
    let deps = HttpDeps {
        cdrs: Arc::new(LockedStore),
        subscribers: Arc::new(Book::default()),
        blocks: Arc::new(OneBlock::default()),
        keys: Arc::new(OneKey),
        ladders: Arc::new(Wire),
        metrics: Arc::new(String::new),
        wall: Arc::new(now),
    };
    let (ear, _heard) = mpsc::unbounded_channel();
    let again = Http::start(config, Arc::new(Desk::default()), Arc::new(Ear(ear)), Clients::new(), deps).await;
    let words = again.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(words.contains(&stand.address().to_string()) && words.contains("http.listen"), "{words}");
}

#[tokio::test]
async fn https_serves_what_http_serves_and_guards_its_metrics() {
    use rustls::pki_types::pem::PemObject;
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = Certificate::SelfMade { folder: folder.path().to_owned(), names: Vec::new() };
    let tls = ServerTls::load(vec![certificate], None, now()).and_then(|tls| tls.config(&[b"http/1.1"]));
    let tls = tls.expect("a certificate");
    let stand = stand_with(Some(HttpsConfig { address: "127.0.0.1:0".parse().expect("an address"), tls })).await;
    let address = stand.http.https_address().expect("HTTPS");
    let root =
        rustls::pki_types::CertificateDer::from_pem_file(folder.path().join("https.crt")).expect("a certificate");
    let ask = async |path: &str, key: &str| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(root.clone()).expect("a root");
        let mut tls = rustls::ClientConnection::new(
            Arc::new(
                rustls::ClientConfig::builder_with_details(
                    Arc::new(rustls::crypto::ring::default_provider()),
                    Arc::new(Fixed),
                )
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_root_certificates(roots)
                .with_no_client_auth(),
            ),
            "localhost".try_into().expect("a name"),
        )
        .expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{key}\r\n");
        tokio::task::spawn_blocking(move || {
            use std::io::{Read, Write};
            let mut socket = std::net::TcpStream::connect(address).expect("connected");
            socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
            let mut stream = rustls::Stream::new(&mut tls, &mut socket);
            stream.write_all(request.as_bytes()).expect("sent");
            let mut text = Vec::new();
            // A peer that closes without close_notify has said all it had to say.
            let _ = stream.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        })
        .await
        .expect("asked")
    };
    assert!(ask("/phone/", "").await.starts_with("HTTP/1.1 200"));
    assert!(ask("/metrics", "").await.starts_with("HTTP/1.1 401"));
    assert!(ask("/metrics", "Authorization: Bearer secret\r\n").await.contains("tandem_calls 1"));
}

/// The certificate is as old as the test's clock says.
#[derive(Debug)]
struct Fixed;

impl rustls::time_provider::TimeProvider for Fixed {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        Some(rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(NOW)))
    }
}
