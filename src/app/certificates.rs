//! The certificates of HTTPS, of SIP's listeners and of trunks: loaded before anything listens, read again every hour and at
//! SIGHUP, all in one place, so that two of them that share a self-made one never make it at once.

use std::sync::Arc;
use std::time::Duration;

use metrics::{describe_gauge, gauge};
use rustls::{ClientConfig, ServerConfig};
use tokio::task::JoinHandle;

use super::parts::candidate;
use crate::config::Config;
use crate::config::meant::{Listener, TrunkTls};
use crate::http::tokens::WallClock;
use crate::tls::client::ClientSource;
use crate::tls::server::ClientCertificates;
use crate::tls::{Certificate, ClientTls, ServerTls, TlsError};

/// How often certificates are looked at: a self-made one is renewed in time, changed files are read again.
const LOOK: Duration = Duration::from_secs(3600);
const EXPIRY: &str = "tandem_certificate_expiry_seconds";

/// All of them.
pub(super) struct Certificates {
    /// By the name that logs and the metric have for it.
    servers: Vec<(String, ServerTls)>,
    clients: Vec<(String, ClientTls)>,
    wall: WallClock,
}

/// What is listened and called with; each follows [`Certificates::refresh`].
pub(super) struct Configs {
    pub https: Option<Arc<ServerConfig>>,
    /// By listener, in order; `None` where it has no TLS.
    pub listeners: Vec<Option<Arc<ServerConfig>>>,
    /// By trunk, in order; `None` where it has no TLS.
    pub trunks: Vec<Option<Arc<ClientConfig>>>,
    /// For `sips:` URIs of nobody's; `None` where the system trusts nobody.
    pub anyone: Option<Arc<ClientConfig>>,
}

impl Certificates {
    pub fn load(config: &Config, wall: WallClock) -> Result<(Self, Configs), TlsError> {
        describe_gauge!(EXPIRY, "seconds until a certificate runs out, by who shows it; negative when it has");
        let mut all = Self { servers: Vec::new(), clients: Vec::new(), wall };
        let configs = Configs {
            https: match config.http.https_listen {
                // WebSockets are upgraded from HTTP/1.1 (RFC 6455); h2 would need RFC 8441 from every client.
                Some(_) => Some(all.server("https", vec![default(config)], None, &[b"http/1.1"])?),
                None => None,
            },
            listeners: config.sip.listeners.iter().map(|one| all.listener(config, one)).collect::<Result<_, _>>()?,
            trunks: config
                .sip
                .trunks
                .iter()
                .map(|trunk| trunk.tls.as_ref().map(|tls| all.trunk(trunk.id.as_str(), tls)).transpose())
                .collect::<Result<_, _>>()?,
            anyone: match all.client("sips", ClientSource::default()) {
                Ok(config) => Some(config),
                Err(error) => {
                    tracing::info!(%error, "no sips: URI but a trunk's can be called");
                    None
                }
            },
        };
        all.refresh()?;
        Ok((all, configs))
    }

    fn listener(&mut self, config: &Config, listener: &Listener) -> Result<Option<Arc<ServerConfig>>, TlsError> {
        if !listener.transports.iter().any(|transport| transport.is_secure()) {
            return Ok(None);
        }
        let own = listener
            .certificates
            .iter()
            .map(|(certificate, key)| Certificate::Files { certificate: certificate.clone(), key: key.clone() });
        let mut sources: Vec<Certificate> = own.collect();
        if sources.is_empty() {
            sources.push(default(config));
        }
        let clients = listener.client_ca.as_ref().map(|(authorities, required)| ClientCertificates {
            authorities: authorities.clone(),
            required: *required,
        });
        self.server(listener.id.as_str(), sources, clients, &[]).map(Some)
    }

    fn trunk(&mut self, name: &str, tls: &TrunkTls) -> Result<Arc<ClientConfig>, TlsError> {
        self.client(name, ClientSource { authorities: tls.authorities.clone(), own: tls.own.clone() })
    }

    fn server(
        &mut self,
        name: &str,
        sources: Vec<Certificate>,
        clients: Option<ClientCertificates>,
        protocols: &[&[u8]],
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let tls = ServerTls::load(sources, clients, (self.wall)())?;
        let config = tls.config(protocols)?;
        self.servers.push((name.to_owned(), tls));
        Ok(config)
    }

    fn client(&mut self, name: &str, source: ClientSource) -> Result<Arc<ClientConfig>, TlsError> {
        let tls = ClientTls::load(source)?;
        let config = tls.config()?;
        self.clients.push((name.to_owned(), tls));
        Ok(config)
    }

    /// Reads every file again. One that is no good changes nothing of its own, and hinders no other.
    ///
    /// # Errors
    /// The last that went wrong; the others are in the log.
    pub fn refresh(&self) -> Result<(), TlsError> {
        let mut failed = Ok(());
        for (name, tls) in &self.servers {
            match tls.refresh((self.wall)()) {
                Ok(Some(left)) => gauge!(EXPIRY, "certificate" => name.clone()).set(left),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(certificate = name, %error, "the certificate in use stays");
                    failed = Err(error);
                }
            }
        }
        for (name, tls) in &self.clients {
            if let Err(error) = tls.refresh() {
                tracing::error!(trunk = name, %error, "what is trusted and shown stays");
                failed = Err(error);
            }
        }
        failed
    }

    /// Looks at them every hour, until the task is ended.
    pub fn keep(self: &Arc<Self>) -> JoinHandle<()> {
        let this = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let this = Arc::clone(&this);
                // What went wrong is in the log.
                if let Err(error) = tokio::task::spawn_blocking(move || this.refresh().is_ok()).await {
                    tracing::error!(%error, "the certificates could not be looked at");
                }
            }
        })
    }
}

/// The certificate of who has none of its own: HTTPS's files, else the self-made one.
fn default(config: &Config) -> Certificate {
    match &config.http.certificate {
        Some((certificate, key)) => Certificate::Files { certificate: certificate.clone(), key: key.clone() },
        None => {
            let mut names = vec![config.brain.domain.clone(), candidate(config).to_string()];
            names.dedup();
            Certificate::SelfMade { folder: config.data_dir.clone(), names }
        }
    }
}
