// How much more the node can take: its limits, its threads and why there are so many, its cache, and what the coming days need.

import { by, facts, keep, make, mark, meters, part, say, show } from './dom.js';
import { bytes, clock, count, millis, people, percent, span, spaced, weekday } from './words.js';
import * as node from './node.js';

const LIMITS = {
  sessions: 'sessions',
  memory: 'memory',
  commands_waiting: 'commands that wait',
  rows_waiting: 'rows for the disk',
  lateness: 'late deliveries',
  expected_peak: 'coming peak',
};
// From here on a limit wants a look.
const NEARLY_FULL = 0.8;
const DAYS = 7;
// A forecast that lists so many changes may have left out later ones.
const STEPS_MAX = 100;
const DAY_NONE = { weddings: 0, connections: 0, deliveries_per_second: 0 };

const nearly = (used) => (used >= NEARLY_FULL ? 'attention' : '');

export function capacity(board) {
  const { headroom, sessions, sessions_max } = board.capacity;
  say(by('room-note'), `${percent(headroom.left)} free on this node`);
  meters(
    by('room'),
    headroom.parts.map(({ of, used }) => [
      LIMITS[of] ?? spaced(of),
      used ?? 0,
      used === null ? 'not measured' : of === 'sessions' ? `${count(sessions)} of ${count(sessions_max)}` : percent(used),
      nearly(used),
    ]),
  );
  say(by('room-more'), `Up for ${span(board.up_seconds)}.`);
  threads(board.capacity);
  say(by('foot'), `Campanile ${board.version}`);
}

function threads({ workers, scaling }) {
  const { threads: now, threads_min: least, threads_max: most, decisions } = scaling;
  say(by('threads-note'), least === most ? count(now) : `${count(now)}, of ${count(least)} to ${count(most)}`);
  meters(
    by('threads'),
    workers.map((worker) => [
      spaced(worker.name.replace('-', ' ')),
      worker.busy_share,
      `${percent(worker.busy_share)} busy, ${count(worker.sessions)} sessions`,
      nearly(worker.busy_share),
    ]),
  );
  keep(
    by('decisions'),
    decisions,
    (decision) => decision.from,
    () => make('li', {}, make('p', { 'data-part': 'what' }), make('p', { class: 'hint', 'data-part': 'why' })),
    (item, { threads_before: before, threads: after, from, reason }) => {
      mark(item, 'data-state', before === after ? 'open' : 'taken');
      say(part(item, 'what'), `${clock(from)}: ${before === after ? `stays at ${after}` : `${before} to ${after}`}`);
      say(part(item, 'why'), reason);
    },
  );
  show(by('decisions-title'), decisions.length > 0);
}

// What is not in every board: asked for now and then.
export async function refresh() {
  const [scaling, cache] = await Promise.all(['/v1/scaling', '/v1/cache'].map(node.get));
  if (scaling.ok) expected(scaling.data);
  if (cache.ok) tiers(cache.data);
}

function expected({ load, forecast }) {
  say(
    by('load'),
    load.latency_ms > 0
      ? `Within the last look 95 of 100 deliveries took at most ${millis(load.latency_ms)}.`
      : 'Within the last look nothing was delivered.',
  );
  const days = byDay(forecast?.steps ?? []);
  const isQuiet = days.every((day) => day.most?.weddings === 0);
  show(by('days-section'), !isQuiet);
  if (isQuiet) return;
  const most = Math.max(...days.map((day) => day.most?.connections ?? 0), 1);
  meters(
    by('days'),
    days.map(({ at, most: need }) => [
      weekday(at),
      (need?.connections ?? 0) / most,
      !need
        ? 'not known yet'
        : need.weddings === 0
          ? '–'
          : `${count(need.weddings)} ${need.weddings === 1 ? 'wedding' : 'weddings'}, ${people(Math.round(need.connections))}`,
    ]),
  );
  const share = forecast.share;
  say(
    by('days-note'),
    forecast.warning ??
      (share === null
        ? 'What this machine can do was not measured.'
        : `The peak needs ${percent(share)} of what this machine was measured to do.`),
  );
  mark(by('days-note'), 'data-state', forecast.warning ? 'attention' : '');
}

// The most that each day needs, by the reader's calendar; nothing for days that the forecast does not reach.
function byDay(steps) {
  const starts = steps.map((step) => Date.parse(step.at));
  const known = steps.length < STEPS_MAX ? Infinity : starts.at(-1);
  const midnight = (ahead) => {
    const day = new Date();
    day.setHours(0, 0, 0, 0);
    day.setDate(day.getDate() + ahead);
    return day.getTime();
  };
  return Array.from({ length: DAYS }, (_, ahead) => {
    const [from, to] = [midnight(ahead), midnight(ahead + 1)];
    const within = steps.filter((_, index) => starts[index] < to && (starts[index + 1] ?? Infinity) > from);
    const most = within.reduce((most, step) => (step.connections > most.connections ? step : most), DAY_NONE);
    return { at: from, most: from < known ? most : null };
  });
}

function tiers({ reads, local, replicated, pressure, namespaces }) {
  say(by('cache-note'), reads.hit_rate === null ? 'nothing was read yet' : `${percent(reads.hit_rate)} found`);
  const tier = (name, { bytes: used, ...tier }, most, entries) => [
    name,
    used / Math.max(most, 1),
    `${count(entries)} values, ${bytes(used)} of ${bytes(most)}`,
    '',
  ];
  meters(by('cache'), [
    tier('memory', local, local.capacity_bytes, local.items),
    tier('all nodes', replicated, replicated.bytes_max, replicated.entries),
  ]);
  const rates = reads.hit_rate === null ? '' : `${percent(reads.local_hit_rate)} of the reads were answered from memory. `;
  say(by('cache-more'), `${rates}${pressure ? `Memory: ${pressure.reason}.` : ''}`);
  const resting = namespaces.filter((space) => space.upstream?.state === 'resting');
  facts(
    by('upstreams'),
    resting.map((space) => [
      `${space.name}: upstream rests`,
      `${space.upstream.why}, for ${span(space.upstream.left_seconds)}`,
      'attention',
    ]),
  );
  keep(
    by('namespaces'),
    namespaces,
    (space) => space.name,
    () => make('tr', {}, make('th', { scope: 'row' }), make('td'), make('td'), make('td')),
    (row, space) => {
      say(row.cells[0], space.name);
      say(row.cells[1], count(space.entries));
      say(row.cells[2], percent(space.reads.hit_rate));
      say(row.cells[3], space.upstream ? space.upstream.state : 'none');
    },
  );
}
