//! Is that tone in the recording, how loud, for how long, and what is the longest gap in it?

use std::path::Path;
use std::time::Duration;

/// Window of the analysis; a gap shorter than half of it is not seen.
const WINDOW_MS: usize = 40;
const HOP_MS: usize = 10;

/// What was found of one tone in a recording.
#[derive(Debug, Clone, Copy)]
pub struct Tone {
    /// How long it was heard, all told.
    pub heard: Duration,
    /// The longest stretch without it, between the first and the last time it was heard.
    pub longest_gap: Duration,
    /// RMS level of the windows in which it was heard, dB below full scale.
    pub level_dbfs: f64,
}

/// Mono samples with their rate.
#[derive(Debug, Clone, Default)]
pub struct Pcm {
    pub samples: Vec<i16>,
    pub rate: usize,
}

impl Pcm {
    /// Looks for a tone that makes up at least `share` of the power: 0.6 where it should be alone, 0.1 where others speak.
    pub fn tone(&self, hz: f64, share: f64) -> Tone {
        let (window, hop) = (self.rate * WINDOW_MS / 1000, self.rate * HOP_MS / 1000);
        let mut hits: Vec<usize> = Vec::new();
        let mut power = 0.0;
        if window > 0 {
            for (index, start) in (0..self.samples.len().saturating_sub(window)).step_by(hop).enumerate() {
                let (total, at_tone) = power_at(&self.samples[start..start + window], self.rate, hz);
                if total > 30.0 * 30.0 && at_tone / total > share {
                    hits.push(index);
                    power += total;
                }
            }
        }
        let gap = hits.windows(2).map(|pair| pair[1] - pair[0] - 1).max().unwrap_or(0);
        let rms = (power / hits.len().max(1) as f64).sqrt();
        Tone {
            heard: Duration::from_millis((hits.len() * HOP_MS) as u64),
            longest_gap: Duration::from_millis((gap * HOP_MS) as u64),
            level_dbfs: 20.0 * (rms / 32768.0).max(1e-9).log10(),
        }
    }

    /// What is needed of a call's sound: the tone for at least `seconds`, and no gap above `gap_ms`.
    #[track_caller]
    pub fn assert_tone(&self, what: &str, hz: f64, seconds: f64, gap_ms: u64) {
        let tone = self.tone(hz, 0.5);
        assert!(
            tone.heard.as_secs_f64() >= seconds && tone.longest_gap <= Duration::from_millis(gap_ms),
            "{what}: wanted {hz} Hz for {seconds} s with no gap above {gap_ms} ms, heard {tone:?} in {:.1} s",
            self.samples.len() as f64 / self.rate.max(1) as f64
        );
    }
}

/// Mean square of a Hann-windowed stretch, and the part of it that lies at `hz` (both in squared sample units).
fn power_at(samples: &[i16], rate: usize, hz: f64) -> (f64, f64) {
    let n = samples.len() as f64;
    let step = std::f64::consts::TAU * hz / rate as f64;
    let (mut re, mut im, mut total) = (0.0, 0.0, 0.0);
    for (i, &sample) in samples.iter().enumerate() {
        let hann = 0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / n).cos();
        let x = f64::from(sample) * hann;
        total += x * x;
        re += x * (step * i as f64).cos();
        im += x * (step * i as f64).sin();
    }
    // A windowed sine of amplitude A has |X| = A n / 4 and a windowed power of A^2 / 2 * 3 n / 8.
    let amplitude = (re * re + im * im).sqrt() * 4.0 / n;
    (total / n * 8.0 / 3.0, amplitude * amplitude / 2.0)
}

/// A mono WAV of a pure tone, for peers to play.
pub fn write_tone(path: &Path, hz: f64, rate: u32, seconds: u32) {
    let spec =
        hound::WavSpec { channels: 1, sample_rate: rate, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut wav = hound::WavWriter::create(path, spec).expect("a WAV file");
    for i in 0..rate * seconds {
        let x = (std::f64::consts::TAU * hz * f64::from(i) / f64::from(rate)).sin();
        wav.write_sample((x * 16000.0) as i16).expect("a sample");
    }
    wav.finalize().expect("a WAV header");
}

/// The same as headerless mu-law at 8 kHz, for SIPp.
pub fn write_tone_ulaw(path: &Path, hz: f64, seconds: usize) {
    let bytes: Vec<u8> = (0..8000 * seconds)
        .map(|i| to_mu_law(((std::f64::consts::TAU * hz * i as f64 / 8000.0).sin() * 16000.0) as i16))
        .collect();
    std::fs::write(path, bytes).expect("a mu-law file");
}

/// ITU-T G.711 table 2a.
fn to_mu_law(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(32635) + 0x84;
    let exponent = (0..8).rev().find(|e| magnitude >> (e + 7) != 0).unwrap_or(0);
    !(sign | (exponent << 4) as u8 | ((magnitude >> (exponent + 3)) & 0x0f) as u8)
}

#[test]
fn a_gap_in_a_tone_is_found_and_measured() {
    let rate = 8000;
    let mut samples: Vec<i16> = (0..rate * 3)
        .map(|i| (8000.0 * (std::f64::consts::TAU * 700.0 * i as f64 / rate as f64).sin()) as i16)
        .collect();
    samples[rate..rate + rate / 5].fill(0);
    let pcm = Pcm { samples, rate };
    let tone = pcm.tone(700.0, 0.5);
    assert!((150..=220).contains(&tone.longest_gap.as_millis()), "{tone:?}");
    assert!(pcm.tone(1100.0, 0.1).heard.is_zero());
    assert!((tone.level_dbfs + 15.2).abs() < 1.0, "{tone:?}");
}
