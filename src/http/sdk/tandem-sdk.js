// Tandem SDK: talk to a Tandem switch from a browser. One plain ES module, no dependency.
//
//   import { TandemClient } from 'https://SWITCH:8443/sdk/tandem.js';
//   const client = new TandemClient({ token });
//   client.on('invitation', ({ invitation }) => invitation.accept());
//   await client.connect();
//   const call = await client.call('9000');
//   call.on('ended', ({ cause }) => console.log(cause.reason));
//
// One file on purpose, long as it is: an app can copy it or import it as it stands.
// It speaks version 1 of the client protocol: JSON over a WebSocket at /ws. It answers the protocol's acknowledgements, pings,
// comes back after a lost connection and resumes where it was, and restarts ICE when the network changes. Types: tandem.d.ts.

/** The version of the protocol spoken. */
export const PROTOCOL_VERSION = 1;
/** Presence as numbered by the protocol. */
export const Presence = Object.freeze({ ONLINE: 0, UNREACHABLE: 1, OFFLINE: 2 });

const PING_EVERY_MS = 5000;
// Two pings without any frame back: the socket is dead, whatever the browser thinks.
const SILENT_MS = 12000;
const REPLY_WITHIN_MS = 15000;
// A browser itself waits for minutes.
const OPEN_WITHIN_MS = 5000;
const GATHER_WITHIN_MS = 1000;
const BACK_OFF_MS = [300, 600, 1200, 2500, 5000, 8000];
// A short loss of ICE consent heals by itself; after this ICE is restarted.
const DISCONNECTED_FOR_MS = 3000;
// Close code: the user logged in somewhere else.
const REMOTE_LOGIN = 4001;
const KICKS_TO_COME_BACK_FROM = ['DRAINING', 'RESTARTING'];

/** A refusal by the switch, or a failure on the way to it. */
export class TandemError extends Error {
  /**
   * @param {string} code as in the protocol (`unauthorized`, `not_found`…), or `connection_lost`, `timeout`, `microphone`,
   *   `insecure_context`
   * @param {string} message plain words
   * @param {number} [api] API code of the invitation tables
   */
  constructor(code, message, api) {
    super(message);
    this.name = 'TandemError';
    this.code = code;
    this.api = api;
  }
}

/** Events with `on`, which returns a function that takes the listener off again. */
class Emitter extends EventTarget {
  /** @param {string} type @param {(detail: any) => void} listener @returns {() => void} */
  on(type, listener) {
    const wrapped = (event) => listener(event.detail);
    this.addEventListener(type, wrapped);
    return () => this.removeEventListener(type, wrapped);
  }
  emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** A user's signalling connection and the calls and invitations on it. */
export class TandemClient extends Emitter {
  #options;
  #socket = null;
  #wanted = false;
  #attempt = 0;
  #opening = false;
  #retryTimer = 0;
  #pingTimer = 0;
  #heardAt = 0;
  #nextId = 1;
  #pending = new Map();
  #identity = null; // { client, seq } to resume with
  #creating = 0;
  #early = new Map(); // events of calls whose reply is still on its way
  #watched = new Set();
  #networkType = undefined;
  #onNetwork = () => this.#networkChanged();
  #onConnection = () => {
    // 'change' comes with every new estimate of the bandwidth too; browsers that tell no type have 'online' only.
    const type = globalThis.navigator?.connection?.type;
    if (type === this.#networkType) return;
    this.#networkType = type;
    this.#networkChanged();
  };

  /**
   * @param {{ token: string | (() => string | Promise<string>), url?: string, device?: string,
   *   audio?: MediaTrackConstraints | boolean, autoMedia?: boolean }} options
   */
  constructor(options) {
    super();
    this.#options = { device: 'tandem-sdk', audio: true, autoMedia: true, ...options };
    /** @type {'offline' | 'connecting' | 'online' | 'reconnecting'} */
    this.state = 'offline';
    /** @type {string | null} */
    this.user = null;
    /** @type {Map<string, Call>} live calls by id */
    this.calls = new Map();
    /** @type {Map<string, IncomingInvitation>} */
    this.incoming = new Map();
    /** @type {Map<string, OutgoingInvitation>} */
    this.outgoing = new Map();
  }

  // ---- connection

  /** Connects and logs in. Resolves when online; later losses are repaired by the client itself. */
  async connect() {
    if (this.state === 'online') return;
    this.#wanted = true;
    globalThis.addEventListener?.('online', this.#onNetwork);
    this.#networkType = globalThis.navigator?.connection?.type;
    globalThis.navigator?.connection?.addEventListener?.('change', this.#onConnection);
    this.#setState('connecting');
    try {
      await this.#open();
    } catch (error) {
      if (this.state !== 'online') this.#giveUp();
      throw error;
    }
  }

  /** Says good-bye: presence goes offline at once and calls end. */
  async disconnect() {
    const socket = this.#socket;
    this.#wanted = false;
    if (socket?.readyState === WebSocket.OPEN) {
      socket.send(JSON.stringify({ v: PROTOCOL_VERSION, id: String(this.#nextId++), type: 'logout' }));
    }
    this.#giveUp();
    this.#endEverything('logged out');
    socket?.close(1000, 'logged out');
  }

  #url() {
    if (this.#options.url) return this.#options.url;
    const url = new URL('/ws', globalThis.location.href);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    url.hash = '';
    return url.href;
  }

  /** One attempt, which ends within its time limits; what fails leaves no socket behind. */
  async #open() {
    this.#opening = true;
    let socket = null;
    try {
      const token = typeof this.#options.token === 'function' ? await this.#options.token() : this.#options.token;
      if (!this.#wanted) throw new TandemError('connection_lost', 'disconnected meanwhile');
      socket = new WebSocket(this.#url());
      this.#socket = socket;
      await this.#login(socket, token);
    } catch (error) {
      if (socket) this.#abandon(socket);
      throw error;
    } finally {
      this.#opening = false;
    }
  }

  async #login(socket, token) {
    socket.onmessage = ({ data }) => this.#heard(socket, data);
    await new Promise((resolve, reject) => {
      const unreachable = () => reject(new TandemError('connection_lost', 'the switch cannot be reached'));
      const timer = setTimeout(unreachable, OPEN_WITHIN_MS);
      socket.onopen = () => { clearTimeout(timer); resolve(); };
      socket.onclose = () => { clearTimeout(timer); unreachable(); };
    });
    socket.onclose = (event) => this.#closed(socket, event);
    this.#heardAt = Date.now();
    const login = { type: 'login', token, device: this.#options.device };
    if (this.#identity) login.resume = { ...this.#identity };
    const welcome = await this.#send(login);
    this.#attempt = 0;
    this.user = welcome.user;
    const lostIdentity = this.#identity && !welcome.resumed;
    this.#identity = { client: welcome.client, seq: welcome.resumed ? this.#identity?.seq ?? 0 : 0 };
    if (lostIdentity) this.#endEverything('the connection was lost for too long');
    clearInterval(this.#pingTimer);
    this.#pingTimer = setInterval(() => this.#beat(), PING_EVERY_MS);
    this.#setState('online');
    if (lostIdentity && this.#watched.size) this.watch([...this.#watched]).catch(() => {});
    if (welcome.resumed) for (const call of this.calls.values()) call._resumed();
  }

  /** Has nothing more to do with a socket. */
  #abandon(socket) {
    socket.onopen = socket.onclose = socket.onmessage = null;
    socket.close();
    if (this.#socket === socket) this.#socket = null;
  }

  #beat() {
    if (Date.now() - this.#heardAt > SILENT_MS) {
      this.#drop();
      return;
    }
    this.#send({ type: 'ping' }).catch(() => {});
  }

  /** Gives a socket up without waiting for its close handshake, which a dead network never ends. */
  #drop() {
    const socket = this.#socket;
    if (!socket) return;
    socket.close();
    this.#closed(socket, { code: 1006, reason: '' });
  }

  #closed(socket, event) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    socket.onclose = socket.onmessage = null;
    clearInterval(this.#pingTimer);
    for (const { reject, timer } of this.#pending.values()) {
      clearTimeout(timer);
      reject(new TandemError('connection_lost', 'the connection to the switch was lost'));
    }
    this.#pending.clear();
    if (!this.#wanted) return;
    if (event.code === REMOTE_LOGIN) {
      // The word for it was lost with the socket; coming back would throw the other device out.
      this.#kicked('REMOTE_LOGIN');
      return;
    }
    if (event.code === 1008) {
      this.#giveUp();
      this.#endEverything('not logged in');
      this.emit('error', { error: new TandemError('unauthorized', event.reason || 'the switch refused the login') });
      return;
    }
    this.#setState('reconnecting');
    this.#retry();
  }

  #retry() {
    clearTimeout(this.#retryTimer);
    const wait = BACK_OFF_MS[Math.min(this.#attempt++, BACK_OFF_MS.length - 1)] * (0.8 + 0.4 * Math.random());
    this.#retryTimer = setTimeout(async () => {
      // An attempt under way tries again by itself.
      if (!this.#wanted || this.#opening || this.#socket) return;
      try {
        await this.#open();
      } catch (error) {
        if (!this.#wanted) return;
        if (error instanceof TandemError && error.code === 'unauthorized') {
          this.#giveUp();
          this.#endEverything('not logged in');
          this.emit('error', { error });
        } else if (this.state !== 'online') {
          this.#retry();
        }
      }
    }, wait);
  }

  #giveUp() {
    this.#wanted = false;
    this.#identity = null;
    clearTimeout(this.#retryTimer);
    clearInterval(this.#pingTimer);
    globalThis.removeEventListener?.('online', this.#onNetwork);
    globalThis.navigator?.connection?.removeEventListener?.('change', this.#onConnection);
    this.#setState('offline');
  }

  #networkChanged() {
    if (!this.#wanted) return;
    if (this.state === 'reconnecting') {
      this.#attempt = 0;
      this.#retry();
      return;
    }
    // The old path may be dead without a word: ask, and do not wait long.
    const probe = setTimeout(() => this.#drop(), 2500);
    this.#send({ type: 'ping' }).then(() => {
      clearTimeout(probe);
      for (const call of this.calls.values()) call.restartIce().catch(() => {});
    }, () => clearTimeout(probe));
  }

  #setState(state) {
    if (this.state === state) return;
    this.state = state;
    this.emit('state', { state });
  }

  #endEverything(reason) {
    const cause = { status: 480, q850: null, blame: 'indeterminate', reason };
    for (const call of [...this.calls.values()]) call._ended(cause);
    for (const invitation of [...this.incoming.values()]) invitation._end('failed', { reason });
    for (const invitation of [...this.outgoing.values()]) invitation._end('failed', { reason });
  }

  // ---- frames

  #send(body) {
    const socket = this.#socket;
    if (socket?.readyState !== WebSocket.OPEN) {
      return Promise.reject(new TandemError('connection_lost', 'not connected to the switch'));
    }
    const id = String(this.#nextId++);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new TandemError('timeout', `the switch did not answer "${body.type}"`));
      }, REPLY_WITHIN_MS);
      this.#pending.set(id, { resolve, reject, timer });
      socket.send(JSON.stringify({ v: PROTOCOL_VERSION, id, ...body }));
    });
  }

  /**
   * Sends one request of the protocol and resolves with its reply. While the connection is being repaired it waits for that.
   * @param {{ type: string, [field: string]: any }} body
   */
  async request(body) {
    if (this.state === 'reconnecting' || this.state === 'connecting') {
      await new Promise((resolve, reject) => {
        const timer = setTimeout(() => { off(); reject(new TandemError('connection_lost', 'not connected to the switch')); }, REPLY_WITHIN_MS);
        const off = this.on('state', ({ state }) => {
          clearTimeout(timer);
          off();
          if (state === 'online') resolve(); else reject(new TandemError('connection_lost', 'not connected to the switch'));
        });
      });
    }
    return this.#send(body);
  }

  #heard(socket, data) {
    if (socket !== this.#socket) return;
    this.#heardAt = Date.now();
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return;
    }
    if (typeof frame.re === 'string') {
      const waiting = this.#pending.get(frame.re);
      this.#pending.delete(frame.re);
      if (!waiting) return;
      clearTimeout(waiting.timer);
      if (frame.type === 'error') waiting.reject(new TandemError(frame.code, frame.message, frame.api));
      else waiting.resolve(frame);
    } else if (typeof frame.seq === 'number') {
      if (this.#identity) {
        if (frame.seq <= this.#identity.seq) return; // sent again on resume
        this.#identity.seq = frame.seq;
      }
      this.#event(frame);
    }
  }

  #event(frame) {
    this.emit('event', { event: frame });
    const [family] = frame.type.split('.');
    if (family === 'call' || family === 'media' || family === 'room') this.#callEvent(frame);
    else if (family === 'invitation') this.#invitationEvent(frame);
    else if (frame.type === 'presence.changed') this.emit('presence', { user: frame.user, state: frame.state });
    else if (frame.type === 'kicked') this.#kicked(frame.reason);
  }

  #callEvent(frame) {
    const call = this.calls.get(frame.call);
    if (call) {
      call._event(frame);
    } else if (this.#creating > 0) {
      this.#early.set(frame.call, [...(this.#early.get(frame.call) ?? []), frame]);
    } else if (frame.type !== 'call.ended') {
      // A call we lost the reply of: nobody would ever hang it up.
      this.request({ type: 'hangup', call: frame.call }).catch(() => {});
    }
  }

  #invitationEvent(frame) {
    const { invitation: id } = frame;
    if (frame.type === 'invitation.received') {
      this.request({ type: 'invite.ack', invitation: id }).catch(() => {});
      if (this.incoming.has(id)) return;
      const invitation = new IncomingInvitation(this, frame);
      this.incoming.set(id, invitation);
      this.emit('invitation', { invitation });
      return;
    }
    const what = frame.type.slice('invitation.'.length);
    const out = this.outgoing.get(id);
    if (out) {
      if (what === 'accepted') this.request({ type: 'invite.accepted_ack', invitation: id }).catch(() => {});
      if (what === 'received_by_peer') out._received();
      else out._end(what, frame);
      return;
    }
    this.incoming.get(id)?._end(what, frame);
  }

  #kicked(reason) {
    this.emit('kicked', { reason });
    if (KICKS_TO_COME_BACK_FROM.includes(reason)) return;
    this.#giveUp();
    this.#endEverything(`logged out by the switch: ${reason}`);
    this.#socket?.close(1000);
  }

  // ---- what a user does

  /** Presence now. @param {string[]} users @returns {Promise<{user: string, state: number}[]>} */
  async presence(users) {
    return (await this.request({ type: 'presence.query', users })).users;
  }

  /** Presence now, and `presence` events from now on. @param {string[]} users */
  async watch(users) {
    const reply = await this.request({ type: 'presence.subscribe', users });
    users.forEach((user) => this.#watched.add(user));
    return reply.users;
  }

  /** No more `presence` events of them. @param {string[]} users */
  async unwatch(users) {
    await this.request({ type: 'presence.unsubscribe', users });
    users.forEach((user) => this.#watched.delete(user));
  }

  /**
   * Calls a user, a service, a number or a desk phone. Resolves once the call exists, before it rings.
   * @param {string} to
   * @param {{ pstn?: boolean, displayName?: string, headers?: object, sipNumber?: string }} [options]
   * @returns {Promise<Call>}
   */
  async call(to, options = {}) {
    return this.#create(new Call(this, { direction: 'out', peer: to }), (sdp) => ({
      type: 'call', to, sdp,
      pstn: options.pstn ?? false,
      display_name: options.displayName ?? '',
      headers: { number: null, cus_data: null, ar_info: null, app: null, ...options.headers },
      ...(options.sipNumber ? { sip_number: options.sipNumber } : {}),
    }));
  }

  /** Joins a room, which is a call of its own; leave with `hangup`. @param {string} room @returns {Promise<Call>} */
  async joinRoom(room) {
    return this.#create(new Call(this, { direction: 'room', peer: room }), (sdp) => ({ type: 'room.join', room, sdp }));
  }

  async #create(call, request) {
    this.#creating += 1;
    try {
      const sdp = await call._offer();
      const reply = await this.request(request(sdp));
      this._adopt(call, reply.call);
      return call;
    } catch (error) {
      call._release();
      throw error;
    } finally {
      this.#creating -= 1;
      if (this.#creating === 0) this.#early.clear();
    }
  }

  /** Gives a call its id and the events that came before it was known. */
  _adopt(call, id) {
    call.id = id;
    this.calls.set(id, call);
    this.emit('call', { call });
    const early = this.#early.get(id) ?? [];
    this.#early.delete(id);
    early.forEach((frame) => call._event(frame));
  }

  /**
   * Sends an invitation, without media of its own.
   * @param {string} callee @param {{ content?: string, channel?: string }} [options]
   * @returns {Promise<OutgoingInvitation>}
   */
  async invite(callee, { content = '', channel = '' } = {}) {
    const reply = await this.request({ type: 'invite', callee, content, channel });
    const invitation = new OutgoingInvitation(this, reply.invitation, callee);
    this.outgoing.set(invitation.id, invitation);
    return invitation;
  }

  /** Both machines' states of an invitation. @param {string} invitation */
  async invitationState(invitation) {
    const { local, remote } = await this.request({ type: 'invite.state', invitation });
    return { local, remote };
  }

  get _options() {
    return this.#options;
  }
}

/** An invitation that rings here. */
export class IncomingInvitation extends Emitter {
  constructor(client, frame) {
    super();
    this.client = client;
    /** @type {string} */
    this.id = frame.invitation;
    /** @type {string} user id or number */
    this.caller = frame.caller;
    /** @type {string} as sent */
    this.content = frame.content;
    /** @type {string} */
    this.channel = frame.channel;
    /** @type {string | null} the call it belongs to, where there is one */
    this.call = frame.call ?? null;
    this.state = 'ringing';
  }

  /** The content as JSON, or null where it is something else. */
  get data() {
    try {
      return JSON.parse(this.content);
    } catch {
      return null;
    }
  }

  /** The caller's name as the content gives it, or its id. */
  get displayName() {
    const name = this.data?.DisplayName;
    return typeof name === 'string' && name ? name : this.caller;
  }

  /**
   * Accepts. Resolves with the call where the invitation belongs to one, else with null.
   * @param {string} [response]
   * @returns {Promise<Call | null>}
   */
  async accept(response = '') {
    if (this.state !== 'ringing') throw new TandemError('conflict', 'this invitation rings no more');
    this.state = 'accepting';
    if (!this.call) {
      await this.client.request({ type: 'invite.accept', invitation: this.id, response });
      return null;
    }
    const call = new Call(this.client, { direction: 'in', peer: this.displayName, invitation: this });
    try {
      const sdp = await call._offer();
      if (this.state !== 'accepting') throw new TandemError('conflict', 'the caller gave up');
      this.client._adopt(call, this.call);
      await this.client.request({ type: 'invite.accept', invitation: this.id, response, sdp });
      return call;
    } catch (error) {
      if (this.state === 'accepting') this.state = 'ringing';
      if (call.id) call._ended({ status: 480, q850: null, blame: 'indeterminate', reason: error.message });
      else call._release();
      throw error;
    }
  }

  /** Refuses. @param {string} [response] `""` declined, `"busy"`… */
  async refuse(response = '') {
    await this.client.request({ type: 'invite.refuse', invitation: this.id, response });
  }

  /** Refuses as busy. */
  async busy() {
    await this.refuse('busy');
  }

  _end(why, frame) {
    if (this.state === 'ended') return;
    const accepted = why === 'accepted';
    this.state = 'ended';
    this.client.incoming.delete(this.id);
    const call = this.call ? this.client.calls.get(this.call) : null;
    if (accepted) call?._accepted();
    else call?._ended({ status: 487, q850: null, blame: 'success', reason: words(why) });
    this.emit(why, frame);
    this.emit('ended', { why, ...frame });
  }
}

/** An invitation sent from here. */
export class OutgoingInvitation extends Emitter {
  constructor(client, id, callee) {
    super();
    this.client = client;
    /** @type {string} */
    this.id = id;
    /** @type {string} */
    this.callee = callee;
    /** @type {'sent' | 'received' | 'ended'} */
    this.state = 'sent';
  }

  /** Takes it back. @param {string} [reason] for the callee */
  async cancel(reason = '') {
    await this.client.request({ type: 'invite.cancel', invitation: this.id, reason });
  }

  _received() {
    if (this.state !== 'sent') return;
    this.state = 'received';
    this.emit('received');
  }

  _end(why, frame) {
    if (this.state === 'ended') return;
    this.state = 'ended';
    this.client.outgoing.delete(this.id);
    if (why === 'accepted' && frame.call && this.client._options.autoMedia) {
      const call = new Call(this.client, { direction: 'out', peer: this.callee });
      this.client._adopt(call, frame.call);
      call._accepted();
      call._negotiate().catch((error) => call.emit('error', { error }));
      this.emit(why, { ...frame, media: call });
    } else {
      this.emit(why, frame);
    }
    this.emit('ended', { why, ...frame });
  }
}

/** One call, one peer connection: audio only. */
export class Call extends Emitter {
  #chain = Promise.resolve();
  #answer = null;
  #disconnected = 0;
  #unsettled = false;

  constructor(client, { direction, peer, invitation = null }) {
    super();
    this.client = client;
    /** @type {string | null} */
    this.id = null;
    /** @type {'in' | 'out' | 'room'} */
    this.direction = direction;
    /** @type {string} who, or which room */
    this.peer = peer;
    this.invitation = invitation;
    /** @type {'connecting' | 'ringing' | 'early' | 'talking' | 'ended'} */
    this.state = 'connecting';
    this.startedAt = Date.now();
    /** @type {number | null} */
    this.answeredAt = null;
    this.muted = false;
    /** we hold the far side */
    this.onHold = false;
    /** the far side holds us */
    this.held = false;
    /** @type {string[]} of a room */
    this.participants = [];
    this.cause = null;
    this.headers = {};
    /** @type {RTCPeerConnection | null} */
    this.peerConnection = null;
    /** @type {MediaStream | null} the microphone */
    this.localStream = null;
    this.remoteStream = new MediaStream();
    /** plays the far side; never in the page, since sound needs no place */
    this.audio = new Audio();
    this.audio.autoplay = true;
    this.audio.srcObject = this.remoteStream;
  }

  // ---- media

  async #prepare() {
    if (this.peerConnection) return this.peerConnection;
    this.localStream = await microphone(this.client._options.audio);
    const connection = new RTCPeerConnection({ iceServers: [], bundlePolicy: 'max-bundle' });
    this.peerConnection = connection;
    const [track] = this.localStream.getAudioTracks();
    track.enabled = !this.muted;
    connection.addTransceiver(track, { direction: 'sendrecv', streams: [this.localStream] });
    connection.ontrack = ({ track: remote }) => {
      this.remoteStream.addTrack(remote);
      this.audio.play().catch((error) => error.name === 'NotAllowedError' && this.emit('blocked'));
      this.emit('stream', { stream: this.remoteStream });
    };
    connection.onconnectionstatechange = () => this.#connectionChanged(connection.connectionState);
    return connection;
  }

  #connectionChanged(state) {
    this.emit('media', { state });
    clearTimeout(this.#disconnected);
    if (state === 'failed') this.restartIce().catch(() => {});
    if (state === 'disconnected') {
      this.#disconnected = setTimeout(() => this.restartIce().catch(() => {}), DISCONNECTED_FOR_MS);
    }
  }

  /** A complete offer as text. The switch is ICE-lite: it needs our credentials, hardly our candidates. */
  async _offer(options = {}) {
    const connection = await this.#prepare();
    await connection.setLocalDescription(await connection.createOffer(options));
    await gathered(connection);
    return connection.localDescription.sdp;
  }

  /** Offers again, one offer at a time. */
  _negotiate(options = {}) {
    const turn = this.#chain.then(() => this.#exchange(options));
    this.#chain = turn.catch(() => {});
    return turn;
  }

  async #exchange(options) {
    if (this.state === 'ended') return;
    if (this.peerConnection && this.peerConnection.signalingState === 'have-local-offer') {
      await this.peerConnection.setLocalDescription({ type: 'rollback' });
    }
    const sdp = await this._offer(options);
    const answered = new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new TandemError('timeout', 'no answer to the media offer')), REPLY_WITHIN_MS);
      this.#answer = {
        resolve: () => { clearTimeout(timer); resolve(); },
        reject: (error) => { clearTimeout(timer); reject(error); },
      };
    });
    answered.catch(() => {});
    try {
      await this.client.request({ type: 'media.offer', call: this.id, sdp });
      await answered;
      this.#unsettled = false;
    } catch (error) {
      // The switch may have taken the offer: the next exchange settles what holds.
      this.#unsettled = error.code === 'connection_lost';
      if (this.peerConnection?.signalingState === 'have-local-offer') {
        await this.peerConnection.setLocalDescription({ type: 'rollback' }).catch(() => {});
      }
      throw error;
    } finally {
      this.#answer = null;
    }
  }

  async #applyAnswer(sdp) {
    const connection = this.peerConnection;
    // An answer to an offer that was rolled back.
    if (!connection || connection.signalingState !== 'have-local-offer') return;
    try {
      await connection.setRemoteDescription({ type: 'answer', sdp });
      this.#answer?.resolve();
    } catch (error) {
      this.#answer?.reject(error);
      this.emit('error', { error });
    }
  }

  /** New ICE credentials and candidates: after a change of network. */
  async restartIce() {
    if (this.state === 'ended' || !this.id || !this.peerConnection || this.client.state !== 'online') return;
    await this._negotiate({ iceRestart: true });
  }

  /** The signalling connection is back: media may have moved meanwhile. */
  _resumed() {
    const lost = ['disconnected', 'failed'].includes(this.peerConnection?.connectionState ?? '');
    if (lost || this.#unsettled) this._negotiate({ iceRestart: true }).catch(() => {});
  }

  /** Figures of the peer connection. @returns {Promise<RTCStatsReport | null>} */
  async getStats() {
    return this.peerConnection ? this.peerConnection.getStats() : null;
  }

  // ---- what a user does

  /** Silences the microphone, or no longer. @param {boolean} muted */
  mute(muted) {
    this.muted = muted;
    this.#applyMicrophone();
    this.emit('changed');
  }

  #applyMicrophone() {
    for (const track of this.localStream?.getAudioTracks() ?? []) track.enabled = !this.muted && !this.onHold;
  }

  /** Holds the far side, or no longer. @param {boolean} hold */
  async hold(hold) {
    const [transceiver] = this.peerConnection?.getTransceivers() ?? [];
    if (!transceiver || this.onHold === hold) return;
    const before = transceiver.direction;
    this.onHold = hold;
    this.#applyMicrophone();
    transceiver.direction = hold ? 'sendonly' : 'sendrecv';
    this.emit('changed');
    try {
      await this._negotiate();
    } catch (error) {
      this.onHold = !hold;
      transceiver.direction = before;
      this.#applyMicrophone();
      this.emit('changed');
      throw error;
    }
  }

  /** Sends digits to the far side. @param {string} digits of `0-9 * # A-D` */
  async dtmf(digits) {
    await this.client.request({ type: 'dtmf', call: this.id, digits: [...digits] });
  }

  /** Hangs up, or leaves the room. */
  async hangup() {
    if (this.state === 'ended') return;
    const { id } = this;
    this._ended({ status: 200, q850: 16, blame: 'success', reason: 'hung up' });
    if (id) {
      await this.client.request({ type: 'hangup', call: id }).catch((error) => {
        if (error.code !== 'not_found') throw error;
      });
    }
  }

  // ---- what the switch tells

  _event(frame) {
    if (this.state === 'ended') return;
    switch (frame.type) {
      case 'media.answer':
        this.#applyAnswer(frame.sdp);
        break;
      case 'media.refused':
        this.#answer?.reject(new TandemError('invalid_argument', frame.reason));
        break;
      case 'call.progress':
        if (this.state !== 'talking') this.#become(frame.status === 183 ? 'early' : 'ringing');
        break;
      case 'call.answered':
        this.headers = frame.headers ?? {};
        this._accepted();
        break;
      case 'call.held':
        this.held = frame.held;
        this.emit('changed');
        break;
      case 'call.dtmf':
        this.emit('dtmf', { digit: frame.digit });
        break;
      case 'call.ended':
        this._ended(frame.cause);
        break;
      case 'room.participants':
        this.participants = frame.participants;
        if (this.direction === 'room') this._accepted();
        this.emit('participants', { room: frame.room, participants: frame.participants });
        break;
      default: // a newer switch may tell more
    }
  }

  _accepted() {
    if (this.state === 'talking' || this.state === 'ended') return;
    this.answeredAt = Date.now();
    this.#become('talking');
    this.emit('answered');
  }

  _ended(cause) {
    if (this.state === 'ended') return;
    this.cause = cause;
    this.#become('ended');
    if (this.id) this.client.calls.delete(this.id);
    this._release();
    this.emit('ended', { cause });
  }

  #become(state) {
    this.state = state;
    this.emit('state', { state });
  }

  /** Lets microphone and peer connection go. */
  _release() {
    clearTimeout(this.#disconnected);
    this.#answer?.reject(new TandemError('conflict', 'the call is over'));
    this.localStream?.getTracks().forEach((track) => track.stop());
    if (this.peerConnection) {
      this.peerConnection.onconnectionstatechange = this.peerConnection.ontrack = null;
      this.peerConnection.close();
    }
    this.audio.srcObject = null;
  }
}

/** Why there can be no microphone on this page at all, or null. @returns {TandemError | null} */
export function microphoneProblem() {
  if (!globalThis.isSecureContext || !navigator.mediaDevices?.getUserMedia) {
    return new TandemError('insecure_context', 'Browsers give a microphone to secure pages only: open this page over https, or on localhost.');
  }
  return null;
}

async function microphone(constraints) {
  const problem = microphoneProblem();
  if (problem) throw problem;
  const audio = constraints === true ? { echoCancellation: true, noiseSuppression: true, autoGainControl: true } : constraints;
  try {
    return await navigator.mediaDevices.getUserMedia({ audio, video: false });
  } catch (error) {
    const why = {
      NotAllowedError: 'The microphone was refused: allow it for this page in the browser and call again.',
      NotFoundError: 'No microphone was found: plug one in and call again.',
      NotReadableError: 'The microphone is in use by another program.',
    }[error.name];
    throw new TandemError('microphone', why ?? `The microphone cannot be used: ${error.message}`);
  }
}

function gathered(connection) {
  if (connection.iceGatheringState === 'complete') return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      connection.removeEventListener('icegatheringstatechange', changed);
      resolve();
    };
    const changed = () => connection.iceGatheringState === 'complete' && done();
    const timer = setTimeout(done, GATHER_WITHIN_MS);
    connection.addEventListener('icegatheringstatechange', changed);
  });
}

function words(why) {
  return { canceled: 'the caller gave up', failed: 'the invitation failed', refused: 'declined', answered_elsewhere: 'answered on another device' }[why] ?? why;
}
