// To whom: groups of weddings, venues, roles and people. Inside a group all of it has to hold, and any group will do.

import { by, make } from './dom.js';
import * as node from './node.js';

const ROLES = [
  'guests',
  'staff',
  'coordinator',
  'assistant_coordinator',
  'couple',
  'wedding_party',
  'family',
  'guest',
  'photographer',
  'videographer',
  'florist',
  'caterer',
  'bar',
  'band',
  'dj',
  'hair_makeup',
  'officiant',
  'rentals',
  'transport',
  'venue_ops',
  'security',
  'first_aid',
  'parking',
];
const KEYS = [
  ['weddings', 'Weddings', 'their members'],
  ['venues', 'Venues', 'their own people'],
  ['on_site', 'Everybody on site at', 'a venue, and the weddings under way there'],
  ['roles', 'Only the roles', 'all of them when there is none'],
  ['users', 'People by name', ''],
];

let clauses = 0;

// What can be chosen from, as far as one page of it goes; any other id can be typed.
export async function suggest() {
  const lists = { weddings: '/v1/weddings?limit=100', venues: '/v1/venues?limit=100' };
  for (const [name, path] of Object.entries(lists)) {
    const answer = await node.get(path);
    if (answer.ok)
      by(`known-${name}`)?.replaceChildren(
        ...answer.data.items.map((item) => make('option', { value: item.id, label: item.name || item.id })),
      );
  }
}

const known = (name) =>
  ({ weddings: 'known-weddings', venues: 'known-venues', on_site: 'known-venues', roles: 'known-roles' })[name];

export function addClause() {
  clauses += 1;
  const everyone = make('input', { type: 'checkbox', 'data-everyone': true });
  const fields = KEYS.map(([name, title, about]) => chips(name, title, about));
  const clause = make(
    'div',
    { class: 'clause', role: 'group', 'aria-label': `Group ${clauses}` },
    fields,
    make(
      'div',
      { class: 'clause-foot' },
      make('label', { class: 'check' }, everyone, ' Everyone there is'),
      make('button', { type: 'button', class: 'quiet', onclick: () => remove(clause) }, 'Remove this group'),
    ),
  );
  if (clauses === 1) {
    const options = (id, values) =>
      make(
        'datalist',
        { id },
        values.map((value) => make('option', { value })),
      );
    by('publish-form').append(options('known-weddings', []), options('known-venues', []), options('known-roles', ROLES));
  }
  by('clauses').append(clause);
  return clause;
}

// What was looked at before is for another audience.
function remove(clause) {
  clause.remove();
  by('add-clause').focus();
  by('clauses').dispatchEvent(new Event('input', { bubbles: true }));
}

// A field that collects several values: Enter, a comma or leaving it takes what was typed.
function chips(name, title, about) {
  const id = `clause-${clauses}-${name}`;
  const list = make('ul', { class: 'chips', 'data-values': name });
  const input = make('input', {
    id,
    list: known(name),
    autocomplete: 'off',
    spellcheck: 'false',
    'aria-describedby': `${id}-about`,
  });
  const take = () => {
    const values = input.value
      .split(',')
      .map((value) => value.trim())
      .filter(Boolean);
    for (const value of values) {
      if ([...list.children].some((chip) => chip.dataset.value === value)) continue;
      const chip = make(
        'li',
        { 'data-value': value },
        make('span', {}, value),
        make('button', { type: 'button', 'aria-label': `Take out ${value}`, onclick: () => remove(chip) }, '×'),
      );
      list.append(chip);
    }
    input.value = '';
  };
  const remove = (chip) => {
    chip.remove();
    input.focus();
    list.dispatchEvent(new Event('input', { bubbles: true }));
  };
  input.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && input.value.trim()) (event.preventDefault(), take());
    else if (event.key === ',') (event.preventDefault(), take());
  });
  input.addEventListener('change', take);
  return make(
    'div',
    { class: 'field' },
    make('label', { for: id }, title),
    list,
    input,
    make('p', { class: 'hint', id: `${id}-about` }, about),
  );
}

export function audience() {
  const each = [...by('clauses').children].map((clause) => {
    const wanted = {};
    for (const list of clause.querySelectorAll('[data-values]')) {
      const values = [...list.children].map((chip) => chip.dataset.value);
      if (values.length > 0) wanted[list.dataset.values] = values;
    }
    if (clause.querySelector('[data-everyone]').checked) wanted.everyone = true;
    return wanted;
  });
  return each.filter((clause) => Object.keys(clause).length > 0);
}
