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
        let probe = Probe::new(self.rate, hz);
        let mut hits: Vec<usize> = Vec::new();
        let mut power = 0.0;
        for (index, window) in self.windows() {
            if let Some(total) = probe.hears(window, share) {
                hits.push(index);
                power += total;
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

    /// Which of these tones (Hz) are heard one after the other, each alone and for 150 ms at least; a second of silence makes two
    /// of one.
    pub fn sequence(&self, tones: &[u32]) -> Vec<u32> {
        const LEAST: usize = 150 / HOP_MS;
        const PAUSE: usize = 1000 / HOP_MS;
        let probes: Vec<(u32, Probe)> = tones.iter().map(|&hz| (hz, Probe::new(self.rate, hz.into()))).collect();
        // Each with the windows it was heard in, and the last of them.
        let mut heard: Vec<(u32, usize, usize)> = Vec::new();
        for (index, window) in self.windows() {
            let Some(&(hz, _)) = probes.iter().find(|(_, probe)| probe.hears(window, 0.5).is_some()) else { continue };
            match heard.last_mut() {
                Some((same, windows, last)) if *same == hz && index - *last < PAUSE => {
                    *windows += 1;
                    *last = index;
                }
                _ => heard.push((hz, 1, index)),
            }
        }
        heard.into_iter().filter(|&(_, windows, _)| windows >= LEAST).map(|(hz, ..)| hz).collect()
    }

    /// The windows of the analysis, in order.
    fn windows(&self) -> impl Iterator<Item = (usize, &[i16])> {
        let (window, hop) = (window(self.rate), self.rate * HOP_MS / 1000);
        let last = if window == 0 { 0 } else { self.samples.len().saturating_sub(window) };
        (0..last)
            .step_by(hop.max(1))
            .enumerate()
            .map(move |(index, start)| (index, &self.samples[start..start + window]))
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

/// Samples in a window of the analysis.
fn window(rate: usize) -> usize {
    rate * WINDOW_MS / 1000
}

/// Looks for one tone in windows. What a window's samples are multiplied by is worked out once: stories look again and again while
/// sound comes in, on the cores that the switch needs.
struct Probe {
    /// Hann's window, and the same times cosine and sine of the tone.
    by: Vec<[f64; 3]>,
}

impl Probe {
    fn new(rate: usize, hz: f64) -> Self {
        let n = window(rate);
        let step = std::f64::consts::TAU * hz / rate.max(1) as f64;
        let by = (0..n).map(|i| {
            let hann = 0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / n as f64).cos();
            let (sin, cos) = (step * i as f64).sin_cos();
            [hann, hann * cos, hann * sin]
        });
        Self { by: by.collect() }
    }

    /// The mean square of a window in which the tone makes up more than `share` of the power, and which is no silence.
    fn hears(&self, samples: &[i16], share: f64) -> Option<f64> {
        let n = self.by.len() as f64;
        let (mut re, mut im, mut total) = (0.0, 0.0, 0.0);
        for (&sample, [hann, cos, sin]) in samples.iter().zip(&self.by) {
            let x = f64::from(sample);
            total += (x * hann).powi(2);
            re += x * cos;
            im += x * sin;
        }
        // A windowed sine of amplitude A has |X| = A n / 4 and a windowed power of A^2 / 2 * 3 n / 8.
        let amplitude = (re * re + im * im).sqrt() * 4.0 / n;
        let (total, at_tone) = (total / n * 8.0 / 3.0, amplitude * amplitude / 2.0);
        (total > 30.0 * 30.0 && at_tone / total > share).then_some(total)
    }
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

#[test]
fn tones_that_follow_one_another_are_told_in_order() {
    let rate = 8000;
    let parts = [(440.0, 8000), (0.0, 800), (550.0, 8000), (0.0, 12000), (550.0, 2400), (880.0, 400), (330.0, 8000)];
    let samples = parts.iter().flat_map(|&(hz, n)| {
        (0..n).map(move |i| (8000.0 * (std::f64::consts::TAU * hz * f64::from(i) / 8000.0).sin()) as i16)
    });
    let pcm = Pcm { samples: samples.collect(), rate };
    assert_eq!(pcm.sequence(&[330, 440, 550, 880]), [440, 550, 550, 330]);
    assert!(Pcm::default().sequence(&[440]).is_empty());
}
