//! SRTP by the vectors of its RFCs, and what must be refused.

use super::*;
use crate::media::rtp::Header;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).expect("hex") as u8).collect();
    digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect()
}

fn master(n: u8) -> MasterKey {
    MasterKey { key: [n; 32], salt: [n ^ 0x5a; 14] }
}

const PROFILES: [SrtpProfile; 4] = SrtpProfile::ALL;

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
            tag: SHA1_TAG,
        },
        salt,
    };
    let mut data = [0u8; 32];
    half.keystream(&aes, [0; 4], 0, &mut data);
    assert_eq!(data[..], hex("E03EAD0935C95E80E166B16DD92B4EB4D23513162B02D0F72A43A2FE4A5F97AB"));
}

/// A receiver with these halves, whose session keys are given and not derived.
fn receiver(rtp: Half, rtcp: Half) -> Receiver {
    let (streams, rtcp_window) = ([None; STREAMS], Window::default());
    Receiver { rtp, rtcp, mki: Box::default(), streams, oldest: 0, rtcp_window }
}

/// The session key and salt of RFC 7714 §16 and §17.
fn gcm(long: bool) -> Half {
    let key: Vec<u8> = (0..if long { 32 } else { 16 }).collect();
    let mut salt = [0; 14];
    salt[..12].copy_from_slice(&hex("517569642070726f2071756f"));
    let algorithm = if long { &AES_256_GCM } else { &AES_128_GCM };
    let key = LessSafeKey::new(UnboundKey::new(algorithm, &key).expect("a key"));
    Half { suite: Suite::Gcm(Box::new(key)), salt }
}

#[test]
fn gcm_protects_the_packets_of_rfc_7714_16_1_1_and_16_2_1() {
    let plain = hex(
        "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573",
    );
    let header = "8040f17b 8041f8d3 5501a0b2";
    let short = "f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce";
    let long = "32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13";
    for (is_long, protected) in [(false, short), (true, long)] {
        let expected = hex(&format!("{header}{protected}"));
        let mut buffer = plain.clone();
        buffer.resize(plain.len() + OVERHEAD, 0);
        let sender = Sender { rtp: gcm(is_long), rtcp: gcm(is_long) };
        let n = sender.protect(&mut buffer, plain.len(), 0xf17b).expect("protected");
        assert_eq!(buffer[..n], expected);
        let mut receiver = receiver(gcm(is_long), gcm(is_long));
        let (len, index) = receiver.unprotect(&mut buffer[..n]).expect("opened");
        assert_eq!((&buffer[..len], index), (&plain[..], 0xf17b));
    }
}

#[test]
fn gcm_protects_the_rtcp_packets_of_rfc_7714_17_1_and_17_3() {
    let plain = hex(
        "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef deadbeef deadbeef deadbeef",
    );
    let short = "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4";
    let long = "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1 110555be 8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4";
    for (is_long, protected) in [(false, short), (true, long)] {
        let sender = Sender { rtp: gcm(is_long), rtcp: gcm(is_long) };
        let mut buffer = plain.clone();
        buffer.resize(plain.len() + OVERHEAD, 0);
        let n = sender.protect_rtcp(&mut buffer, plain.len(), 0x5d4).expect("protected");
        assert_eq!(buffer[..n], hex(protected));
        let len = receiver(gcm(is_long), gcm(is_long)).unprotect_rtcp(&mut buffer[..n]).expect("opened");
        assert_eq!(buffer[..len], plain);
    }
}

#[test]
fn the_short_tag_is_for_rtp_alone_as_rfc_4568_6_2_2_says() {
    let profile = SrtpProfile::AesCm128HmacSha1_32;
    let sender = Sender::new(profile, &master(2));
    let mut packet = Header::write(0, false, 5, 1, 99).to_vec();
    packet.resize(12 + OVERHEAD, 0);
    assert_eq!(sender.protect(&mut packet, 12, 5), Some(12 + 4));
    assert_eq!(sender.protect_rtcp(&mut packet, 12, 0), Some(12 + 4 + 10));
}

#[test]
fn a_master_key_identifier_is_looked_for_where_it_belongs() {
    let mki = [0, 0, 0, 7];
    for profile in PROFILES {
        let sender = Sender::new(profile, &master(6));
        let mut receiver = Receiver::new(profile, &master(6)).with_mki(&mki);
        let insert = |packet: &mut Vec<u8>, after: usize| {
            let at = packet.len() - after;
            packet.splice(at..at, mki);
        };
        let mut packet = Header::write(0, false, 5, 1, 99).to_vec();
        packet.extend([1; 20]);
        packet.resize(32 + OVERHEAD, 0);
        let n = sender.protect(&mut packet, 32, 5).expect("protected");
        packet.truncate(n);
        assert_eq!(receiver.unprotect(&mut packet.clone()), Err(Refused::Authentication), "none");
        insert(&mut packet, mki_after(&sender.rtp.suite));
        assert_eq!(receiver.unprotect(&mut packet), Ok((32, 5)));
        assert_eq!(packet[12..32], [1; 20]);
        let mut report = vec![0x80, 201, 0, 1, 0, 0, 0, 9, 1, 2, 3, 4];
        report.resize(12 + OVERHEAD, 0);
        let n = sender.protect_rtcp(&mut report, 12, 0).expect("protected");
        report.truncate(n);
        insert(&mut report, mki_after(&sender.rtcp.suite));
        assert_eq!(receiver.unprotect_rtcp(&mut report), Ok(12));
    }
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
