// Who is missing, grouped by what to do about them, and why each of them is no further.

import { by, keep, make, part, say } from './dom.js';
import { GROUPS, count, group, spaced, why } from './words.js';
import * as node from './node.js';

// Pages of 100 recipients that are read for each state.
const PAGES_MAX = 5;

// Fetches who is missing and shows them, unless the reader has gone on meanwhile.
export async function showPeople(broadcast, isStill) {
  const asks = Boolean(broadcast.acknowledge);
  if (broadcast.status === 'scheduled') return say(by('people-note'), 'Who gets it is settled when it goes out.');
  const states = ['targeted', 'sent', 'held', 'expired', 'failed', 'skipped'];
  if (asks) states.push('received', 'read');
  if (Object.keys(broadcast.answers).some((answer) => answer !== 'ok')) states.push('acknowledged');
  const found = await Promise.all(states.map((state) => recipients(broadcast.id, state)));
  if (!isStill()) return undefined;
  const known = found.flatMap((each) => each.items);
  const isPart = found.some((each) => each.isPart);
  const groups = GROUPS.map(([name, title]) => ({
    name,
    title,
    items: known.filter((person) => group(person, asks) === name),
  })).filter((each) => each.items.length > 0);
  const isNobody = groups.every((each) => each.name === 'skipped');
  say(
    by('people-note'),
    isPart
      ? `The first ${count(PAGES_MAX * 100)} of each kind are named.`
      : isNobody && broadcast.counts.targeted > 0
        ? 'Nobody is missing.'
        : '',
  );
  keep(by('people'), groups, (each) => each.name, createGroup, updateGroup);
  return undefined;
}

async function recipients(id, state) {
  const items = [];
  let after = '';
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const answer = await node.get(`/v1/broadcasts/${encodeURIComponent(id)}/recipients?limit=100&state=${state}${after}`);
    if (!answer.ok) return { items, isPart: true };
    items.push(...answer.data.items);
    if (!answer.data.next) return { items, isPart: false };
    after = `&after=${encodeURIComponent(answer.data.next)}`;
  }
  return { items, isPart: true };
}

const createGroup = (each) =>
  make(
    'details',
    { class: 'group', open: each.name !== 'skipped', 'data-group': each.name },
    make('summary', {}, make('span', { 'data-part': 'title' }), ' ', make('span', { class: 'badge', 'data-part': 'number' })),
    make('ul', { 'data-part': 'list' }),
  );

function updateGroup(item, each) {
  say(part(item, 'title'), each.title);
  say(part(item, 'number'), count(each.items.length));
  keep(
    part(item, 'list'),
    each.items,
    (person) => person.user,
    () =>
      make(
        'li',
        {},
        make('strong', { 'data-part': 'user' }),
        make('span', { class: 'hint', 'data-part': 'roles' }),
        make('span', { 'data-part': 'why' }),
      ),
    (row, person) => {
      say(part(row, 'user'), person.user);
      say(part(row, 'roles'), person.roles.map(spaced).join(', '));
      say(part(row, 'why'), why(person));
    },
  );
}
