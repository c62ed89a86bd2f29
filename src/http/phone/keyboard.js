// The phone from a keyboard. Digits dial, or are sent in a call; Escape takes back what can be taken back: it declines what rings,
// dismisses what was said, gives up a call that is not answered, closes the keypad, empties the number. Enter is the browser's
// own: it presses what has the focus (Accept, while something rings) or calls the number.

import { at } from './view.js';

/** @param {any} app the App */
export function keyboard(app) {
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === 'Escape' && escape(app)) event.preventDefault();
    if (!(event.target instanceof HTMLInputElement)) typed(app, event);
  });
}

/** Whether there was something to take back. */
function escape(app) {
  const { active } = app;
  const number = at('dial-input');
  if (app.ringing.length) app.refuse('');
  else if (!at('notice').hidden) app.notice('');
  else if (active && active.state !== 'talking' && active.direction !== 'in') app.hangup();
  else if (active && app.keypadOpen) { app.keypad(false); app.draw(); }
  else if (!active && number.value) number.value = '';
  else return false;
  return true;
}

/** Keys outside a text field. */
function typed(app, event) {
  if (app.ringing.length || !/^[0-9*#+]$/.test(event.key)) return;
  const number = at('dial-input');
  if (app.active?.state === 'talking') {
    if (event.key !== '+') app.digit(event.key);
  } else if (number.checkVisibility()) {
    // The key itself is then typed into it.
    number.focus();
    number.setSelectionRange(number.value.length, number.value.length);
  }
}
