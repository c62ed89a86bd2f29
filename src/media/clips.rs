//! The clips there are: prompts from WAV files of any rate, and the tones every switch has. Loading happens off the media threads;
//! a loaded clip stays until the end.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::audioadapter_buffers::owned::InterleavedOwned;
use rubato::{Fft, FixedSync, Resampler};

use super::clip::Clip;
use super::codec::opus::{OpusError, OpusSettings};

/// Longest prompt, so that a stray recording does not fill the memory.
const LONGEST_SECONDS: usize = 600;

/// Why a file is no clip.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// Not a WAV file that we read (PCM or float).
    #[error("not a PCM or float WAV file")]
    Wav(#[source] hound::Error),
    /// Longer than ten minutes.
    #[error("longer than {LONGEST_SECONDS} s")]
    TooLong,
    /// The rate cannot be converted.
    #[error("a sample rate of {0} Hz cannot be converted")]
    Rate(u32),
    /// libopus.
    #[error(transparent)]
    Opus(#[from] OpusError),
}

/// Every clip there is: tones, and the WAV files of one folder. A file that appears later is found when it is asked for.
pub struct Clips {
    folder: PathBuf,
    settings: OpusSettings,
    loaded: Mutex<HashMap<String, Arc<Clip>>>,
}

impl Clips {
    /// Makes the tones and loads the folder's files. A bad file is logged and left out.
    ///
    /// # Errors
    /// When libopus cannot be had at all.
    pub fn load(folder: PathBuf, settings: OpusSettings) -> Result<Self, OpusError> {
        let mut loaded = HashMap::new();
        for tone in &TONES {
            let clip = Clip::encode(tone.samples(8000), tone.samples(16_000), settings)?;
            loaded.insert(tone.name.to_owned(), Arc::new(clip));
        }
        let clips = Self { folder, settings, loaded: Mutex::new(loaded) };
        let names = std::fs::read_dir(&clips.folder).into_iter().flatten().flatten().filter_map(|entry| {
            let path = entry.path();
            path.extension().filter(|e| e.eq_ignore_ascii_case("wav"))?;
            Some(path.file_stem()?.to_str()?.to_owned())
        });
        for name in names {
            clips.get(&name);
        }
        Ok(clips)
    }

    /// A clip by name, loaded if it is not yet.
    pub fn get(&self, name: &str) -> Option<Arc<Clip>> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(clip) = loaded.get(name) {
            return Some(clip.clone());
        }
        // A name comes from flows and the API: never a way out of the folder.
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', ':', '\0']) {
            return None;
        }
        let path = self.folder.join(format!("{name}.wav"));
        if !path.is_file() {
            return None;
        }
        match read_wav(&path).and_then(|(narrow, wide)| Ok(Clip::encode(narrow, wide, self.settings)?)) {
            Ok(clip) => {
                let clip = Arc::new(clip);
                loaded.insert(name.to_owned(), clip.clone());
                Some(clip)
            }
            Err(error) => {
                tracing::error!(clip = name, %error, "a prompt cannot be used");
                None
            }
        }
    }
}

/// Reads a WAV file as mono at 8 and at 16 kHz.
fn read_wav(path: &Path) -> Result<(Vec<i16>, Vec<i16>), ClipError> {
    let mut reader = hound::WavReader::open(path).map_err(ClipError::Wav)?;
    let spec = reader.spec();
    let channels = usize::from(spec.channels.max(1));
    if reader.duration() as usize > LONGEST_SECONDS * spec.sample_rate as usize {
        return Err(ClipError::TooLong);
    }
    let samples: Vec<f32> = match spec.sample_format {
        hound::SampleFormat::Float => reader.samples::<f32>().collect::<Result<_, _>>().map_err(ClipError::Wav)?,
        hound::SampleFormat::Int => {
            let scale = (1i64 << (spec.bits_per_sample.clamp(1, 32) - 1)) as f32;
            let samples = reader.samples::<i32>().map(|s| s.map(|s| s as f32 / scale));
            samples.collect::<Result<_, _>>().map_err(ClipError::Wav)?
        }
    };
    let mono: Vec<f32> = samples.chunks(channels).map(|c| c.iter().sum::<f32>() / channels as f32).collect();
    Ok((convert(&mono, spec.sample_rate, 8000)?, convert(&mono, spec.sample_rate, 16_000)?))
}

/// Converts whole clips by rubato's FFT resampler, its delay trimmed off.
fn convert(mono: &[f32], from: u32, to: u32) -> Result<Vec<i16>, ClipError> {
    let quantise = |s: f32| (s * 32_767.0) as i16; // `as` clips
    if from == to || mono.is_empty() {
        return Ok(mono.iter().copied().map(quantise).collect());
    }
    let failed = || ClipError::Rate(from);
    let mut resampler = Fft::<f32>::new(from as usize, to as usize, 1024, 1, FixedSync::Both).map_err(|_| failed())?;
    let input = SequentialSlice::new(mono, 1, mono.len()).map_err(|_| failed())?;
    let output: InterleavedOwned<f32> = resampler.process_all(&input, mono.len(), None).map_err(|_| failed())?;
    Ok(output.take_data().into_iter().map(quantise).collect())
}

/// A tone with a cadence. 425 Hz is ITU-T E.180's recommendation; the cadences are those of most of Europe and Asia.
struct Tone {
    name: &'static str,
    hertz: u32,
    amplitude: f64,
    on_ms: u32,
    off_ms: u32,
}

const TONES: [Tone; 4] = [
    Tone { name: "tone:ringback", hertz: 425, amplitude: 5000.0, on_ms: 1000, off_ms: 4000 },
    Tone { name: "tone:busy", hertz: 425, amplitude: 5000.0, on_ms: 480, off_ms: 480 },
    Tone { name: "tone:congestion", hertz: 425, amplitude: 5000.0, on_ms: 240, off_ms: 240 },
    Tone { name: "tone:hold", hertz: 350, amplitude: 3000.0, on_ms: 200, off_ms: 2800 },
];

impl Tone {
    fn samples(&self, rate: u32) -> Vec<i16> {
        let on = rate / 1000 * self.on_ms;
        let step = f64::from(self.hertz) * std::f64::consts::TAU / f64::from(rate);
        let edge = f64::from(rate) / 200.0; // 5 ms ramps, or it clicks
        let wave = (0..on).map(|n| {
            let ramp = (f64::from(n.min(on - n)) / edge).min(1.0);
            ((f64::from(n) * step).sin() * self.amplitude * ramp) as i16
        });
        wave.chain(std::iter::repeat_n(0, (rate / 1000 * self.off_ms) as usize)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::codec::Rate;
    use crate::media::codec::g711::Law;
    use crate::media::codec::opus::Decoder;
    use crate::media::testing::{level_db, tone};

    fn write_wav(path: &Path, rate: u32, channels: u16, samples: &[i16]) {
        let spec = hound::WavSpec {
            channels,
            sample_rate: rate,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(path, spec).expect("a file");
        for sample in samples {
            (0..channels).for_each(|_| writer.write_sample(*sample).expect("written"));
        }
        writer.finalize().expect("finished");
    }

    #[test]
    fn a_wav_of_any_rate_keeps_pitch_level_and_length_in_every_codec() {
        let folder = tempfile::tempdir().expect("a folder");
        for (rate, channels) in [(8000, 1), (16_000, 1), (22_050, 2), (44_100, 2), (48_000, 1)] {
            write_wav(
                &folder.path().join(format!("p{rate}.wav")),
                rate,
                channels,
                &tone(rate, 700.0, rate as usize, 8000.0),
            );
        }
        let clips = Clips::load(folder.path().into(), OpusSettings::default()).expect("libopus");
        for rate in [8000, 16_000, 22_050, 44_100, 48_000] {
            let clip = clips.get(&format!("p{rate}")).expect("loaded");
            assert!((1000..=1040).contains(&clip.length_ms()), "{rate}: {}", clip.length_ms());
            let mut decoder = Decoder::new(Rate::Narrow).expect("a decoder");
            let opus: Vec<i16> = (0..50)
                .flat_map(|n| {
                    let mut out = [0; 160];
                    decoder.decode(clip.opus(n).expect("a frame"), &mut out).expect("decoded");
                    out
                })
                .collect();
            let mu: Vec<i16> = clip.g711(Law::Mu, 0, 8000).iter().map(|o| Law::Mu.decode(*o)).collect();
            let expected = level_db(&tone(8000, 700.0, 6400, 8000.0), 8000, 700.0);
            for heard in [mu, opus] {
                assert!((level_db(&heard[800..7200], 8000, 700.0) - expected).abs() < 2.0, "{rate}");
            }
        }
    }

    #[test]
    fn tones_are_there_and_names_do_not_leave_the_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("bad.wav"), b"RIFFjunk").expect("written");
        let inner = folder.path().join("prompts");
        std::fs::create_dir(&inner).expect("a folder");
        write_wav(&folder.path().join("secret.wav"), 8000, 1, &[0; 800]);
        let clips = Clips::load(inner.clone(), OpusSettings::default()).expect("libopus");
        for name in ["tone:ringback", "tone:busy", "tone:congestion", "tone:hold"] {
            assert!(clips.get(name).is_some(), "{name}");
        }
        for name in ["../secret", "", ".", "nothing", "tone:other", "bad"] {
            assert!(clips.get(name).is_none(), "{name}");
        }
        write_wav(&inner.join("later.wav"), 8000, 1, &[0; 800]);
        assert!(clips.get("later").is_some(), "a file that appears later is found");
    }
}
