//! SRTP keys, the suites they are for, and what a leg is told to protect its media with.

use serde::{Deserialize, Serialize};
use zeroize::ZeroizeOnDrop;

/// What a party's media is protected with, as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaEncryption {
    /// We offer `RTP/AVP`, and refuse `RTP/SAVP`.
    #[default]
    None,
    /// We offer `RTP/AVP` with `a=crypto`, and take what the peer makes of it; `RTP/SAVP` is answered in kind.
    SdesOptional,
    /// We offer `RTP/SAVP`, and refuse what is not protected.
    Sdes,
    /// We offer DTLS-SRTP with ICE, as to a browser, and refuse anything else.
    Dtls,
}

/// SRTP suites: crypto-suites of RFC 4568 and protection profiles of RFC 5764 and RFC 7714 are the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SrtpProfile {
    /// AEAD AES-256-GCM: 32-byte key, 12-byte salt.
    AeadAes256Gcm,
    /// AEAD AES-128-GCM: 16-byte key, 12-byte salt.
    AeadAes128Gcm,
    /// AES-CM, HMAC-SHA1 with an 80-bit tag: 16-byte key, 14-byte salt.
    AesCm128HmacSha1_80,
    /// The same with a 32-bit tag on RTP; on RTCP it has 80 (RFC 4568 §6.2.2).
    AesCm128HmacSha1_32,
}

impl SrtpProfile {
    /// All that we take.
    pub const ALL: [Self; 4] =
        [Self::AeadAes128Gcm, Self::AeadAes256Gcm, Self::AesCm128HmacSha1_80, Self::AesCm128HmacSha1_32];
    /// Those we offer, in our order: the cheapest first, then what every SRTP peer has (RFC 4568 §6.2). More would only make
    /// INVITEs longer.
    pub const OFFERED: [Self; 2] = [Self::AeadAes128Gcm, Self::AesCm128HmacSha1_80];

    /// Its name in `a=crypto`.
    pub fn name(self) -> &'static str {
        match self {
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }

    /// Length of the master key, bytes.
    pub fn key_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm => 32,
            Self::AeadAes128Gcm | Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 16,
        }
    }

    /// Length of the master salt, bytes.
    pub fn salt_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::AeadAes128Gcm => 12,
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 14,
        }
    }
}

/// A master key and salt of one direction. Wiped on drop, never printed.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop, Serialize, Deserialize)]
pub struct MasterKey {
    /// Master key; the first [`SrtpProfile::key_len`] bytes count.
    pub key: [u8; 32],
    /// Master salt; the first [`SrtpProfile::salt_len`] bytes count.
    pub salt: [u8; 14],
}

impl MasterKey {
    /// A fresh one.
    pub fn random(profile: SrtpProfile) -> Self {
        let mut master: Self = Self { key: rand::random(), salt: rand::random() };
        master.key.iter_mut().skip(profile.key_len()).for_each(|octet| *octet = 0);
        master.salt.iter_mut().skip(profile.salt_len()).for_each(|octet| *octet = 0);
        master
    }

    /// From key and salt, one after the other; `None` when they are not as long as the suite wants.
    pub fn from_parts(profile: SrtpProfile, key: &[u8], salt: &[u8]) -> Option<Self> {
        if (key.len(), salt.len()) != (profile.key_len(), profile.salt_len()) {
            return None;
        }
        let mut master = Self { key: [0; 32], salt: [0; 14] };
        master.key.get_mut(..key.len())?.copy_from_slice(key);
        master.salt.get_mut(..salt.len())?.copy_from_slice(salt);
        Some(master)
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// The keys of one media session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SrtpKeys {
    /// Suite of both directions.
    pub profile: SrtpProfile,
    /// What we send with.
    pub send: MasterKey,
    /// What the peer sends with.
    pub receive: MasterKey,
    /// The master key identifier that the peer's packets carry (RFC 3711 §3.1); empty for none. Ours carry none.
    #[serde(default)]
    pub receive_mki: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_printed_and_never_the_same() {
        let fresh = || MasterKey::random(SrtpProfile::AeadAes128Gcm);
        assert_eq!(format!("{:?}", fresh()), "MasterKey(…)");
        assert_ne!(fresh(), fresh());
    }

    #[test]
    fn a_key_of_the_wrong_length_is_none() {
        let profile = SrtpProfile::AesCm128HmacSha1_80;
        assert!(MasterKey::from_parts(profile, &[1; 16], &[2; 14]).is_some());
        assert!(MasterKey::from_parts(profile, &[1; 16], &[2; 12]).is_none());
        assert!(MasterKey::from_parts(SrtpProfile::AeadAes256Gcm, &[1; 16], &[2; 12]).is_none());
    }
}
