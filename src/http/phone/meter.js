// A level meter of a stream: 0 to 1 on a scale of decibels, so that speech fills most of it.

const FLOOR_DB = -60;

export class Meter {
  #source = null;
  #analyser = null;
  #samples = null;
  #stream = null;

  /** Follows a stream, or nothing. @param {AudioContext} context @param {MediaStream | null} stream */
  follow(context, stream) {
    if (stream === this.#stream) return;
    this.#source?.disconnect();
    this.#source = null;
    this.#stream = null;
    if (!stream || stream.getAudioTracks().length === 0) return;
    this.#stream = stream;
    this.#analyser ??= context.createAnalyser();
    this.#analyser.fftSize = 1024;
    this.#samples ??= new Float32Array(this.#analyser.fftSize);
    this.#source = context.createMediaStreamSource(stream);
    this.#source.connect(this.#analyser);
  }

  /** The level now. @returns {number} */
  level() {
    if (!this.#source) return 0;
    this.#analyser.getFloatTimeDomainData(this.#samples);
    const power = this.#samples.reduce((sum, sample) => sum + sample * sample, 0) / this.#samples.length;
    const db = 10 * Math.log10(power + 1e-10);
    return Math.min(1, Math.max(0, 1 - db / FLOOR_DB));
  }
}
