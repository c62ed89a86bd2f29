// Sounds of the phone, made with WebAudio: ring tone, ringback, busy, key tones. No file is loaded.

const DIGITS = {
  1: [697, 1209], 2: [697, 1336], 3: [697, 1477], 4: [770, 1209], 5: [770, 1336], 6: [770, 1477],
  7: [852, 1209], 8: [852, 1336], 9: [852, 1477], '*': [941, 1209], 0: [941, 1336], '#': [941, 1477],
};

export class Sounds {
  #context = null;
  #loop = 0;
  #playing = '';

  /** One context for sounds and meters; browsers let it run once the user touched the page. */
  get context() {
    if (!this.#context) {
      this.#context = new AudioContext();
      // What rings already is heard at once, not at its next turn.
      this.#context.onstatechange = () => {
        const playing = this.#playing;
        this.keep('');
        this.keep(playing);
      };
    }
    if (this.#context.state === 'suspended') this.#context.resume().catch(() => {});
    return this.#context;
  }

  /** The user touched the page: from now on the browser may let sound out. */
  wake() {
    return this.context;
  }

  /** Sounds one thing over and over, in place of what sounded before; '' for silence. @param {'' | 'ring' | 'ringback'} what */
  keep(what) {
    if (what === this.#playing) return;
    this.#playing = what;
    clearInterval(this.#loop);
    if (what === 'ring') this.#every(2600, () => this.#ring());
    if (what === 'ringback') this.#every(4000, () => this.#tone([425], 1, 0.05));
  }

  /** What is kept sounding. */
  get playing() {
    return this.#playing;
  }

  /** A key's own sound, for the ear of who presses it. */
  key(digit) {
    const tones = DIGITS[digit];
    if (tones) this.#tone(tones, 0.09, 0.06);
  }

  /** The call did not come about. */
  busy() {
    [0, 0.45, 0.9].forEach((at) => this.#tone([425], 0.2, 0.05, at));
  }

  /** The call is over. */
  over() {
    this.#tone([520], 0.09, 0.05);
    this.#tone([390], 0.12, 0.05, 0.11);
  }

  #every(ms, play) {
    play();
    this.#loop = setInterval(play, ms);
  }

  #ring() {
    // Two soft chords, a fourth apart.
    [0, 0.18, 0.36].forEach((at, i) => this.#tone([[659, 988], [784, 1175], [988, 1480]][i], 0.22, 0.07, at));
    [0.9, 1.08, 1.26].forEach((at, i) => this.#tone([[659, 988], [784, 1175], [988, 1480]][i], 0.22, 0.07, at));
  }

  #tone(frequencies, seconds, volume, after = 0) {
    const { context } = this;
    // The clock of a suspended context stands still: every tone would wait, and all would sound at once at the first click.
    if (context.state !== 'running') return;
    const start = context.currentTime + after;
    const gain = context.createGain();
    gain.gain.setValueAtTime(0, start);
    gain.gain.linearRampToValueAtTime(volume, start + 0.01);
    gain.gain.setValueAtTime(volume, start + Math.max(0.01, seconds - 0.03));
    gain.gain.linearRampToValueAtTime(0, start + seconds);
    gain.connect(context.destination);
    for (const frequency of frequencies) {
      const oscillator = context.createOscillator();
      oscillator.frequency.value = frequency;
      oscillator.connect(gain);
      oscillator.start(start);
      oscillator.stop(start + seconds);
    }
  }
}
