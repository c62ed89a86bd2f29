// Recent calls and watched people, kept in this browser, a list a user.

const KEEP = 50;

/** A list in localStorage; a browser that keeps nothing loses it with the page. */
class Kept {
  constructor(name) {
    this.name = name;
    this.items = [];
    try {
      const items = JSON.parse(localStorage.getItem(name) ?? '[]');
      if (Array.isArray(items)) this.items = items;
    } catch { /* nothing kept, or not by us */ }
  }
  save() {
    try {
      localStorage.setItem(this.name, JSON.stringify(this.items));
    } catch { /* private mode or full: the list lives as long as the page */ }
  }
}

export class History extends Kept {
  constructor(user) {
    super(`tandem.history.${user}`);
  }
  /** @param {{ peer: string, direction: string, at: number, seconds: number | null, missed: boolean, reason: string }} entry */
  add(entry) {
    this.items = [entry, ...this.items].slice(0, KEEP);
    this.save();
  }
  clear() {
    this.items = [];
    this.save();
  }
}

export class People extends Kept {
  constructor(user) {
    super(`tandem.people.${user}`);
  }
  add(id) {
    if (!this.items.includes(id)) this.items = [...this.items, id];
    this.save();
  }
  remove(id) {
    this.items = this.items.filter((other) => other !== id);
    this.save();
  }
}
