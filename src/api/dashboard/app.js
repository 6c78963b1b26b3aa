// Puts the page together: follows a node, hands each board to the panels, and says so when there is none.

import { announce, by, keep, make, mark, part, say, show } from './dom.js';
import { clock, count, problem } from './words.js';
import { list } from './list.js';
import * as alerts from './alerts.js';
import * as charts from './charts.js';
import * as detail from './detail.js';
import * as node from './node.js';
import * as panels from './panels.js';
import * as publish from './publish.js';
import * as room from './room.js';

const THEME = 'campanile.theme';
const THEMES = ['auto', 'light', 'dark'];

let board = null;
let leader;
let chartsDue = 0;
let isStarted = false;
let isAllShown = false;
// So many broadcasts are enough for a look; the others come with a button.
const SHOWN_FIRST = 8;

const may = (scope) => Boolean(board?.caller.scopes.some((known) => known === scope || known === 'admin'));
const mayPublish = () => may('publish');

function see(told, url) {
  board = told;
  node.know(told.cluster.nodes.filter((one) => one.node !== told.cluster.node && one.url).map((one) => new URL(one.url).origin));
  show(by('sign-in'), false);
  show(by('board'), true);
  show(by('new-broadcast'), mayPublish());
  show(by('sign-out'), !told.caller.open);
  by('board').classList.remove('stale');
  linked(told, url);
  panels.overview(told);
  panels.nodes(told.cluster);
  panels.queues(told);
  panels.weddings(told.weddings);
  panels.undelivered(told.dead_letters);
  panels.outputs(told.outputs);
  room.capacity(told);
  alerts.fire(told.alerts);
  alerts.uptime(told.uptime);
  weddingDay(told.enhanced ?? told.weddings.open_now > 0);
  broadcasts(told);
  leads(told.cluster);
  if (isStarted) detail.look();
  else detail.start(mayPublish);
  isStarted = true;
  if (Date.now() >= chartsDue) {
    chartsDue = Date.now() + 5000;
    charts.refresh();
    room.refresh();
  }
}

// On the day of a wedding the page opens on the weddings: only what is critical stands before them.
function weddingDay(isToday) {
  const card = by('weddings-card');
  const before = isToday ? by('broadcasts-card') : null;
  if (card.nextElementSibling !== before) card.parentElement.insertBefore(card, before);
}

function broadcasts(told) {
  const named = new Map(told.weddings.items.map((wedding) => [wedding.id, wedding.name]));
  const urgent = new Set(told.urgent.items.map((row) => row.id));
  const rest = told.broadcasts.filter((row) => !urgent.has(row.id));
  show(by('urgent-card'), urgent.size > 0);
  list(by('urgent'), told.urgent.items, named);
  list(by('broadcasts'), isAllShown ? rest : rest.slice(0, SHOWN_FIRST), named);
  show(by('broadcasts-more'), !isAllShown && rest.length > SHOWN_FIRST);
  say(by('broadcasts-more'), `Show ${rest.length - SHOWN_FIRST} more`);
  show(by('broadcasts-none'), rest.length === 0 && urgent.size === 0);
  const { critical_last_hour: critical, critical_last_hour_is_at_least: isLeast } = told.urgent;
  const lately = critical > 0 ? `${isLeast ? 'at least ' : ''}${count(critical)} critical in the last hour` : '';
  say(by('broadcasts-note'), [rest.length > 0 && `the newest ${rest.length}`, lately].filter(Boolean).join(' · '));
  show(by('scheduled-card'), told.scheduled.count > 0);
  list(by('scheduled'), told.scheduled.items, named);
  say(by('scheduled-note'), `${told.scheduled.count} ${told.scheduled.count === 1 ? 'waits for its' : 'wait for their'} time`);
}

function leads(cluster) {
  if (leader !== undefined && leader !== cluster.leader)
    announce(cluster.leader ? `Node ${cluster.leader} leads now.` : 'No node leads.', !cluster.leader);
  leader = cluster.leader;
}

function linked(told, url) {
  const isAway = !node.isHome();
  mark(by('link'), 'data-state', isAway ? 'away' : 'live');
  say(by('link-text'), `Live, node ${told.cluster.node}`);
  document.title = `${told.health.state === 'ok' ? '' : '! '}Campanile, node ${told.cluster.node}`;
  show(by('lost'), isAway);
  if (isAway) {
    say(by('lost-title'), `${location.host} does not answer.`);
    say(by('lost-text'), `This page goes on with node ${told.cluster.node}.`);
    links([url]);
  }
}

function links(urls) {
  keep(
    by('lost-nodes'),
    urls,
    (url) => url,
    (url) => make('li', {}, make('a', { href: url, 'data-part': 'link' })),
    (item, url) => say(part(item, 'link'), `Open ${new URL(url).host}`),
  );
}

// At once, not when a second try has failed, too: whoever looks at old figures has to know.
function lost(url, others, why) {
  const host = new URL(url).host;
  mark(by('link'), 'data-state', 'lost');
  say(by('link-text'), 'Not connected');
  by('board').classList.add('stale');
  show(by('lost'), true);
  const words = why === 'stopping' ? `${host} is stopping.` : why ? `${host} says: ${why}.` : `${host} does not answer.`;
  say(by('lost-title'), words);
  say(
    by('lost-text'),
    `${board ? `What you see is of ${clock(board.at)}. ` : ''}${others.length > 0 ? 'Trying the other nodes.' : 'Trying again.'}`,
  );
  links(others.filter((other) => other !== url));
  announce(words, true);
}

function asked(status, told) {
  show(by('board'), false);
  show(by('lost'), false);
  show(by('new-broadcast'), false);
  show(by('sign-in'), true);
  show(by('sign-out'), false);
  mark(by('link'), 'data-state', 'wait');
  say(by('link-text'), 'A token is asked for');
  say(by('sign-in-problem'), node.token.get() ? problem(told) : '');
  if (status === 401) node.token.forget();
  by('token').focus();
}

function followNode() {
  node.follow({ board: see, lost, asked });
}

function themes() {
  const button = by('theme');
  const set = (theme) => {
    if (theme === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    say(button, `Theme: ${theme}`);
  };
  let now = localStorage.getItem(THEME) ?? 'auto';
  set(now);
  button.addEventListener('click', () => {
    now = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
    localStorage.setItem(THEME, now);
    set(now);
  });
}

by('sign-in-form').addEventListener('submit', (event) => {
  event.preventDefault();
  node.token.set(by('token').value.trim());
  by('token').value = '';
  followNode();
});
by('sign-out').addEventListener('click', () => {
  node.token.forget();
  board = null;
  followNode();
});
by('broadcasts-more').addEventListener('click', () => {
  isAllShown = true;
  broadcasts(board);
  by('broadcasts').children[SHOWN_FIRST]?.querySelector('a').focus();
});
addEventListener('pagehide', node.stop);
addEventListener('pageshow', (event) => event.persisted && followNode());
themes();
publish.start();
followNode();
