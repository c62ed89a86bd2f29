//! Loss concealment for G.711 in the manner of its Appendix I: the last pitch period is repeated, fading from 10 ms on, silent
//! after 60 ms; when sound is back it is cross-faded. (Opus conceals by itself.)

/// History, samples at 8 kHz: three of the longest pitch periods.
const HISTORY: usize = 360;
const SHORTEST: usize = 40; // 200 Hz
const LONGEST: usize = 120; // 66 Hz
/// Samples compared when the pitch is sought.
const WINDOW: usize = 160;
/// Cross-fade back into real sound, samples.
const OVERLAP: usize = 32;
/// Full level this long, then a line to silence.
const HOLD: usize = 80;
const FADE: usize = 400;

/// Concealment state of one stream at 8 kHz.
pub struct Conceal {
    history: [i16; HISTORY],
    /// Samples made up since the last real one; 0 while sound is good.
    missing: usize,
    pitch: usize,
}

impl Default for Conceal {
    fn default() -> Self {
        Self { history: [0; HISTORY], missing: 0, pitch: LONGEST }
    }
}

impl Conceal {
    /// Real sound came: remembered, and cross-faded if some was missing before it.
    pub fn good(&mut self, samples: &mut [i16]) {
        if self.missing > 0 {
            let n = samples.len().min(OVERLAP);
            for (i, sample) in samples[..n].iter_mut().enumerate() {
                let weight = (i + 1) as f32 / (n + 1) as f32;
                let made_up = f32::from(self.made_up(i));
                *sample = (f32::from(*sample) * weight + made_up * (1.0 - weight)) as i16;
            }
            self.missing = 0;
        }
        self.remember(samples);
    }

    /// Fills `out` with what may have been said.
    pub fn lost(&mut self, out: &mut [i16]) {
        if self.missing == 0 {
            self.pitch = self.find_pitch();
        }
        for (i, sample) in out.iter_mut().enumerate() {
            *sample = self.made_up(i);
        }
        self.missing += out.len();
    }

    /// The `ahead`-th sample after those made up so far. The history is left alone while sound is missing.
    fn made_up(&self, ahead: usize) -> i16 {
        let at = self.missing + ahead;
        let gain = match at {
            0..HOLD => 1.0,
            _ => 1.0 - (at - HOLD).min(FADE) as f32 / FADE as f32,
        };
        let sample = self.history[HISTORY - self.pitch + at % self.pitch];
        (f32::from(sample) * gain) as i16
    }

    fn remember(&mut self, samples: &[i16]) {
        let n = samples.len().min(HISTORY);
        self.history.copy_within(n.., 0);
        self.history[HISTORY - n..].copy_from_slice(&samples[samples.len() - n..]);
    }

    /// The lag of the best normalised correlation.
    fn find_pitch(&self) -> usize {
        let recent = &self.history[HISTORY - WINDOW..];
        let score = |lag: usize| {
            let earlier = &self.history[HISTORY - WINDOW - lag..HISTORY - lag];
            let (mut product, mut energy) = (0.0f32, 1.0f32);
            for (a, b) in recent.iter().zip(earlier) {
                product += f32::from(*a) * f32::from(*b);
                energy += f32::from(*b) * f32::from(*b);
            }
            product / energy.sqrt()
        };
        let mut best = (LONGEST, f32::MIN);
        for lag in SHORTEST..=LONGEST {
            let score = score(lag);
            if score > best.1 {
                best = (lag, score);
            }
        }
        best.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::testing::{level_db, tone};

    #[test]
    fn a_lost_frame_of_a_tone_is_hardly_heard() {
        let mut conceal = Conceal::default();
        let input = tone(8000, 200.0, 1600, 8000.0);
        let mut heard = Vec::new();
        for (n, frame) in input.chunks(80).enumerate() {
            let mut out = frame.to_vec();
            if n == 10 {
                conceal.lost(&mut out)
            } else {
                conceal.good(&mut out)
            }
            heard.extend(out);
        }
        let error: Vec<i16> = heard.iter().zip(&input).map(|(a, b)| a - b).collect();
        assert!(level_db(&error, 8000, 200.0) < level_db(&input, 8000, 200.0) - 20.0);
    }

    #[test]
    fn a_long_loss_fades_to_silence_within_60_ms() {
        let mut conceal = Conceal::default();
        conceal.good(&mut tone(8000, 200.0, 800, 8000.0));
        let mut out = [0; 640];
        conceal.lost(&mut out);
        assert!(out[..80].iter().any(|s| s.abs() > 4000));
        assert!(out[480..].iter().all(|s| *s == 0));
    }
}
