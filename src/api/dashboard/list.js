// A list of broadcasts: what each is, how far its people are, and who is missing.

import { keep, make, mark, part, say, show } from './dom.js';
import { clock, count, exact, people } from './words.js';

const STEPS = ['acknowledged', 'read', 'received', 'sent'];

// `named` gives the names of weddings by their ids, as far as they are known.
export function list(parent, rows, named) {
  keep(
    parent,
    rows,
    (row) => row.id,
    create,
    (item, row) => update(item, row, named),
  );
}

function create(row) {
  return make(
    'li',
    { class: 'row', 'data-priority': row.priority },
    make(
      'div',
      { class: 'what' },
      make(
        'p',
        { class: 'tags' },
        tag(row.priority),
        make('span', { class: 'tag drill', 'data-part': 'drill', hidden: true }, 'Drill'),
        make('span', { class: 'tag', 'data-part': 'status', hidden: true }),
        make('span', { class: 'when', 'data-part': 'when' }),
      ),
      make('h3', {}, make('a', { href: `#broadcast=${row.id}`, 'data-part': 'title' })),
      make('p', { class: 'hint', 'data-part': 'facts' }),
    ),
    make(
      'div',
      { class: 'far' },
      make('p', { class: 'missing', 'data-part': 'missing' }),
      bar(),
      make('p', { class: 'hint', 'data-part': 'counts' }),
      make(
        'p',
        { class: 'hint escalation', 'data-part': 'escalation', hidden: true },
        make('span', { 'data-part': 'pips', 'aria-hidden': 'true' }),
        make('span', { 'data-part': 'step' }),
      ),
    ),
  );
}

// Named, and with a shape of its own: colour alone says nothing to some.
export const tag = (priority) =>
  make(
    'span',
    { class: `tag ${priority}` },
    `${{ critical: '▲', high: '◆', normal: '●', low: '○' }[priority] ?? ''} ${priority}`,
  );

export const bar = () =>
  make(
    'div',
    { class: 'ladder', 'aria-hidden': 'true', 'data-part': 'bar' },
    STEPS.map((step) => make('span', { class: step, 'data-step': step })),
  );

// How far along the ladder; the steps lie on one another, the furthest on top.
export function fillBar(element, counts) {
  for (const piece of element.children) {
    const share = counts.targeted > 0 ? (100 * counts[piece.dataset.step]) / counts.targeted : 0;
    const width = `${Math.min(share, 100).toFixed(2)}%`;
    if (piece.style.width !== width) piece.style.width = width;
  }
}

function update(item, row, named) {
  const isOut = row.status === 'released';
  show(part(item, 'drill'), row.drill);
  show(part(item, 'status'), !isOut);
  say(part(item, 'status'), row.status);
  say(part(item, 'when'), when(row));
  say(part(item, 'title'), row.title);
  say(
    part(item, 'facts'),
    [row.type, named.get(row.wedding) ?? row.wedding ?? row.venue, `by ${row.sender}`].filter(Boolean).join(' · '),
  );
  say(part(item, 'missing'), missing(row));
  mark(part(item, 'missing'), 'data-state', isOut && (row.not_confirmed ?? 0) > 0 ? 'open' : 'done');
  fillBar(part(item, 'bar'), row.counts);
  say(part(item, 'counts'), counts(row));
  escalation(item, row);
}

// Which steps were taken, and when the next one is due.
function escalation(item, { escalations, escalated, escalates_at: next }) {
  show(part(item, 'escalation'), escalations > 0);
  if (escalations === 0) return;
  keep(
    part(item, 'pips'),
    Array.from({ length: escalations }, (_, index) => index),
    (index) => index,
    () => make('i'),
    (pip, index) => mark(pip, 'data-state', index < escalated ? 'taken' : 'open'),
  );
  const taken = escalated > 0 ? `${escalated} of ${escalations} ${escalations === 1 ? 'step' : 'steps'} taken` : 'no step taken';
  say(part(item, 'step'), next ? `${taken}, the next at ${exact(next)}` : taken);
}

function when(row) {
  if (row.status === 'scheduled') return `goes out ${clock(row.deliver_at)}`;
  return clock(row.released_at ?? row.accepted_at);
}

export function missing(row) {
  if (row.status === 'scheduled') return `for about ${people(row.counts.targeted)}`;
  if (row.counts.targeted === 0) return 'nobody was meant';
  if (row.status === 'cancelled') return 'called off';
  if (row.not_confirmed !== null)
    return row.not_confirmed === 0 ? 'everybody has confirmed' : `${count(row.not_confirmed)} not confirmed`;
  return row.not_received === 0 ? 'everybody has it' : `${count(row.not_received)} without it`;
}

function counts(row) {
  const { targeted, sent, received, acknowledged, held, skipped, failed } = row.counts;
  const steps = [`${count(targeted)} meant`, `${count(sent)} sent`, `${count(received)} received`];
  if (row.not_confirmed !== null) steps.push(`${count(acknowledged)} confirmed`);
  const beside = [
    [held, 'held'],
    [skipped, 'skipped'],
    [failed, 'failed'],
  ].filter(([number]) => number > 0);
  steps.push(...beside.map(([number, word]) => `${count(number)} ${word}`));
  return row.status === 'scheduled' ? `accepted ${clock(row.accepted_at)}` : steps.join(' · ');
}
