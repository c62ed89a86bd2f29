// Drives Chromium by orders on stdin, one JSON line each; answers on stdout, one line each: {id, ok, value | error}.
// Each page has a sine as microphone, and keeps what its remote audio tracks brought.
import { createRequire } from 'node:module';
import readline from 'node:readline';

const require = createRequire(process.env.PEERS + '/');
const { chromium } = require('playwright-core');

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  headless: true,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
    '--autoplay-policy=no-user-gesture-required', '--allow-loopback-in-peer-connection',
    '--disable-features=WebRtcHideLocalIpsWithMdns', '--disable-background-timer-throttling',
    '--disable-renderer-backgrounding', '--disable-backgrounding-occluded-windows',
  ],
});
const pages = new Map();
const logs = new Map();

// Runs in the page before its own scripts.
function prepare(hz) {
  const real = navigator.mediaDevices?.getUserMedia?.bind(navigator.mediaDevices);
  if (hz && real) {
    navigator.mediaDevices.getUserMedia = async () => {
      const context = new AudioContext();
      await context.resume();
      const tone = context.createOscillator();
      const gain = context.createGain();
      const out = context.createMediaStreamDestination();
      tone.frequency.value = hz;
      gain.gain.value = 0.4;
      tone.connect(gain).connect(out);
      tone.start();
      return out.stream;
    };
  }
  window.__peers = [];
  window.__tracks = [];
  const Real = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Real {
    constructor(...args) {
      super(...args);
      window.__peers.push(this);
      this.addEventListener('track', (event) => window.__tracks.push(event.track));
    }
  };
  const RATE = 16000;
  let chunks = [];
  let context = null;
  window.__record = async () => {
    chunks = [];
    if (context) await context.close();
    const track = window.__tracks.filter((t) => t.readyState === 'live').at(-1);
    if (!track) throw new Error('no remote track');
    // Large buffers: what a busy machine delays must not be lost here.
    context = new AudioContext({ sampleRate: RATE, latencyHint: 'playback' });
    await context.resume();
    const source = context.createMediaStreamSource(new MediaStream([track]));
    const tap = context.createScriptProcessor(4096, 1, 1);
    tap.onaudioprocess = (event) => chunks.push(event.inputBuffer.getChannelData(0).slice());
    source.connect(tap).connect(context.destination);
  };
  window.__heard = () => {
    const bytes = new Uint8Array(chunks.reduce((n, c) => n + c.length * 2, 0));
    const view = new DataView(bytes.buffer);
    let at = 0;
    for (const chunk of chunks) {
      for (const x of chunk) {
        view.setInt16(at, Math.max(-1, Math.min(1, x)) * 32767, true);
        at += 2;
      }
    }
    let text = '';
    for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
    return { rate: RATE, pcm: btoa(text) };
  };
}

const orders = {
  async open({ page, url, hz, width = 1280, height = 800 }) {
    const context = await browser.newContext({
      permissions: ['microphone'], ignoreHTTPSErrors: true, viewport: { width, height },
    });
    await context.addInitScript(prepare, hz);
    const tab = await context.newPage();
    const log = [];
    tab.on('console', (m) => log.push(`${m.type()}: ${m.text()}`));
    tab.on('pageerror', (e) => log.push(`pageerror: ${e.message}`));
    pages.set(page, tab);
    logs.set(page, log);
    await tab.goto(url);
  },
  click: ({ page, test, timeout = 10000 }) => pages.get(page).getByTestId(test).click({ timeout }),
  fill: ({ page, test, text, timeout = 10000 }) => pages.get(page).getByTestId(test).fill(text, { timeout }),
  press: ({ page, key }) => pages.get(page).keyboard.press(key),
  visible: async ({ page, test, timeout = 10000 }) => {
    await pages.get(page).getByTestId(test).waitFor({ state: 'visible', timeout });
  },
  hidden: async ({ page, test, timeout = 10000 }) => {
    await pages.get(page).getByTestId(test).waitFor({ state: 'hidden', timeout });
  },
  text: ({ page, test }) => pages.get(page).getByTestId(test).innerText({ timeout: 5000 }),
  eval: ({ page, code }) => pages.get(page).evaluate(code),
  // Polled from here: the page's own policy forbids code made of strings.
  async wait({ page, code, timeout = 20000 }) {
    const end = Date.now() + timeout;
    for (;;) {
      const value = await pages.get(page).evaluate(code);
      if (value) return value;
      if (Date.now() > end) throw new Error(`not within ${timeout} ms`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  },
  record: ({ page }) => pages.get(page).evaluate(() => window.__record()),
  heard: ({ page }) => pages.get(page).evaluate(() => window.__heard()),
  log: ({ page }) => logs.get(page),
};

process.stdout.write(JSON.stringify({ ready: browser.version() }) + '\n');
for await (const line of readline.createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  Promise.resolve()
    .then(() => orders[order.do](order))
    .then((value) => ({ id: order.id, ok: true, value: value ?? null }))
    .catch((e) => ({ id: order.id, ok: false, error: String(e.message ?? e) }))
    .then((answer) => process.stdout.write(JSON.stringify(answer) + '\n'));
}
await browser.close();
