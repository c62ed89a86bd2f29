//! G.711 mu-law and A-law (ITU-T G.711), to and from 16-bit linear samples.
//!
//! Encoding is branch-light (the segment is a count of leading zeros); decoding is a table of 256. Both agree with the
//! reference formulas of ITU-T G.191 on every input, which the tests check.

/// The octet of digital silence, mu-law.
pub const SILENCE_MU: u8 = 0xff;
/// The octet of digital silence, A-law.
pub const SILENCE_A: u8 = 0xd5;

/// The two companding laws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Law {
    /// PCMU.
    Mu,
    /// PCMA.
    A,
}

impl Law {
    /// Encodes one sample.
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Law::Mu => encode_mu(sample),
            Law::A => encode_a(sample),
        }
    }
    /// Decodes one octet.
    pub fn decode(self, octet: u8) -> i16 {
        match self {
            Law::Mu => MU[usize::from(octet)],
            Law::A => A[usize::from(octet)],
        }
    }
    /// Encodes `samples` into `out`; returns the octets written (the shorter length).
    pub fn encode_slice(self, samples: &[i16], out: &mut [u8]) -> usize {
        match self {
            Law::Mu => samples.iter().zip(out.iter_mut()).for_each(|(s, o)| *o = encode_mu(*s)),
            Law::A => samples.iter().zip(out.iter_mut()).for_each(|(s, o)| *o = encode_a(*s)),
        }
        samples.len().min(out.len())
    }
    /// Decodes `octets` into `out`; returns the samples written (the shorter length).
    pub fn decode_slice(self, octets: &[u8], out: &mut [i16]) -> usize {
        let table = match self {
            Law::Mu => &MU,
            Law::A => &A,
        };
        octets.iter().zip(out.iter_mut()).for_each(|(o, s)| *s = table[usize::from(*o)]);
        octets.len().min(out.len())
    }
    /// The octet of digital silence.
    pub fn silence(self) -> u8 {
        match self {
            Law::Mu => SILENCE_MU,
            Law::A => SILENCE_A,
        }
    }
}

/// 14-bit magnitude (one's complement) + 33, clipped to 13 bits; segment from its highest bit.
const fn encode_mu(sample: i16) -> u8 {
    let negative = sample < 0;
    let magnitude = ((if negative { !sample } else { sample }) >> 2) as u32 + 33;
    let magnitude = if magnitude > 0x1fff { 0x1fff } else { magnitude };
    let segment = 31 - magnitude.leading_zeros() - 4; // 1..=8
    let octet = ((8 - segment) << 4) | (0xf - ((magnitude >> segment) & 0xf));
    octet as u8 | if negative { 0 } else { 0x80 }
}

/// 12-bit magnitude (one's complement); below 32 it is linear.
const fn encode_a(sample: i16) -> u8 {
    let negative = sample < 0;
    let magnitude = ((if negative { !sample } else { sample }) >> 4) as u32; // 0..=2047
    let octet = if magnitude < 32 {
        magnitude
    } else {
        let exponent = 31 - magnitude.leading_zeros() - 4; // 1..=6
        (exponent << 4) + (magnitude >> exponent)
    };
    (octet as u8 | if negative { 0 } else { 0x80 }) ^ 0x55
}

const fn decode_mu(octet: u8) -> i16 {
    let inverted = !octet;
    let exponent = (inverted >> 4) & 7;
    let mantissa = (inverted & 0xf) as i32;
    let step = 4i32 << (exponent + 1);
    let magnitude = (0x80i32 << exponent) + step * mantissa + step / 2 - 4 * 33;
    (if octet < 0x80 { -magnitude } else { magnitude }) as i16
}

const fn decode_a(octet: u8) -> i16 {
    let code = octet ^ 0x55;
    let exponent = (code & 0x7f) >> 4;
    let mut mantissa = (code & 0xf) as i32;
    if exponent > 0 {
        mantissa += 16;
    }
    mantissa = (mantissa << 4) + 8;
    if exponent > 1 {
        mantissa <<= exponent - 1;
    }
    (if code & 0x80 != 0 { mantissa } else { -mantissa }) as i16
}

const MU: [i16; 256] = table(false);
const A: [i16; 256] = table(true);

const fn table(a_law: bool) -> [i16; 256] {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        table[octet] = if a_law { decode_a(octet as u8) } else { decode_mu(octet as u8) };
        octet += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ITU-T G.191 `ulaw_compress`.
    fn reference_mu(x: i16) -> u8 {
        let absolute = if x < 0 { (!x >> 2) + 33 } else { (x >> 2) + 33 };
        let absolute = absolute.min(0x1fff);
        let (mut i, mut segment) = (absolute >> 6, 1);
        while i != 0 {
            segment += 1;
            i >>= 1;
        }
        let octet = ((8 - segment) << 4) as u8 | (0xf - ((absolute >> segment) & 0xf)) as u8;
        if x >= 0 { octet | 0x80 } else { octet }
    }

    /// ITU-T G.191 `alaw_compress`.
    fn reference_a(x: i16) -> u8 {
        let mut ix = if x < 0 { !x >> 4 } else { x >> 4 };
        if ix > 15 {
            let mut exponent = 1;
            while ix > 16 + 15 {
                ix >>= 1;
                exponent += 1;
            }
            ix -= 16;
            ix += exponent << 4;
        }
        let octet = if x >= 0 { ix | 0x80 } else { ix };
        octet as u8 ^ 0x55
    }

    #[test]
    fn every_sample_encodes_as_the_reference_does() {
        for x in i16::MIN..=i16::MAX {
            assert_eq!(Law::Mu.encode(x), reference_mu(x), "mu-law of {x}");
            assert_eq!(Law::A.encode(x), reference_a(x), "A-law of {x}");
        }
    }

    #[test]
    fn every_octet_survives_decoding_and_encoding() {
        for octet in 0..=255u8 {
            assert_eq!(Law::A.encode(Law::A.decode(octet)), octet);
            // mu-law has two zeros: -0 (0x7f) decodes to 0 and comes back as +0.
            let expected = if octet == 0x7f { 0xff } else { octet };
            assert_eq!(Law::Mu.encode(Law::Mu.decode(octet)), expected);
        }
        assert_eq!((Law::Mu.decode(SILENCE_MU), Law::A.decode(SILENCE_A)), (0, 8));
        assert_eq!((Law::Mu.decode(0x80), Law::Mu.decode(0)), (32124, -32124));
        assert_eq!((Law::A.decode(0xaa), Law::A.decode(0x2a)), (32256, -32256));
    }
}
