//! Codecs: what a media session decodes with and encodes with, at the rate of what it is joined to.

pub mod g711;
pub mod opus;

use tandem_actors::model::media::Codec;

use self::g711::Law;
use self::opus::{OpusError, OpusSettings};
use super::conceal::Conceal;
use super::resample::{Down, Up};

/// Longest packet decoded, samples at 16 kHz: 120 ms (RFC 6716 §2.1.4).
pub const MAX_SAMPLES: usize = 1920;

/// The rate sound is handled at inside the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// 8 kHz: bridges between G.711 and anything.
    Narrow,
    /// 16 kHz: rooms.
    Wide,
}

impl Rate {
    /// Samples in a millisecond.
    pub fn per_ms(self) -> usize {
        match self {
            Rate::Narrow => 8,
            Rate::Wide => 16,
        }
    }
}

/// The companding law of a codec; `None` for Opus.
pub fn law(codec: Codec) -> Option<Law> {
    match codec {
        Codec::Pcmu => Some(Law::Mu),
        Codec::Pcma => Some(Law::A),
        Codec::Opus => None,
    }
}

/// What is wanted of a [`Coder`]: equal wants need no new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoderSpec {
    /// At which rate.
    pub rate: Rate,
    /// Whether Opus may arrive and must be decoded.
    pub opus_in: bool,
    /// Whether Opus must be encoded.
    pub opus_out: bool,
}

impl CoderSpec {
    /// Whether a coder built by this spec serves for `other`.
    pub fn covers(self, other: CoderSpec) -> bool {
        self.rate == other.rate && self.opus_in >= other.opus_in && self.opus_out >= other.opus_out
    }
}

/// Decoder, encoder, resamplers and concealment of one session. Built off the media threads.
pub struct Coder {
    rate: Rate,
    decoder: Option<opus::Decoder>,
    encoder: Option<opus::Encoder>,
    wide: Option<(Up, Down)>,
    conceal: Conceal,
    narrow: [i16; MAX_SAMPLES / 2],
}

impl Coder {
    /// Builds one; allocates.
    ///
    /// # Errors
    /// When libopus gives no memory or refuses a setting.
    pub fn new(spec: CoderSpec, settings: OpusSettings) -> Result<Self, OpusError> {
        Ok(Self {
            rate: spec.rate,
            decoder: spec.opus_in.then(|| opus::Decoder::new(spec.rate)).transpose()?,
            encoder: spec.opus_out.then(|| opus::Encoder::new(spec.rate, settings)).transpose()?,
            wide: match spec.rate {
                Rate::Narrow => None,
                Rate::Wide => Some(Default::default()),
            },
            conceal: Conceal::default(),
            narrow: [0; MAX_SAMPLES / 2],
        })
    }

    /// The rate of its samples.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Decodes a packet's payload; returns the samples. `None` when it is malformed, or the codec was not asked for.
    pub fn decode(&mut self, codec: Codec, payload: &[u8], out: &mut [i16; MAX_SAMPLES]) -> Option<usize> {
        let Some(law) = law(codec) else {
            return self.decoder.as_mut()?.decode(payload, out).filter(|n| *n > 0);
        };
        if payload.is_empty() || payload.len() > self.narrow.len() {
            return None;
        }
        let n = law.decode_slice(payload, &mut self.narrow);
        self.conceal.good(&mut self.narrow[..n]);
        Some(self.widen(n, out))
    }

    /// Makes up `ms` milliseconds that never came; returns the samples.
    pub fn conceal(&mut self, codec: Codec, ms: usize, out: &mut [i16; MAX_SAMPLES]) -> usize {
        if law(codec).is_none() {
            let len = (ms * self.rate.per_ms()).min(out.len());
            return self.decoder.as_mut().and_then(|d| d.conceal(&mut out[..len])).unwrap_or(0);
        }
        let n = (ms * 8).min(self.narrow.len());
        self.conceal.lost(&mut self.narrow[..n]);
        self.widen(n, out)
    }

    fn widen(&mut self, n: usize, out: &mut [i16; MAX_SAMPLES]) -> usize {
        match &mut self.wide {
            Some((up, _)) => up.process(&self.narrow[..n], out),
            None => {
                out[..n].copy_from_slice(&self.narrow[..n]);
                n
            }
        }
    }

    /// Encodes one packet's samples; returns the octets. `None` when it cannot (no encoder, not a frame's length).
    pub fn encode(&mut self, codec: Codec, samples: &[i16], out: &mut [u8]) -> Option<usize> {
        let Some(law) = law(codec) else {
            return self.encoder.as_mut()?.encode(samples, out);
        };
        match &mut self.wide {
            Some((_, down)) => {
                let n = down.process(samples, &mut self.narrow);
                Some(law.encode_slice(&self.narrow[..n], out))
            }
            None => Some(law.encode_slice(samples, out)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::testing::{level_db, tone};

    #[test]
    fn a_tone_passes_a_wide_coder_of_either_law() {
        let spec = CoderSpec { rate: Rate::Wide, opus_in: false, opus_out: false };
        let mut coder = Coder::new(spec, OpusSettings::default()).expect("a coder");
        let input = tone(16_000, 1000.0, 16_000, 8000.0);
        let mut heard = Vec::new();
        for frame in input.chunks(320) {
            let (mut packet, mut out) = ([0; 1500], [0; MAX_SAMPLES]);
            let n = coder.encode(Codec::Pcma, frame, &mut packet).expect("encoded");
            assert_eq!(n, 160);
            let n = coder.decode(Codec::Pcma, &packet[..n], &mut out).expect("decoded");
            heard.extend_from_slice(&out[..n]);
        }
        let lost = level_db(&input, 16_000, 1000.0) - level_db(&heard, 16_000, 1000.0);
        assert!(lost.abs() < 0.5, "{lost} dB");
    }

    #[test]
    fn a_codec_that_was_not_asked_for_is_refused() {
        let spec = CoderSpec { rate: Rate::Narrow, opus_in: false, opus_out: false };
        let mut coder = Coder::new(spec, OpusSettings::default()).expect("a coder");
        assert_eq!(coder.decode(Codec::Opus, &opus::SILENCE, &mut [0; MAX_SAMPLES]), None);
        assert_eq!(coder.encode(Codec::Opus, &[0; 160], &mut [0; 100]), None);
    }
}
