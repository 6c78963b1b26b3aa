// What the cluster's rules have to say: calm while nothing fires, and what, where and since when as soon as something does.

import { announce, by, facts, keep, make, mark, part, say, show } from './dom.js';
import { bytes, clock, count, exact, millis, percent, spaced, span } from './words.js';

const MARKS = { critical: '▲', error: '◆', warning: '●' };
const CLASSES = { critical: 'critical', error: 'high', warning: 'normal' };
const UNITS = { ms: millis, share: percent, bytes, count };
const RECENT_SHOWN = 3;
let spoken = new Set();

// `told` is not there on a node of before there were rules.
export function fire(told) {
  show(by('alerts-card'), Boolean(told));
  if (!told) return;
  const { items, firing, recent } = told;
  say(by('alerts-note'), firing === 0 ? 'nothing is firing' : `${count(firing)} firing`);
  keep(by('alerts'), items, (alert) => alert.rule, create, update);
  const wrong = items.filter((alert) => alert.state === 'firing');
  for (const alert of wrong.filter((alert) => !spoken.has(alert.rule)))
    announce(`Alert, ${spaced(alert.rule)}: ${alert.reason}`, alert.severity === 'critical');
  spoken = new Set(wrong.map((alert) => alert.rule));
  facts(
    by('alerts-recent'),
    recent
      .slice(0, RECENT_SHOWN)
      .map((alert) => [
        `${spaced(alert.rule)} is over`,
        `${clock(alert.until)}, after ${span((Date.parse(alert.until) - Date.parse(alert.since)) / 1000)}`,
      ]),
  );
}

const create = () =>
  make(
    'li',
    {},
    make('p', { class: 'tags' }, make('span', { 'data-part': 'tag' }), make('span', { class: 'when', 'data-part': 'since' })),
    make('p', {}, make('strong', { 'data-part': 'rule' })),
    make('p', { class: 'hint', 'data-part': 'reason' }),
    make('p', { class: 'hint', 'data-part': 'facts' }),
  );

function update(item, { rule, severity, state, since, value_now: now, bound, side, unit, reason, nodes, told, last_notice: notice }) {
  const isFiring = state === 'firing';
  mark(item, 'data-state', state);
  mark(part(item, 'tag'), 'class', `tag ${isFiring ? (CLASSES[severity] ?? '') : ''}`);
  say(part(item, 'tag'), isFiring ? `${MARKS[severity] ?? '●'} ${severity}` : state);
  say(part(item, 'since'), `since ${clock(since)}`);
  say(part(item, 'rule'), spaced(rule));
  say(part(item, 'reason'), reason);
  const shown = UNITS[unit] ?? count;
  const figures = now === null ? '' : `now ${shown(now)}, bad ${side} ${shown(bound)}`;
  const where = `${nodes.length === 1 ? 'node' : 'nodes'} ${nodes.join(', ')}`;
  say(part(item, 'facts'), [nodes.length > 0 && where, figures, told && `told ${exact(notice)}`].filter(Boolean).join(' · '));
}

// The share of what was tried that worked; measured, or said not to be.
export function uptime(told) {
  show(by('uptime'), Boolean(told));
  if (!told) return;
  const { state, hour, day, measured_since: since } = told;
  const isMeasured = state === 'measured';
  say(by('figure-uptime'), isMeasured ? percent(hour.share ?? day.share) : '–');
  say(
    by('figure-uptime-more'),
    isMeasured ? `${count(day.answered)} of ${count(day.all)} probes, since ${clock(since)}` : 'not measured yet',
  );
}
