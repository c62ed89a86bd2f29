// The lists of the page: other calls, recent calls, watched people.

import { PRESENCE, callState, fill, icon, make, show, summary } from './view.js';

/** Live calls but the one that is shown. @param {any} app the App */
export function drawOthers(app) {
  const others = app.calls.filter((call) => call !== app.active);
  show('others', others.length > 0);
  fill('others', others.map((call) => [call.id, call.peer, callState(call)]), () => others.map((call) => make('button', { type: 'button', 'data-testid': 'other-call', onclick: () => app.activate(call) },
    icon(call.direction === 'room' ? 'room' : 'phone'), make('span', { class: 'name' }, call.peer), make('span', { class: 'soft' }, callState(call)))));
}

/** Calls that were. @param {any} app the App */
export function drawHistory(app) {
  const { items } = app.history;
  show('history-empty', items.length === 0);
  show('history-clear', items.length > 0);
  fill('history', items, () => items.map((entry) => make('li', { 'data-testid': 'history-entry' },
    make('span', { class: entry.missed ? 'kind missed' : 'kind' }, icon(entry.direction === 'room' ? 'room' : entry.direction === 'in' ? 'in' : 'out')),
    make('span', { class: 'what' }, make('span', { class: 'name', title: entry.peer }, entry.peer), make('span', { class: 'more' }, summary(entry))),
    make('button', { type: 'button', class: 'icon go', 'aria-label': entry.direction === 'room' ? `Enter ${entry.peer} again` : `Call ${entry.peer} again`, onclick: () => (entry.direction === 'room' ? app.join(entry.peer) : app.call(entry.peer)) },
      icon(entry.direction === 'room' ? 'room' : 'phone')))));
}

/** Who is online. @param {any} app the App */
export function drawPeople(app) {
  const items = app.people?.items ?? [];
  show('people-empty', items.length === 0);
  fill('people', items.map((id) => [id, app.presence.get(id)]), () => items.map((id) => {
    const state = app.presence.get(id);
    return make('li', { 'data-testid': 'person', 'data-user': id },
      make('span', { class: 'dot', 'data-state': state ?? null, 'aria-hidden': 'true' }),
      make('span', { class: 'what' }, make('span', { class: 'name', title: id }, id), make('span', { class: 'more' }, PRESENCE[state] ?? '…')),
      make('button', { type: 'button', class: 'icon go', 'aria-label': `Call ${id}`, onclick: () => app.call(id) }, icon('phone')),
      make('button', { type: 'button', class: 'icon', 'aria-label': `Stop watching ${id}`, onclick: () => app.unwatch(id) }, icon('close')));
  }));
}
