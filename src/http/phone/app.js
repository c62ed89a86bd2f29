// The web phone: buttons on one side, the SDK on the other. Everything a call knows is asked of the SDK; this file only shows it.
//
// For tests and the curious: `window.phone` is the App below, `window.tandem` the SDK.

import * as tandem from '../sdk/tandem.js';
import { History, People } from './history.js';
import { keyboard } from './keyboard.js';
import { drawHistory, drawOthers, drawPeople } from './lists.js';
import { Meter } from './meter.js';
import { Sounds } from './sounds.js';
import { STATUS, at, callState, claims, clock, dialled, face, fill, keypad, make, say, sentence, show } from './view.js';

const TOKEN = 'tandem.token';
const RETRY_MS = 3000;
const DRAW_MS = 100;
const NEWS_MS = 6000;

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
  /** Of watched people, by user. */
  presence = new Map();
  #dialling = false;
  #sent = new Map(); // digits sent, a call
  #heard = new WeakSet(); // calls whose far side sends sound
  #hushed = new Map(); // rooms in the background, and whether the user had muted the microphone there
  #retry = 0;
  #news = 0;
  #meters = { in: new Meter(), out: new Meter() };

  start() {
    keypad('dial-keys', 'dial-key', (digit) => this.#dialKey(digit));
    keypad('dtmf-keys', 'dtmf-key', (digit) => this.digit(digit));
    this.#wire();
    setInterval(() => this.#tick(), DRAW_MS);
    setInterval(() => this.#listen(), 500);
    this.#calm();
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
    client.on('presence', ({ user, state }) => { this.presence.set(user, state); drawPeople(this); });
    client.on('error', ({ error }) => this.#signedOut(error.message));
    client.on('kicked', ({ reason }) => this.#kicked(reason));
    const user = claims(token)?.sub ?? '';
    this.history = new History(user);
    this.people = new People(user);
    this.draw();
    try {
      await client.connect();
      this.#calm();
      this.#watchAll();
    } catch (error) {
      if (this.client !== client) return;
      if (error.code === 'unauthorized') {
        this.#signedOut(error.message);
      } else {
        this.notice(`${sentence(error.message)}. Trying again…`);
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

  /** @param {boolean} [everywhere] whether the token that was kept for later goes too */
  #signedOut(why, everywhere = true) {
    clearTimeout(this.#retry);
    forget(everywhere);
    this.client = null;
    this.ringing = [];
    this.presence.clear();
    this.notice(sentence(why));
    this.draw();
    at('login-token').value = '';
    say('login-who', '');
    at('login-token').focus();
  }

  #kicked(reason) {
    const words = { REMOTE_LOGIN: 'You signed in somewhere else, so this page was signed out.' };
    // From DRAINING the SDK comes back by itself, and the page says that it is reconnecting.
    if (reason === 'DRAINING') return;
    // Another tab of this browser may be the one that signed in: the token it keeps is not ours to delete.
    this.#signedOut(words[reason] ?? `The switch signed you out: ${reason}`, reason !== 'REMOTE_LOGIN');
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
      this.#restore(this.active);
      this.failed(error);
      this.sounds.busy();
    } finally {
      this.#dialling = false;
      this.draw();
    }
  }

  /** One voice at a time: the calls in the background are held. Rooms are muted instead, nobody there is to hear music. */
  async #holdOthers(but) {
    const others = this.calls.filter((call) => call !== but);
    others.filter((call) => call.direction === 'room').forEach((room) => this.#hush(room));
    const talking = others.filter((call) => call.state === 'talking' && !call.onHold && call.direction !== 'room');
    await Promise.all(talking.map((call) => call.hold(true).catch(this.failed)));
  }

  #hush(room) {
    if (this.#hushed.has(room)) return;
    this.#hushed.set(room, room.muted);
    room.mute(true);
    room.audio.muted = true;
  }

  /** A room that comes to the front is as the user left it. */
  #restore(call) {
    if (!this.#hushed.has(call)) return;
    call.mute(this.#hushed.get(call));
    call.audio.muted = false;
    this.#hushed.delete(call);
  }

  #added(call) {
    this.calls.push(call);
    this.active = call;
    for (const type of ['state', 'changed', 'participants', 'media', 'stream']) call.on(type, () => this.draw());
    call.on('blocked', () => this.notice('The browser wants a click before it plays sound: click anywhere.'));
    call.on('error', ({ error }) => this.failed(error));
    call.on('ended', ({ cause }) => this.#removed(call, cause));
    this.keypad(false);
    this.draw();
    // The button that was pressed is gone. Not to "hang up": an Enter held too long would press it.
    at('call-peer').focus({ preventScroll: true });
    scrollTo({ top: 0 });
  }

  #removed(call, cause) {
    this.calls = this.calls.filter((other) => other !== call);
    this.#sent.delete(call.id);
    this.#hushed.delete(call);
    if (this.active === call) {
      this.active = this.calls.at(-1) ?? null;
      this.#restore(this.active);
    }
    const seconds = call.answeredAt ? Math.round((Date.now() - call.answeredAt) / 1000) : null;
    if (cause.status !== 200) {
      this.notice(`${call.peer}: ${cause.reason}`);
      this.sounds.busy();
    } else {
      if (seconds !== null) this.notice(`${call.peer}: ${call.direction === 'room' ? 'left' : 'call ended'} after ${clock(seconds)}`, 'news');
      this.sounds.over();
    }
    this.history?.add({ peer: call.invitation?.caller ?? call.peer, direction: call.direction, at: call.startedAt, seconds, missed: false, reason: cause.reason });
    this.keypad(false);
    this.draw();
    // The button with the focus is gone. A touch screen would open its keyboard.
    const focus = document.activeElement;
    if (!this.active && (focus === document.body || at('incall').contains(focus)) && matchMedia('(hover: hover)').matches) at('dial-input').focus({ preventScroll: true });
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
      this.#restore(this.active);
      // Without a microphone it rings on: it may be declined, or accepted once there is one.
      if (invitation.state === 'ringing' && this.client) this.ringing.unshift(invitation);
      this.failed(error);
    }
    this.draw();
  }

  async refuse(response) {
    const [invitation] = this.ringing;
    if (!invitation) return;
    this.ringing = this.ringing.filter((other) => other !== invitation);
    this.draw();
    await invitation.refuse(response).catch(this.failed);
  }

  async activate(call) {
    this.#dialling = false;
    this.active = call;
    this.#restore(call);
    this.keypad(false);
    this.draw();
    await this.#holdOthers(call);
    if (call?.onHold) await call.hold(false).catch(this.failed);
  }

  async digit(digit) {
    const call = this.active;
    if (!call) return;
    this.sounds.key(digit);
    this.#sent.set(call.id, (this.#sent.get(call.id) ?? '') + digit);
    this.draw();
    await call.dtmf(digit).catch(this.failed);
  }

  async hangup() {
    await this.active?.hangup().catch(this.failed);
  }

  // ---- people

  /** Watches one more; what the switch refuses is not kept. */
  async watch(id) {
    await this.#watch([id], () => this.people.add(id));
  }

  async #watchAll() {
    if (this.people.items.length) await this.#watch(this.people.items);
  }

  async #watch(users, watched = () => {}) {
    try {
      const states = await this.client.watch(users);
      watched();
      for (const { user, state } of states) this.presence.set(user, state);
    } catch (error) {
      this.failed(error);
    }
    drawPeople(this);
  }

  async unwatch(id) {
    this.people.remove(id);
    this.presence.delete(id);
    drawPeople(this);
    await this.client?.unwatch([id]).catch(() => {});
  }

  // ---- the page

  /** Says something above everything else until it is dismissed; news go by themselves. @param {'trouble' | 'news'} kind */
  notice(text, kind = 'trouble') {
    clearTimeout(this.#news);
    at('notice').dataset.kind = kind;
    say('notice-text', text);
    show('notice', Boolean(text));
    if (kind === 'news') this.#news = setTimeout(() => this.notice(''), NEWS_MS);
  }

  failed = (error) => this.notice(sentence(error.message));

  /** Nothing to say but what always holds on this page. */
  #calm() {
    this.notice(tandem.microphoneProblem()?.message ?? '');
  }

  #wire() {
    at('login-form').addEventListener('submit', (event) => {
      event.preventDefault();
      const token = at('login-token').value.trim();
      this.#remember(token, at('login-keep').checked);
      this.signIn(token);
    });
    at('login-token').addEventListener('input', () => {
      const token = at('login-token').value.trim();
      const sub = claims(token)?.sub;
      say('login-who', sub ? `Signing in as ${sub}` : token ? 'This does not look like a login token' : '');
    });
    at('sign-out').addEventListener('click', () => this.signOut());
    at('notice-close').addEventListener('click', () => this.notice(''));
    at('panel-dial').addEventListener('submit', (event) => { event.preventDefault(); this.call(at('dial-input').value); });
    at('panel-room').addEventListener('submit', (event) => { event.preventDefault(); this.join(at('room-input').value); });
    at('dial-back').addEventListener('click', () => { at('dial-input').value = at('dial-input').value.slice(0, -1); });
    at('accept').addEventListener('click', () => this.accept());
    at('decline').addEventListener('click', () => this.refuse(''));
    at('busy').addEventListener('click', () => this.refuse('busy'));
    // Escape, or a phone's back gesture: the dialog closes when nothing rings any more.
    at('incoming').addEventListener('cancel', (event) => { event.preventDefault(); this.refuse(''); });
    at('mute').addEventListener('click', () => this.active?.mute(!this.active.muted));
    at('hold').addEventListener('click', async () => {
      const call = this.active;
      await call?.hold(!call.onHold).catch(this.failed);
    });
    at('dtmf-toggle').addEventListener('click', () => {
      this.keypad(!this.keypadOpen);
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
    at('history-clear').addEventListener('click', () => { this.history.clear(); drawHistory(this); });
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
    keyboard(this);
    // A browser lets sound out after a touch only.
    document.addEventListener('pointerdown', () => {
      this.sounds.wake();
      this.calls.forEach((call) => call.audio.play().catch(() => {}));
    }, { passive: true });
    globalThis.addEventListener('pagehide', () => { if (this.client) this.client.disconnect(); });
    globalThis.addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });
  }

  get keypadOpen() {
    return at('dtmf-toggle').getAttribute('aria-expanded') === 'true';
  }

  keypad(open) {
    at('dtmf-toggle').setAttribute('aria-expanded', String(open));
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
    show('status', Boolean(client));
    show('lost', state === 'reconnecting');
    say('lost-call', active?.state === 'talking' ? 'Your call goes on meanwhile.' : '');
    say('me', client?.user ?? '');
    show('me', Boolean(client?.user));
    show('dialler', !active);
    show('incall', Boolean(active));
    show('new-call', Boolean(active));
    const ready = state === 'online' && !this.#dialling;
    at('call-button').disabled = !ready;
    at('room-join').disabled = !ready;
    say('call-word', this.#dialling ? 'Calling…' : 'Call');
    say('join-word', this.#dialling ? 'Joining…' : 'Join');
    drawOthers(this);
    this.#drawIncoming();
    if (active) this.#drawCall(active);
    if (client) {
      drawHistory(this);
      drawPeople(this);
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
    say('hangup-word', call.direction === 'room' ? 'Leave the room' : talking || call.direction === 'in' ? 'Hang up' : 'Cancel');
    const names = call.participants.map((name) => (name === this.client?.user ? `${name} (you)` : name));
    say('participants-title', names.length === 1 ? 'Nobody else here yet' : `${names.length} here`);
    fill('participants', names, () => names.map((name) => make('li', {}, name)));
    show('dtmf-keys', this.keypadOpen);
    const sent = this.#sent.get(call.id) ?? '';
    show('dtmf-log', this.keypadOpen || Boolean(sent));
    say('dtmf-log', sent);
    show('meters', talking || call.state === 'early');
    this.#meters.in.follow(this.sounds.context, call.localStream);
    this.#meters.out.follow(this.sounds.context, call.remoteStream);
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

function forget(everywhere) {
  try {
    sessionStorage.removeItem(TOKEN);
    if (everywhere) localStorage.removeItem(TOKEN);
  } catch { /* nothing was kept */ }
}

const app = new App();
Object.assign(window, { phone: app, tandem });
app.start();
