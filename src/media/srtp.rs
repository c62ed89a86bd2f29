//! SRTP and SRTCP in place, without an allocation a packet: AES-CM-128 with HMAC-SHA1-80 (RFC 3711, RFC 4568) and
//! AEAD-AES-128-GCM (RFC 7714). One module for keys from DTLS and from SDES.
//!
//! The sender is *told* the 48-bit index, since the transmitter owns it (`seat`): no guess, hence no reuse of a keystream.
//! The receiver estimates it (RFC 3711 §3.3.1) with [`Window`], which is also the replay list.

use aes::Aes128;
use ctr::cipher::{BlockCipherEncrypt, InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use hmac::{Hmac, Mac};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use sha1::Sha1;
use zeroize::Zeroize;

use super::rtp::{Window, header_len};
use crate::link::{MasterKey, SrtpProfile};

/// What protection adds at most: a GCM tag and the SRTCP index.
pub const OVERHEAD: usize = 20;
/// Octets of the HMAC-SHA1-80 tag.
const SHA1_TAG: usize = 10;
/// Octets of the GCM tag.
const GCM_TAG: usize = 16;
/// Streams of one peer whose index is remembered; a peer that changes its SSRC more often pushes out the oldest.
const STREAMS: usize = 4;

/// Why a packet was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Too short, or no RTP.
    Malformed,
    /// Seen already, or older than 64 packets.
    Replayed,
    /// The tag is wrong.
    Authentication,
}

/// Label of the key derivation (RFC 3711 §4.3.1); SRTCP's are 3 above.
const RTP: u8 = 0;
const RTCP: u8 = 3;

/// Session keys of one direction and one of RTP/RTCP.
enum Suite {
    Cm { aes: Box<Aes128>, mac: Box<Hmac<Sha1>> },
    Gcm(Box<LessSafeKey>),
}

struct Half {
    suite: Suite,
    salt: [u8; 14],
}

/// AES-CM key derivation with a rate of 0 (RFC 3711 §4.3; RFC 7714 §11 uses it too).
fn derive(master: &Aes128, salt: &[u8], label: u8, out: &mut [u8]) {
    let mut x = [0u8; 16];
    x[..salt.len()].copy_from_slice(salt);
    x[7] ^= label;
    for (i, chunk) in out.chunks_mut(16).enumerate() {
        let mut block = x;
        block[15] = i as u8;
        let mut block = block.into();
        master.encrypt_block(&mut block);
        chunk.copy_from_slice(&block[..chunk.len()]);
    }
}

impl Half {
    fn new(profile: SrtpProfile, master: &MasterKey, base: u8) -> Self {
        let cipher = Aes128::new(&master.key.into());
        let master_salt = &master.salt[..profile.salt_len()];
        let (mut key, mut auth, mut salt) = ([0u8; 16], [0u8; 20], [0u8; 14]);
        derive(&cipher, master_salt, base, &mut key);
        derive(&cipher, master_salt, base + 1, &mut auth);
        derive(&cipher, master_salt, base + 2, &mut salt[..profile.salt_len()]);
        let suite = match profile {
            SrtpProfile::AesCm128HmacSha1_80 => Suite::Cm {
                aes: Box::new(Aes128::new(&key.into())),
                mac: Box::new(<Hmac<Sha1> as KeyInit>::new_from_slice(&auth).expect("HMAC takes a key of any length")),
            },
            SrtpProfile::AeadAes128Gcm => Suite::Gcm(Box::new(LessSafeKey::new(
                UnboundKey::new(&AES_128_GCM, &key).expect("16 octets are an AES-128 key"),
            ))),
        };
        key.zeroize();
        auth.zeroize();
        Self { suite, salt }
    }

    /// RFC 3711 §4.1.1: IV = salt * 2^16 XOR SSRC * 2^64 XOR index * 2^16.
    fn keystream(&self, aes: &Aes128, ssrc: [u8; 4], index: u64, data: &mut [u8]) {
        let mut iv = [0u8; 16];
        iv[..14].copy_from_slice(&self.salt);
        xor(&mut iv[4..8], &ssrc);
        xor(&mut iv[8..14], &index.to_be_bytes()[2..]);
        let core = ctr::CtrCore::<&Aes128, ctr::flavors::Ctr128BE>::inner_iv_init(aes, &iv.into());
        StreamCipherCoreWrapper::from_core(core).apply_keystream(data);
    }

    /// RFC 7714 §8.1 and §9.1.
    fn nonce(&self, ssrc: [u8; 4], index: u64) -> Nonce {
        let mut iv = [0u8; 12];
        iv.copy_from_slice(&self.salt[..12]);
        xor(&mut iv[2..6], &ssrc);
        xor(&mut iv[6..12], &index.to_be_bytes()[2..]);
        Nonce::assume_unique_for_key(iv)
    }
}

fn xor(a: &mut [u8], b: &[u8]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a ^= b);
}

/// What we send is protected with.
pub struct Sender {
    rtp: Half,
    rtcp: Half,
}

impl Sender {
    /// From a master key; allocates, so never on a media thread.
    pub fn new(profile: SrtpProfile, master: &MasterKey) -> Self {
        Self { rtp: Half::new(profile, master, RTP), rtcp: Half::new(profile, master, RTCP) }
    }

    /// Protects the first `len` octets of `buffer`, which must have [`OVERHEAD`] spare ones. `index` is the extended
    /// sequence number and must never have been used with another packet. Returns the protected length.
    pub fn protect(&self, buffer: &mut [u8], len: usize, index: u64) -> Option<usize> {
        let header = header_len(buffer.get(..len)?)?;
        let ssrc: [u8; 4] = buffer.get(8..12)?.try_into().ok()?;
        match &self.rtp.suite {
            Suite::Cm { aes, mac } => {
                self.rtp.keystream(aes, ssrc, index, &mut buffer[header..len]);
                let tag = sha1_tag(mac, &[&buffer[..len], &roc(index)]);
                buffer.get_mut(len..len + SHA1_TAG)?.copy_from_slice(&tag);
                Some(len + SHA1_TAG)
            }
            Suite::Gcm(key) => {
                let (aad, body) = buffer.split_at_mut(header);
                let (text, rest) = body.split_at_mut(len - header);
                let tag = key.seal_in_place_separate_tag(self.rtp.nonce(ssrc, index), Aad::from(&*aad), text).ok()?;
                rest.get_mut(..GCM_TAG)?.copy_from_slice(tag.as_ref());
                Some(len + GCM_TAG)
            }
        }
    }

    /// Protects a compound RTCP packet; `index` counts SRTCP packets of ours, never twice the same.
    pub fn protect_rtcp(&self, buffer: &mut [u8], len: usize, index: u32) -> Option<usize> {
        let ssrc: [u8; 4] = buffer.get(4..8)?.try_into().ok()?;
        let trailer = (index | 1 << 31).to_be_bytes();
        match &self.rtcp.suite {
            Suite::Cm { aes, mac } => {
                self.rtcp.keystream(aes, ssrc, index.into(), buffer.get_mut(8..len)?);
                buffer.get_mut(len..len + 4)?.copy_from_slice(&trailer);
                let tag = sha1_tag(mac, &[&buffer[..len + 4]]);
                buffer.get_mut(len + 4..len + 4 + SHA1_TAG)?.copy_from_slice(&tag);
                Some(len + 4 + SHA1_TAG)
            }
            Suite::Gcm(key) => {
                let mut aad = [0u8; 12];
                aad[..8].copy_from_slice(&buffer[..8]);
                aad[8..].copy_from_slice(&trailer);
                let nonce = self.rtcp.nonce(ssrc, index.into());
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), buffer.get_mut(8..len)?).ok()?;
                buffer.get_mut(len..len + GCM_TAG)?.copy_from_slice(tag.as_ref());
                buffer.get_mut(len + GCM_TAG..len + GCM_TAG + 4)?.copy_from_slice(&trailer);
                Some(len + GCM_TAG + 4)
            }
        }
    }
}

/// ROC of an index, as it is authenticated.
fn roc(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

fn sha1_tag(mac: &Hmac<Sha1>, parts: &[&[u8]]) -> [u8; SHA1_TAG] {
    let mut mac = mac.clone();
    parts.iter().for_each(|part| mac.update(part));
    let full = mac.finalize().into_bytes();
    let mut tag = [0; SHA1_TAG];
    tag.copy_from_slice(&full[..SHA1_TAG]);
    tag
}

/// What the peer sends is opened with.
pub struct Receiver {
    rtp: Half,
    rtcp: Half,
    profile: SrtpProfile,
    streams: [Option<(u32, Window)>; STREAMS],
    oldest: usize,
    rtcp_window: Window,
}

impl Receiver {
    /// From a master key; allocates, so never on a media thread.
    pub fn new(profile: SrtpProfile, master: &MasterKey) -> Self {
        Self {
            rtp: Half::new(profile, master, RTP),
            rtcp: Half::new(profile, master, RTCP),
            profile,
            streams: [None; STREAMS],
            oldest: 0,
            rtcp_window: Window::default(),
        }
    }

    /// For a successor: refuses everything the predecessor may have taken on this stream.
    pub fn resume(&mut self, ssrc: u32, top: u64) {
        self.streams[0] = Some((ssrc, Window::after(top)));
        self.oldest = 1;
    }

    /// Opens an SRTP packet in place. Returns the length of the RTP packet and its index.
    ///
    /// # Errors
    /// [`Refused`]; the packet is then of no use.
    pub fn unprotect(&mut self, packet: &mut [u8]) -> Result<(usize, u64), Refused> {
        let header = header_len(packet).ok_or(Refused::Malformed)?;
        let tag_len = match self.profile {
            SrtpProfile::AesCm128HmacSha1_80 => SHA1_TAG,
            SrtpProfile::AeadAes128Gcm => GCM_TAG,
        };
        let len = packet.len().checked_sub(tag_len).filter(|len| *len >= header).ok_or(Refused::Malformed)?;
        let ssrc = [packet[8], packet[9], packet[10], packet[11]];
        let id = u32::from_be_bytes(ssrc);
        let known = self.streams.iter().flatten().find(|(s, _)| *s == id).map(|(_, w)| *w);
        let mut window = known.unwrap_or_default();
        let index = window.index(u16::from_be_bytes([packet[2], packet[3]]));
        if !window.admits(index) {
            return Err(Refused::Replayed);
        }
        match &self.rtp.suite {
            Suite::Cm { aes, mac } => {
                let mut mac = (**mac).clone();
                mac.update(&packet[..len]);
                mac.update(&roc(index));
                mac.verify_truncated_left(&packet[len..]).map_err(|_| Refused::Authentication)?;
                self.rtp.keystream(aes, ssrc, index, &mut packet[header..len]);
            }
            Suite::Gcm(key) => {
                let (aad, body) = packet.split_at_mut(header);
                key.open_in_place(self.rtp.nonce(ssrc, index), Aad::from(&*aad), body)
                    .map_err(|_| Refused::Authentication)?;
            }
        }
        window.accept(index);
        self.remember(id, window);
        Ok((len, index))
    }

    fn remember(&mut self, ssrc: u32, window: Window) {
        let place = self.streams.iter().position(|s| s.is_some_and(|(id, _)| id == ssrc)).unwrap_or_else(|| {
            let place = self.oldest;
            self.oldest = (self.oldest + 1) % STREAMS;
            place
        });
        self.streams[place] = Some((ssrc, window));
    }

    /// Opens an SRTCP packet in place; returns the length of the RTCP packet. Index 0 is legal for the first.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, Refused> {
        let tag_len = match self.profile {
            SrtpProfile::AesCm128HmacSha1_80 => SHA1_TAG,
            SrtpProfile::AeadAes128Gcm => GCM_TAG,
        };
        let len = packet.len().checked_sub(tag_len + 4).filter(|len| *len >= 8).ok_or(Refused::Malformed)?;
        let ssrc = [packet[4], packet[5], packet[6], packet[7]];
        let trailer = |packet: &[u8], at: usize| [packet[at], packet[at + 1], packet[at + 2], packet[at + 3]];
        match &self.rtcp.suite {
            Suite::Cm { aes, mac } => {
                let word = u32::from_be_bytes(trailer(packet, len));
                let index = u64::from(word & 0x7fff_ffff);
                if !self.rtcp_window.admits(index) {
                    return Err(Refused::Replayed);
                }
                let mut mac = (**mac).clone();
                mac.update(&packet[..len + 4]);
                mac.verify_truncated_left(&packet[len + 4..]).map_err(|_| Refused::Authentication)?;
                if word >> 31 == 1 {
                    self.rtcp.keystream(aes, ssrc, index, &mut packet[8..len]);
                }
                self.rtcp_window.accept(index);
                Ok(len)
            }
            Suite::Gcm(key) => {
                let end = packet.len() - 4;
                let word = trailer(packet, end);
                let index = u64::from(u32::from_be_bytes(word) & 0x7fff_ffff);
                if !self.rtcp_window.admits(index) {
                    return Err(Refused::Replayed);
                }
                let nonce = self.rtcp.nonce(ssrc, index);
                if word[0] & 0x80 == 0 {
                    // RFC 7714 §9.3: not encrypted, everything but the tag is associated data. Nobody sends it; refused.
                    return Err(Refused::Malformed);
                }
                let mut aad = [0u8; 12];
                aad[..8].copy_from_slice(&packet[..8]);
                aad[8..].copy_from_slice(&word);
                let tag: [u8; GCM_TAG] = packet[len..end].try_into().map_err(|_| Refused::Malformed)?;
                key.open_in_place_separate_tag(nonce, Aad::from(aad), Tag::from(tag), &mut packet[8..len], 0..)
                    .map_err(|_| Refused::Authentication)?;
                self.rtcp_window.accept(index);
                Ok(len)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::rtp::Header;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).expect("hex") as u8).collect();
        digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect()
    }

    fn master(n: u8) -> MasterKey {
        MasterKey { key: [n; 16], salt: [n ^ 0x5a; 14] }
    }

    const PROFILES: [SrtpProfile; 2] = [SrtpProfile::AesCm128HmacSha1_80, SrtpProfile::AeadAes128Gcm];

    #[test]
    fn keys_are_derived_as_rfc_3711_b_3_shows() {
        let key: [u8; 16] = hex("E1F97A0D3E018BE0D64FA32C06DE4139").try_into().expect("16");
        let cipher = Aes128::new(&key.into());
        let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
        let (mut cipher_key, mut cipher_salt, mut auth) = ([0; 16], [0; 14], [0; 94]);
        derive(&cipher, &salt, 0, &mut cipher_key);
        derive(&cipher, &salt, 2, &mut cipher_salt);
        derive(&cipher, &salt, 1, &mut auth);
        assert_eq!(cipher_key[..], hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(cipher_salt[..], hex("30CBBC08863D8C85D49DB34A9AE1"));
        assert_eq!(auth[..20], hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
    }

    #[test]
    fn aes_cm_keystream_is_that_of_rfc_3711_b_2() {
        let key: [u8; 16] = hex("2B7E151628AED2A6ABF7158809CF4F3C").try_into().expect("16");
        let aes = Aes128::new(&key.into());
        let mut salt = [0; 14];
        salt.copy_from_slice(&hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD"));
        let half = Half {
            suite: Suite::Cm {
                aes: Box::new(aes.clone()),
                mac: Box::new(<Hmac<Sha1> as KeyInit>::new_from_slice(&[0]).expect("a key")),
            },
            salt,
        };
        let mut data = [0u8; 32];
        half.keystream(&aes, [0; 4], 0, &mut data);
        assert_eq!(data[..], hex("E03EAD0935C95E80E166B16DD92B4EB4D23513162B02D0F72A43A2FE4A5F97AB"));
    }

    /// RFC 7714 §16.1.1: the session key and salt are given, not derived.
    #[test]
    fn gcm_protects_the_packet_of_rfc_7714_16() {
        let key = hex("000102030405060708090a0b0c0d0e0f");
        let mut salt = [0; 14];
        salt[..12].copy_from_slice(&hex("517569642070726f2071756f"));
        let half = || Half {
            suite: Suite::Gcm(Box::new(LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).expect("a key")))),
            salt,
        };
        let plain = hex(
            "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573",
        );
        let expected = hex(
            "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
        );
        let mut buffer = plain.clone();
        buffer.resize(plain.len() + OVERHEAD, 0);
        let sender = Sender { rtp: half(), rtcp: half() };
        let n = sender.protect(&mut buffer, plain.len(), 0xf17b).expect("protected");
        assert_eq!(buffer[..n], expected);
        let mut receiver = Receiver {
            rtp: half(),
            rtcp: half(),
            profile: SrtpProfile::AeadAes128Gcm,
            streams: [None; STREAMS],
            oldest: 0,
            rtcp_window: Window::default(),
        };
        let (len, index) = receiver.unprotect(&mut buffer[..n]).expect("opened");
        assert_eq!((&buffer[..len], index), (&plain[..], 0xf17b));
    }

    #[test]
    fn seventy_thousand_packets_pass_across_the_rollover_each_once() {
        for profile in PROFILES {
            let (sender, mut receiver) = (Sender::new(profile, &master(7)), Receiver::new(profile, &master(7)));
            for index in 32_000..102_000u64 {
                let mut packet = Header::write(0, false, index as u16, 1, 99).to_vec();
                packet.extend(index.to_be_bytes());
                let plain = packet.clone();
                packet.resize(plain.len() + OVERHEAD, 0);
                let n = sender.protect(&mut packet, plain.len(), index).expect("protected");
                assert_ne!(packet[..plain.len()], plain);
                let mut again = packet.clone();
                assert_eq!(receiver.unprotect(&mut packet[..n]), Ok((plain.len(), index)));
                assert_eq!(packet[..plain.len()], plain);
                assert_eq!(receiver.unprotect(&mut again[..n]), Err(Refused::Replayed));
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_refused_and_a_short_packet_too() {
        for profile in PROFILES {
            let (sender, mut receiver) = (Sender::new(profile, &master(1)), Receiver::new(profile, &master(1)));
            let mut packet = Header::write(0, false, 5, 1, 99).to_vec();
            packet.extend([1; 20]);
            packet.resize(32 + OVERHEAD, 0);
            let n = sender.protect(&mut packet, 32, 5).expect("protected");
            packet[20] ^= 1;
            assert_eq!(receiver.unprotect(&mut packet[..n]), Err(Refused::Authentication));
            assert_eq!(receiver.unprotect(&mut packet[..14]), Err(Refused::Malformed));
        }
    }

    #[test]
    fn rtcp_passes_from_index_0_on_and_not_twice() {
        for profile in PROFILES {
            let (sender, mut receiver) = (Sender::new(profile, &master(3)), Receiver::new(profile, &master(3)));
            for index in 0..3u32 {
                let mut packet = vec![0x80, 201, 0, 1, 0, 0, 0, 9, 1, 2, 3, 4];
                let plain = packet.clone();
                packet.resize(plain.len() + OVERHEAD, 0);
                let n = sender.protect_rtcp(&mut packet, plain.len(), index).expect("protected");
                let mut again = packet.clone();
                assert_eq!(receiver.unprotect_rtcp(&mut packet[..n]), Ok(plain.len()));
                assert_eq!(packet[..plain.len()], plain);
                assert_eq!(receiver.unprotect_rtcp(&mut again[..n]), Err(Refused::Replayed));
            }
        }
    }

    #[test]
    fn a_successor_refuses_a_replay_to_its_predecessor() {
        let profile = SrtpProfile::AesCm128HmacSha1_80;
        let sender = Sender::new(profile, &master(4));
        let mut receiver = Receiver::new(profile, &master(4));
        receiver.resume(99, 70_000);
        let mut send = |index: u64| {
            let mut packet = Header::write(0, false, index as u16, 1, 99).to_vec();
            packet.resize(12 + OVERHEAD, 0);
            let n = sender.protect(&mut packet, 12, index).expect("protected");
            receiver.unprotect(&mut packet[..n]).map(|(_, index)| index)
        };
        assert_eq!(send(69_990), Err(Refused::Replayed));
        assert_eq!(send(70_001), Ok(70_001));
    }
}
