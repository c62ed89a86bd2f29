//! A clip as the media threads play it: encoded once, when it is loaded (`clips`), so that playing it costs a send and nothing
//! else.

use super::codec::Rate;
use super::codec::g711::Law;
use super::codec::opus::{Encoder, OpusError, OpusSettings};

/// Sound, encoded for every codec in frames of 20 ms.
pub struct Clip {
    mu: Box<[u8]>,
    a: Box<[u8]>,
    opus: Box<[u8]>,
    /// End of each Opus frame in `opus`.
    ends: Box<[u32]>,
}

impl Clip {
    /// Octets of G.711, at most `len` from `position`; empty at the end.
    pub fn g711(&self, law: Law, position: usize, len: usize) -> &[u8] {
        let octets = match law {
            Law::Mu => &self.mu,
            Law::A => &self.a,
        };
        octets.get(position..octets.len().min(position + len)).unwrap_or_default()
    }
    /// The `n`-th Opus frame of 20 ms.
    pub fn opus(&self, n: usize) -> Option<&[u8]> {
        let start = n.checked_sub(1).map_or(0, |before| self.ends.get(before).map_or(usize::MAX, |e| *e as usize));
        self.opus.get(start..*self.ends.get(n)? as usize)
    }
    /// Its length in milliseconds, a multiple of 20.
    pub fn length_ms(&self) -> usize {
        self.ends.len() * 20
    }

    /// Encodes sound given at 8 and at 16 kHz. Allocates: done off the media threads.
    ///
    /// # Errors
    /// When libopus cannot be had.
    pub fn encode(mut narrow: Vec<i16>, mut wide: Vec<i16>, settings: OpusSettings) -> Result<Self, OpusError> {
        let frames = narrow.len().div_ceil(160).max(1);
        narrow.resize(frames * 160, 0);
        wide.resize(frames * 320, 0);
        let law = |law: Law| narrow.iter().map(|s| law.encode(*s)).collect();
        let mut encoder = Encoder::new(Rate::Wide, settings)?;
        let (mut opus, mut ends, mut packet) = (Vec::new(), Vec::new(), [0; 1500]);
        for frame in wide.chunks(320) {
            let n = encoder.encode(frame, &mut packet).unwrap_or(0);
            opus.extend_from_slice(&packet[..n]);
            ends.push(u32::try_from(opus.len()).unwrap_or(u32::MAX));
        }
        Ok(Self { mu: law(Law::Mu), a: law(Law::A), opus: opus.into(), ends: ends.into() })
    }
}
