//! The short resampler of the media threads: 8 kHz <-> 16 kHz by a polyphase FIR of 64 taps (2 ms of delay, images and
//! aliases below -80 dB). Clips of any rate are converted at load by rubato instead (`clips`), which is better and slower.

/// Taps of the prototype at 16 kHz, and therefore 32 a phase.
const TAPS: usize = 64;
const PHASE: usize = TAPS / 2;
/// Longest block in one call, samples at the lower rate: 120 ms, the longest Opus packet.
pub const MAX_BLOCK: usize = 960;

/// Doubles the rate: 8 kHz in, 16 kHz out.
pub struct Up {
    phases: [[f32; PHASE]; 2],
    line: Box<[f32; PHASE - 1 + MAX_BLOCK]>,
}

/// Halves the rate: 16 kHz in, 8 kHz out.
pub struct Down {
    taps: [f32; TAPS],
    line: Box<[f32; TAPS - 1 + 2 * MAX_BLOCK]>,
}

impl Default for Up {
    fn default() -> Self {
        let prototype = prototype();
        let mut phases = [[0.0; PHASE]; 2];
        for (p, phase) in phases.iter_mut().enumerate() {
            for (t, tap) in phase.iter_mut().enumerate() {
                // Reversed, so that a phase is one dot product over consecutive samples; a gain of 2 fills the zeros.
                *tap = 2.0 * prototype[p + 2 * (PHASE - 1 - t)];
            }
        }
        Self { phases, line: Box::new([0.0; PHASE - 1 + MAX_BLOCK]) }
    }
}

impl Up {
    /// Writes twice as many samples as it reads; returns how many. Reads at most [`MAX_BLOCK`].
    pub fn process(&mut self, input: &[i16], output: &mut [i16]) -> usize {
        let n = input.len().min(MAX_BLOCK).min(output.len() / 2);
        let fresh = &mut self.line[PHASE - 1..PHASE - 1 + n];
        fresh.iter_mut().zip(input).for_each(|(x, s)| *x = f32::from(*s));
        for (k, pair) in output[..2 * n].as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let window = &self.line[k..k + PHASE];
            pair[0] = round(dot(window, &self.phases[0]));
            pair[1] = round(dot(window, &self.phases[1]));
        }
        self.line.copy_within(n..n + PHASE - 1, 0);
        2 * n
    }
}

impl Default for Down {
    fn default() -> Self {
        Self { taps: prototype(), line: Box::new([0.0; TAPS - 1 + 2 * MAX_BLOCK]) }
    }
}

impl Down {
    /// Writes half as many samples as it reads (an even number, at most 2 x [`MAX_BLOCK`]); returns how many.
    pub fn process(&mut self, input: &[i16], output: &mut [i16]) -> usize {
        let n = (input.len() / 2).min(MAX_BLOCK).min(output.len());
        let fresh = &mut self.line[TAPS - 1..TAPS - 1 + 2 * n];
        fresh.iter_mut().zip(input).for_each(|(x, s)| *x = f32::from(*s));
        for (k, sample) in output[..n].iter_mut().enumerate() {
            // The prototype is symmetric: no need to reverse it.
            *sample = round(dot(&self.line[2 * k + 1..2 * k + 1 + TAPS], &self.taps));
        }
        self.line.copy_within(2 * n..2 * n + TAPS - 1, 0);
        n
    }
}

fn round(x: f32) -> i16 {
    // `as` saturates from float to integer: exactly the clipping that is wanted.
    x.round_ties_even() as i16
}

/// Sixteen accumulators, so that the compiler may use whole vector registers.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sum = [0.0f32; 16];
    for (x, y) in a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0) {
        for i in 0..16 {
            sum[i] += x[i] * y[i];
        }
    }
    sum.iter().sum()
}

/// Kaiser-windowed sinc at 16 kHz, half-band (cut-off 4 kHz): flat to 3.3 kHz, -84 dB from 4.7 kHz.
fn prototype() -> [f32; TAPS] {
    const ATTENUATION_DB: f64 = 84.0;
    let beta = 0.1102 * (ATTENUATION_DB - 8.7);
    let middle = (TAPS as f64 - 1.0) / 2.0;
    let mut taps = [0.0f64; TAPS];
    for (n, tap) in taps.iter_mut().enumerate() {
        let x = n as f64 - middle;
        let window = bessel_i0(beta * (1.0 - (x / middle).powi(2)).max(0.0).sqrt()) / bessel_i0(beta);
        *tap = (std::f64::consts::PI * x / 2.0).sin() / (std::f64::consts::PI * x) * window;
    }
    let sum: f64 = taps.iter().sum();
    taps.map(|t| (t / sum) as f32)
}

fn bessel_i0(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..50 {
        term *= (x / 2.0 / f64::from(k)).powi(2);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::testing::{level_db, tone};

    fn up(input: &[i16]) -> Vec<i16> {
        let (mut up, mut out) = (Up::default(), vec![0; input.len() * 2]);
        for (i, o) in input.chunks(160).zip(out.chunks_mut(320)) {
            assert_eq!(up.process(i, o), o.len());
        }
        out
    }

    fn down(input: &[i16]) -> Vec<i16> {
        let (mut down, mut out) = (Down::default(), vec![0; input.len() / 2]);
        for (i, o) in input.chunks(320).zip(out.chunks_mut(160)) {
            assert_eq!(down.process(i, o), o.len());
        }
        out
    }

    #[test]
    fn tones_of_the_telephone_band_pass_with_their_level() {
        for hertz in [300.0, 1000.0, 3000.0, 3300.0] {
            let loud = level_db(&tone(8000, hertz, 8000, 10_000.0)[800..], 8000, hertz);
            let there = up(&tone(8000, hertz, 8000, 10_000.0));
            assert!((level_db(&there[1600..], 16_000, hertz) - loud).abs() < 0.4, "{hertz} Hz up");
            let back = down(&tone(16_000, hertz, 16_000, 10_000.0));
            assert!((level_db(&back[800..], 8000, hertz) - loud).abs() < 0.4, "{hertz} Hz down");
        }
    }

    #[test]
    fn images_and_aliases_are_80_db_down() {
        // A full-scale tone, since 16-bit rounding itself is at -98 dB.
        let loud = level_db(&tone(16_000, 1000.0, 16_000, 32_000.0), 16_000, 1000.0);
        let image = up(&tone(8000, 3000.0, 8000, 32_000.0));
        assert!(level_db(&image[1600..], 16_000, 5000.0) < loud - 80.0);
        let alias = down(&tone(16_000, 5000.0, 16_000, 32_000.0));
        assert!(level_db(&alias[800..], 8000, 3000.0) < loud - 80.0);
    }

    #[test]
    fn the_delay_is_at_most_2_ms() {
        let mut impulse = vec![0i16; 320];
        impulse[0] = 16_000;
        let out = up(&impulse);
        let peak = out.iter().enumerate().max_by_key(|(_, s)| s.abs()).expect("samples").0;
        assert!(peak <= 32, "{peak} samples at 16 kHz");
    }
}
