//! DTLS-SRTP of one peer (RFC 5763, RFC 5764, RFC 8842) on `rtc::dtls`: certificates, roles, keys out.
//!
//! Not here: who may send to it (`control` lets only authenticated addresses through), SRTP itself (the media threads).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::BytesMut;
use rtc::crypto::RTCCryptoProvider;
use rtc::dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc::dtls::crypto::Certificate;
use rtc::dtls::endpoint::{Endpoint, EndpointEvent};
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc::shared::TransportProtocol;
use rtc::shared::error::Error;
use sha2::{Digest, Sha256};

use tandem_actors::model::srtp::{MasterKey, SrtpKeys, SrtpProfile};

/// One placeholder for every remote: an association belongs to the ICE session, not to an address, so a changed path is no new one.
const REMOTE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 65535);
/// RFC 5764 §4.2.
const EXPORTER: &str = "EXTRACTOR-dtls_srtp";

/// Who we are in every handshake: one self-made ECDSA P-256 certificate a process run.
#[derive(Clone)]
pub struct Identity {
    provider: Arc<dyn RTCCryptoProvider>,
    certificate: Certificate,
    fingerprint: String,
}

impl Identity {
    /// Makes one.
    ///
    /// # Errors
    /// Plain words when the cryptographic library cannot.
    pub fn new() -> Result<Self, String> {
        let provider = rtc::crypto::default_provider().map_err(|error| error.to_string())?;
        let certificate = Certificate::generate_self_signed(vec!["tandem".to_owned()], provider.crypto())
            .map_err(|error| error.to_string())?;
        let der = certificate.certificate.first().ok_or("the certificate is empty")?;
        let fingerprint = fingerprint(der);
        Ok(Self { provider, certificate, fingerprint })
    }

    /// SHA-256 of the certificate, `AA:BB:…`, for `a=fingerprint`.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn config(&self, client: bool, theirs: &str, mismatch: &Arc<AtomicBool>) -> Result<Arc<HandshakeConfig>, Error> {
        let (theirs, mismatch) = (theirs.to_owned(), mismatch.clone());
        let verify = move |chain: &[Vec<u8>], _: &[_]| {
            if chain.first().is_some_and(|leaf| fingerprint(leaf) == theirs) {
                return Ok(());
            }
            mismatch.store(true, Ordering::Relaxed);
            Err(Error::ErrNoMatchingCertificateFingerprint)
        };
        let config = ConfigBuilder::default()
            .with_crypto_provider(self.provider.clone())
            .with_certificates(vec![self.certificate.clone()])
            .with_srtp_protection_profiles(vec![
                SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
                SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
            ])
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            // No authority signs these certificates: the fingerprint in the SDP is what is verified (RFC 5763 §5).
            .with_insecure_skip_verify(true)
            .with_verify_peer_certificate(Some(Arc::new(verify)))
            // RFC 7627: without it the exporter's keys can be shared by two handshakes.
            .with_extended_master_secret(ExtendedMasterSecretType::Require);
        Ok(Arc::new(config.build(client, None)?))
    }
}

fn fingerprint(der: &[u8]) -> String {
    Sha256::digest(der).iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

/// What an association heard.
#[derive(Debug)]
pub enum Heard {
    /// Nothing to act on, perhaps something to send.
    Nothing,
    /// The handshake is done.
    Secured(Box<SrtpKeys>),
    /// close_notify.
    Closed,
    /// The handshake failed: plain words why.
    Broken(String),
}

/// One DTLS association.
pub struct Association {
    endpoint: Endpoint,
    /// We send the ClientHello (`a=setup:active`); until [`Association::begin`] here is its configuration.
    hello: Option<Arc<HandshakeConfig>>,
    mismatch: Arc<AtomicBool>,
}

impl Association {
    /// One with a peer whose certificate has this fingerprint. The passive side waits for its ClientHello.
    ///
    /// # Errors
    /// Plain words when the cryptographic library cannot.
    pub fn new(identity: &Identity, fingerprint: &str, active: bool) -> Result<Self, String> {
        let mismatch = Arc::new(AtomicBool::new(false));
        let config = identity.config(active, fingerprint, &mismatch).map_err(|error| error.to_string())?;
        let (server, hello) = if active { (None, Some(config)) } else { (Some(config), None) };
        let local = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        Ok(Self { endpoint: Endpoint::new(local, TransportProtocol::UDP, server), hello, mismatch })
    }

    /// There is a path: the active side sends its ClientHello. Later calls do nothing.
    pub fn begin(&mut self, now: Instant) -> Heard {
        let Some(config) = self.hello.take() else { return Heard::Nothing };
        match self.endpoint.connect(now, REMOTE, config, None) {
            Ok(()) => Heard::Nothing,
            Err(error) => Heard::Broken(format!("DTLS cannot begin: {error}")),
        }
    }

    /// One datagram of the peer.
    pub fn read(&mut self, datagram: &[u8], now: Instant) -> Heard {
        if !is_plausible(datagram) {
            return Heard::Nothing;
        }
        match self.endpoint.read(now, REMOTE, None, BytesMut::from(datagram)) {
            Ok(events) => {
                let mut heard = Heard::Nothing;
                for event in events {
                    match event {
                        EndpointEvent::HandshakeComplete => {
                            heard = match self.keys() {
                                Ok(keys) => Heard::Secured(Box::new(keys)),
                                Err(why) => Heard::Broken(why),
                            }
                        }
                        EndpointEvent::PeerClosed => heard = Heard::Closed,
                        // Data channels are refused in the answer; and the enum may grow.
                        EndpointEvent::ApplicationData(_) | _ => {}
                    }
                }
                heard
            }
            Err(_) if self.mismatch.load(Ordering::Relaxed) => {
                Heard::Broken("the peer's certificate is not the one its offer named".into())
            }
            Err(error) => Heard::Broken(format!("DTLS failed: {error}")),
        }
    }

    /// Retransmits what is due.
    pub fn tick(&mut self, now: Instant) -> Heard {
        if self.endpoint.poll_timeout(&REMOTE).is_none_or(|due| now < due) {
            return Heard::Nothing;
        }
        match self.endpoint.handle_timeout(REMOTE, now) {
            Ok(()) => Heard::Nothing,
            Err(error) => Heard::Broken(format!("DTLS failed: {error}")),
        }
    }

    /// The next datagram for the peer.
    pub fn transmit(&mut self) -> Option<BytesMut> {
        self.endpoint.poll_transmit().map(|transmit| transmit.message)
    }

    /// Queues close_notify; [`Association::transmit`] gives it.
    pub fn close(&mut self, now: Instant) {
        if let Err(error) = self.endpoint.close(now) {
            tracing::debug!(%error, "close_notify is not sent");
        }
    }

    /// RFC 5764 §4.2: client key, server key, client salt, server salt.
    fn keys(&self) -> Result<SrtpKeys, String> {
        let state = self.endpoint.get_connection_state(REMOTE).ok_or("the DTLS association is gone")?;
        let chosen = state.srtp_protection_profile();
        let profile = if chosen == SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm {
            SrtpProfile::AeadAes128Gcm
        } else if chosen == SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 {
            SrtpProfile::AesCm128HmacSha1_80
        } else {
            return Err(format!("the peer wants SRTP profile {chosen:?}"));
        };
        let material = state
            .export_keying_material(EXPORTER, &[], 2 * (profile.key_len() + profile.salt_len()))
            .map_err(|error| format!("no SRTP keys: {error}"))?;
        let (client, server) = halves(profile, material.as_ref()).ok_or("the exporter gave too few bytes")?;
        let (send, receive) = if state.is_client() { (client, server) } else { (server, client) };
        Ok(SrtpKeys { profile, send, receive, receive_mki: Vec::new() })
    }
}

/// Whether a datagram is whole DTLS 1.x records (RFC 6347 §4.1), none of it application data of the first epoch. Anything else is
/// discarded in silence (§4.1.2.7), where the library below would give up the handshake.
fn is_plausible(mut datagram: &[u8]) -> bool {
    while let Some((&[kind, 254, _, e0, e1, _, _, _, _, _, _, l0, l1], rest)) = datagram.split_first_chunk::<13>() {
        let Some(next) = rest.get(usize::from(u16::from_be_bytes([l0, l1]))..) else { return false };
        if !(20..=23).contains(&kind) || (kind == 23 && (e0, e1) == (0, 0)) {
            return false;
        }
        datagram = next;
        if next.is_empty() {
            return true;
        }
    }
    false
}

fn halves(profile: SrtpProfile, material: &[u8]) -> Option<(MasterKey, MasterKey)> {
    let (keys, salts) = material.split_at_checked(2 * profile.key_len())?;
    let (key, other_key) = keys.split_at_checked(profile.key_len())?;
    let (salt, other_salt) = salts.split_at_checked(profile.salt_len())?;
    Some((MasterKey::from_parts(profile, key, salt)?, MasterKey::from_parts(profile, other_key, other_salt)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Carries what one queued to the other; whether there was something.
    fn carry(from: &mut Association, to: &mut Association, heard: &mut Heard, now: Instant) -> bool {
        let mut carried = false;
        while let Some(datagram) = from.transmit() {
            carried = true;
            match to.read(&datagram, now) {
                Heard::Nothing => {}
                some @ (Heard::Secured(_) | Heard::Closed | Heard::Broken(_)) => *heard = some,
            }
        }
        carried
    }

    /// Carries both ways until both are quiet; what each heard last that was something.
    fn run(one: &mut Association, other: &mut Association, now: Instant) -> (Heard, Heard) {
        let (mut first, mut second) = (Heard::Nothing, Heard::Nothing);
        while carry(one, other, &mut second, now) | carry(other, one, &mut first, now) {}
        (first, second)
    }

    fn pair(expected: impl Fn(&Identity) -> String) -> (Association, Association) {
        let (ours, theirs) = (Identity::new().expect("ours"), Identity::new().expect("theirs"));
        let passive = Association::new(&ours, &expected(&theirs), false).expect("passive");
        let active = Association::new(&theirs, ours.fingerprint(), true).expect("active");
        (passive, active)
    }

    #[test]
    fn both_sides_export_the_same_keys_crosswise() {
        let now = tokio::time::Instant::now().into_std();
        let (mut passive, mut active) = pair(|theirs| theirs.fingerprint().to_owned());
        assert!(matches!(active.begin(now), Heard::Nothing));
        let (Heard::Secured(ours), Heard::Secured(theirs)) = run(&mut passive, &mut active, now) else {
            panic!("no keys on both sides");
        };
        assert_eq!(ours.profile, theirs.profile);
        assert_eq!((ours.send.key, ours.send.salt), (theirs.receive.key, theirs.receive.salt));
        assert_eq!((ours.receive.key, ours.receive.salt), (theirs.send.key, theirs.send.salt));
        active.close(now);
        assert!(matches!(run(&mut passive, &mut active, now).0, Heard::Closed));
    }

    #[test]
    fn another_certificate_than_the_offers_is_refused() {
        let now = tokio::time::Instant::now().into_std();
        let (mut passive, mut active) = pair(|_| ["00"; 32].join(":"));
        active.begin(now);
        let (Heard::Broken(why), _) = run(&mut passive, &mut active, now) else { panic!("it was accepted") };
        assert_eq!(why, "the peer's certificate is not the one its offer named");
    }

    #[test]
    fn a_lost_flight_is_sent_again() {
        let now = tokio::time::Instant::now().into_std();
        let (mut passive, mut active) = pair(|theirs| theirs.fingerprint().to_owned());
        active.begin(now);
        while active.transmit().is_some() {}
        let later = now + Duration::from_secs(2);
        assert!(matches!(active.tick(later), Heard::Nothing));
        assert!(matches!(run(&mut passive, &mut active, later), (Heard::Secured(_), Heard::Secured(_))));
    }

    #[test]
    fn garbage_is_discarded() {
        let now = tokio::time::Instant::now().into_std();
        let (mut passive, mut active) = pair(|theirs| theirs.fingerprint().to_owned());
        for garbage in [
            &[][..],
            &[22][..],
            &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 255, 255, 1][..],
            &[23, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 1][..],
            &[23; 64][..],
            &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 1][..],
        ] {
            assert!(matches!(passive.read(garbage, now), Heard::Nothing));
        }
        active.begin(now);
        assert!(matches!(run(&mut passive, &mut active, now), (Heard::Secured(_), Heard::Secured(_))));
    }
}
