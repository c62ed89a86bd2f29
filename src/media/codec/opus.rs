//! Opus (RFC 6716, RFC 7587) on libopus through `audiopus`: mono, VOIP, at the rate of whom it is bridged with.
//!
//! Encoder and decoder are built off the media threads (they allocate); encoding and decoding allocate nothing.

use audiopus::coder::{Decoder as RawDecoder, Encoder as RawEncoder};
use audiopus::{Application, Bitrate, Channels, MutSignals, SampleRate, Signal};

use super::Rate;

/// How we encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpusSettings {
    /// Bits a second.
    pub bitrate: u32,
    /// 0 (cheap) to 10 (good).
    pub complexity: u8,
}

impl Default for OpusSettings {
    fn default() -> Self {
        Self { bitrate: 24_000, complexity: 5 }
    }
}

/// 20 ms of silence, as CELT full-band mono (TOC 0xf8): what a decoder plays as nothing at all.
pub const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];

/// libopus gave no memory or refused a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("libopus: {0}")]
pub struct OpusError(String);

impl From<audiopus::Error> for OpusError {
    fn from(error: audiopus::Error) -> Self {
        Self(error.to_string())
    }
}

fn sample_rate(rate: Rate) -> SampleRate {
    match rate {
        Rate::Narrow => SampleRate::Hz8000,
        Rate::Wide => SampleRate::Hz16000,
    }
}

/// An encoder at one rate.
pub struct Encoder(RawEncoder);

impl Encoder {
    /// A new one.
    ///
    /// # Errors
    /// [`OpusError`] as libopus words it.
    pub fn new(rate: Rate, settings: OpusSettings) -> Result<Self, OpusError> {
        let mut encoder = RawEncoder::new(sample_rate(rate), Channels::Mono, Application::Voip)?;
        encoder.set_bitrate(Bitrate::BitsPerSecond(i32::try_from(settings.bitrate).unwrap_or(i32::MAX)))?;
        encoder.set_complexity(settings.complexity.min(10))?;
        encoder.set_signal(Signal::Voice)?;
        Ok(Self(encoder))
    }
    /// Encodes a frame of 2.5 to 60 ms; `None` when the length is no Opus frame.
    pub fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Option<usize> {
        self.0.encode(samples, out).ok()
    }
}

/// A decoder at one rate.
pub struct Decoder(RawDecoder);

impl Decoder {
    /// A new one.
    ///
    /// # Errors
    /// [`OpusError`] as libopus words it.
    pub fn new(rate: Rate) -> Result<Self, OpusError> {
        Ok(Self(RawDecoder::new(sample_rate(rate), Channels::Mono)?))
    }
    /// Decodes a packet; an empty one is concealed, as long as `out` is. Returns the samples; `None` when malformed.
    pub fn decode(&mut self, packet: &[u8], out: &mut [i16]) -> Option<usize> {
        let packet = if packet.is_empty() { None } else { Some(packet.try_into().ok()?) };
        self.0.decode(packet, MutSignals::try_from(out).ok()?, false).ok()
    }
    /// Conceals as many samples as `out` holds (2.5 ms steps).
    pub fn conceal(&mut self, out: &mut [i16]) -> Option<usize> {
        self.decode(&[], out)
    }
}

/// Samples at 48 kHz that a packet holds, by its TOC (RFC 6716 §3.1, §3.2); `None` when it is malformed.
pub fn duration_48k(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let frame = match toc >> 3 {
        config @ 0..=11 => [480, 960, 1920, 2880][usize::from(config & 3)],
        config @ 12..=15 => [480, 960][usize::from(config & 1)],
        config => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(*packet.get(1)? & 0x3f),
    };
    (1..=5760).contains(&(frame * frames)).then_some(frame * frames)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::testing::{allocations_in, level_db, tone};

    #[test]
    fn a_tone_survives_opus_at_either_rate_without_an_allocation() {
        for (rate, hertz) in [(Rate::Narrow, 8000u32), (Rate::Wide, 16_000)] {
            let mut encoder = Encoder::new(rate, OpusSettings::default()).expect("an encoder");
            let mut decoder = Decoder::new(rate).expect("a decoder");
            let frame = hertz as usize / 50;
            let input = tone(hertz, 700.0, hertz as usize * 2, 8000.0);
            let mut output = vec![0i16; input.len()];
            let mut packet = [0u8; 1500];
            let allocations = allocations_in(|| {
                for (i, o) in input.chunks(frame).zip(output.chunks_mut(frame)) {
                    let n = encoder.encode(i, &mut packet).expect("encoded");
                    assert_eq!(duration_48k(&packet[..n]), Some(960));
                    assert_eq!(decoder.decode(&packet[..n], o), Some(frame));
                }
            });
            assert_eq!(allocations, 0);
            let half = input.len() / 2;
            let lost = level_db(&input[half..], hertz, 700.0) - level_db(&output[half..], hertz, 700.0);
            assert!(lost.abs() < 2.0, "{lost} dB at {hertz}");
        }
    }

    #[test]
    fn the_silence_packet_is_20_ms_of_nothing() {
        let mut decoder = Decoder::new(Rate::Narrow).expect("a decoder");
        let mut out = [1i16; 160];
        assert_eq!(duration_48k(&SILENCE), Some(960));
        assert_eq!(decoder.decode(&SILENCE, &mut out), Some(160));
        assert!(out.iter().all(|s| s.abs() <= 1));
    }

    #[test]
    fn malformed_packets_are_refused() {
        let mut decoder = Decoder::new(Rate::Narrow).expect("a decoder");
        let mut out = [0i16; 960];
        assert_eq!(decoder.decode(&[0xff], &mut out), None);
        assert_eq!(duration_48k(&[]), None);
        assert_eq!(duration_48k(&[0x03]), None);
    }
}
