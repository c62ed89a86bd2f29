// The web phone: buttons on one side, the SDK on the other. Everything a call knows is asked of the SDK; this file only shows it.
//
// For tests and the curious: `window.phone` is the App below, `window.tandem` the SDK.

import * as tandem from '../sdk/tandem.js';
import { History, People } from './history.js';
import { Meter } from './meter.js';
import { Sounds } from './sounds.js';
import { PRESENCE, STATUS, at, callState, claims, clock, dialled, face, fill, icon, keypad, make, say, show, summary } from './view.js';

const TOKEN = 'tandem.token';
const RETRY_MS = 3000;
const DRAW_MS = 100;

class App {
  /** @type {tandem.TandemClient | null} */
  client = null;
  /** @type {tandem.Call[]} live calls, oldest first */
  calls = [];
  /** @type {tandem.Call | null} the one that is shown */
  active = null;
  /** @type {tandem.IncomingInvitation[]} what rings, oldest first */
  ringing = [];
  sounds = new Sounds();
  history = null;
  people = null;
  #presence = new Map();
  #dialling = false;
  #sent = new Map(); // digits sent, a call
  #heard = new WeakSet(); // calls whose far side sends sound
  #retry = 0;
  #meters = { in: new Meter(), out: new Meter() };

  start() {
    keypad('dial-keys', 'dial-key', (digit) => this.#dialKey(digit));
    keypad('dtmf-keys', 'dtmf-key', (digit) => this.digit(digit));
    this.#wire();
    setInterval(() => this.#tick(), DRAW_MS);
    setInterval(() => this.#listen(), 500);
    const problem = tandem.microphoneProblem();
    if (problem) this.notice(problem.message);
    const fragment = new URLSearchParams(location.hash.slice(1));
    const token = fragment.get('token');
    if (token) {
      // Out of the address bar and the browser's history.
      history.replaceState(null, '', location.pathname + location.search);
      this.#remember(token, false);
    }
    const kept = token ?? recall();
    if (kept) this.signIn(kept);
    else this.draw();
  }

  // ---- signing in and out

  async signIn(token) {
    clearTimeout(this.#retry);
    await this.client?.disconnect();
    const client = new tandem.TandemClient({ token, device: 'web phone' });
    this.client = client;
    client.on('state', () => this.draw());
    client.on('call', ({ call }) => this.#added(call));
    client.on('invitation', ({ invitation }) => this.#rings(invitation));
    client.on('presence', ({ user, state }) => { this.#presence.set(user, state); this.#drawPeople(); });
    client.on('error', ({ error }) => this.#signedOut(error.message));
    client.on('kicked', ({ reason }) => this.#kicked(reason));
    const user = claims(token)?.sub ?? '';
    this.history = new History(user);
    this.people = new People(user);
    this.draw();
    try {
      await client.connect();
      this.notice('');
      this.#watchAll();
    } catch (error) {
      if (this.client !== client) return;
      if (error.code === 'unauthorized') {
        this.#signedOut(error.message);
      } else {
        this.notice(`${error.message}. Trying again…`);
        this.#retry = setTimeout(() => this.client === client && this.signIn(token), RETRY_MS);
      }
    }
    this.draw();
  }

  async signOut() {
    const { client } = this;
    this.#signedOut('');
    await client?.disconnect();
  }

  #signedOut(why) {
    clearTimeout(this.#retry);
    forget();
    this.client = null;
    this.ringing = [];
    this.#presence.clear();
    this.notice(why);
    this.draw();
    at('login-token').value = '';
    at('login-token').focus();
  }

  #kicked(reason) {
    const words = { REMOTE_LOGIN: 'You signed in somewhere else, so this page was signed out.', DRAINING: 'The switch is going down; reconnecting.' };
    if (reason === 'DRAINING') this.notice(words.DRAINING);
    else this.#signedOut(words[reason] ?? `The switch signed you out: ${reason}`);
  }

  #remember(token, keep) {
    try {
      sessionStorage.setItem(TOKEN, token);
      if (keep) localStorage.setItem(TOKEN, token);
    } catch { /* then the page asks again next time */ }
  }

  // ---- calls

  async call(to) {
    const target = to.trim();
    if (!target || this.#dialling) return;
    const number = dialled(target);
    // A number in full is for the telephone network; everything else the switch tells apart itself.
    await this.#begin(() => this.client.call(number, { pstn: number.startsWith('+') }));
  }

  async join(room) {
    const name = room.trim();
    if (!name || this.#dialling) return;
    await this.#begin(() => this.client.joinRoom(name));
  }

  async #begin(start) {
    this.notice('');
    this.#dialling = true;
    this.draw();
    try {
      await this.#holdOthers(null);
      await start();
      at('dial-input').value = '';
    } catch (error) {
      this.notice(error.message);
      this.sounds.busy();
    } finally {
      this.#dialling = false;
      this.draw();
    }
  }

  /** One voice at a time: the calls in the background are held. Rooms are muted instead, nobody there is to hear music. */
  async #holdOthers(but) {
    const others = this.calls.filter((call) => call !== but && call.state === 'talking' && !call.onHold && call.direction !== 'room');
    await Promise.all(others.map((call) => call.hold(true).catch((error) => this.notice(error.message))));
  }

  #added(call) {
    this.calls.push(call);
    this.active = call;
    for (const type of ['state', 'changed', 'participants', 'media', 'stream']) call.on(type, () => this.draw());
    call.on('blocked', () => this.notice('The browser wants a click before it plays sound: click anywhere.'));
    call.on('error', ({ error }) => this.notice(error.message));
    call.on('ended', ({ cause }) => this.#removed(call, cause));
    this.draw();
    // The button that was pressed is gone. Not to "hang up": an Enter held too long would press it.
    at('call-peer').focus({ preventScroll: true });
  }

  #removed(call, cause) {
    this.calls = this.calls.filter((other) => other !== call);
    this.#sent.delete(call.id);
    if (this.active === call) this.active = this.calls.at(-1) ?? null;
    const failed = call.direction !== 'in' && !call.answeredAt && cause.status !== 200;
    if (failed) {
      this.notice(`${call.peer}: ${cause.reason}`);
      this.sounds.busy();
    } else {
      this.sounds.over();
    }
    const seconds = call.answeredAt ? Math.round((Date.now() - call.answeredAt) / 1000) : null;
    this.history?.add({ peer: call.invitation?.caller ?? call.peer, direction: call.direction, at: call.startedAt, seconds, missed: false, reason: cause.reason });
    this.draw();
  }

  #rings(invitation) {
    this.ringing.push(invitation);
    const came = Date.now();
    invitation.on('ended', ({ why }) => {
      this.ringing = this.ringing.filter((other) => other !== invitation);
      if (why !== 'accepted' && !invitation.taken) {
        const reason = { refused: 'declined', answered_elsewhere: 'answered on another device' }[why] ?? 'missed';
        this.history?.add({ peer: invitation.caller, direction: 'in', at: came, seconds: null, missed: reason === 'missed', reason });
      }
      this.draw();
    });
    this.draw();
  }

  async accept() {
    const [invitation] = this.ringing;
    if (!invitation) return;
    invitation.taken = true;
    this.ringing = this.ringing.filter((other) => other !== invitation);
    this.notice('');
    this.draw();
    try {
      await this.#holdOthers(null);
      await invitation.accept();
    } catch (error) {
      invitation.taken = false;
      // Without a microphone it rings on: it may be declined, or accepted once there is one.
      if (invitation.state === 'ringing' && this.client) this.ringing.unshift(invitation);
      this.notice(error.message);
    }
    this.draw();
  }

  async refuse(response) {
    const [invitation] = this.ringing;
    if (!invitation) return;
    this.ringing = this.ringing.filter((other) => other !== invitation);
    this.draw();
    await invitation.refuse(response).catch((error) => this.notice(error.message));
  }

  async activate(call) {
    this.#dialling = false;
    this.active = call;
    this.draw();
    await this.#holdOthers(call);
    if (call?.onHold) await call.hold(false).catch((error) => this.notice(error.message));
  }

  async digit(digit) {
    const call = this.active;
    if (!call) return;
    this.sounds.key(digit);
    this.#sent.set(call.id, (this.#sent.get(call.id) ?? '') + digit);
    this.draw();
    await call.dtmf(digit).catch((error) => this.notice(error.message));
  }

  async hangup() {
    await this.active?.hangup().catch((error) => this.notice(error.message));
  }

  // ---- people

  async watch(id) {
    this.people.add(id);
    this.#drawPeople();
    await this.#watch([id]);
  }

  async #watchAll() {
    if (this.people.items.length) await this.#watch(this.people.items);
  }

  async #watch(users) {
    try {
      for (const { user, state } of await this.client.watch(users)) this.#presence.set(user, state);
    } catch (error) {
      this.notice(error.message);
    }
    this.#drawPeople();
  }

  async unwatch(id) {
    this.people.remove(id);
    this.#presence.delete(id);
    this.#drawPeople();
    await this.client?.unwatch([id]).catch(() => {});
  }

  // ---- the page

  notice(text) {
    say('notice-text', text);
    show('notice', Boolean(text));
  }

  #wire() {
    at('login-form').addEventListener('submit', (event) => {
      event.preventDefault();
      const token = at('login-token').value.trim();
      this.#remember(token, at('login-keep').checked);
      this.signIn(token);
    });
    at('login-token').addEventListener('input', () => {
      const sub = claims(at('login-token').value.trim())?.sub;
      say('login-who', sub ? `Signing in as ${sub}` : '');
    });
    at('sign-out').addEventListener('click', () => this.signOut());
    at('notice-close').addEventListener('click', () => this.notice(''));
    at('panel-dial').addEventListener('submit', (event) => { event.preventDefault(); this.call(at('dial-input').value); });
    at('panel-room').addEventListener('submit', (event) => { event.preventDefault(); this.join(at('room-input').value); });
    at('dial-back').addEventListener('click', () => { at('dial-input').value = at('dial-input').value.slice(0, -1); });
    at('accept').addEventListener('click', () => this.accept());
    at('decline').addEventListener('click', () => this.refuse(''));
    at('busy').addEventListener('click', () => this.refuse('busy'));
    // Escape on the dialog would hide what rings.
    at('incoming').addEventListener('cancel', (event) => event.preventDefault());
    at('mute').addEventListener('click', () => this.active?.mute(!this.active.muted));
    at('hold').addEventListener('click', async () => {
      const call = this.active;
      await call?.hold(!call.onHold).catch((error) => this.notice(error.message));
    });
    at('dtmf-toggle').addEventListener('click', () => {
      const open = at('dtmf-toggle').getAttribute('aria-expanded') !== 'true';
      at('dtmf-toggle').setAttribute('aria-expanded', String(open));
      this.draw();
    });
    at('hangup').addEventListener('click', () => this.hangup());
    at('new-call').addEventListener('click', () => { this.active = null; this.draw(); at('dial-input').focus(); });
    at('people-form').addEventListener('submit', (event) => {
      event.preventDefault();
      const id = at('people-input').value.trim();
      at('people-input').value = '';
      if (id) this.watch(id);
    });
    at('history-clear').addEventListener('click', () => { this.history.clear(); this.#drawHistory(); });
    const tabs = ['dial', 'room'];
    for (const name of tabs) {
      at(`tab-${name}`).addEventListener('click', () => this.#tab(name));
      at(`tab-${name}`).addEventListener('keydown', (event) => {
        if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
        const other = tabs.find((tab) => tab !== name);
        this.#tab(other);
        at(`tab-${other}`).focus();
      });
    }
    document.addEventListener('keydown', (event) => this.#typed(event));
    // A browser lets sound out after a touch only.
    document.addEventListener('pointerdown', () => { this.calls.forEach((call) => call.audio.play().catch(() => {})); }, { passive: true });
    globalThis.addEventListener('pagehide', () => { if (this.client) this.client.disconnect(); });
    globalThis.addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });
  }

  /** Digits typed during a call are sent, wherever the focus is, but not out of a text field. */
  #typed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target instanceof HTMLInputElement) return;
    if (this.active?.state === 'talking' && /^[0-9*#]$/.test(event.key)) this.digit(event.key);
  }

  #dialKey(digit) {
    const input = at('dial-input');
    if (input.value.length < input.maxLength) input.value += digit;
    this.sounds.key(digit);
  }

  #tab(name) {
    for (const tab of ['dial', 'room']) {
      const chosen = tab === name;
      at(`tab-${tab}`).setAttribute('aria-selected', String(chosen));
      at(`tab-${tab}`).tabIndex = chosen ? 0 : -1;
      show(`panel-${tab}`, chosen);
    }
  }

  draw() {
    const { client, active } = this;
    const state = client?.state ?? 'offline';
    say('status', STATUS[state]);
    at('status').dataset.state = state;
    show('login', !client);
    show('phone', Boolean(client));
    show('sign-out', Boolean(client));
    say('me', client?.user ?? '');
    show('me', Boolean(client?.user));
    show('dialler', !active);
    show('incall', Boolean(active));
    show('new-call', Boolean(active));
    const ready = state === 'online' && !this.#dialling;
    at('call-button').disabled = !ready;
    at('room-join').disabled = !ready;
    this.#drawOthers();
    this.#drawIncoming();
    if (active) this.#drawCall(active);
    if (client) {
      this.#drawHistory();
      this.#drawPeople();
    }
    const wantsRingback = active && (active.state === 'ringing' || active.state === 'early') && active.direction === 'out' && !this.#heard.has(active);
    this.sounds.keep(this.ringing.length ? 'ring' : wantsRingback ? 'ringback' : '');
    document.title = this.ringing.length ? `☎ ${this.ringing[0].displayName} calls` : active ? `${active.peer} – Tandem` : 'Tandem phone';
    this.#tick();
  }

  #drawCall(call) {
    at('incall').dataset.state = call.state;
    say('call-peer', call.peer);
    say('call-state', callState(call));
    face('call-face', call.peer, call.direction === 'room');
    const talking = call.state === 'talking';
    at('mute').setAttribute('aria-pressed', String(call.muted));
    at('hold').setAttribute('aria-pressed', String(call.onHold));
    at('hold').disabled = !talking;
    show('hold', call.direction !== 'room');
    show('participants-box', call.direction === 'room');
    say('hangup-word', call.direction === 'room' ? 'Leave the room' : 'Hang up');
    const names = call.participants.map((name) => (name === this.client?.user ? `${name} (you)` : name));
    fill('participants', names, () => names.map((name) => make('li', {}, name)));
    const keys = at('dtmf-toggle').getAttribute('aria-expanded') === 'true';
    show('dtmf-keys', keys);
    const sent = this.#sent.get(call.id) ?? '';
    show('dtmf-log', keys || Boolean(sent));
    say('dtmf-log', sent);
    show('meters', call.state !== 'connecting');
    this.#meters.in.follow(this.sounds.context, call.localStream);
    this.#meters.out.follow(this.sounds.context, call.remoteStream);
  }

  #drawOthers() {
    const others = this.calls.filter((call) => call !== this.active);
    show('others', others.length > 0);
    fill('others', others.map((call) => [call.id, call.peer, callState(call)]), () => others.map((call) => make('button', { type: 'button', 'data-testid': 'other-call', onclick: () => this.activate(call) },
      icon(call.direction === 'room' ? 'room' : 'phone'), make('span', { class: 'name' }, call.peer), make('span', { class: 'soft' }, callState(call)))));
  }

  #drawIncoming() {
    const dialog = at('incoming');
    const [invitation] = this.ringing;
    if (!invitation) {
      if (dialog.open) dialog.close();
      return;
    }
    say('incoming-caller', invitation.displayName);
    say('incoming-id', invitation.displayName === invitation.caller ? '' : invitation.caller);
    face('incoming-face', invitation.displayName, false);
    if (!dialog.open) dialog.showModal();
  }

  #drawHistory() {
    const { items } = this.history;
    show('history-empty', items.length === 0);
    show('history-clear', items.length > 0);
    fill('history', items, () => items.map((entry) => make('li', { 'data-testid': 'history-entry' },
      make('span', { class: entry.missed ? 'kind missed' : 'kind' }, icon(entry.direction === 'room' ? 'room' : entry.direction === 'in' ? 'in' : 'out')),
      make('span', { class: 'what' }, make('span', { class: 'name' }, entry.peer), make('span', { class: 'more' }, summary(entry))),
      make('button', { type: 'button', class: 'icon go', 'aria-label': `Call ${entry.peer} again`, onclick: () => (entry.direction === 'room' ? this.join(entry.peer) : this.call(entry.peer)) },
        icon(entry.direction === 'room' ? 'room' : 'phone')))));
  }

  #drawPeople() {
    const items = this.people?.items ?? [];
    show('people-empty', items.length === 0);
    fill('people', items.map((id) => [id, this.#presence.get(id)]), () => items.map((id) => {
      const state = this.#presence.get(id);
      return make('li', { 'data-testid': 'person', 'data-user': id },
        make('span', { class: 'dot', 'data-state': state ?? null, 'aria-hidden': 'true' }),
        make('span', { class: 'what' }, make('span', { class: 'name' }, id), make('span', { class: 'more' }, PRESENCE[state] ?? '…')),
        make('button', { type: 'button', class: 'icon go', 'aria-label': `Call ${id}`, onclick: () => this.call(id) }, icon('phone')),
        make('button', { type: 'button', class: 'icon', 'aria-label': `Stop watching ${id}`, onclick: () => this.unwatch(id) }, icon('close')));
    }));
  }

  /** Timer and meters, ten times a second. */
  #tick() {
    const call = this.active;
    if (!call) return;
    say('call-timer', call.answeredAt ? clock((Date.now() - call.answeredAt) / 1000) : '');
    at('meter-in').value = call.muted || call.onHold ? 0 : this.#meters.in.level();
    at('meter-out').value = this.#meters.out.level();
  }

  /** Once the far side sends sound, our own ringback is silent: early media has one, or an announcement. */
  async #listen() {
    const call = this.active;
    if (!call || call.state === 'talking' || this.#heard.has(call)) return;
    const stats = await call.getStats().catch(() => null);
    stats?.forEach((report) => {
      if (report.type === 'inbound-rtp' && report.packetsReceived > 5) {
        this.#heard.add(call);
        this.draw();
      }
    });
  }
}

function recall() {
  try {
    return sessionStorage.getItem(TOKEN) ?? localStorage.getItem(TOKEN);
  } catch {
    return null;
  }
}

function forget() {
  try {
    sessionStorage.removeItem(TOKEN);
    localStorage.removeItem(TOKEN);
  } catch { /* nothing was kept */ }
}

const app = new App();
Object.assign(window, { phone: app, tandem });
app.start();
