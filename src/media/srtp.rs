//! SRTP and SRTCP in place, without an allocation a packet: AES-CM-128 with HMAC-SHA1-80 and -32 (RFC 3711, RFC 4568),
//! AEAD-AES-128-GCM and -256 (RFC 7714), a master key identifier in what comes. One module for keys from DTLS and from SDES.
//!
//! The sender is *told* the 48-bit index, since the transmitter owns it (`seat`): no guess, hence no reuse of a keystream.
//! The receiver estimates it (RFC 3711 §3.3.1) with [`Window`], which is also the replay list.

use aes::{Aes128, Aes256};
use ctr::cipher::consts::U16;
use ctr::cipher::{BlockCipherEncrypt, InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use hmac::{Hmac, Mac};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use sha1::Sha1;
use zeroize::Zeroize;

use super::rtp::{Window, header_len};
use tandem_actors::model::srtp::{MasterKey, SrtpProfile};

/// What protection adds at most: a GCM tag and the SRTCP index.
pub const OVERHEAD: usize = 20;
/// Octets of the HMAC-SHA1-80 tag; SRTCP has no shorter one (RFC 4568 §6.2.2).
const SHA1_TAG: usize = 10;
/// Octets of the HMAC-SHA1-32 tag.
const SHA1_SHORT_TAG: usize = 4;
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

/// A cipher, and which keys of its session it is from: they are counted, a direction at a time.
pub struct Keyed<T> {
    /// Which.
    pub keys: u32,
    /// With them.
    pub cipher: Box<T>,
}

/// Label of the key derivation (RFC 3711 §4.3.1); SRTCP's are 3 above.
const RTP: u8 = 0;
const RTCP: u8 = 3;

/// Session keys of one direction and one of RTP/RTCP.
enum Suite {
    Cm { aes: Box<Aes128>, mac: Box<Hmac<Sha1>>, tag: usize },
    Gcm(Box<LessSafeKey>),
}

impl Suite {
    /// Octets of its tag.
    fn tag(&self) -> usize {
        match self {
            Suite::Cm { tag, .. } => *tag,
            Suite::Gcm(_) => GCM_TAG,
        }
    }
}

struct Half {
    suite: Suite,
    salt: [u8; 14],
}

/// AES-CM key derivation with a rate of 0 (RFC 3711 §4.3; RFC 7714 §11 uses it too, with a master key of its own length).
fn derive<C: BlockCipherEncrypt<BlockSize = U16>>(master: &C, salt: &[u8], label: u8, out: &mut [u8]) {
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
        match profile {
            SrtpProfile::AeadAes256Gcm => Self::derived(&Aes256::new(&master.key.into()), profile, master, base),
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AesCm128HmacSha1_80 | SrtpProfile::AesCm128HmacSha1_32 => {
                let mut key: [u8; 16] = std::array::from_fn(|i| master.key[i]);
                let cipher = Aes128::new(&key.into());
                key.zeroize();
                Self::derived(&cipher, profile, master, base)
            }
        }
    }

    fn derived<C: BlockCipherEncrypt<BlockSize = U16>>(
        cipher: &C,
        profile: SrtpProfile,
        master: &MasterKey,
        base: u8,
    ) -> Self {
        let master_salt = &master.salt[..profile.salt_len()];
        let (mut key, mut auth, mut salt) = ([0u8; 32], [0u8; 20], [0u8; 14]);
        let key_len = profile.key_len();
        derive(cipher, master_salt, base, &mut key[..key_len]);
        derive(cipher, master_salt, base + 1, &mut auth);
        derive(cipher, master_salt, base + 2, &mut salt[..profile.salt_len()]);
        let gcm = |algorithm, key: &[u8]| {
            let key = UnboundKey::new(algorithm, key).expect("the key is as long as the algorithm wants");
            Suite::Gcm(Box::new(LessSafeKey::new(key)))
        };
        let cm = |key: &[u8; 32], tag| Suite::Cm {
            aes: Box::new(Aes128::new(&std::array::from_fn::<u8, 16, _>(|i| key[i]).into())),
            mac: Box::new(<Hmac<Sha1> as KeyInit>::new_from_slice(&auth).expect("HMAC takes a key of any length")),
            tag,
        };
        let suite = match profile {
            SrtpProfile::AesCm128HmacSha1_80 => cm(&key, SHA1_TAG),
            SrtpProfile::AesCm128HmacSha1_32 if base == RTP => cm(&key, SHA1_SHORT_TAG),
            SrtpProfile::AesCm128HmacSha1_32 => cm(&key, SHA1_TAG),
            SrtpProfile::AeadAes128Gcm => gcm(&AES_128_GCM, &key[..key_len]),
            SrtpProfile::AeadAes256Gcm => gcm(&AES_256_GCM, &key[..key_len]),
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
            Suite::Cm { aes, mac, tag: tag_len } => {
                self.rtp.keystream(aes, ssrc, index, &mut buffer[header..len]);
                let tag = sha1_tag(mac, &[&buffer[..len], &roc(index)]);
                buffer.get_mut(len..len + tag_len)?.copy_from_slice(tag.get(..*tag_len)?);
                Some(len + tag_len)
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
            Suite::Cm { aes, mac, .. } => {
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

/// How many octets come after the identifier: the tag with AES-CM (RFC 3711 §3.1), nothing with GCM (RFC 7714 §8.2).
fn mki_after(suite: &Suite) -> usize {
    match suite {
        Suite::Cm { tag, .. } => *tag,
        Suite::Gcm(_) => 0,
    }
}

/// The packet without the identifier, which must be there, `after` octets before the end.
fn without_mki<'a>(packet: &'a mut [u8], mki: &[u8], after: usize) -> Result<&'a mut [u8], Refused> {
    if mki.is_empty() {
        return Ok(packet);
    }
    let end = packet.len().checked_sub(after).ok_or(Refused::Malformed)?;
    let start = end.checked_sub(mki.len()).ok_or(Refused::Malformed)?;
    if packet.get(start..end) != Some(mki) {
        // RFC 3711 §3.3: no context can be found for it.
        return Err(Refused::Authentication);
    }
    packet.copy_within(end.., start);
    packet.get_mut(..start + after).ok_or(Refused::Malformed)
}

/// What the peer sends is opened with.
pub struct Receiver {
    rtp: Half,
    rtcp: Half,
    /// The master key identifier that every packet carries; empty for none.
    mki: Box<[u8]>,
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
            mki: Box::default(),
            streams: [None; STREAMS],
            oldest: 0,
            rtcp_window: Window::default(),
        }
    }

    /// What comes carries this master key identifier (RFC 3711 §3.1).
    #[must_use]
    pub fn with_mki(mut self, mki: &[u8]) -> Self {
        self.mki = mki.into();
        self
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
        let tag_len = self.rtp.suite.tag();
        let packet = without_mki(packet, &self.mki, mki_after(&self.rtp.suite))?;
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
            Suite::Cm { aes, mac, .. } => {
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
        let tag_len = self.rtcp.suite.tag();
        let packet = without_mki(packet, &self.mki, mki_after(&self.rtcp.suite))?;
        let len = packet.len().checked_sub(tag_len + 4).filter(|len| *len >= 8).ok_or(Refused::Malformed)?;
        let ssrc = [packet[4], packet[5], packet[6], packet[7]];
        let trailer = |packet: &[u8], at: usize| [packet[at], packet[at + 1], packet[at + 2], packet[at + 3]];
        match &self.rtcp.suite {
            Suite::Cm { aes, mac, .. } => {
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
mod tests;
