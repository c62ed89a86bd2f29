// Small helpers of the page: finding, making and filling elements, words for times and states.

/** @param {string} id @returns {any} */
export const at = (id) => document.getElementById(id);

/** Shows or hides. */
export const show = (id, visible) => { at(id).hidden = !visible; };

/** Sets text only when it changes, so that screen readers are not told twice. */
export const say = (id, text) => { if (at(id).textContent !== text) at(id).textContent = text; };

/** Makes an element: `make('li', { class: 'x', onclick }, child, 'text')`. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Words of an error, as a sentence begins. @param {string} text */
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const filled = new Map();

/** Fills a list anew only when what it shows has changed: focus and pointers stay where they are. */
export function fill(id, shown, build) {
  const key = JSON.stringify(shown);
  if (filled.get(id) === key) return;
  filled.set(id, key);
  at(id).replaceChildren(...build());
}

/** One of the page's icons. */
export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttribute('href', `#i-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  svg.append(use);
  return svg;
}

const LETTERS = { 2: 'ABC', 3: 'DEF', 4: 'GHI', 5: 'JKL', 6: 'MNO', 7: 'PQRS', 8: 'TUV', 9: 'WXYZ', 0: '+' };
const NAMES = { '*': 'star', '#': 'hash' };

/** Fills a pad with twelve keys. `prefix` names them for tests: dial-key-1, dtmf-key-hash. */
export function keypad(id, prefix, pressed) {
  const keys = [...'123456789*0#'].map((digit) => make('button', {
    type: 'button',
    'data-testid': `${prefix}-${NAMES[digit] ?? digit}`,
    'aria-label': NAMES[digit] ?? digit,
    onclick: () => pressed(digit),
  }, digit, make('small', { 'aria-hidden': 'true' }, LETTERS[digit] ?? '')));
  at(id).replaceChildren(...keys);
  const zero = keys[10];
  // A long press on 0 is a plus, as on every phone.
  if (prefix === 'dial-key') {
    let timer = 0;
    let plus = false;
    zero.addEventListener('pointerdown', () => { plus = false; timer = setTimeout(() => { plus = true; pressed('+'); }, 500); });
    zero.addEventListener('pointerup', () => clearTimeout(timer));
    zero.addEventListener('pointerleave', () => clearTimeout(timer));
    zero.addEventListener('click', (event) => { if (plus) { plus = false; event.stopImmediatePropagation(); } }, true);
  }
}

/** 75 -> "1:15". @param {number} seconds */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const pad = (number) => String(number).padStart(2, '0');
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
}

/** When something was, as people say it. @param {number} when */
export function ago(when) {
  const date = new Date(when);
  const today = new Date().toDateString() === date.toDateString();
  return today
    ? date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })
    : date.toLocaleDateString([], { day: 'numeric', month: 'short' });
}

/** The letter in the circle. */
export function initial(name) {
  const letter = [...name.trim()].find((char) => /\p{L}/u.test(char));
  return letter ? letter.toUpperCase() : null;
}

/** The claims of a token, unchecked: only to show who signs in. */
export function claims(token) {
  try {
    const part = token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/');
    const bytes = Uint8Array.from(atob(part), (char) => char.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
}

export const STATUS = { offline: 'Offline', connecting: 'Connecting…', online: 'Online', reconnecting: 'Reconnecting…' };
export const PRESENCE = ['Online', 'Unreachable', 'Offline'];

/** A call's state in words. */
export function callState(call) {
  if (call.state === 'ended') return 'Ended';
  if (call.onHold) return 'On hold';
  if (call.held) return 'They put you on hold';
  if (call.state === 'talking' && ['disconnected', 'failed'].includes(call.peerConnection?.connectionState)) return 'No sound, repairing…';
  if (call.state === 'talking') return call.direction === 'room' ? 'In the room' : 'Talking';
  if (call.state === 'connecting') return call.direction === 'room' ? 'Joining…' : call.direction === 'in' ? 'Connecting…' : 'Calling…';
  return 'Ringing…';
}

/** A number as people write it, `+49 (30) 12-34`, without its decoration; a name as it is. */
export function dialled(text) {
  return /^\+?[\d\s().\/-]+$/.test(text) ? text.replace(/[^\d+]/g, '') : text;
}

/** The circle of a call: a letter, or what kind it is. */
export function face(id, name, room) {
  const letter = room ? null : initial(name);
  at(id).replaceChildren(letter ?? icon(room ? 'room' : 'phone'));
}

/** One line of the history. */
export function summary({ at: when, seconds, missed, reason }) {
  const how = missed ? 'Missed' : seconds === null ? sentence(reason) : clock(seconds);
  return `${ago(when)} · ${how}`;
}
