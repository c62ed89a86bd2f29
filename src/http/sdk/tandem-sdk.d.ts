// Types of the Tandem SDK (/sdk/tandem.js).

export declare const PROTOCOL_VERSION: 1;
export declare const Presence: Readonly<{ ONLINE: 0; UNREACHABLE: 1; OFFLINE: 2 }>;
export type PresenceState = 0 | 1 | 2;

export type ErrorCode =
  | 'malformed' | 'invalid_argument' | 'unauthorized' | 'forbidden' | 'not_found' | 'conflict' | 'rate_limited' | 'unavailable'
  | 'internal' | 'connection_lost' | 'timeout' | 'microphone' | 'insecure_context';

export declare class TandemError extends Error {
  readonly code: ErrorCode;
  /** API code of the invitation tables. */
  readonly api?: number;
  constructor(code: ErrorCode, message: string, api?: number);
}

/** Why something ended. */
export interface Cause {
  /** SIP status; 200 for a normal hang-up. */
  status: number;
  q850: number | null;
  blame: 'success' | 'client' | 'server' | 'upstream' | 'indeterminate';
  reason: string;
}

export interface AppHeaders {
  number?: string | null;
  cus_data?: string | null;
  ar_info?: string | null;
  app?: string | null;
}

export interface ClientOptions {
  /** A login token, or where to get one: asked again at every connection. */
  token: string | (() => string | Promise<string>);
  /** `wss://switch:8443/ws`; without it the page's own host. */
  url?: string;
  /** What the operator is shown. */
  device?: string;
  /** Constraints of the microphone. */
  audio?: MediaTrackConstraints | boolean;
  /** Offer media by itself when an invitation to a number is accepted (default true). */
  autoMedia?: boolean;
}

interface ClientEvents {
  state: { state: TandemClient['state'] };
  call: { call: Call };
  invitation: { invitation: IncomingInvitation };
  presence: { user: string; state: PresenceState };
  kicked: { reason: string };
  error: { error: Error };
  /** Every event of the protocol, as it came. */
  event: { event: { type: string; seq: number; [field: string]: unknown } };
}

export declare class TandemClient extends EventTarget {
  constructor(options: ClientOptions);
  readonly state: 'offline' | 'connecting' | 'online' | 'reconnecting';
  readonly user: string | null;
  readonly calls: Map<string, Call>;
  readonly incoming: Map<string, IncomingInvitation>;
  readonly outgoing: Map<string, OutgoingInvitation>;
  on<T extends keyof ClientEvents>(type: T, listener: (detail: ClientEvents[T]) => void): () => void;
  connect(): Promise<void>;
  disconnect(): Promise<void>;
  request(body: { type: string; [field: string]: unknown }): Promise<{ type: string; [field: string]: unknown }>;
  presence(users: string[]): Promise<{ user: string; state: PresenceState }[]>;
  watch(users: string[]): Promise<{ user: string; state: PresenceState }[]>;
  unwatch(users: string[]): Promise<void>;
  call(to: string, options?: { pstn?: boolean; displayName?: string; headers?: AppHeaders; sipNumber?: string }): Promise<Call>;
  joinRoom(room: string): Promise<Call>;
  invite(callee: string, options?: { content?: string; channel?: string }): Promise<OutgoingInvitation>;
  invitationState(invitation: string): Promise<{ local: number; remote: number }>;
}

type InvitationEnd = 'accepted' | 'refused' | 'canceled' | 'failed' | 'answered_elsewhere';

interface InvitationEvents {
  received: object;
  accepted: { response: string; call?: string; media?: Call };
  refused: { response: string };
  canceled: { reason: string };
  failed: { code?: number; reason?: string };
  answered_elsewhere: object;
  ended: { why: InvitationEnd };
}

export declare class IncomingInvitation extends EventTarget {
  readonly id: string;
  readonly caller: string;
  readonly content: string;
  readonly channel: string;
  readonly call: string | null;
  readonly state: 'ringing' | 'accepting' | 'ended';
  readonly data: any;
  readonly displayName: string;
  on<T extends keyof InvitationEvents>(type: T, listener: (detail: InvitationEvents[T]) => void): () => void;
  accept(response?: string): Promise<Call | null>;
  refuse(response?: string): Promise<void>;
  busy(): Promise<void>;
}

export declare class OutgoingInvitation extends EventTarget {
  readonly id: string;
  readonly callee: string;
  readonly state: 'sent' | 'received' | 'ended';
  on<T extends keyof InvitationEvents>(type: T, listener: (detail: InvitationEvents[T]) => void): () => void;
  cancel(reason?: string): Promise<void>;
}

interface CallEvents {
  state: { state: Call['state'] };
  answered: object;
  /** Muted, held or on hold changed. */
  changed: object;
  dtmf: { digit: string };
  participants: { room: string; participants: string[] };
  /** The peer connection's state. */
  media: { state: RTCPeerConnectionState };
  stream: { stream: MediaStream };
  /** The browser wants a click before it plays sound: call `audio.play()` in one. */
  blocked: object;
  ended: { cause: Cause };
  error: { error: Error };
}

export declare class Call extends EventTarget {
  readonly id: string | null;
  readonly direction: 'in' | 'out' | 'room';
  readonly peer: string;
  readonly invitation: IncomingInvitation | null;
  readonly state: 'connecting' | 'ringing' | 'early' | 'talking' | 'ended';
  readonly startedAt: number;
  readonly answeredAt: number | null;
  readonly muted: boolean;
  readonly onHold: boolean;
  readonly held: boolean;
  readonly participants: string[];
  readonly cause: Cause | null;
  readonly headers: AppHeaders;
  readonly peerConnection: RTCPeerConnection | null;
  readonly localStream: MediaStream | null;
  readonly remoteStream: MediaStream;
  readonly audio: HTMLAudioElement;
  on<T extends keyof CallEvents>(type: T, listener: (detail: CallEvents[T]) => void): () => void;
  mute(muted: boolean): void;
  hold(hold: boolean): Promise<void>;
  dtmf(digits: string): Promise<void>;
  hangup(): Promise<void>;
  restartIce(): Promise<void>;
  getStats(): Promise<RTCStatsReport | null>;
}

/** Why there can be no microphone on this page at all, or null. */
export declare function microphoneProblem(): TandemError | null;
