// Everything on the overview but the lists of broadcasts and the charts.

import { announce, by, facts, keep, make, mark, part, say, show } from './dom.js';
import { clock, count, exact, millis, people, percent, rate, spaced, span, there } from './words.js';

const PARTS = { queue_errors: 'Publishes not taken', queue_time: 'Time in the queue', cache: 'Found in the cache', response: 'Time to answer a publish' };
const CALM = { ok: 'All is well', attention: 'Something wants a look', trouble: 'Something is wrong' };
let spoken = '';
const LADDER = ['critical', 'high', 'normal', 'low'];

export function overview(board) {
  const { health, capacity, performance, cluster } = board;
  mark(by('overview'), 'data-state', health.state);
  const first = health.concerns[0];
  const line = first ? concern(first, board) : `${CALM[health.state]}.`;
  say(by('headline'), line);
  // Counts in it change all the time: it is read out once.
  if (first && first.code !== spoken) announce(line, first.severity === 'critical');
  spoken = first?.code ?? '';
  keep(
    by('concerns'),
    health.concerns.slice(1),
    (told) => told.code + told.detail,
    () => make('li'),
    (item, told) => {
      say(item, concern(told, board));
      mark(item, 'data-severity', told.severity);
    },
  );
  say(by('as-of'), `As of ${exact(board.at)}, seen from node ${cluster.node}.`);
  say(by('score'), health.score);
  say(by('score-label'), `Score ${health.score} of 100`);
  mark(by('ring'), 'stroke-dasharray', `${health.score} 100`);
  mark(by('ring'), 'data-state', health.score >= 85 ? 'ok' : health.score >= 70 ? 'attention' : 'trouble');
  parts(health);
  say(by('figure-connected'), count(capacity.connected));
  say(by('figure-connected-more'), `of ${count(capacity.users)} people, on all nodes`);
  say(by('figure-waiting'), count(capacity.waiting));
  say(by('figure-waiting-more'), capacity.waiting === 0 ? 'everything is out' : 'deliveries to make');
  const delivery = performance?.latency.delivery;
  const lately = performance ? `in the last ${span(performance.over_seconds)}` : 'measured shortly';
  say(by('figure-delivery'), millis(delivery?.mean_ms));
  say(
    by('figure-delivery-more'),
    delivery?.count ? `mean; 95 of 100 within ${millis(delivery.p95_at_most_ms)}` : `nothing ${lately}`,
  );
  say(by('figure-accepted'), performance ? rate(performance.throughput.broadcasts) : '–');
  say(by('figure-accepted-more'), performance ? `broadcasts here, ${lately}` : lately);
}

// An emergency is named: what it is, and how many are missing.
function concern(told, { urgent }) {
  const [row] = urgent.items;
  if (told.code !== 'emergency' || urgent.emergencies !== 1 || !row) return sentence(told.detail);
  return row.not_confirmed === null
    ? `${row.title}: ${people(row.not_received)} without it.`
    : `${row.title}: ${people(row.not_confirmed)} ${row.not_confirmed === 1 ? 'has' : 'have'} not confirmed.`;
}

const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

function parts(health) {
  keep(
    by('parts'),
    health.parts,
    (item) => item.part,
    () => make('tr', {}, make('th', { scope: 'row' }), make('td'), make('td')),
    (row, item) => {
      const value = item.unit === 'share' ? percent(item.value) : millis(item.value);
      say(row.cells[0], PARTS[item.part] ?? spaced(item.part));
      say(row.cells[1], item.value === null ? 'nothing to measure' : value);
      say(row.cells[2], item.lost);
    },
  );
  say(by('parts-more'), health.over_seconds ? `Of the last ${span(health.over_seconds)} on this node.` : '');
}

export function nodes(cluster) {
  say(by('nodes-note'), cluster.leader ? `node ${cluster.leader} leads, term ${cluster.term}` : 'no node leads');
  keep(
    by('nodes'),
    cluster.nodes,
    (node) => node.node,
    createNode,
    (item, node) => {
      const isHere = node.node === cluster.node;
      const isLost = node.role === 'unreachable' || node.role === 'unknown';
      mark(item, 'data-role', node.role);
      say(part(item, 'name'), `Node ${node.node}${isHere ? ', this one' : ''}`);
      say(part(item, 'role'), node.role);
      const lag = node.lag ? `, ${count(node.lag)} behind` : '';
      say(part(item, 'facts'), isLost ? 'not heard of' : `${count(node.sessions)} connected · log ${count(node.applied)}${lag}`);
      const link = part(item, 'link');
      show(link, node.url && !isHere && /^https?:\/\//.test(node.url));
      say(link, (node.url ?? '').replace(/^https?:\/\//, ''));
      if (!link.hidden) mark(link, 'href', node.url);
    },
  );
}

const createNode = () =>
  make(
    'li',
    {},
    make('span', { class: 'dot', 'aria-hidden': 'true' }),
    make(
      'div',
      {},
      make('p', {}, make('strong', { 'data-part': 'name' }), ' ', make('span', { class: 'role', 'data-part': 'role' })),
      make('p', { class: 'hint' }, make('span', { 'data-part': 'facts' }), ' ', make('a', { 'data-part': 'link', hidden: true })),
    ),
  );

export function queues(board) {
  const rows = LADDER.map((name) => [name, board.queues[name]]).filter(([, queue]) => queue);
  keep(
    by('queues'),
    rows,
    ([name]) => name,
    () => make('tr', {}, make('th', { scope: 'row' }), make('td'), make('td'), make('td')),
    (row, [name, queue]) => {
      mark(row, 'data-priority', name);
      say(row.cells[0], name);
      say(row.cells[1], count(queue.waiting));
      say(row.cells[2], queue.waiting > 0 ? span(queue.oldest_seconds) : '–');
      say(row.cells[3], rate(queue.rate));
    },
  );
  const retries = rows.reduce((sum, [, queue]) => sum + queue.retries, 0);
  const inFlight = rows.reduce((sum, [, queue]) => sum + queue.in_flight, 0);
  say(by('queues-note'), `${count(inFlight)} being written · ${count(retries)} tried again since the start`);
}

export function weddings(told) {
  const more = told.within_7_days - told.items.length;
  say(
    by('weddings-note'),
    `${count(told.open_now)} on now, ${count(told.within_7_days)} within 7 days${more > 0 ? `; the first ${told.items.length} are shown` : ''}`,
  );
  const { season, weekend, now, peak, peak_at } = told.seasonal;
  const when = [season && 'In season', weekend && 'weekend'].filter(Boolean).join(', ');
  const most = peak?.connections > (now?.connections ?? 0) ? `at most ${people(Math.round(peak.connections))} expected at a time, ${clock(peak_at)}` : '';
  const here = now?.weddings ? `${people(Math.round(now.connections))} expected now` : '';
  say(by('seasonal'), [when || 'Out of season', here, most].filter(Boolean).join(' · '));
  show(by('weddings-none'), told.items.length === 0);
  keep(
    by('weddings'),
    told.items,
    (wedding) => wedding.id,
    () =>
      make(
        'li',
        {},
        make('p', { class: 'tags' }, make('span', { class: 'tag on', 'data-part': 'on' }, 'on now')),
        make('h3', { 'data-part': 'name' }),
        make('p', { class: 'hint', 'data-part': 'where' }),
        make('p', { 'data-part': 'there' }),
      ),
    (item, wedding) => {
      show(part(item, 'on').parentElement, wedding.open);
      say(part(item, 'name'), wedding.name || wedding.id);
      const day = `${there(wedding.starts_at, wedding.timezone, true)} to ${there(wedding.ends_at, wedding.timezone)}`;
      say(part(item, 'where'), [wedding.venue_name ?? wedding.venue, day].filter(Boolean).join(' · '));
      say(
        part(item, 'there'),
        wedding.members === 0 ? 'no members yet' : `${count(wedding.connected)} of ${count(wedding.members)} connected`,
      );
    },
  );
}

export function undelivered(letters) {
  say(by('undelivered-note'), letters.total === 0 ? 'no dead letters' : `${count(letters.total)} dead letters`);
  facts(
    by('undelivered'),
    Object.entries(letters.by_reason)
      .sort(([, a], [, b]) => b - a)
      .map(([reason, number]) => [spaced(reason), count(number)]),
  );
}

export function outputs(told) {
  const note = told.items.length === 0 ? 'none are set up' : `${count(told.open)} calls not finished`;
  say(by('outputs-note'), note);
  facts(
    by('outputs'),
    told.items.map((output) => {
      const isWell = output.breaker === 'closed' && output.failures === 0;
      const last = output.last_success_at ? `well at ${clock(output.last_success_at)}` : 'not called from here';
      return [
        `${output.name} (${output.shape})`,
        isWell ? last : `${output.failures} failures in a row`,
        isWell ? 'ok' : 'attention',
      ];
    }),
  );
}
