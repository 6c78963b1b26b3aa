// Small charts, drawn as SVG: lines for the eye, a table of the same numbers for who wants them, a file for who needs them.

import { by, draw, keep, make, part, say } from './dom.js';
import { clock, count, exact, millis, percent, rate } from './words.js';
import * as node from './node.js';

const WIDTH = 320;
const HEIGHT = 96;

const SERIES = [
  {
    name: 'latency',
    title: 'Latency',
    shown: millis,
    lines: [
      ['delivery', 'delivery'],
      ['publish', 'publish answered'],
    ],
  },
  {
    name: 'throughput',
    title: 'Throughput',
    shown: rate,
    lines: [
      ['writes', 'writes to devices'],
      ['broadcasts', 'broadcasts'],
    ],
  },
  { name: 'connections', title: 'Connections', shown: (number) => count(number), lines: [['sessions', 'sessions']] },
  {
    name: 'errors',
    title: 'Errors',
    shown: percent,
    lines: [
      ['requests', 'of requests'],
      ['publishes', 'of publishes'],
    ],
  },
  {
    name: 'cache',
    title: 'Cache',
    shown: percent,
    lines: [
      ['hits', 'found'],
      ['local', 'in memory'],
    ],
  },
];
const FILES = { json: 'application/json', csv: 'text/csv' };

export async function refresh() {
  const answers = await Promise.all(SERIES.map((series) => node.get(`/v1/dashboard/series/${series.name}`)));
  const shown = SERIES.map((series, index) => ({ ...series, ...answers[index] })).filter((series) => series.ok);
  if (shown.length === 0) return;
  keep(by('series'), shown, (series) => series.name, create, update);
  const points = shown[0].data.points;
  const every = shown[0].data.every;
  say(
    by('series-note'),
    points.length
      ? `of this node, a point every ${every}, since ${clock(points[0].at)}`
      : `of this node; the first point comes within ${every}`,
  );
}

function create(series) {
  const heads = series.lines.map(([, title]) => make('th', { scope: 'col' }, title));
  return make(
    'figure',
    { class: 'chart' },
    make('figcaption', {}, make('h3', {}, series.title), make('p', { class: 'legend', 'data-part': 'legend' })),
    draw('svg', {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: 'none',
      'aria-hidden': 'true',
      'data-part': 'drawing',
    }),
    make(
      'p',
      { class: 'axis', 'aria-hidden': 'true' },
      make('span', { 'data-part': 'from' }),
      make('span', { 'data-part': 'top' }),
      make('span', {}, 'now'),
    ),
    make(
      'details',
      {},
      make('summary', {}, 'Numbers', make('span', { class: 'unseen' }, ` of ${series.title.toLowerCase()}`)),
      make(
        'div',
        { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': `Numbers of ${series.title.toLowerCase()}` },
        make(
          'table',
          {},
          make('caption', { class: 'unseen' }, series.title),
          make('thead', {}, make('tr', {}, make('th', { scope: 'col' }, 'Time'), heads)),
          make('tbody', { 'data-part': 'numbers' }),
        ),
      ),
      make(
        'p',
        { class: 'deeds' },
        Object.keys(FILES).map((format) =>
          make(
            'button',
            { type: 'button', class: 'plain', 'data-save': format, onclick: () => save(series.name, format) },
            'Save as ',
            format.toUpperCase(),
          ),
        ),
      ),
    ),
  );
}

function update(figure, series) {
  const points = series.data.points;
  const values = series.lines.map(([name]) => points.map((point) => point[name]));
  const top = Math.max(...values.flat().filter((value) => value !== null), 0);
  keep(
    part(figure, 'legend'),
    series.lines,
    ([name]) => name,
    () =>
      make(
        'span',
        {},
        draw('svg', { viewBox: '0 0 20 8', class: 'key', 'aria-hidden': 'true' }, draw('path', { d: 'M1 4H19' })),
        make('span', { 'data-part': 'text' }),
      ),
    (item, [name, title]) => {
      item.className = `line-${series.lines.findIndex(([known]) => known === name)}`;
      const last = points.at(-1)?.[name];
      say(part(item, 'text'), `${title} ${last === null || last === undefined ? '–' : series.shown(last)}`);
    },
  );
  part(figure, 'drawing').replaceChildren(...values.map((line, index) => trace(line, top, index)).flat());
  say(part(figure, 'from'), points.length ? clock(points[0].at) : '');
  say(part(figure, 'top'), top > 0 ? `highest ${series.shown(top)}` : '');
  keep(
    part(figure, 'numbers'),
    [...points].reverse(),
    (point) => point.at,
    () =>
      make(
        'tr',
        {},
        make('th', { scope: 'row' }),
        series.lines.map(() => make('td')),
      ),
    (row, point) => {
      say(row.cells[0], exact(point.at));
      series.lines.forEach(([name], index) => say(row.cells[index + 1], point[name] === null ? '–' : series.shown(point[name])));
    },
  );
}

// A line that has gaps where nothing was measured; a point alone is a short dash.
function trace(values, top, index) {
  const step = WIDTH / 47;
  const first = WIDTH - (values.length - 1) * step;
  const x = (position) => (first + position * step).toFixed(1);
  const y = (value) => (HEIGHT - 3 - (top > 0 ? value / top : 0) * (HEIGHT - 8)).toFixed(1);
  const runs = [];
  values.forEach((value, position) => {
    if (value === null) return;
    const run = runs.at(-1);
    if (run && run.at(-1)[0] === position - 1) run.push([position, value]);
    else runs.push([[position, value]]);
  });
  const path = (run) =>
    run.length === 1
      ? `M${x(run[0][0] - 0.4)} ${y(run[0][1])}H${x(run[0][0] + 0.4)}`
      : `M${run.map(([position, value]) => `${x(position)} ${y(value)}`).join('L')}`;
  const area = (run) => `${path(run)}L${x(run.at(-1)[0])} ${HEIGHT}L${x(run[0][0])} ${HEIGHT}Z`;
  const line = draw('path', { class: `trace line-${index}`, d: runs.map(path).join('') });
  const filled =
    index === 0
      ? [
          draw('path', {
            class: 'area',
            d: runs
              .filter((run) => run.length > 1)
              .map(area)
              .join(''),
          }),
        ]
      : [];
  return [...filled, line];
}

// Asked for with the token, which a plain link would not carry.
async function save(name, format) {
  const type = FILES[format];
  const answer = await node.call('GET', `/v1/dashboard/series/${name}?format=${format}`, undefined, { accept: type });
  if (!answer.ok) return;
  const text = typeof answer.data === 'string' ? answer.data : JSON.stringify(answer.data);
  const url = URL.createObjectURL(new Blob([text], { type }));
  make('a', { href: url, download: `campanile-${name}.${format}` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
